"""Torch graph -> ONNX bytes. One place for the exporter's settings and traps.

Opset 17 (has LayerNormalization), the TorchScript exporter (`dynamo=False`): both are what the parity figures were measured with. The
exporter puts a wrapper back into the mode it found, so each is set to inference first and checked.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from realtime.engines.sambert.checkpoint.acoustic import AcousticModel
from realtime.engines.sambert.checkpoint.acoustic_graphs import DecoderStepGraph, MemoryGraph, PostnetGraph, TextEncoderGraph, VarianceGraph
from realtime.engines.sambert.checkpoint.decoder import HybridDecoder, Postnet
from realtime.engines.sambert.checkpoint.duration_graph import OPSET, duration_graph
from realtime.engines.sambert.checkpoint.encoder import TextEncoder
from realtime.engines.sambert.checkpoint.hifigan import Generator
from realtime.engines.sambert.checkpoint.variance import VarianceAdaptor
from realtime.engines.sambert.checkpoint.vocoder_graphs import CausalVocoder, WindowVocoder

Axes = Mapping[str, dict[int, str]]


def to_onnx(graph: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], axes: Axes) -> bytes:
    """Trace `graph` called with `inputs` in order. `axes` names the dynamic dimensions of inputs and outputs."""
    graph.eval()
    assert not any(part.training for part in graph.modules()), "a part is in training mode; dropout would be exported"
    buffer = io.BytesIO()
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own deprecation, and of shape inference it gives up on
        torch.onnx.export(
            graph,
            tuple(inputs.values()),
            buffer,  # type: ignore[arg-type]
            dynamo=False,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={name: dict(dims) for name, dims in axes.items()},
        )
    return buffer.getvalue()


class _WithState(nn.Module):
    """Gives a graph whose state is a dictionary the flat inputs and outputs that the exporter wants."""

    def __init__(self, graph: nn.Module, fixed: int, names: Sequence[str]) -> None:
        super().__init__()
        self.graph, self.fixed, self.names = graph, fixed, list(names)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        state = dict(zip(self.names, inputs[self.fixed :], strict=True))
        out, new = self.graph(*inputs[: self.fixed], state)
        return (out, *(new[name] for name in self.names))


def export_text_encoder(encoder: TextEncoder) -> bytes:
    """ling int64 [1,T,4] -> text_hid [1,T,P]."""
    ling = torch.zeros(1, 7, 4, dtype=torch.int64)
    return to_onnx(TextEncoderGraph(encoder), {"ling": ling}, ["text_hid"], {"ling": {1: "symbols"}, "text_hid": {1: "symbols"}})


def export_variance(adaptor: VarianceAdaptor, widths: tuple[int, int, int]) -> bytes:
    """See `VarianceGraph`; widths of text, speaker and emotion."""
    text, speaker, emotion = (torch.zeros(1, 7, width) for width in widths)
    inputs = {
        "text_hid": text,
        "spk_hid": speaker,
        "emo_hid": emotion,
        "pitch_offset": torch.zeros(1, 7),
        "energy_offset": torch.zeros(1, 7),
    }
    outputs = ["pitch", "energy", "text_aug", "gates"]
    axes: dict[str, dict[int, str]] = {name: {1: "symbols"} for name in (*inputs, *outputs[:3])}
    return to_onnx(VarianceGraph(adaptor), inputs, outputs, {**axes, "gates": {0: "symbols"}})


def export_durations(adaptor: VarianceAdaptor) -> bytes:
    """gates [T,4H] -> log_duration [T]."""
    return bytes(duration_graph(adaptor.duration_predictor).SerializeToString())


def export_memory(decoder: HybridDecoder) -> bytes:
    """See `MemoryGraph`."""
    width = decoder.dec_in_proj.in_features - decoder.dec_in_proj.out_features
    outputs = ["keys", "values", "base"]
    axes = {name: {0: "steps"} for name in ("memory", *outputs)}
    return to_onnx(MemoryGraph(decoder), {"memory": torch.zeros(5, width)}, outputs, axes)


def export_decoder_step(decoder: HybridDecoder) -> bytes:
    """See `DecoderStepGraph`."""
    layers = len(decoder.pnca)
    attn = decoder.pnca[0].pnca_attn
    heads, d = int(attn.heads), int(attn.d_head)  # type: ignore[union-attr, arg-type]
    batch, slots = 2, 4
    inputs = {
        "frame": torch.zeros(batch, decoder.mels),
        "base": torch.zeros(batch, heads * d),
        "xk": torch.zeros(layers, batch, heads, d, slots - 1),
        "xv": torch.zeros(layers, batch, heads, slots - 1, d),
        "hk": torch.zeros(layers, batch, heads, d, slots),
        "hv": torch.zeros(layers, batch, heads, slots, d),
        "mask": torch.zeros(batch, 2, 1, 1, slots),
    }
    axes: dict[str, dict[int, str]] = {
        "frame": {0: "jobs"},
        "base": {0: "jobs"},
        "xk": {1: "jobs", 4: "past"},
        "xv": {1: "jobs", 3: "past"},
        "hk": {1: "jobs", 4: "slots"},
        "hv": {1: "jobs", 3: "slots"},
        "mask": {0: "jobs", 4: "slots"},
        "frames": {0: "jobs"},
        "k": {1: "jobs"},
        "v": {1: "jobs"},
    }
    return to_onnx(DecoderStepGraph(decoder), inputs, ["frames", "k", "v"], axes)


def export_postnet(postnet: Postnet) -> bytes:
    """See `PostnetGraph`; the state's outputs are named like its inputs with `_out`."""
    graph = PostnetGraph(postnet)
    state = graph.initial_state()
    frames = torch.zeros(1, 21, postnet.fc.out_features)
    one = torch.tensor([0], dtype=torch.int64)
    inputs = {"frames": frames, "start": one, "length": one + 99, "drop": one + 1, **state}
    outputs = ["residual", *(f"{name}_out" for name in state)]
    return to_onnx(_WithState(graph, 4, list(state)), inputs, outputs, {"frames": {1: "frames"}, "residual": {1: "emitted"}})


class _Quiet(nn.Module):
    """A causal vocoder without a sine source, called without the excitation."""

    def __init__(self, graph: CausalVocoder) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        out: tuple[Tensor, dict[str, Tensor]] = self.graph(x, None, state)
        return out


def export_vocoder(generator: Generator) -> bytes:
    """Causal: (x, excitation?, states) -> (samples, states_out). Not causal: (x, excitation?) -> samples of the whole window."""
    dims = generator.dims
    inputs = {"x": torch.zeros(1, dims.in_channels, 5)}
    axes: dict[str, dict[int, str]] = {"x": {2: "frames"}, "samples": {2: "samples"}}
    if dims.is_nsf:
        inputs["excitation"] = torch.zeros(1, 1, 5 * dims.hop)
        axes["excitation"] = {2: "samples"}
    if not dims.causal:
        return to_onnx(WindowVocoder(generator), inputs, ["samples"], axes)
    graph = CausalVocoder(generator)
    state = graph.initial_state()
    wrapped = _WithState(graph if dims.is_nsf else _Quiet(graph), len(inputs), list(state))
    return to_onnx(wrapped, {**inputs, **state}, ["samples", *(f"{name}_out" for name in state)], axes)


def export_acoustic(model: AcousticModel) -> dict[str, bytes]:
    """All graphs of the acoustic model by file stem."""
    dims, decoder = model.dims, model.mel_decoder.mel_dec
    return {
        "text_encoder": export_text_encoder(model.text_encoder),
        "variance": export_variance(model.variance_adaptor, (dims.encoder_projection_units, dims.speaker_units, dims.emotion_units)),
        "durations": export_durations(model.variance_adaptor),
        "memory": export_memory(decoder),
        "decoder_step": export_decoder_step(decoder),
        "postnet": export_postnet(model.mel_postnet),
    }

"""Parity checks of the acoustic model, whole and by part."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from realtime.engines.sambert.checkpoint import export_graphs as export
from realtime.engines.sambert.checkpoint.acoustic import AcousticModel, Spoken
from realtime.engines.sambert.checkpoint.decoder import DecoderTrace, MelDecoder, Postnet
from realtime.engines.sambert.checkpoint.encoder import TextEncoder, padding_mask
from realtime.engines.sambert.checkpoint.load import load_strict
from realtime.engines.sambert.checkpoint.parity_case import Case, Measured, Ruler, tensor
from realtime.engines.sambert.checkpoint.variance import DurationPosition, Prosody, VarianceAdaptor, places, regulate
from realtime.engines.sambert.decoding import Decoder, DecoderState, Memory
from realtime.engines.sambert.dims import AcousticDims, acoustic_dims
from realtime.engines.sambert.postnet import PostnetStream
from realtime.engines.sambert.regulate import band_width, pack, place_code, repetitions
from realtime.engines.sambert.regulate import places as numpy_places
from realtime.engines.sambert.regulate import regulate as numpy_regulate
from realtime.engines.sambert.sessions import OrtGraph
from realtime.engines.sambert.symbols import DICT_FILES, FIELDS, Vocabulary, parse

Array = npt.NDArray[Any]
M = TypeVar("M", bound=nn.Module)
CUTS = (4, 1, 7, 2, 16, 3)


def _loaded(module: M, case: Case, prefix: str = "") -> M:
    load_strict(module, case.weights, case.path.name, prefix)
    return module


def _dims(case: Case) -> AcousticDims:
    return acoustic_dims(case.config["model_params"], f"{case.path.name}/config.json")


# --- symbols ---


def check_symbols(case: Case) -> Iterator[Measured]:
    """Tables and encoding of symbol strings; exact."""
    given = json.loads((case.path / "symbols.json").read_text(encoding="utf-8"))
    tables = json.loads((case.path / "vocab.json").read_text(encoding="utf-8"))
    vocabulary = Vocabulary.of_speakers(given["speaker_list"])
    for name in DICT_FILES:
        wrong = float(vocabulary.table(name) != list(tables[name])) if name in tables else 0.0
        yield Measured("tables", name, wrong, is_exact=True)
    ids = case.arrays["ids"]
    for example in given["examples"]:
        encoded = vocabulary.encode(parse(example["symbols"]), with_end=True)
        ruler = Ruler("encoding", ids)
        for name in FIELDS:
            ruler.compare(f"{example['index']:02d}_{name}", encoded[name], is_exact=True)
        yield from ruler.found


# --- text encoder ---


def check_text_encoder(case: Case) -> Iterator[Measured]:
    """Embeddings, position code, blocks; long texts and padded batches."""
    encoder = _loaded(TextEncoder(_dims(case)), case, "text_encoder.")
    graph = OrtGraph(export.export_text_encoder(encoder))
    for file, io in case.ios:
        ling = tensor(io["ling"])
        lengths = tensor(io["lengths"]) if "lengths" in io else torch.full((ling.shape[0],), ling.shape[1])
        ruler = Ruler("torch", io, file)
        _compare_rows(ruler, "text_hid", encoder(ling, padding_mask(lengths, ling.shape[1])), lengths)
        embedded = encoder.embed(ling)
        ruler.compare("embedding_sum", embedded)
        x = encoder.ling_enc.first_block_in(embedded)
        ruler.compare("first_block_in", x)
        for i, block in enumerate(encoder.ling_enc.fft):
            x, attention = block(x)
            ruler.compare(f"attn_block{i}", attention[0])
            if i == 0:
                ruler.compare("first_block_out", x)
        yield from ruler.found
        ruler = Ruler("onnx", io, file)
        for i, n in enumerate(lengths.tolist()):
            # The runtime never pads. In a padded batch the reference convolves over the norm's bias beyond the end, so only the
            # utterances that fill the batch are what one utterance alone gives.
            if n == ling.shape[1]:
                whole = Ruler("onnx", {"text_hid": io["text_hid"][i : i + 1]}, file)
                whole.compare("text_hid", graph.run({"ling": io["ling"][i : i + 1].astype(np.int64)})[0])
                ruler.found += whole.found
        yield from ruler.found


def _compare_rows(ruler: Ruler, name: str, ours: Tensor, lengths: Tensor) -> None:
    """Compare each utterance up to its own length; rows beyond are not meaningful."""
    for i, n in enumerate(lengths.tolist()):
        part = Ruler(ruler.runtime, {name: ruler.arrays[name][i : i + 1, :n]}, ruler.file)
        part.compare(name, ours[i : i + 1, :n])
        ruler.found += part.found


# --- variance adaptor and length regulator ---


def check_variance_adaptor(case: Case) -> Iterator[Measured]:
    """Pitch, energy, durations, regulated rows."""
    dims = _dims(case)
    adaptor = _loaded(VarianceAdaptor(dims), case, "variance_adaptor.")
    widths = (dims.encoder_projection_units, dims.speaker_units, dims.emotion_units)
    graphs = {"variance": OrtGraph(export.export_variance(adaptor, widths)), "durations": OrtGraph(export.export_durations(adaptor))}
    for file, io in case.ios:
        text, speaker, emotion = (tensor(io[name]) for name in ("text_hid", "spk_hid", "emo_hid"))
        ruler = Ruler("torch", io, file)
        joined = torch.cat([text, speaker, emotion], dim=-1)
        ruler.compare("predictor_input", joined)
        ruler.compare("pitch_fsmn_out", adaptor.pitch_predictor.fsmn(joined))
        ruler.compare("energy_fsmn_out", adaptor.energy_predictor.fsmn(joined))
        _compare_prosody(ruler, adaptor(text, emotion, speaker, tensor(io["duration_targets"]) if "duration_targets" in io else None))
        yield from ruler.found
        if "duration_targets" in io:
            continue
        ruler = Ruler("onnx", io, file)
        _runtime_prosody(ruler, graphs, (io["text_hid"], io["spk_hid"], io["emo_hid"]), dims.outputs_per_step)
        yield from ruler.found


def _compare_prosody(ruler: Ruler, prosody: Prosody) -> None:
    for name in ("pitch", "energy", "text_aug", "log_duration", "duration", "LR_text", "LR_emo", "LR_spk"):
        ruler.compare(name, getattr(prosody, name))
    ruler.compare("log_duration_teacher_forced", prosody.log_duration)
    ruler.compare("reps", prosody.reps, is_exact=True)
    if "num_frames" in ruler.arrays:
        ruler.compare("num_frames", np.full(ruler.arrays["num_frames"].shape, prosody.num_frames), is_exact=True)


def _runtime_prosody(ruler: Ruler, graphs: Mapping[str, OrtGraph], hidden: tuple[Array, Array, Array], r: int) -> tuple[Array, Array]:
    """Run the runtime's way from hidden text to durations -> (text_aug [T,P], duration [T])."""
    text, speaker, emotion = hidden
    zeros = np.zeros(text.shape[:2], np.float32)
    feeds = {"text_hid": text, "spk_hid": speaker, "emo_hid": emotion, "pitch_offset": zeros, "energy_offset": zeros}
    pitch, energy, text_aug, gates = graphs["variance"].run(feeds)
    (log_duration,) = graphs["durations"].run({"gates": gates})
    duration = np.exp(log_duration) - 1
    reps = repetitions(duration)
    for name, value in (("pitch", pitch), ("energy", energy), ("text_aug", text_aug), ("log_duration", log_duration[None])):
        ruler.compare(name, value)
    ruler.compare("reps", reps[None], is_exact=True)
    code = place_code(numpy_places(reps, r), text_aug.shape[2])
    ruler.compare("LR_text", (numpy_regulate(text_aug[0], reps, r) + code)[None])
    ruler.compare("LR_spk", numpy_regulate(speaker[0], reps, r)[None])
    ruler.compare("LR_emo", numpy_regulate(emotion[0], reps, r)[None])
    return text_aug[0], duration


def check_length_regulator(case: Case) -> Iterator[Measured]:
    """Repetition, rounding edges, place inside the symbol: torch and the runtime's numpy."""
    r, depth = int(case.config["r"]), int(case.config["depth"])
    position = DurationPosition(depth)
    if case.weights:
        load_strict(position, case.weights, case.path.name, "variance_adaptor.dur_position_encoder.")
    for file, io in case.ios:
        reps = torch.floor(tensor(io["durations"]) + 0.5).to(torch.int64)
        ruler = Ruler("torch", io, file)
        ruler.compare("y", regulate(tensor(io["x"]), reps, r))
        ruler.compare("position_embedding", position(places(reps, r)))
        ruler.compare("num_frames", reps.sum(1), is_exact=True)
        yield from ruler.found
        counts = repetitions(io["durations"][0])
        ruler = Ruler("numpy", io, file)
        ruler.compare("y", numpy_regulate(io["x"][0], counts, r)[None])
        ruler.compare("position_embedding", place_code(numpy_places(counts, r), depth)[None])
        ruler.compare("num_frames", counts[None].sum(1), is_exact=True)
        yield from ruler.found


# --- decoder and postnet ---


def check_mel_decoder(case: Case) -> Iterator[Measured]:
    """Steps with given bands; started anywhere."""
    dims = _dims(case)
    decoder = _loaded(MelDecoder(dims), case, "mel_decoder.")
    graphs = {
        "memory": OrtGraph(export.export_memory(decoder.mel_dec)),
        "decoder_step": OrtGraph(export.export_decoder_step(decoder.mel_dec)),
    }
    for file, io in case.ios:
        bands = (int(case.shared("x_band_width", io)), int(case.shared("h_band_width", io)))
        memory, trace = tensor(io["memory"]), DecoderTrace()
        ruler = Ruler("torch", io, file)
        ruler.compare("dec_out", decoder.mel_dec(memory, *bands, trace))
        ruler.compare("prenet_out", torch.stack(trace.prenet_out, dim=1))
        _compare_attention(ruler, trace, dims.decoder_num_layers)
        yield from ruler.found
        ruler = Ruler("onnx", io, file)
        frames = _runtime_frames(graphs, io["memory"][0], bands, dims.num_mels)
        ruler.compare("dec_out", frames.reshape(1, memory.shape[1], -1))
        yield from ruler.found


def _compare_attention(ruler: Ruler, trace: DecoderTrace, layers: int) -> None:
    steps = len(trace.prenet_out)
    for side, rows in (("x", trace.attention_x), ("h", trace.attention_h)):
        for layer in range(layers):
            whole = torch.zeros(rows[0][layer][1].shape[0], steps, steps)
            for step, weights in (row[layer] for row in rows):
                # Past windows end at the step, windows over the memory begin at it.
                start = step + 1 - weights.shape[1] if side == "x" else step
                whole[:, step, start : start + weights.shape[1]] = weights
            ruler.compare(f"attn_{side}_layer{layer}", whole)
            if layer == layers - 1:
                ruler.compare(f"attn_{side}_last", whole)


def _runtime_frames(graphs: Mapping[str, OrtGraph], packed: Array, bands: tuple[int, int], mels: int) -> Array:
    """Decode beside a second job with other bands that is some steps ahead, as a busy worker does -> frames [M*r,mels]."""
    decoder, memory = Decoder(graphs["decoder_step"], mels), Memory.of(graphs["memory"], packed)
    state = DecoderState(memory, *bands, mels)
    other = DecoderState(memory, bands[0] + 2, bands[1] + 1, mels, first=memory.steps // 3)
    out = []
    while not state.is_done:
        out.append(decoder.step([state] if other.is_done else [state, other])[0])
    return np.concatenate(out)


def check_postnet(case: Case) -> Iterator[Measured]:
    """Residual over given frames; whole in torch, as a stream at run time."""
    postnet = _loaded(Postnet(_dims(case)), case, "mel_postnet.")
    graph = OrtGraph(export.export_postnet(postnet))
    for file, io in case.ios:
        frames, padding = tensor(io["dec_outputs"]), tensor(io["mask"])
        length = int(io["num_frames"]) if "num_frames" in io else int((~padding).sum())
        residual = postnet(frames, padding)
        ruler = Ruler("torch", io, file)
        ruler.compare("fsmn_out", postnet.fsmn(frames, padding), rows=length)
        ruler.compare("residual", residual, rows=length)
        ruler.compare("mel", (frames + residual).masked_fill(padding[..., None], 0.0))
        yield from ruler.found
        ruler = Ruler("onnx", io, file)
        ruler.compare("mel", _runtime_mel(graph, postnet, io["dec_outputs"][0], length)[None], rows=length)
        yield from ruler.found


def _runtime_mel(graph: OrtGraph, postnet: Postnet, frames: Array, length: int) -> Array:
    delay = postnet.fsmn.look_ahead
    stream, parts, at, i = PostnetStream(graph, length, delay), [], 0, 0
    while at < frames.shape[0]:
        parts.append(stream.push(frames[at : at + CUTS[i % len(CUTS)]]))
        at, i = at + CUTS[i % len(CUTS)], i + 1
    return np.concatenate(parts)


# --- the whole model ---


def check_acoustic(case: Case) -> Iterator[Measured]:
    """From ids to mel, with predicted and with given durations."""
    dims = _dims(case)
    model = _loaded(AcousticModel(dims), case)
    graphs = {stem: OrtGraph(blob) for stem, blob in export.export_acoustic(model).items()}
    plain = case.arrays["io"]
    for file, io in case.ios:
        forced = tensor(io["duration_targets"]) if "duration_targets" in io else None
        ids = {name: np.asarray(case.shared(name, io)) for name in ("ling", "emo", "spk")}
        spoken = model(tensor(ids["ling"]), tensor(ids["emo"]), tensor(ids["spk"]), forced)
        ruler = Ruler("torch", io, file)
        _compare_spoken(ruler, spoken)
        yield from ruler.found
        ruler = Ruler("onnx", io, file)
        _runtime_acoustic(ruler, model, graphs, ids, None if forced is None else forced[0].numpy())
        yield from ruler.found
    if "num_frames" not in plain:
        raise ValueError("io.npz lacks num_frames")


def _compare_spoken(ruler: Ruler, spoken: Spoken) -> None:
    ruler.compare("text_hid", spoken.text_hid)
    _compare_prosody(ruler, spoken.prosody)
    ruler.compare("memory", spoken.memory)
    ruler.compare("x_band_width", spoken.band, is_exact=True)
    ruler.compare("h_band_width", spoken.band, is_exact=True)
    ruler.compare("dec_outputs", spoken.dec_outputs)
    ruler.compare("postnet_outputs", spoken.postnet_outputs)


def _runtime_acoustic(
    ruler: Ruler, model: AcousticModel, graphs: Mapping[str, OrtGraph], ids: Mapping[str, Array], forced: Array | None
) -> None:
    dims, r = model.dims, model.dims.outputs_per_step
    (text_hid,) = graphs["text_encoder"].run({"ling": ids["ling"].astype(np.int64)})
    ruler.compare("text_hid", text_hid)
    speaker = ids["spk"] if dims.SE else model.spk_tokenizer.weight.detach().numpy()[ids["spk"]]
    emotion = model.emo_tokenizer.weight.detach().numpy()[ids["emo"]]
    text_aug, duration = _runtime_prosody(ruler, graphs, (text_hid, speaker, emotion), r)
    if forced is not None:
        duration = forced.astype(np.float32)
    reps, band = repetitions(duration), band_width(duration, r)
    packed = pack(text_aug, speaker[0], emotion[0], reps, r)
    ruler.compare("memory", packed[None])
    ruler.compare("x_band_width", band, is_exact=True)
    frames, length = _runtime_frames(graphs, packed, (band, band), dims.num_mels), int(reps.sum())
    frames[length:] = 0.0
    ruler.compare("dec_outputs", frames[None])
    mel = _runtime_mel(graphs["postnet"], model.mel_postnet, frames, length)
    ruler.compare("postnet_outputs", np.pad(mel, ((0, frames.shape[0] - length), (0, 0)))[None])

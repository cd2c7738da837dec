"""Exported graphs against the torch modules, for sizes and options that no reference set has; streams cut at random."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from realtime.engines.sambert.decoding import Decoder, DecoderState, Memory
from realtime.engines.sambert.dims import vocoder_dims
from realtime.engines.sambert.postnet import PostnetStream
from realtime.engines.sambert.sessions import OrtGraph
from realtime.engines.sambert.source import SineSource
from realtime.engines.sambert.vocode import context_frames, open_stream

VOCODERS: dict[str, dict[str, Any]] = {
    "causal": {},
    "causal, uneven": {"upsample_scales": [4, 3, 2], "upsample_kernal_sizes": [9, 6, 4], "channels": 24, "slope": 0.2},
    "causal, one path": {"repeat_upsample": False},
    "causal, long kernels": {"upsample_kernal_sizes": [25, 16], "resblock_kernel_sizes": [3], "resblock_dilations": [[1, 3, 5]]},
    "causal, no weight norm": {"use_weight_norm": False},
    "symmetric": {"causal": False, "upsample_kernal_sizes": [11, 8]},
    "symmetric, even": {"causal": False, "upsample_scales": [4, 2, 2], "upsample_kernal_sizes": [8, 4, 4]},
    "nsf": {"nsf_params": {"nb_harmonics": 3, "sampling_rate": 1600}},
    "nsf, symmetric": {"causal": False, "upsample_kernal_sizes": [11, 8], "nsf_params": {"nb_harmonics": 1, "sampling_rate": 1600}},
}
FRAMES = 150


def generator(torch: Any, tiny_vocoder: dict[str, Any], change: dict[str, Any]) -> Any:
    from realtime.engines.sambert.checkpoint.hifigan import Generator
    from realtime.engines.sambert.checkpoint.random_voice import OFFICIAL_VOCODER, random_generator

    params = {**OFFICIAL_VOCODER, **tiny_vocoder, **change}
    params["nonlinear_activation_params"] = {"negative_slope": params.pop("slope", 0.1)}
    torch.manual_seed(1)
    return random_generator(Generator(vocoder_dims(params)))


@pytest.mark.parametrize("variant", VOCODERS)
def test_vocoder_streams_equal_the_whole(variant: str, torch: Any, tiny_vocoder: dict[str, Any]) -> None:
    from realtime.engines.sambert.checkpoint.export_graphs import export_vocoder

    subject = generator(torch, tiny_vocoder, VOCODERS[variant])
    dims, graph = subject.dims, OrtGraph(export_vocoder(subject))
    rng = np.random.default_rng(2)
    mel = rng.standard_normal((FRAMES, dims.input_rows)).astype(np.float32)

    def source() -> SineSource | None:
        if not dims.is_nsf:
            return None
        mix = subject.source_module.ffn[0]
        return SineSource(mix.folded().detach().numpy(), float(mix.bias.detach()), dims.sampling_rate, dims.hop, seed=5)

    arguments = []
    if dims.is_nsf:
        mel[:, -2], mel[:, -1] = 80 + 40 * rng.random(FRAMES), np.arange(FRAMES) % 20 < 12
        drawn = source()
        assert drawn is not None
        arguments = [torch.from_numpy(drawn.phase)[None], torch.from_numpy(drawn.draw(FRAMES))[None]]
    with torch.no_grad():
        whole = subject(torch.from_numpy(np.ascontiguousarray(mel.T))[None], *arguments)[0, 0].numpy()
    assert np.abs(whole).max() > 1e-2
    for trial in range(3):
        stream, parts, at = open_stream(graph, dims, source()), [], 0
        while at < FRAMES:
            end = min(FRAMES, at + int(rng.integers(1, 50 if trial else 4)))
            parts.append(stream.push(mel[at:end], end == FRAMES))
            at = end
        assert np.abs(np.concatenate(parts) - whole).max() <= 1e-4


def test_convolutions_without_a_bias_are_those_that_have_none_in_the_file(torch: Any, tiny_vocoder: dict[str, Any]) -> None:
    from realtime.engines.sambert.checkpoint.export_graphs import export_vocoder
    from realtime.engines.sambert.checkpoint.hifigan import Generator
    from realtime.engines.sambert.checkpoint.load import load_strict
    from realtime.errors import ModelMissing

    made = generator(torch, tiny_vocoder, {"bias": False})
    state = {key: value for key, value in made.state_dict().items() if not (key.startswith("conv_blocks") and key.endswith("bias"))}
    subject = Generator(made.dims)
    load_strict(subject, state, "here")
    x = torch.randn(1, 6, 9)
    with torch.no_grad():
        whole = subject(x)[0, 0].numpy()
    stream = open_stream(OrtGraph(export_vocoder(subject)), made.dims)
    assert np.abs(stream.push(x[0].numpy().T.copy()) - whole).max() < 1e-4
    with pytest.raises(ModelMissing, match="bias' is missing"):
        load_strict(Generator(generator(torch, tiny_vocoder, {}).dims), state, "here")


def test_context_is_as_the_specification_measured_it() -> None:
    from realtime.engines.sambert.checkpoint.random_voice import OFFICIAL_VOCODER

    causal = context_frames(vocoder_dims(OFFICIAL_VOCODER))
    symmetric = context_frames(vocoder_dims({**OFFICIAL_VOCODER, "causal": False, "upsample_kernal_sizes": [20, 11, 4, 4]}))
    assert causal[1] == 0 and 34 <= causal[0] <= 42  # measured 34.1
    assert 18 <= symmetric[0] <= 22 and 18 <= symmetric[1] <= 22  # measured 17.0 and 17.1


def acoustic(torch: Any, tiny_acoustic: dict[str, Any], change: dict[str, Any]) -> Any:
    from realtime.engines.sambert.checkpoint.acoustic import AcousticModel
    from realtime.engines.sambert.checkpoint.random_voice import OFFICIAL_ACOUSTIC, random_acoustic
    from realtime.engines.sambert.dims import acoustic_dims

    rows = {"sy": 20, "tone": 10, "syllable_flag": 8, "word_segment": 8, "emotion": 9, "speaker": 5}
    torch.manual_seed(3)
    return random_acoustic(AcousticModel(acoustic_dims({**OFFICIAL_ACOUSTIC, **tiny_acoustic, **rows, **change})))


ACOUSTICS: dict[str, dict[str, Any]] = {
    "plain": {},
    "two frames a step": {"outputs_per_step": 2},
    "shift per layer": {"postnet_shift": [0, 3, 1], "predictor_shift": [1, 0]},
    "postnet as wide as the mel": {"postnet_num_memory_units": 6},
    "no look-ahead": {"postnet_shift": 4},
    "three prenet layers": {"decoder_prenet_units": [10, 9, 8], "dur_pred_prenet_units": [8, 7, 6]},
    "same width in and out": {"embedding_dim": 16},
}


@pytest.mark.parametrize("variant", ACOUSTICS)
def test_acoustic_graphs_equal_the_modules(variant: str, torch: Any, tiny_acoustic: dict[str, Any]) -> None:
    from realtime.engines.sambert.checkpoint.export_graphs import export_acoustic

    model = acoustic(torch, tiny_acoustic, ACOUSTICS[variant])
    graphs = {name: OrtGraph(blob) for name, blob in export_acoustic(model).items()}
    rng = np.random.default_rng(4)
    count = 13
    ling = np.stack([rng.integers(0, n, count) for n in (20, 10, 8, 8)], axis=-1)[None]
    emo, spk = (torch.from_numpy(rng.integers(0, n, (1, count))) for n in (9, 5))
    forced = torch.from_numpy(rng.integers(0, 9, (1, count)))
    with torch.no_grad():
        spoken = model(torch.from_numpy(ling), emo, spk, forced)
    (text_hid,) = graphs["text_encoder"].run({"ling": ling})
    assert np.abs(text_hid - spoken.text_hid.numpy()).max() < 2e-5
    bands, dims = (spoken.band, spoken.band), model.dims
    memory = Memory.of(graphs["memory"], spoken.memory[0].numpy())
    state, decoder, frames = DecoderState(memory, *bands, dims.num_mels), Decoder(graphs["decoder_step"], dims.num_mels), []
    while not state.is_done:
        frames += decoder.step([state])
    length = spoken.prosody.num_frames
    decoded = np.concatenate(frames)
    assert np.abs(decoded[:length] - spoken.dec_outputs[0, :length].numpy()).max() < 5e-5
    delay = sum(block.right for block in model.mel_postnet.fsmn.memory_block_lst)
    for size in (1, 5, 1000):
        stream = PostnetStream(graphs["postnet"], length, delay)
        mel = np.concatenate([stream.push(decoded[at : at + size]) for at in range(0, len(decoded), size)])
        assert np.abs(mel - spoken.postnet_outputs[0, :length].numpy()).max() < 5e-5


def test_a_batch_of_jobs_with_different_bands_gives_each_its_own(torch: Any, tiny_acoustic: dict[str, Any]) -> None:
    from realtime.engines.sambert.checkpoint.export_graphs import export_decoder_step, export_memory

    model = acoustic(torch, tiny_acoustic, {})
    decoder = model.mel_decoder.mel_dec
    step, memory_graph = Decoder(OrtGraph(export_decoder_step(decoder)), 6), OrtGraph(export_memory(decoder))
    rng = np.random.default_rng(5)
    memories = [Memory.of(memory_graph, rng.standard_normal((n, model.dims.memory_units)).astype(np.float32)) for n in (4, 9, 6)]
    bands = [(0, 0), (3, 3), (1, 4)]

    def fresh() -> list[DecoderState]:
        return [DecoderState(m, *band, 6) for m, band in zip(memories, bands, strict=True)]

    alone: list[list[Any]] = []
    for state in fresh():
        alone.append([])
        while not state.is_done:
            alone[-1] += step.step([state])
    states, together = fresh(), [[], [], []]  # type: ignore[var-annotated]
    while running := [i for i, state in enumerate(states) if not state.is_done]:
        for i, frames in zip(running, step.step([states[i] for i in running]), strict=True):
            together[i].append(frames)
    for mine, ours in zip(alone, together, strict=True):
        assert np.abs(np.concatenate(mine) - np.concatenate(ours)).max() < 2e-5


def test_the_sine_source_does_not_drift_and_does_not_depend_on_the_cut() -> None:
    weight = np.full(3, 0.3, np.float32)
    f0, voiced = np.full(4000, 123.4, np.float32), np.ones(4000, np.float32)
    whole = SineSource(weight, 0.1, 16000, 20, seed=1).push(f0, voiced)
    source = SineSource(weight, 0.1, 16000, 20, seed=1)
    parts = [source.push(f0[at : at + 37], voiced[at : at + 37]) for at in range(0, 4000, 37)]
    assert np.abs(np.concatenate(parts) - whole).max() < 1e-4
    assert np.abs(SineSource(weight, 0.1, 16000, 20, seed=2).push(f0, voiced) - whole).max() > 1e-2

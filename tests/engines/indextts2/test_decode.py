"""The language model against the reference; batches against single jobs; pages taken and given back."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from realtime.engines.indextts2.decode import Decoder, Prefix, Sequence
from realtime.engines.indextts2.kernels import Kernels
from realtime.engines.indextts2.kernels.packing import Kind
from realtime.engines.indextts2.kv_pages import NoPages, PagePool
from realtime.engines.indextts2.lm import LanguageModel, LmShape, LmWeights
from realtime.engines.indextts2.random_model import TINY, gpt_tensors
from realtime.engines.indextts2.sampler import Sampling

TOLERANCE = 2e-4
GREEDY = Sampling(greedy=True)


def decoder_of(kernels: Kernels, tensors: Any, config: Any, kind: Kind, offset: int = 1, pages: int = 60) -> Decoder:
    shape = LmShape.of(config)
    pool = PagePool(pages, shape.layers, shape.heads, shape.model_dim // shape.heads, kind is not Kind.F32)
    return Decoder(LanguageModel(kernels, LmWeights.of(tensors, shape, kind), shape, pool), offset)


@pytest.fixture
def tiny(any_kernels: Kernels, request: pytest.FixtureRequest) -> tuple[Decoder, Prefix]:
    decoder = decoder_of(any_kernels, gpt_tensors(TINY["gpt"], 0), TINY["gpt"], getattr(request, "param", Kind.Q8))
    conds = np.random.default_rng(1).standard_normal((34, TINY["gpt"]["model_dim"]), dtype=np.float32)
    return decoder, decoder.prefix(conds)


def finished(decoder: Decoder, sequence: Sequence) -> list[int]:
    while not sequence.is_finished:
        decoder.step([sequence])
    return sequence.codes


@pytest.mark.golden
def test_greedy_codes_are_the_references(golden: Path, any_kernels: Kernels, reference: Any) -> None:
    weights, io = reference("gpt")
    config = json.loads((golden / "gpt" / "config.json").read_text())
    decoder = decoder_of(any_kernels, weights, config["UnifiedVoice"], Kind.F32, offset=2)
    prefix, limit = decoder.prefix(io["conds"][0]), config["max_generate_length"]
    cases = [found for name in io if (found := re.fullmatch(r"greedy_codes_rp(\d+)(?:_min(\d+))?", name))]
    assert cases
    for case in cases:
        sampling = Sampling(repetition_penalty=float(case[1]), greedy=True)
        sequence = decoder.start(prefix, io["text_ids"][0], sampling, 0, limit, int(case[2] or 0))
        sequence.sampler.forbidden = np.zeros(0, dtype=np.int64)  # the reference forbids nothing: random weights may say the start code
        codes = finished(decoder, sequence) + [config["UnifiedVoice"]["stop_mel_token"]] * sequence.is_stopped
        assert codes == io[case[0]][0].tolist(), case[0]
        decoder.end(sequence)


def forced(decoder: Decoder, prefix: Prefix, ids: Any, codes: Any) -> tuple[Sequence, np.ndarray]:
    """Feed given codes; the states before each, and after the last."""
    sequence = decoder.start(prefix, ids, GREEDY, 0, len(codes) + 1)
    states = [decoder._forward([(sequence, len(sequence.pending))])[-1]]
    for code in codes:
        decoder.feed(sequence, int(code), states[-1])
        states.append(decoder._forward([(sequence, 1)])[-1])
    return sequence, np.stack(states)


@pytest.mark.golden
def test_logits_states_and_cache_are_the_references(golden: Path, any_kernels: Kernels, reference: Any) -> None:
    weights, io = reference("gpt")
    config = json.loads((golden / "gpt" / "config.json").read_text())["UnifiedVoice"]
    decoder = decoder_of(any_kernels, weights, config, Kind.F32, offset=2)
    prefix, ids, codes = decoder.prefix(io["conds"][0]), io["text_ids"][0], io["forced_codes"][0]
    sequence, states = forced(decoder, prefix, ids, codes)
    np.testing.assert_allclose(decoder.model.logits(states), io["decode_logits_pos2"][0], atol=TOLERANCE)
    np.testing.assert_allclose(states[1:], io["decode_hidden_pos2"][0], atol=TOLERANCE)
    last = decoder.model.shape.layers - 1
    keys, _ = decoder.pool.read(sequence.pages, last, sequence.position)
    np.testing.assert_allclose(keys, io["final_k_last_pos2"][0], atol=TOLERANCE)
    for layer, name in ((0, "layer0"), (last, "last")):
        count = io[f"prefill_k_{name}"].shape[2]
        for found, kind in zip(decoder.pool.read(sequence.pages, layer, count), "kv", strict=True):
            np.testing.assert_allclose(found, io[f"prefill_{kind}_{name}"][0], atol=TOLERANCE)
    np.testing.assert_allclose(decoder.latent_pass(sequence), io["latents"][0], atol=TOLERANCE)


@pytest.mark.golden
def test_with_offset_1_decoding_gives_the_latents_without_a_second_pass(golden: Path, any_kernels: Kernels, reference: Any) -> None:
    weights, io = reference("gpt")
    config = json.loads((golden / "gpt" / "config.json").read_text())["UnifiedVoice"]
    decoder = decoder_of(any_kernels, weights, config, Kind.F32, offset=1)
    sequence, _ = forced(decoder, decoder.prefix(io["conds"][0]), io["text_ids"][0], io["forced_codes"][0])
    np.testing.assert_allclose(np.stack(sequence.latents), io["latents"][0], atol=TOLERANCE)


@pytest.mark.parametrize("tiny", list(Kind), indirect=True)
@pytest.mark.parametrize("rows", [5, 40])
def test_a_voices_cached_keys_and_values_serve_as_its_rows_do(tiny: tuple[Decoder, Prefix], rows: int) -> None:
    decoder, pool = tiny[0], tiny[0].pool
    conditions = np.random.default_rng(4).standard_normal((rows, decoder.model.shape.model_dim), dtype=np.float32)
    run = decoder.prefix(conditions)
    held = [pool.read(run.pages, layer, rows) for layer in range(decoder.model.shape.layers)]
    keys, values = (np.stack([both[part] for both in held]) for part in (0, 1))
    taken = decoder.prefix(np.zeros_like(conditions), (keys, values))
    said = [finished(decoder, decoder.start(prefix, [5, 6, 7], Sampling(), 1, 20)) for prefix in (run, taken)]
    assert said[0] == said[1]
    free = pool.free
    with pytest.raises(ValueError, match="cached keys"):
        decoder.prefix(conditions, (keys[:, :, :, :-1], values))
    assert pool.free == free


@pytest.mark.parametrize("tiny", list(Kind), indirect=True)
def test_jobs_that_join_and_leave_a_batch_say_what_they_say_alone(tiny: tuple[Decoder, Prefix]) -> None:
    decoder, prefix = tiny
    texts = [list(range(3, 3 + count)) for count in (4, 17, 2, 9)]
    limits = [40, 12, 33, 25]

    def begun(i: int) -> Sequence:
        return decoder.start(prefix, texts[i], Sampling(), i, limits[i])

    alone, latents = [], []
    for i in range(4):
        sequence = begun(i)
        alone.append(list(finished(decoder, sequence)))
        latents.append(np.stack(sequence.latents))
        decoder.end(sequence)
    running: list[Sequence] = []
    everyone: list[Sequence] = []
    for step in range(200):
        if step % 5 == 0 and len(everyone) < 4:
            everyone.append(begun(len(everyone)))
            running.append(everyone[-1])
        decoder.step(running, prompt_rows=7)
        running = [s for s in running if not s.is_finished]
    assert [s.codes for s in everyone] == alone
    if decoder.model.kernels.name == "native":  # numpy's own products are not the same to the bit for other batch sizes
        assert all(np.array_equal(np.stack(s.latents), x) for s, x in zip(everyone, latents, strict=True))


def test_the_seed_decides(tiny: tuple[Decoder, Prefix]) -> None:
    decoder, prefix = tiny
    said = [tuple(finished(decoder, decoder.start(prefix, [5, 6, 7], Sampling(), seed, 20))) for seed in (1, 1, 2)]
    assert said[0] == said[1] != said[2]


def test_a_sequence_ends_at_its_limit_and_never_says_the_start_code(tiny: tuple[Decoder, Prefix]) -> None:
    decoder, prefix = tiny
    sequence = decoder.start(prefix, [5], Sampling(temperature=5.0, top_k=0, top_p=1.0), 3, 60)
    assert len(finished(decoder, sequence)) == 60 and sequence.is_cut and not sequence.is_stopped
    assert TINY["gpt"]["start_mel_token"] not in sequence.codes


def test_scores_that_are_not_numbers_are_this_jobs_fault_only(tiny: tuple[Decoder, Prefix]) -> None:
    decoder, prefix = tiny
    good, bad = (decoder.start(prefix, [5, 6], Sampling(), 1, 10) for _ in range(2))
    bad.pending = np.full_like(bad.pending, np.nan)
    while not good.is_finished:
        decoder.step([good, bad])
    assert bad.fault and not bad.codes
    assert good.codes == finished(decoder, decoder.start(prefix, [5, 6], Sampling(), 1, 10))


def test_text_over_the_models_limit_is_refused(tiny: tuple[Decoder, Prefix]) -> None:
    decoder, prefix = tiny
    with pytest.raises(ValueError, match="the model takes 80"):
        decoder.start(prefix, [5] * 81, Sampling(), 0, 10)


def test_pages_come_back_when_a_sequence_ends(tiny: tuple[Decoder, Prefix]) -> None:
    decoder, prefix = tiny
    before = decoder.pool.free
    sequences = [decoder.start(prefix, [5] * 10, Sampling(), i, 50) for i in range(3)]
    assert decoder.pool.free == before - 3 * 3  # 97 positions are four pages, the first one shared
    for sequence in sequences:
        decoder.end(sequence)
    assert decoder.pool.free == before


def test_a_voice_may_be_forgotten_while_it_speaks(tiny: tuple[Decoder, Prefix]) -> None:
    decoder, prefix = tiny
    expected = finished(decoder, decoder.start(prefix, [5, 6], Sampling(), 1, 20))
    sequence = decoder.start(prefix, [5, 6], Sampling(), 1, 20)
    decoder.forget_prefix(prefix)
    decoder.prefix(np.ones((34, TINY["gpt"]["model_dim"]), dtype=np.float32))
    assert finished(decoder, sequence) == expected


def test_a_full_pool_takes_nothing(any_kernels: Kernels) -> None:
    decoder = decoder_of(any_kernels, gpt_tensors(TINY["gpt"], 0), TINY["gpt"], Kind.Q8, pages=4)
    prefix = decoder.prefix(np.ones((34, TINY["gpt"]["model_dim"]), dtype=np.float32))
    with pytest.raises(NoPages):
        decoder.start(prefix, [5], Sampling(), 0, 200)
    assert decoder.pool.free == 2

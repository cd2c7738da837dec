"""Regulator, estimator and solver against the reference; chunks against the whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from realtime.engines.indextts2.acoustic import Acoustic, AcousticStream, Prompt, Window, drained
from realtime.engines.indextts2.flow import Estimator, FlowShape
from realtime.engines.indextts2.kernels import Kernels
from realtime.engines.indextts2.kernels.packing import Kind
from realtime.engines.indextts2.random_model import TINY, TINY_PROJECTOR, codec_tensors, s2mel_tensors
from realtime.engines.indextts2.regulator import Regulator
from realtime.engines.indextts2.solve import Schedule, Solver
from realtime.engines.indextts2.vocode import Vocoder, VocoderShape

WIDE = Window(look_ahead_codes=0)


def golden_estimator(golden: Path, kernels: Kernels, weights: Any, kind: Kind = Kind.F32) -> Estimator:
    config = json.loads((golden / "s2mel" / "config.json").read_text())["s2mel"]
    return Estimator(kernels, weights, FlowShape.of(config), kind)


@pytest.fixture
def tiny(any_kernels: Kernels) -> Acoustic:
    s2mel = s2mel_tensors(TINY["s2mel"], TINY["gpt"]["model_dim"], TINY["semantic_codec"]["hidden_size"], TINY_PROJECTOR, 1)
    estimator = Estimator(any_kernels, s2mel, FlowShape.of(TINY["s2mel"]), Kind.F32)
    return Acoustic(Regulator(any_kernels, s2mel, codec_tensors(TINY["semantic_codec"], 2)), Solver(estimator))


@pytest.fixture
def prompt() -> Prompt:
    r = np.random.default_rng(4)
    return Prompt(*(r.standard_normal(shape, dtype=np.float32) for shape in ((30, 20), (30, 32), (24,))))


def stream_of(acoustic: Acoustic, prompt: Prompt, codes: int, seed: int = 7, speed: float = 1.0) -> AcousticStream:
    r = np.random.default_rng(5)
    stream = AcousticStream(acoustic, prompt, seed, speed)
    stream.push(r.integers(0, 64, codes).tolist(), r.standard_normal((codes, TINY["gpt"]["model_dim"]), dtype=np.float32))
    return stream


@pytest.mark.golden
def test_projector_codebook_and_regulator_are_the_references(any_kernels: Kernels, reference: Any) -> None:
    weights, io = reference("s2mel")
    codec, codec_io = reference("semantic_codec")
    regulator = Regulator(any_kernels, weights, codec)
    np.testing.assert_allclose(regulator.codebook(codec_io["codes"][0]), codec_io["vq2emb"][0], atol=1e-4)
    np.testing.assert_allclose(regulator.projected(io["gpt_layer_in"][0]), io["gpt_layer_out"][0], atol=1e-4)
    for name in "abcp":
        found = regulator.run(io[f"lr_{name}_in"][0], int(io[f"lr_{name}_ylen"][0]))
        np.testing.assert_allclose(found, io[f"lr_{name}_out"][0], atol=1e-4)


@pytest.mark.golden
def test_the_velocity_is_the_references(golden: Path, any_kernels: Kernels, reference: Any) -> None:
    weights, io = reference("s2mel")
    estimator = golden_estimator(golden, any_kernels, weights)
    for b in range(len(io["dit_x"])):
        static = estimator.static(io["dit_mu"][b], io["dit_prompt_x"][b].T, io["dit_style"][b])
        velocity = drained(estimator.steps(io["dit_x"][b].T, static, estimator.table(float(io["dit_t"][b]))))
        np.testing.assert_allclose(velocity.T, io["dit_velocity"][b], atol=2e-4)


@pytest.mark.golden
@pytest.mark.parametrize(("steps", "rate", "name"), [(4, 0.7, "s4_r7"), (6, 0.0, "s6_r0"), (25, 0.7, "s25_r7")])
def test_the_flow_is_the_references(golden: Path, any_kernels: Kernels, reference: Any, steps: int, rate: float, name: str) -> None:
    weights, io = reference("s2mel")
    estimator = golden_estimator(golden, any_kernels, weights)
    given = io["cfm_prompt"][0].T
    padded = np.zeros((io["cfm_mu"].shape[1], given.shape[1]), dtype=np.float32)
    padded[: len(given)] = given
    static = estimator.static(io["cfm_mu"][0], padded, io["cfm_style"][0])
    mel = drained(Solver(estimator).steps(io["cfm_z"][0].T, static, len(given), Schedule(steps, rate)))
    np.testing.assert_allclose(mel.T, io[f"cfm_out_{name}"][0][:, len(given) :], atol=2e-4)


@pytest.mark.golden
def test_the_whole_chain_is_the_references(golden: Path, any_kernels: Kernels, reference: Any) -> None:
    weights, _ = reference("s2mel")
    codec, _ = reference("semantic_codec")
    vocoder_weights, _ = reference("bigvgan")
    io = reference("chain", weights=False)[1]
    settings = json.loads((golden / "chain" / "config.json").read_text())
    acoustic = Acoustic(Regulator(any_kernels, weights, codec), Solver(golden_estimator(golden, any_kernels, weights)))
    prompt = Prompt(io["ref_mel"][0].T, io["prompt_condition"][0], io["style"][0])
    stream = AcousticStream(acoustic, prompt, 0)
    stream.push(io["codes"][0].tolist(), io["latent"][0])
    stream._noise = io["z"][0].T[len(prompt.mel) :]
    mel = drained(stream.steps(stream.codes, Schedule(settings["steps"], settings["cfg_rate"]), WIDE))
    np.testing.assert_allclose(mel.T, io["mel"][0], atol=2e-4)
    shape = VocoderShape.of(json.loads((golden / "bigvgan" / "config.json").read_text()))
    wave = Vocoder(any_kernels, vocoder_weights, shape, Kind.F32).run(mel)
    np.testing.assert_allclose(wave, io["wav"][0, 0], atol=1e-4)


def test_chunks_cover_every_frame_once_and_start_from_the_same_noise(tiny: Acoustic, prompt: Prompt) -> None:
    schedule, window = Schedule(3), Window(context_frames=20, look_ahead_codes=4)
    whole = stream_of(tiny, prompt, 50)
    drained(whole.steps(50, schedule, WIDE))
    cut = stream_of(tiny, prompt, 50)
    sizes = [len(drained(cut.steps(until, schedule, window))) for until in (9, 30, 50)]
    assert [sum(sizes[: i + 1]) for i in range(3)] == [cut.frames_at(until) for until in (9, 30, 50)]
    assert len(cut.mel) == len(whole.mel) == 86
    assert np.array_equal(cut.noise(86), whole.noise(86))


def test_a_single_chunk_is_the_whole(tiny: Acoustic, prompt: Prompt) -> None:
    first = drained(stream_of(tiny, prompt, 26).steps(26, Schedule(4), WIDE))
    second = drained(stream_of(tiny, prompt, 26).steps(26, Schedule(4), Window(context_frames=40, look_ahead_codes=9)))
    assert np.array_equal(first, second)


def test_look_ahead_is_returned_apart(tiny: Acoustic, prompt: Prompt) -> None:
    stream = stream_of(tiny, prompt, 30)
    drained(stream.steps(20, Schedule(2), Window(look_ahead_codes=5)))
    assert len(stream.mel) == stream.frames_at(20)
    assert len(stream.ahead) == stream.frames_at(25) - stream.frames_at(20)


@pytest.mark.parametrize(("speed", "frames"), [(0.5, 172), (1.0, 86), (2.0, 43)])
def test_speed_scales_the_frames(tiny: Acoustic, prompt: Prompt, speed: float, frames: int) -> None:
    stream = stream_of(tiny, prompt, 50, speed=speed)
    assert len(drained(stream.steps(50, Schedule(1), WIDE))) == frames


def test_second_order_steps_come_nearer_to_the_solution(tiny: Acoustic, prompt: Prompt) -> None:
    def mel(schedule: Schedule) -> np.ndarray:
        return drained(stream_of(tiny, prompt, 30).steps(30, schedule, WIDE))

    truth = mel(Schedule(100, solver="midpoint"))
    error = {name: np.abs(mel(Schedule(8, solver=name)) - truth).mean() for name in ("euler", "ab2", "midpoint")}
    assert error["ab2"] < 0.5 * error["euler"]
    assert error["midpoint"] < 0.5 * error["euler"]


@pytest.mark.parametrize(
    ("schedule", "calls"),
    [
        (Schedule(25), 50),
        (Schedule(6, rate=0.0), 6),
        (Schedule(6, guided=2), 8),
        (Schedule(4, guided=9), 8),
        (Schedule(4, solver="midpoint"), 16),
    ],
)
def test_a_schedule_says_what_it_costs(
    tiny: Acoustic, prompt: Prompt, schedule: Schedule, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    real = Estimator.steps

    def counted(self: Estimator, x: Any, static: Any, table: Any, given: int) -> Any:
        rows.append(len(static) // len(x))
        return real(self, x, static, table, given)

    monkeypatch.setattr(Estimator, "steps", counted)
    drained(stream_of(tiny, prompt, 10).steps(10, schedule, WIDE))
    assert schedule.calls == sum(rows) == calls


def test_guidance_that_is_kept_differs_from_guidance_dropped(tiny: Acoustic, prompt: Prompt) -> None:
    def mel(**given: Any) -> np.ndarray:
        return drained(stream_of(tiny, prompt, 20).steps(20, Schedule(8, **given), WIDE))

    full = mel()
    kept, dropped = (np.abs(mel(guided=4, held=held) - full).mean() for held in (True, False))
    assert 0 < kept < dropped


def test_a_mel_that_is_not_finite_is_an_error(tiny: Acoustic, prompt: Prompt) -> None:
    stream = stream_of(tiny, prompt, 10)
    stream._entered[3] = np.nan
    with pytest.raises(FloatingPointError, match="not finite"):
        drained(stream.steps(10, Schedule(2), WIDE))


@pytest.mark.parametrize("given", [1, 20, 33])
def test_frames_that_are_given_cost_no_wavenet_and_change_nothing(tiny: Acoustic, given: int) -> None:
    estimator, frames = tiny.solver.estimator, 50
    r = np.random.default_rng(6)
    x = r.standard_normal((frames, estimator.shape.mels), dtype=np.float32)
    static = r.standard_normal((2 * frames, estimator.shape.width), dtype=np.float32)
    table = estimator.table(0.3)
    whole = drained(estimator.steps(x, static, table)).reshape(2, frames, -1)
    cut = drained(estimator.steps(x, static, table, given)).reshape(2, frames, -1)
    assert not cut[:, :given].any() and whole[:, :given].any()
    np.testing.assert_allclose(cut[:, given:], whole[:, given:], atol=0 if estimator.kernels.name == "native" else 1e-5)


def test_a_call_that_is_left_half_way_does_not_disturb_another(tiny: Acoustic) -> None:
    estimator, r = tiny.solver.estimator, np.random.default_rng(6)
    inputs = [(r.standard_normal((n, estimator.shape.mels), dtype=np.float32), estimator.static_null(n)) for n in (31, 44)]
    table = estimator.table(0.3)
    alone = [drained(estimator.steps(x, static, table)) for x, static in inputs]
    left = estimator.steps(*inputs[0], table)
    for _ in range(2):
        next(left)
    assert np.array_equal(drained(estimator.steps(*inputs[1], table)), alone[1])
    assert np.array_equal(drained(left), alone[0])


def test_a_capped_prompt_keeps_mel_and_condition_together(prompt: Prompt) -> None:
    short = prompt.capped(8)
    assert np.array_equal(short.mel, prompt.mel[-8:]) and np.array_equal(short.condition, prompt.condition[-8:])
    assert prompt.capped(99) is prompt

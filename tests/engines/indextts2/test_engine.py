"""The engine behind its contract, on a small random model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from realtime.engines import registry
from realtime.engines.base import Chunk, Done, EngineEvent, Failed, Job
from realtime.engines.indextts2 import random_model, stages, voice_pack
from realtime.engines.indextts2.chunks import CODE_S, ChunkPlan, Costs, codes_beyond
from realtime.engines.indextts2.decode import Sequence
from realtime.engines.indextts2.engine import IndexTts2
from realtime.engines.indextts2.levels import LEVELS, level_named
from realtime.engines.indextts2.options import Options
from realtime.engines.indextts2.sound import UNDER_WAY, checked
from realtime.engines.indextts2.speaking import Speaking
from realtime.errors import BadOption, EngineFailed, ModelMissing, Overloaded, UnknownVoice
from realtime.types import Emotion

TEXT = "你好,我是中国人."
LONG = "你好我是的了在有不人这中大来上个国到说们为子和地出道也时年得就那要下以生会自着去之过家学."


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    random_model.write_random(root / "models" / "indextts2", root / "voices", random_model.TINY)
    return root


@pytest.fixture(scope="module")
def loaded(data: Path) -> Callable[..., IndexTts2]:
    def load(**options: Any) -> IndexTts2:
        table = {"models_dir": str(data / "models" / "indextts2"), "cache_dir": str(data / "cache"), "threads": 1} | options
        engine = registry.load("indextts2", table)
        assert isinstance(engine, IndexTts2)
        # costs as of a fast host, so that chunk sizes do not depend on how busy the test machine is
        engine.costs = Costs(0.001, 0.00001, 0.0001, engine.costs.margin_frames)
        return engine

    return load


@pytest.fixture
def engine(loaded: Callable[..., IndexTts2]) -> IndexTts2:
    return loaded()


def job(id: str = "a", text: str = TEXT, **more: Any) -> Job:
    return Job(id, text, "random", "zh", **({"level": "fast"} | more))


def run(engine: IndexTts2, steps: int = 20_000) -> list[EngineEvent]:
    events: list[EngineEvent] = []
    for _ in range(steps):
        events += engine.step()
        if not engine.is_busy:
            return events
    raise AssertionError("the engine did not come to an end")


def sound(events: list[EngineEvent], id: str = "a") -> np.ndarray:
    return np.concatenate([e.samples for e in events if isinstance(e, Chunk) and e.job_id == id])


def test_a_job_yields_chunks_and_then_the_count_of_its_samples(engine: IndexTts2) -> None:
    engine.start(job(text=LONG))
    events = run(engine)
    samples = sound(events)
    assert isinstance(events[-1], Done) and events[-1].samples == len(samples) > 22050
    assert sum(isinstance(e, Chunk) for e in events) >= 3
    assert np.isfinite(samples).all() and 1e-4 < samples.std() < 1 and np.abs(samples).max() <= 1
    assert samples.dtype == np.float32


@pytest.mark.parametrize("level", [level.name for level in LEVELS])
def test_every_level_makes_the_same_length(engine: IndexTts2, level: str) -> None:
    engine.start(job(level=level))
    codes = 5 + int(4.2 * len(engine.front_end.encode(TEXT)[0].ids))
    assert len(sound(run(engine))) == (172 * codes // 100) * engine.stages.vocoder.shape.hop


def test_the_seed_repeats_the_sound_and_company_does_not_change_the_codes(engine: IndexTts2) -> None:
    def alone(seed: int) -> np.ndarray:
        engine.start(job(seed=seed, level="exact"))
        return sound(run(engine))

    first, again, other = alone(1), alone(1), alone(2)
    assert np.array_equal(first, again) and not np.array_equal(first, other[: len(first)])
    for i in (1, 2, 3):
        engine.start(job(str(i), seed=i, level="exact"))
    events = run(engine)
    assert np.array_equal(sound(events, "1"), first) and np.array_equal(sound(events, "2"), other)


def test_chunks_join_without_a_jump(engine: IndexTts2) -> None:
    engine.start(job(text=LONG))
    events = run(engine)
    samples = sound(events)
    edges = np.cumsum([len(e.samples) for e in events if isinstance(e, Chunk)])[:-1]
    steps = np.abs(np.diff(samples))
    assert max(steps[edge - 1] for edge in edges) <= np.quantile(steps, 0.999)


def test_decoding_beside_the_sound_changes_nothing(loaded: Callable[..., IndexTts2]) -> None:
    def spoken(threads: int) -> np.ndarray:
        engine = loaded(threads=threads)
        assert (engine._background is None) == (threads == 1 or engine.stages.vocoder.kernels.name == "numpy")
        engine.start(job(text=LONG, seed=1))
        events = run(engine)
        engine.close()
        return sound(events)

    assert np.array_equal(spoken(1), spoken(2))


def test_a_core_comes_back_to_the_sound_when_the_codes_beside_it_are_done(loaded: Callable[..., IndexTts2]) -> None:
    engine = loaded(threads=2)
    kernels, background = engine.stages.vocoder.kernels, engine._background
    if background is None:
        pytest.skip("no compiled kernels here, so nothing is decoded in the background")
    engine.start(job(text=LONG, seed=1))
    shared = 0
    while engine.is_busy:
        engine.step()
        shared += kernels.threads == 1
        if background._run is not None:
            background._run.result()
            background.settle()
        assert background._run is None and kernels.threads == 2
    engine.close()
    assert shared, "something was decoded in the background"


def test_no_run_of_no_codes_takes_a_core_from_the_sound(loaded: Callable[..., IndexTts2], monkeypatch: pytest.MonkeyPatch) -> None:
    engine, wanted = loaded(threads=2), []
    background = engine._background
    if background is None:
        pytest.skip("no compiled kernels here, so nothing is decoded in the background")
    begin, piece = background.begin, engine._sound_piece

    def noted(sequences: list[Sequence], codes: int) -> int:
        wanted.append(codes)
        return begin(sequences, codes)

    def slow_piece(job: Speaking) -> list[EngineEvent]:
        events = piece(job)
        if background._run is not None:
            background._run.result()  # the run is always over before the piece of sound is
        return events

    monkeypatch.setattr(background, "begin", noted)
    monkeypatch.setattr(engine, "_sound_piece", slow_piece)
    engine.start(job(text=LONG, seed=1))
    run(engine)
    engine.close()
    assert wanted and min(wanted) > 0


def test_the_more_urgent_job_is_done_first(engine: IndexTts2) -> None:
    engine.start(job("late", deadline=100.0))
    engine.start(job("soon", deadline=1.0))
    order = [e.job_id for e in run(engine) if isinstance(e, Done)]
    assert order == ["soon", "late"]


@pytest.mark.parametrize("inside", ["flow", "vocoding"])
def test_a_more_urgent_job_steps_in_half_way_and_neither_sounds_different(engine: IndexTts2, inside: str) -> None:
    def alone(id: str, **more: Any) -> np.ndarray:
        engine.start(job(id, level="exact", **more))
        return sound(run(engine), id)

    expected = [alone("late", text=LONG), alone("soon")]
    engine.start(job("late", text=LONG, level="exact", deadline=100.0))
    while getattr(engine._jobs["late"], inside) is None:
        assert not engine.step()
    for _ in range(4):
        assert not engine.step()
    engine.start(job("soon", level="exact", deadline=1.0))
    events = run(engine)
    ids = [e.job_id for e in events]
    assert ids[:2] == ["soon", "soon"] and set(ids[2:]) == {"late"}
    for id, samples in zip(("late", "soon"), expected, strict=True):
        assert np.array_equal(sound(events, id), samples)


def test_one_more_than_may_be_under_way_waits_for_the_first(engine: IndexTts2) -> None:
    done: list[str] = []
    for i in range(4):
        engine.start(job(str(i), level="exact", deadline=10.0 - i))
        for _ in range(10_000):
            done += [e.job_id for e in engine.step() if isinstance(e, Done)]
            if engine._jobs[str(i)].vocoding is not None:
                break
        engine.step()
        assert len(engine._maker._in_window) <= UNDER_WAY
    done += [e.job_id for e in run(engine) if isinstance(e, Done)]
    assert sorted(done) == ["0", "1", "2", "3"]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_cancelled_job_is_silent_from_then_on_and_others_go_on(loaded: Callable[..., IndexTts2], threads: int) -> None:
    engine = loaded(threads=threads)
    free = engine.stages.decoder.pool.free
    for steps in (0, 1, 5, 20, 60):
        engine.start(job("gone", text=LONG))
        engine.start(job("stays"))
        for _ in range(steps):
            engine.step()
        engine.cancel("gone")
        events = run(engine)
        assert all(e.job_id == "stays" for e in events) and isinstance(events[-1], Done)
    held = sum(len(prefix.pages) for prefix in engine._prefixes.values())
    assert engine.stages.decoder.pool.free == free - held
    engine.cancel("unknown")
    engine.close()


def test_a_level_can_change_in_mid_job(engine: IndexTts2) -> None:
    engine.start(job(text=LONG, level="high"))
    events: list[EngineEvent] = []
    while not events:
        events += engine.step()
    engine.adjust("a", "fastest")
    assert engine._jobs["a"].level.name == "fastest"
    events += run(engine)
    assert isinstance(events[-1], Done)
    with pytest.raises(BadOption, match="unknown quality level"):
        engine.adjust("a", "best")


def test_only_the_rest_is_spoken_after_a_handover(engine: IndexTts2) -> None:
    engine.start(job(text=TEXT))
    whole = len(sound(run(engine)))
    engine.start(job(text=TEXT, start=3))
    assert 0 < len(sound(run(engine))) < whole
    engine.start(job(text=TEXT, start=len(TEXT)))
    assert run(engine) == [Done("a", 0)]


def test_nothing_speakable_is_done_at_once(engine: IndexTts2) -> None:
    engine.start(job(text="……"))
    assert run(engine) == [Done("a", 0)]


def test_long_texts_are_spoken_in_parts_with_silence_between(engine: IndexTts2) -> None:
    text = LONG * 3
    assert len(engine.front_end.encode(text)) > 1
    engine.start(job(text=text, level="fastest"))
    events = run(engine)
    assert isinstance(events[-1], Done)
    silence = int(22050 * 0.2)
    zeros = np.concatenate([[0], (sound(events) == 0).astype(int), [0]])
    runs = np.diff(np.flatnonzero(np.diff(zeros)))[::2]
    assert (runs >= silence).sum() == len(engine.front_end.encode(text)) - 1


def test_speed_and_emotion_change_the_sound(engine: IndexTts2) -> None:
    def spoken(**more: Any) -> np.ndarray:
        engine.start(job(level="exact", **more))
        return sound(run(engine))

    plain = spoken()
    assert len(spoken(speed=2.0)) == pytest.approx(len(plain) / 2, abs=300)
    assert not np.array_equal(plain, spoken(emotion=Emotion(vector=(0.8, 0, 0, 0, 0, 0, 0, 0))))


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"voice": "nobody"}, UnknownVoice, "it has: random"),
        ({"language": "fr"}, BadOption, "speaks zh, en"),
        ({"level": "best"}, BadOption, "exact, high"),
        ({"speed": 3.0}, BadOption, "speed"),
        ({"speed": float("nan")}, BadOption, "speed"),
        ({"start": 99}, BadOption, "start"),
        ({"emotion": Emotion(name="bored")}, BadOption, "no emotion"),
    ],
)
def test_what_can_not_be_spoken_is_refused(engine: IndexTts2, changed: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        engine.start(replace(job(), **changed))
    assert engine.step() == []


def test_more_jobs_than_the_capacity_are_refused(loaded: Callable[..., IndexTts2]) -> None:
    engine = loaded(capacity=2)
    engine.start(job("a"))
    engine.start(job("b"))
    with pytest.raises(Overloaded):
        engine.start(job("c"))
    with pytest.raises(BadOption, match="in progress"):
        engine.start(job("a"))
    assert {e.job_id for e in run(engine) if isinstance(e, Done)} == {"a", "b"}


def test_jobs_wait_for_cache_pages_that_others_hold(engine: IndexTts2) -> None:
    pool = engine.stages.decoder.pool
    pool.take(pool.free - 8)  # the voice's two, and places for one job at a time
    for i in range(3):
        engine.start(job(str(i)))
    assert sum(isinstance(e, Done) for e in run(engine)) == 3


def test_a_text_that_never_fits_fails_alone(engine: IndexTts2) -> None:
    pool = engine.stages.decoder.pool
    pool.take(pool.free - 3)
    engine.start(job())
    (event,) = run(engine)
    assert isinstance(event, Failed) and event.code == "overloaded"


@pytest.mark.parametrize("stage", ["language", "flow", "vocoder"])
def test_a_stage_gone_wrong_fails_its_job_and_no_other(engine: IndexTts2, stage: str) -> None:
    engine.start(job("bad", text=LONG, deadline=0.0))
    engine.start(job("good"))
    while engine._jobs["bad"].sequence is None or not engine._jobs["bad"].sequence.codes:
        engine.step()
    bad = engine._jobs["bad"]
    assert bad.sequence is not None and bad.stream is not None
    if stage == "language":
        bad.sequence.pending = np.full_like(bad.sequence.pending, np.nan)
    elif stage == "flow":
        bad.sequence.latents[0] = np.full_like(bad.sequence.latents[0], np.nan)
    else:
        while bad.vocoding is None:
            engine.step()
        bad.vocoding = iter_nan()
    events = run(engine)
    failed = [e for e in events if isinstance(e, Failed)]
    assert [(e.job_id, e.code) for e in failed] == [("bad", "engine_failed")] and "finite" in failed[0].message
    assert not [e for e in events[events.index(failed[0]) + 1 :] if e.job_id == "bad"]
    assert [e.job_id for e in events if isinstance(e, Done)] == ["good"]
    assert np.isfinite(sound(events, "good")).all()


def iter_nan() -> Any:
    yield False
    return np.full(100, np.nan, dtype=np.float32)


def test_full_scale_is_garbage() -> None:
    with pytest.raises(EngineFailed, match="full scale"):
        checked(np.ones(100, dtype=np.float32))


def test_voices_come_and_go_with_reload(loaded: Callable[..., IndexTts2], data: Path, tmp_path: Path) -> None:
    voices = tmp_path / "voices"
    engine = loaded(voices_dir=str(voices))
    assert engine.info.voices == ()
    voices.mkdir()
    voice_pack.write(voice_pack.random_pack("new", **sizes()), voice_pack.path_in(voices, "new"))
    voice_pack.write(voice_pack.random_pack("foreign", **(sizes() | {"dim": 64})), voice_pack.path_in(voices, "foreign"))
    assert [v.id for v in engine.reload().voices] == ["new"]
    engine.start(replace(job(), voice="new"))
    engine.step()
    voice_pack.path_in(voices, "new").unlink()
    assert engine.reload().voices == ()
    assert isinstance(run(engine)[-1], Done)


def sizes() -> dict[str, int]:
    return {"dim": 48, "style": 24, "mels": 20, "content": 32, "frames": 40}


def test_offset_2_speaks_through_a_latent_pass(loaded: Callable[..., IndexTts2]) -> None:
    engine = loaded(position_offset=2)
    engine.start(job())
    assert isinstance(run(engine)[-1], Done)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"speed": 1}, "no option 'speed'"),
        ({"flow_precision": "int3"}, "fp32, bf16, int8, int4"),
        ({"threads": -1}, "threads"),
        ({"capacity": "many"}, "options"),
        ({"top_p": 0.0}, "sampling out of range"),
    ],
)
def test_wrong_options_are_named(data: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(BadOption, match=words):
        Options.read({"models_dir": str(data)} | options)


def test_missing_and_truncated_models_say_what_to_do(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="realtime models pull"):
        registry.load("indextts2", {"models_dir": str(tmp_path)})
    source = data / "models" / "indextts2" / "random"
    for path in source.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["gpt"]["model_dim"] += 16
    text = json.dumps(config, indent=1)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ModelMissing, match=r"config\.json"):
        registry.load("indextts2", {"models_dir": str(tmp_path), "cache_dir": str(data / "cache2")})


def test_packed_weights_are_made_once_and_mapped(loaded: Callable[..., IndexTts2], data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded()
    files = {p: p.stat().st_mtime_ns for p in (data / "cache" / "indextts2").glob("*.pack")}
    assert files
    monkeypatch.setattr("realtime.engines.indextts2.lm.pack", None)  # calling it would be a TypeError
    engine = loaded()
    assert {p: p.stat().st_mtime_ns for p in files} == files
    weights = engine.stages.decoder.model.weights.blocks[0].qkv.data
    assert not weights.flags.owndata and not weights.flags.writeable
    next(iter(files)).write_bytes(b"damaged")
    with pytest.raises(ModelMissing, match="delete it"):
        loaded()
    next(iter(files)).unlink()
    monkeypatch.undo()
    loaded()


@pytest.mark.parametrize("speed", [1.0, 1.15, 1.3, 3.0])
@pytest.mark.parametrize("slower", [1.0, 1.125])
@pytest.mark.parametrize("name", ["fast", "fastest"])
def test_no_chunk_is_late_even_on_a_host_that_became_an_eighth_slower(name: str, speed: float, slower: float) -> None:
    level = level_named(name)
    assert level is not None and level.first_codes is not None
    costs = Costs(0.0078 / speed, 0.000125 / speed, 0.0017 / speed, 18, 0.0116 / speed)
    plan, lead, decoded, made, spoken = ChunkPlan(costs, 258), 0.0, 0, 0, []
    for i in range(30):
        codes = plan.next_codes(level, 1)
        assert codes is not None
        aside = plan.codes_aside(codes, level, 1)
        sound_s = costs.sound_s(codes, level, 258)
        assert aside >= 0 and (i or aside == 0)
        assert aside * costs.alone_s <= sound_s + aside * costs.aside_s  # there is time for them
        needed = made + codes + codes_beyond(codes, level, made == 0)
        spent = slower * (max(0, needed - decoded) * costs.decode_s + sound_s + aside * costs.aside_s)
        if i:
            assert spent <= lead
            lead -= spent
        lead += codes * CODE_S
        decoded, made = max(decoded, needed) + aside, made + codes
        plan.sent(codes, level, 1)
        spoken.append((codes, aside))
    assert spoken[0][0] <= 2 * level.first_codes < spoken[-1][0] and spoken[-1][1] > 0


def test_a_host_slower_than_speech_grows_to_large_chunks() -> None:
    level = level_named("standard")
    assert level is not None and level.first_codes is not None
    plan, sizes = ChunkPlan(Costs(0.05, 0.001, 0.01), 258), []
    for _ in range(4):
        sizes.append(plan.next_codes(level, 1) or 0)
        plan.sent(sizes[-1], level, 1)
    assert sizes == [level.first_codes, 3 * level.first_codes, level.most_codes, level.most_codes]
    assert plan.codes_aside(sizes[-1], level, 1) > 1000


def test_costs_are_measured_when_the_engine_loads(data: Path) -> None:
    engine = registry.load("indextts2", {"models_dir": str(data / "models" / "indextts2"), "cache_dir": str(data / "cache"), "threads": 1})
    assert isinstance(engine, IndexTts2)
    assert all(value > 0 for value in (engine.costs.decode_s, engine.costs.flow_s, engine.costs.vocode_s, engine.costs.alone_s))
    assert 0 < stages.measured_costs(engine.stages).margin_frames < engine.stages.vocoder.shape.context

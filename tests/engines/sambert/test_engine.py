"""The engine on tiny random voices: chunked equals whole, jobs interleave, times fit, bad requests are refused."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from realtime.engines.base import Chunk, Done, Failed, Job, PlanRequest
from realtime.engines.sambert import job_speech
from realtime.engines.sambert.engine import SambertEngine, load
from realtime.errors import BadOption, BadText, ModelMissing, UnknownVoice
from realtime.types import Emotion

TEXT = "您可以向我询问工资问题，我将尽力解答。今天天气怎么样？"


def engine(models: Path, **options: Any) -> SambertEngine:
    return load({"models_dir": str(models), **options})


def job(text: str = TEXT, name: str = "a", voice: str = "tiny", **more: Any) -> Job:
    return Job(name, text, voice, more.pop("language", "zh"), **more)


def run(subject: SambertEngine, *jobs: Job, limit: int = 20_000) -> dict[str, list[Any]]:
    """Start all, step until all are done -> events by job id."""
    for one in jobs:
        subject.start(one)
    events: dict[str, list[Any]] = {one.id: [] for one in jobs}
    left = set(events)
    for _ in range(limit):
        for event in subject.step():
            events[event.job_id].append(event)
            if isinstance(event, Done | Failed):
                left.discard(event.job_id)
        if not left:
            return events
    raise AssertionError("jobs did not finish")


def sound(events: list[Any]) -> np.ndarray[Any, Any]:
    assert isinstance(events[-1], Done), events[-1]
    parts = [one.samples for one in events if isinstance(one, Chunk)]
    out = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    assert events[-1].samples == len(out)
    return out


VARIANTS: dict[str, dict[str, Any]] = {
    "causal": {},
    "symmetric": {"vocoder": {"causal": False, "upsample_kernal_sizes": [11, 8]}},
    "nsf": {
        "acoustic": {"num_mels": 8, "NSF": True, "nsf_norm_type": "global"},
        "vocoder": {"nsf_params": {"nb_harmonics": 3, "sampling_rate": 1600}},
    },
    "nsf, speaker embedding": {
        "acoustic": {"num_mels": 8, "NSF": True, "SE": True, "speaker_units": 6},
        "vocoder": {"causal": False, "upsample_kernal_sizes": [11, 8], "nsf_params": {"nb_harmonics": 2, "sampling_rate": 1600}},
    },
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_sound_does_not_depend_on_how_it_is_cut(variant: str, export_tiny: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    subject = engine(export_tiny(**VARIANTS[variant]))
    monkeypatch.setattr(job_speech, "CHUNK_S", (1000.0,))
    whole = sound(run(subject, job(seed=3))["a"])
    assert len(whole) and np.abs(whole).max() > 1e-3
    rng = np.random.default_rng(0)
    for _ in range(4):
        monkeypatch.setattr(job_speech, "CHUNK_S", tuple(rng.uniform(0.0125, 0.4, 60)))
        chunked = sound(run(subject, job(seed=3))["a"])
        assert chunked.shape == whole.shape
        assert np.abs(chunked - whole).max() <= 1e-4


def test_interleaved_jobs_sound_as_they_do_alone(tiny_models: Path) -> None:
    subject = engine(tiny_models)
    texts = {"a": TEXT, "b": "你好，世界！", "c": "第一次看一看雨伞，不是我的。", "d": "hello world"}
    alone = {name: sound(run(subject, job(text, name))[name]) for name, text in texts.items()}
    together = run(subject, *(job(text, name, speed=1.0) for name, text in texts.items()))
    for name in texts:
        assert np.abs(sound(together[name]) - alone[name]).max() <= 1e-4


def test_no_job_waits_for_another_to_finish(tiny_models: Path) -> None:
    subject = engine(tiny_models)
    names = [f"j{i}" for i in range(6)]
    for name in names:
        subject.start(job(TEXT * 2, name))
    order: list[str] = []
    while len(order) < 30:
        order += [event.job_id for event in subject.step() if isinstance(event, Chunk)]
    assert set(order[:6]) == set(names)  # everybody's first chunk before anybody's second
    assert max(order.count(name) for name in names) - min(order.count(name) for name in names) <= 1


def test_the_earlier_deadline_goes_first(tiny_models: Path) -> None:
    subject = engine(tiny_models)
    subject.start(job(TEXT, "late", deadline=1000.0))
    subject.start(job(TEXT, "soon", deadline=10.0))
    first = next(event.job_id for _ in range(100) for event in subject.step() if isinstance(event, Chunk))
    assert first == "soon"


def test_a_cancelled_job_says_nothing_more_and_others_go_on(tiny_models: Path) -> None:
    subject = engine(tiny_models)
    subject.start(job(TEXT, "a"))
    subject.start(job(TEXT, "b"))
    for _ in range(6):
        subject.step()
    subject.cancel("a")
    subject.cancel("unknown")
    rest = [event for _ in range(500) for event in subject.step()]
    assert {event.job_id for event in rest} == {"b"} and isinstance(rest[-1], Done)
    assert subject.step() == []


# --- time ---


def test_the_plan_is_exact(tiny_models: Path) -> None:
    subject = engine(tiny_models)
    reply = subject.plan(PlanRequest(TEXT, "tiny", "zh"))
    made = sound(run(subject, job())["a"])
    assert reply.plan.duration_s == pytest.approx(len(made) / subject.info.sample_rate, abs=1e-6)
    assert len(reply.plan.times_s) == len(TEXT) + 1
    assert all(a <= b for a, b in zip(reply.plan.times_s, reply.plan.times_s[1:], strict=False))
    assert reply.plan.source == "sambert" and reply.features is None


def test_words_come_with_the_chunk_they_start_in_and_fit_the_plan(tiny_models: Path) -> None:
    subject = engine(tiny_models)
    plan = subject.plan(PlanRequest(TEXT, "tiny", "zh")).plan
    events = run(subject, job())["a"]
    at, words = 0, []
    for chunk in events[:-1]:
        for word in chunk.words:
            assert at <= word.start < at + len(chunk.samples)
        words += chunk.words
        at += len(chunk.samples)
    assert [word.span for word in words] == list(plan.words)
    for word in words:
        assert word.start / subject.info.sample_rate == pytest.approx(plan.times_s[word.span.start], abs=1e-6)
    spans = [chunk.span for chunk in events[:-1]]
    assert spans[0].start == 0 and spans[-1].end == len(TEXT)
    assert all(a.end == b.start for a, b in itertools.pairwise(spans))


def test_features_of_a_plan_have_a_row_per_hop(tiny_models: Path) -> None:
    subject = engine(tiny_models)
    reply = subject.plan(PlanRequest(TEXT, "tiny", "zh", with_features=True))
    assert reply.features is not None and reply.features.shape[1] == 40
    assert abs(len(reply.features) * reply.hop_s - reply.plan.duration_s) <= 2 * reply.hop_s
    assert np.isfinite(reply.features).all()


@pytest.mark.parametrize("frames", [float("nan"), float("inf"), 1e6])
def test_durations_that_no_speech_has_fail_the_job_and_not_the_engine(
    frames: float, tiny_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = engine(tiny_models)
    voice = subject.voice("tiny")
    honest = voice.score
    monkeypatch.setattr(voice, "score", lambda symbols, manner: honest(symbols, manner, np.full(len(symbols), frames, np.float32)))
    (failed,) = run(subject, job("你好"))["a"]
    assert isinstance(failed, Failed) and failed.code == "engine_failed" and "implausible" in failed.message
    monkeypatch.undo()
    assert len(sound(run(subject, job("你好"))["a"]))


def test_a_line_without_a_single_frame_is_done_in_silence(tiny_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = engine(tiny_models)
    voice = subject.voice("tiny")
    honest = voice.score
    monkeypatch.setattr(voice, "score", lambda symbols, manner: honest(symbols, manner, np.zeros(len(symbols), np.float32)))
    assert run(subject, job("你好。世界"))["a"][-1] == Done("a", 0)


def test_speed_scales_the_duration(tiny_models: Path) -> None:
    subject = engine(tiny_models)
    slow, plain, fast = (len(sound(run(subject, job(speed=speed))["a"])) for speed in (0.5, 1.0, 2.0))
    assert slow > 1.8 * plain > 3.2 * fast


# --- starting in mid-text ---


def test_a_job_started_in_mid_line_says_exactly_the_rest(tiny_models: Path) -> None:
    subject = engine(tiny_models)
    plan = subject.plan(PlanRequest(TEXT, "tiny", "zh")).plan
    for start in range(0, len(TEXT) + 1):
        events = run(subject, job(start=start))["a"]
        words = [word.span for chunk in events if isinstance(chunk, Chunk) for word in chunk.words]
        expected = [span for span in plan.words if span.end > start]
        assert words == expected
        got_s = len(sound(events)) / subject.info.sample_rate
        # What is left begins with the syllable that holds `start`; a frame more or less never appears.
        first = next((span.start for span in expected), len(TEXT))
        begin = plan.times_s[max(start, first)] if expected else plan.duration_s
        assert got_s == pytest.approx(plan.duration_s - begin, abs=0.0126)


def test_continuation_settles_on_the_sound_of_the_whole(tiny_models: Path) -> None:
    subject = engine(tiny_models)
    text = "您可以向我询问工资问题我将尽力解答"
    whole = sound(run(subject, job(text))["a"])
    part = sound(run(subject, job(text, start=8))["a"])
    tail = len(part) // 2
    assert np.abs(part[-tail:] - whole[-tail:]).max() < 0.25 * np.abs(whole).max()


# --- what is refused, and what is not ---


@pytest.mark.parametrize("text", ["", "。。。", "😀", "  \n", "！？"])
def test_text_without_anything_to_say_is_done_at_once(text: str, tiny_models: Path) -> None:
    assert run(engine(tiny_models), job(text))["a"] == [Done("a", 0, text.count("😀"))]


def test_characters_that_cannot_be_spoken_are_counted(tiny_models: Path) -> None:
    subject = engine(tiny_models)
    assert run(subject, job("你好😀😀"))["a"][-1].unspoken == 2
    assert subject.unspoken == 2


def test_5000_characters_without_a_stop_are_spoken(tiny_models: Path) -> None:
    text = "今天天气很好我们去公园" * 455
    plan = engine(tiny_models).plan(PlanRequest(text, "tiny", "zh")).plan
    assert plan.duration_s > 600


@pytest.mark.parametrize("text", ["한국어 문장", "مرحبا بالعالم", "<a|b>", "\ud7ff\ufffd", "a" * 500, "１２３ＡＢＣ"])
def test_odd_text_never_breaks_the_engine(text: str, tiny_models: Path) -> None:
    assert isinstance(run(engine(tiny_models), job(text))["a"][-1], Done)


def test_bad_requests_are_refused_when_the_job_starts(tiny_models: Path) -> None:
    subject = engine(tiny_models)
    with pytest.raises(UnknownVoice, match=r"nobody.*there are: tiny"):
        subject.start(job(voice="nobody"))
    with pytest.raises(UnknownVoice):
        subject.plan(PlanRequest("你好", "nobody", "zh"))
    for wrong in (
        {"language": "fr"},
        {"speed": 3.0},
        {"speed": float("nan")},
        {"level": "best"},
        {"start": 999},
        {"emotion": Emotion("happy")},
    ):
        with pytest.raises(BadOption):
            subject.start(job(**wrong))  # type: ignore[arg-type]
    with pytest.raises(BadText):
        subject.start(job("字" * 20_001))
    subject.start(job())
    with pytest.raises(BadOption, match="running already"):
        subject.start(job())


def test_emotions_change_the_sound_where_the_voice_has_them(export_tiny: Callable[..., Path]) -> None:
    subject = engine(export_tiny(names=("tiny_emo",)))
    neutral, happy, half = (
        sound(run(subject, job("你好世界", voice="tiny_emo", emotion=emotion))["a"])
        for emotion in (None, Emotion("happy"), Emotion("happy", strength=0.5))
    )
    assert "happy" in subject.info.voices[0].emotions
    distances = [np.abs(neutral[:200] - other[:200]).max() for other in (happy, half)]
    assert distances[0] > 0 and distances[1] > 0
    vector = Emotion(vector=(0.0, 0.9, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0))
    assert isinstance(run(subject, job("你好", voice="tiny_emo", emotion=vector))["a"][-1], Done)
    with pytest.raises(BadOption, match="has no emotion 'bored'"):
        subject.start(job(voice="tiny_emo", emotion=Emotion("bored")))


def test_pitch_and_energy_offsets_change_the_sound_of_that_voice(tiny_models: Path) -> None:
    plain = sound(run(engine(tiny_models), job("你好世界"))["a"])
    moved = sound(run(engine(tiny_models, adjust={"tiny": {"pitch": 1.5}}), job("你好世界"))["a"])
    count = min(len(plain), len(moved))
    assert np.abs(plain[:count] - moved[:count]).max() > 1e-4


# --- loading ---


@pytest.mark.parametrize(
    "options",
    [
        {"colour": 1},
        {"threads": 0},
        {"capacity": "8"},
        {"runtime": "tpu"},
        {"voices": "tiny"},
        {"adjust": {"tiny": {"x": 1}}},
        {"lexicon": {"词": "x"}},
    ],
)
def test_options_are_checked(options: dict[str, Any], tiny_models: Path) -> None:
    with pytest.raises(BadOption):
        engine(tiny_models, **options)


def test_missing_and_broken_files_are_named(tiny_models: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="realtime models pull"):
        engine(tmp_path / "nothing")
    with pytest.raises(ModelMissing, match=r"other.*manifest\.json"):
        engine(tiny_models, voices=["other"])
    for name, message in (("vocoder.onnx", "missing"), ("constants.npz", "missing")):
        broken = tmp_path / name
        shutil.copytree(tiny_models, broken)
        (broken / "tiny" / name).unlink()
        with pytest.raises(ModelMissing, match=f"{name}.*{message}"):
            engine(broken)
    cut = tmp_path / "cut"
    shutil.copytree(tiny_models, cut)
    path = cut / "tiny" / "postnet.onnx"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelMissing, match=r"postnet\.onnx.*truncated"):
        engine(cut)
    damaged = tmp_path / "damaged"
    shutil.copytree(tiny_models, damaged)
    path = damaged / "tiny" / "variance.onnx"
    path.write_bytes(b"\0" * path.stat().st_size)
    with pytest.raises(ModelMissing, match=r"variance\.onnx.*not a readable graph"):
        engine(damaged)


def test_reload_finds_new_voices_and_refuses_mixed_rates(tiny_models: Path, export_tiny: Callable[..., Path], tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(tiny_models, models)
    subject = engine(models)
    shutil.copytree(export_tiny(names=("second",)) / "second", models / "second")
    assert [voice.id for voice in subject.reload().voices] == ["second", "tiny"]
    assert len(sound(run(subject, job("你好", voice="second"))["a"]))
    shutil.copytree(export_tiny(names=("third",), rate=2400) / "third", models / "third")
    with pytest.raises(BadOption, match="share one sample rate"):
        subject.reload()
    subject.close()


def test_the_int8_level_is_another_sound_of_the_same_length_and_does_not_depend_on_the_cut(
    export_tiny: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = engine(export_tiny(int8="yes"))
    assert [level.name for level in subject.info.levels] == ["standard", "fast"] and subject.info.can_adjust
    best = sound(run(subject, job("你好，世界"))["a"])
    fast = sound(run(subject, job("你好，世界", level="fast"))["a"])
    assert best.shape == fast.shape and 0 < np.abs(best - fast).max()
    subject.start(job("你好，世界"))
    parts: list[Any] = []
    while not parts:
        parts += [event.samples for event in subject.step() if isinstance(event, Chunk)]
    subject.adjust("a", "fast")
    subject.adjust("a", "unknown")
    subject.adjust("nobody", "fast")
    while not isinstance((events := subject.step() or [None])[-1], Done):
        parts += [event.samples for event in events if isinstance(event, Chunk)]
    parts += [event.samples for event in events if isinstance(event, Chunk)]
    mixed = np.concatenate(parts)
    assert np.array_equal(mixed[: len(parts[0])], best[: len(parts[0])]) and mixed.shape == best.shape
    monkeypatch.setattr(job_speech, "CHUNK_S", (1000.0,))
    assert np.abs(sound(run(subject, job("你好，世界", level="fast"))["a"]) - fast).max() <= 1e-4

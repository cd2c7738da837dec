"""espeak-ng speaks: sound where text is, times that fit it, and nothing odd breaks it. Skipped where the extra isn't installed."""

from __future__ import annotations

import gc
import importlib.util
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realtime.engines.base import Chunk, Done, Job, PlanRequest
from realtime.engines.espeak import library as library_module
from realtime.engines.espeak.engine import EspeakEngine, load
from realtime.errors import BadOption, ModelMissing, UnknownVoice

pytestmark = pytest.mark.skipif(importlib.util.find_spec("espeakng_loader") is None, reason="needs the extra [espeak]")

SENTENCES = {
    "zh": "今天天气很好，我们去公园吧。你说呢？",
    "en": "The weather is fine today, let's go to the park. What do you think?",
    "mixed": "请打开 Wi-Fi 设置，然后选择 guest network。OK 吗？",
}


@pytest.fixture(scope="module")
def engine() -> Iterator[EspeakEngine]:
    made = load({})
    yield made
    made.close()


def say(engine: EspeakEngine, text: str, voice: str = "espeak-zh", language: str = "zh", **more: Any) -> list[Chunk]:
    engine.start(Job("j", text, voice, language, **more))
    events: list[Any] = []
    while not (events and isinstance(events[-1], Done)):
        events += engine.step()
        assert len(events) < 10_000
    chunks = [e for e in events if isinstance(e, Chunk)]
    assert events[-1].samples == sum(len(c.samples) for c in chunks)
    return chunks


def sound_of(chunks: list[Chunk]) -> np.ndarray[Any, Any]:
    return np.concatenate([c.samples for c in chunks] or [np.zeros(0, np.float32)])


def rms(samples: np.ndarray[Any, Any]) -> float:
    return float(np.sqrt(np.mean(samples**2))) if len(samples) else 0.0


@pytest.mark.parametrize("kind", SENTENCES)
@pytest.mark.parametrize("voice", ["espeak-zh", "espeak-en-f"])
class TestSpeech:
    def test_it_is_loud_enough_and_does_not_clip(self, engine: EspeakEngine, kind: str, voice: str) -> None:
        sound = sound_of(say(engine, SENTENCES[kind], voice))
        assert 0.03 < rms(sound) < 0.3
        assert np.abs(sound).max() < 0.9
        assert 2.0 < len(sound) / 22050 < 8.0

    def test_characters_and_words_are_all_covered_in_order(self, engine: EspeakEngine, kind: str, voice: str) -> None:
        text = SENTENCES[kind]
        chunks = say(engine, text, voice)
        at = 0
        for chunk in chunks:
            assert chunk.span is not None and chunk.span.start == at
            at = chunk.span.end
        assert at == len(text)
        words = [w for c in chunks for w in c.words]
        for before, after in itertools.pairwise(words):
            assert before.span.end <= after.span.start
            assert before.start <= before.end <= after.start
        spoken = {k for w in words for k in range(w.span.start, w.span.end)}
        assert {k for k, char in enumerate(text) if char.isalnum()} <= spoken

    def test_words_sound_and_pauses_do_not(self, engine: EspeakEngine, kind: str, voice: str) -> None:
        chunks = say(engine, SENTENCES[kind], voice)
        sound, words = sound_of(chunks), [w for c in chunks for w in c.words]
        assert words[-1].end <= len(sound)
        assert all(rms(sound[w.start : w.end]) > 0.01 for w in words)
        for before, after in itertools.pairwise(words):
            if after.start - before.end > 22050 * 0.08:
                assert rms(sound[before.end : after.start]) < 0.005

    def test_the_plan_is_what_is_spoken_then(self, engine: EspeakEngine, kind: str, voice: str) -> None:
        reply = engine.plan(PlanRequest(SENTENCES[kind], voice, "zh", speed=1.3, with_features=True))
        chunks = say(engine, SENTENCES[kind], voice, speed=1.3)
        words = [w for c in chunks for w in c.words]
        assert reply.plan.duration_s == pytest.approx(len(sound_of(chunks)) / 22050)
        assert list(reply.plan.times_s) == sorted(reply.plan.times_s)
        assert reply.plan.words == tuple(w.span for w in words)
        assert [reply.plan.times_s[w.span.start] * 22050 for w in words] == pytest.approx([w.start for w in words], abs=1)
        assert reply.features is not None
        assert len(reply.features) == pytest.approx(reply.plan.duration_s / reply.hop_s, abs=1)


class TestJobs:
    def test_speed_scales_the_length(self, engine: EspeakEngine) -> None:
        lengths = [len(sound_of(say(engine, SENTENCES["zh"], speed=speed))) for speed in (0.5, 1.0, 2.0)]
        assert lengths[0] / lengths[1] == pytest.approx(2.0, rel=0.1)
        assert lengths[1] / lengths[2] == pytest.approx(2.0, rel=0.1)

    def test_a_continuation_speaks_only_the_rest(self, engine: EspeakEngine) -> None:
        text = SENTENCES["zh"]
        whole = [w for c in say(engine, text) for w in c.words]
        rest = say(engine, text, start=9)
        words = [w for c in rest for w in c.words]
        assert rest[0].span is not None and rest[0].span.start == 9
        assert words[0].span.start == 9
        assert words[0].start < 0.05 * 22050
        assert [w.span.end for w in words][-1] == whole[-1].span.end
        assert len(sound_of(rest)) < 0.75 * sum(w.end - w.start for w in whole) + 22050

    def test_at_the_end_there_is_nothing_left(self, engine: EspeakEngine) -> None:
        assert say(engine, "好", start=1) == []

    @pytest.mark.parametrize("text", ["", "。", "……！？", "😀😀", " \n\t", "()[]{}", "\x00\x07", "\ud800", "—", "♪♫"])
    def test_what_is_not_speech_is_done_without_sound(self, engine: EspeakEngine, text: str) -> None:
        assert say(engine, text) == []
        assert engine.plan(PlanRequest(text, "espeak-zh", "zh")).plan.times_s == (0.0,) * (len(text) + 1)

    @settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(text=st.text(st.characters(), max_size=60), start=st.integers(0, 60), voice=st.sampled_from(["espeak-zh", "espeak-en"]))
    def test_no_script_breaks_it(self, engine: EspeakEngine, text: str, start: int, voice: str) -> None:
        start = min(start, len(text))
        chunks = say(engine, text, voice, start=start)
        at = start
        for chunk in chunks:
            assert chunk.span is not None and chunk.span.start == at
            assert chunk.span.end <= len(text)
            at = chunk.span.end
        assert np.isfinite(sound_of(chunks)).all()

    def test_jobs_take_turns_and_a_cancelled_one_is_silent(self, engine: EspeakEngine) -> None:
        for name in "ab":
            engine.start(Job(name, SENTENCES["en"], "espeak-en", "en"))
        assert [engine.step()[0].job_id for _ in range(4)] == ["a", "b", "a", "b"]
        engine.cancel("a")
        engine.cancel("unknown")
        rest = [e for _ in range(100) for e in engine.step()]
        assert {e.job_id for e in rest} == {"b"}
        assert isinstance(rest[-1], Done)

    def test_voices_differ(self, engine: EspeakEngine) -> None:
        sounds = [sound_of(say(engine, "你好，世界", voice)) for voice in ("espeak-zh", "espeak-zh-f", "espeak-zh-m")]
        assert not any(np.array_equal(a, b) for a, b in itertools.pairwise(sounds))

    @pytest.mark.parametrize(
        ("change", "error"),
        [
            ({"voice": "nobody"}, UnknownVoice),
            ({"language": "fr"}, BadOption),
            ({"level": "best"}, BadOption),
            ({"start": 9}, BadOption),
            ({"speed": float("nan")}, BadOption),
            ({"speed": 3.0}, BadOption),
        ],
    )
    def test_jobs_it_cannot_speak_are_refused(self, engine: EspeakEngine, change: dict[str, Any], error: type[Exception]) -> None:
        with pytest.raises(error):
            engine.start(Job(**{"id": "x", "text": "好", "voice": "espeak-zh", "language": "zh", **change}))
        assert engine.step() == []


def test_speaking_leaves_nothing_behind(engine: EspeakEngine) -> None:
    """Nothing that grows with the number of different lengths, in particular no ctypes array types."""
    texts = ["你好" * (1 + k % 7) + "a" * k for k in range(60)]
    engine._library.choose("cmn", 175, 50)
    engine._library.speak(texts[0])
    gc.collect()
    before = len(gc.get_objects())
    for text in texts:
        engine._library.speak(text)
    gc.collect()
    assert len(gc.get_objects()) - before < 3 * len(texts)


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"voice": "x"}, "unknown option of engine espeak: voice"),
            ({"voices": ["nobody"]}, "unknown espeak voice"),
            ({"voices": [{"id": "x", "language": "fr"}]}, "language is zh or en"),
            ({"voices": [{"id": "x", "pitch": 101}]}, "pitch"),
            ({"voices": []}, "at least one voice"),
            ({"chunk_ms": 1}, "chunk_ms"),
        ],
    )
    def test_bad_options_are_named(self, options: dict[str, Any], says: str) -> None:
        with pytest.raises(BadOption, match=says):
            load(options)

    def test_a_missing_extra_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "espeakng_loader", None)
        with pytest.raises(ModelMissing, match=r"pip install -c ops/constraints.txt '\.\[espeak\]'"):
            library_module.Library()

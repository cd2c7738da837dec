"""What the test voice says comes back exactly, and what was cut or spoilt is reported."""

from __future__ import annotations

import random
import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.engines.base import Chunk, Done, Job, PlanRequest
from realtime.engines.beacon import signal
from realtime.engines.beacon.decoder import decode, listen
from realtime.engines.beacon.encoder import Encoder
from realtime.engines.beacon.engine import load
from realtime.engines.beacon.voices import BUILT_IN, PITCH_S, BeaconVoice, voice_from
from realtime.errors import BadOption, UnknownVoice

A, B, NULL = BUILT_IN
Samples = npt.NDArray[np.float32]
any_text = st.text(st.characters(), min_size=1, max_size=30)


def speak(text: str, voice: BeaconVoice = A, speed: float = 1.0, start: int = 0) -> Samples:
    encoder = Encoder(voice, text, speed, start)
    return encoder.render(0, encoder.total)


def random_text(seed: int, length: int = 30) -> str:
    dice = random.Random(seed)
    ranges = [(0x4E00, 0x9FFF), (0x20, 0x7E), (0x1F300, 0x1F6FF), (0, 0x10FFFF), (0x600, 0x6FF), (0, 0x1F)]
    return "".join(chr(dice.randint(*dice.choice(ranges))) for _ in range(length))


class TestTheSignal:
    @given(any_text, st.integers(0, 7), st.integers(0, 7))
    def test_bits_come_back(self, text: str, layout: int, turn: int) -> None:
        points = np.array([ord(c) for c in text], dtype=np.int64)
        turns = np.full(len(points), turn, dtype=np.int64)
        choices = signal.symbols(points, turns, layout) % signal.TONES_PER_GROUP
        heard, heard_turns, holds = signal.unpack(choices, np.full(len(points), layout))
        assert heard.tolist() == points.tolist()
        assert heard_turns.tolist() == turns.tolist()
        assert holds.all()

    @given(st.integers(0, 0x10FFFF), st.integers(0, 11), st.integers(1, 7))
    def test_one_wrong_tone_anywhere_is_noticed(self, point: int, where: int, by: int) -> None:
        choices = signal.symbols(np.array([point]), np.array([0]), 0) % 8
        flat = choices.reshape(-1).copy()
        flat[where] = (flat[where] + by) % 8
        assert not signal.unpack(flat.reshape(choices.shape), np.array([0]))[2].any()

    def test_another_layout_fails_the_check(self) -> None:
        choices = signal.symbols(np.arange(2000), np.zeros(2000, dtype=np.int64), 0) % 8
        assert signal.unpack(choices, np.full(2000, 1))[2].mean() < 0.01

    def test_markers_are_no_data_and_differ(self) -> None:
        assert (signal.MARKERS.reshape(signal.LAYOUTS, signal.GROUPS, -1).sum(axis=2) == 2).all()
        common = signal.MARKERS.astype(int) @ signal.MARKERS.T.astype(int)
        assert common[~np.eye(8, dtype=bool)].max() <= 3


class TestRoundTrip:
    @settings(max_examples=60, deadline=None)
    @given(any_text, st.integers(0, 7), st.sampled_from([8000, 11025, 16000, 22050, 24000, 44100, 48000]), st.floats(0.5, 2.0))
    def test_any_text_any_voice_any_speed(self, text: str, layout: int, rate: int, speed: float) -> None:
        heard = listen(speak(text, BeaconVoice("x", layout, rate), speed), rate)
        assert heard.text == text
        assert heard.damages == ()
        assert {c.layout for c in heard.characters} == {layout}

    @pytest.mark.parametrize("rate", [8000, 11025, 12000, 16000, 22050, 24000, 44100, 48000])
    @pytest.mark.parametrize("voice", [A, B], ids=lambda v: v.id)
    def test_after_resampling(self, voice: BeaconVoice, rate: int) -> None:
        text = random_text(rate)
        sound = soxr.resample(speak(text, voice), voice.sample_rate, rate)
        assert decode(sound, rate) == text

    @pytest.mark.parametrize("gain", [1e-3, 0.03, 1.6])
    def test_at_any_level(self, gain: float) -> None:
        assert decode(speak(random_text(1)) * gain, A.sample_rate) == random_text(1)

    def test_from_sixteen_bits(self) -> None:
        assert decode((speak("你好, world") * 32767).astype(np.int16), A.sample_rate) == "你好, world"

    @settings(max_examples=20, deadline=None)
    @given(st.integers(0, 5000), st.integers(0, 2000))
    def test_at_any_offset_and_with_silences_between(self, before: int, between: int) -> None:
        sound = np.concatenate([np.zeros(before, np.float32), speak("一二三"), np.zeros(between, np.float32), speak("four")])
        heard = listen(sound, A.sample_rate)
        assert heard.text == "一二三four"
        assert abs(heard.characters[0].start - before) <= A.sample_rate // 1000

    def test_who_spoke_is_heard(self) -> None:
        second = soxr.resample(speak("第二句", B, start=1), B.sample_rate, A.sample_rate)
        heard = listen(np.concatenate([speak("一"), second]), A.sample_rate)
        assert heard.voices() == ("beacon-a", "beacon-b", "beacon-b")
        assert [c.turn for c in heard.characters] == [0, 1, 2]

    @pytest.mark.parametrize("layout", range(8))
    def test_the_level_is_the_peak(self, layout: int) -> None:
        for rate in (8000, 22050, 48000):
            sound = speak(random_text(layout, 200), BeaconVoice("x", layout, rate, level=0.8))
            assert 0.6 < np.abs(sound).max() <= 0.801

    def test_noise_is_not_text(self) -> None:
        noise = np.random.default_rng(1).normal(0, 0.1, 480000).astype(np.float32)
        assert decode(noise, 24000) == ""
        assert decode(np.zeros(24000), 24000) == ""
        assert decode(np.zeros(0), 24000) == ""


class TestDamage:
    @pytest.mark.parametrize("kept_ms", range(2, 36, 3))  # of 40; more is as good as heard
    def test_a_character_cut_short_is_damage_not_text(self, kept_ms: int) -> None:
        text, end = "你好吗", Encoder(A, "你好吗").boundaries[2] + kept_ms * A.sample_rate // 1000
        heard = listen(speak(text)[:end], A.sample_rate)
        assert heard.text == "你好"
        assert len(heard.damages) <= 1
        assert heard.damages or kept_ms < 4

    @pytest.mark.parametrize("lost_ms", range(6, 39, 3))  # of 40
    def test_a_character_without_its_beginning_is_damage(self, lost_ms: int) -> None:
        heard = listen(speak("你好吗")[lost_ms * A.sample_rate // 1000 :], A.sample_rate)
        assert heard.text == "好吗"
        assert len(heard.damages) <= 1
        assert heard.damages or lost_ms > 36

    @settings(max_examples=40, deadline=None)
    @given(st.integers(1, 1500))
    def test_a_splice_between_different_characters_never_makes_a_third(self, cut: int) -> None:
        first, second = speak("甲乙"), speak("丙丁")
        joined = np.concatenate([first[:cut], second[cut:]])
        assert listen(joined, A.sample_rate).text in {"丙丁", "丁", "甲丁"}

    def test_two_voices_at_once_are_damage(self) -> None:
        other = soxr.resample(speak("丙丁", B), B.sample_rate, A.sample_rate)
        mixed = speak("甲乙") * 0.5
        mixed = mixed + np.pad(other, (0, len(mixed)))[: len(mixed)]
        heard = listen(mixed, A.sample_rate)
        assert len(heard.text) < 4
        assert heard.damages

    def test_a_hole_in_a_character_is_damage(self) -> None:
        sound = speak("甲乙丙")
        at = int(Encoder(A, "甲乙丙").boundaries[1])
        sound[at + 240 : at + 600] = 0
        heard = listen(sound, A.sample_rate)
        assert heard.text == "甲丙"
        assert len(heard.damages) == 1


def run(engine: Any, limit: int = 1000) -> list[Any]:
    events: list[Any] = []
    for _ in range(limit):
        if not (more := engine.step()):
            return events
        events += more
    raise AssertionError("the engine does not end")


class TestTheEngine:
    @settings(max_examples=25, deadline=None)
    @given(any_text, st.floats(5, 400), st.integers(0, 30), st.sampled_from(["beacon-a", "beacon-b"]))
    def test_chunks_join_to_the_rest_of_the_text(self, text: str, chunk_ms: float, start: int, voice: str) -> None:
        engine, start = load({"chunk_ms": chunk_ms}), min(start, len(text))
        engine.start(Job("j", text, voice, "zh", start=start))
        events = run(engine)
        chunks = [e for e in events if isinstance(e, Chunk)]
        sound = np.concatenate([c.samples for c in chunks] or [np.zeros(0, np.float32)])
        assert events[-1] == Done("j", len(sound))
        assert decode(sound, chunks[0].sample_rate if chunks else 8000) == text[start:]
        at = start
        for chunk in chunks:
            assert chunk.span is not None and chunk.span.start == at
            at = chunk.span.end
        assert at == len(text)

    def test_words_sound_where_they_are_said_to(self) -> None:
        text = "你好, hello world!"
        engine = load({})
        engine.start(Job("j", text, "beacon-a", "en"))
        chunks = [e for e in run(engine) if isinstance(e, Chunk)]
        heard = listen(np.concatenate([c.samples for c in chunks]), 24000).characters
        words = [w for c in chunks for w in c.words]
        assert [text[w.span.start : w.span.end] for w in words] == ["你", "好", ",", " ", "hello", " ", "world", "!"]
        for word in words:
            assert abs(heard[word.span.start].start - word.start) <= 24

    def test_the_plan_is_exact(self) -> None:
        engine = load({})
        plan = engine.plan(PlanRequest("说 it 快", "beacon-b", "zh", speed=1.7)).plan
        engine.start(Job("j", "说 it 快", "beacon-b", "zh", speed=1.7))
        sound = np.concatenate([e.samples for e in run(engine) if isinstance(e, Chunk)])
        assert plan.duration_s == pytest.approx(len(sound) / 16000)
        for time, heard in zip(plan.times_s, listen(sound, 16000).characters, strict=False):
            assert abs(heard.start / 16000 - time) < 0.002

    def test_jobs_take_turns_and_a_cancelled_one_is_silent(self) -> None:
        engine = load({"chunk_ms": 20})
        for name in "abc":
            engine.start(Job(name, "一二三", "beacon-a", "zh"))
        assert [engine.step()[0].job_id for _ in range(4)] == ["a", "b", "c", "a"]
        engine.cancel("b")
        engine.cancel("unknown")
        assert {e.job_id for e in run(engine)} == {"a", "c"}

    def test_no_text_left_is_done_at_once(self) -> None:
        engine = load({})
        engine.start(Job("j", "好", "beacon-a", "zh", start=1))
        assert engine.step() == [Done("j", 0)]

    def test_the_null_voice_is_a_tone_as_long_as_the_text(self) -> None:
        engine = load({"voices": ["beacon-null"], "reports_spans": False})
        engine.start(Job("j", "一" * 50, "beacon-null", "zh"))
        sound = np.concatenate([e.samples for e in run(engine) if isinstance(e, Chunk)])
        assert len(sound) == round(50 * PITCH_S * 24000)
        assert 0.3 < np.sqrt(np.mean(sound**2)) < 0.5
        assert np.abs(np.diff(sound)).max() < 0.05

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"chunks_ms": 5}, "unknown option of engine beacon: chunks_ms"),
            ({"voices": ["nobody"]}, "unknown beacon voice 'nobody'"),
            ({"voices": [{"id": "x", "pitch": 3}]}, "unknown option of a voice of beacon: pitch"),
            ({"voices": []}, "at least one voice"),
            ({"levels": [{"name": "fast", "rtf": 1}]}, "unknown option of a beacon level: rtf"),
            ({"voices": [{"id": "x", "tempo": 3}]}, "tempo"),
            ({"chunk_ms": float("nan")}, "chunk_ms"),
            ({"capacity": 0}, "capacity"),
        ],
    )
    def test_bad_options_are_named(self, options: dict[str, Any], says: str) -> None:
        with pytest.raises(BadOption, match=re.escape(says)):
            load(options)

    @pytest.mark.parametrize(
        ("change", "error"),
        [
            ({"voice": "nobody"}, UnknownVoice),
            ({"language": "fr"}, BadOption),
            ({"level": "best"}, BadOption),
            ({"start": 9}, BadOption),
            ({"speed": float("nan")}, BadOption),
            ({"speed": 2.1}, BadOption),
        ],
    )
    def test_jobs_it_cannot_speak_are_refused(self, change: dict[str, Any], error: type[Exception]) -> None:
        with pytest.raises(error):
            load({}).start(Job(**{"id": "j", "text": "好", "voice": "beacon-a", "language": "zh", **change}))

    def test_levels_and_voices_are_as_configured(self) -> None:
        engine = load(
            {
                "name": "main",
                "voices": [{"id": "beacon-a", "stand_ins": {"spare": "beacon-b"}}, {"id": "mine", "layout": 5, "sample_rate": 8000}],
                "levels": [{"name": "best", "rate_factor": 0.8}, {"name": "fast", "rate_factor": 0.2, "first_chunk_ms": 30}],
            }
        )
        assert [(v.name, v.rtf, v.first_chunk_s) for v in engine.info.levels] == [("best", 0.8, 0.0), ("fast", 0.2, 0.03)]
        assert engine.info.voices[0].stand_ins == {"spare": "beacon-b"}
        assert voice_from({"id": "beacon-b", "tempo": 0.5}).sample_rate == 16000

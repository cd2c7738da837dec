"""Every message comes back equal from its bytes, cut anywhere; anything else is `Garbled`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.engines.base import Chunk, Done, EngineInfo, Failed, Job, PlanReply, PlanRequest, QualityLevel, VoiceInfo
from realtime.types import Emotion, Span, SpeechPlan, WordTime
from realtime.workers import messages as m
from realtime.workers.interface import Fault, FaultKind, LevelRate, Sentence

INFO = EngineInfo(
    "main",
    24000,
    ("zh", "en"),
    (VoiceInfo("v", ("zh",), "a voice", "female", ("calm",), {"spare": "w"}),),
    (QualityLevel("best", 0.7, 0.1), QualityLevel("fast")),
    capacity=4,
    text_form="raw",
    can_plan=True,
    revision="r1",
)
JOB = Job("j", "你好\ud800", "v", "zh", 1, 1.5, Emotion("calm", (0.0, 1.0), 0.5), "best", 12.5, 7)
EXAMPLES: list[m.Message] = [
    m.Init("main", "beacon", {"voices": [{"id": "x", "level": 0.5}], "chunk_ms": 20}),
    m.StartJob(JOB),
    m.StartJob(replace(JOB, emotion=None, deadline=None)),
    m.StartJob(replace(JOB, emotion=Emotion("sad"))),
    m.CancelJob("j"),
    m.AdjustJob("j", "fast"),
    m.AskPlan(3, PlanRequest("x", "v", "en", 2.0, True)),
    m.AskReload(5),
    m.Ping(4),
    m.DoFault(Fault(FaultKind.STALL, "j", 12.5, 100.0)),
    m.Leave(),
    m.Progress("loading"),
    m.Ready(INFO, {"best": LevelRate(0.7, 0.1)}, 1.5),
    m.Ready(INFO, {}, 1.5, Sentence("v", "zh", "您好")),
    m.StartFailed("model_missing", False, "no weights"),
    m.Spoken(Done("j", 800)),
    m.Spoken(Failed("j", "engine_failed", "why")),
    m.PlanAnswer(3, code="unknown_voice", message="no voice"),
    m.PlanAnswer(3, PlanReply(SpeechPlan((0.0, 0.1), (Span(0, 1),), "main"))),
    m.Reloaded(5, INFO),
    m.Reloaded(5, code="bad_option", message="two rates"),
    m.Pong(4, 17),
    m.Leaving("broken"),
]


def written(message: m.Message, pcm: str = "f32") -> bytes:
    head, payload = m.encode(message, pcm)
    return head + bytes(payload)


def read(data: bytes) -> m.Message:
    (message,) = m.MessageReader().push(data)
    return message


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_a_message_comes_back_equal(message: m.Message) -> None:
    back = read(written(message))
    if isinstance(message, m.PlanAnswer) and message.reply:
        assert isinstance(back, m.PlanAnswer) and back.reply is not None
        assert back.reply.plan == message.reply.plan
    else:
        assert back == message


def test_every_kind_of_message_has_an_example() -> None:
    assert {type(message) for message in EXAMPLES} == set(m._NAMES) | {m.Spoken}


@given(st.lists(st.integers(0, len(EXAMPLES) - 1), max_size=6), st.lists(st.integers(1, 60)))
def test_cuts_do_not_matter(which: list[int], cuts: list[int]) -> None:
    stream = b"".join(written(EXAMPLES[k]) for k in which)
    reader, found = m.MessageReader(), list[m.Message]()
    for size in [*cuts, len(stream)]:
        found += reader.push(stream[:size])
        stream = stream[size:]
    assert [type(message) for message in found] == [type(EXAMPLES[k]) for k in which]


class TestSound:
    CHUNK = Chunk("j", np.linspace(-1, 1, 101, dtype=np.float32), 24000, Span(2, 5), (WordTime(Span(2, 3), 10, 20),))

    def chunk(self, message: m.Message) -> Chunk:
        assert isinstance(message, m.Spoken) and isinstance(message.event, Chunk)
        return message.event

    def test_samples_are_exact_as_f32(self) -> None:
        back = self.chunk(read(written(m.Spoken(self.CHUNK))))
        assert np.array_equal(back.samples, self.CHUNK.samples)
        assert (back.job_id, back.sample_rate, back.span, back.words) == ("j", 24000, Span(2, 5), self.CHUNK.words)
        back.samples[0] = 0.5  # its owner may write

    def test_samples_are_within_half_a_step_as_s16(self) -> None:
        wild = replace(self.CHUNK, samples=np.array([0.1, -2.0, 2.0], dtype=np.float32))
        back = self.chunk(read(written(m.Spoken(wild), "s16")))
        assert back.samples == pytest.approx([0.1, -1.0, 1.0], abs=0.5 / 32767)

    def test_what_is_no_number_is_none_at_the_other_end_either(self) -> None:
        broken = replace(self.CHUNK, samples=np.array([0.1, np.nan, np.inf], dtype=np.float32))
        back = self.chunk(read(written(m.Spoken(broken), "s16")))
        assert np.isnan(back.samples[1]) and np.isinf(back.samples[2])

    @pytest.mark.parametrize("pcm", ["f32", "s16"])
    def test_empty_strided_and_double_samples(self, pcm: str) -> None:
        for samples in (np.zeros(0, np.float32), np.zeros(20, np.float32)[::2], np.zeros(10)):
            back = self.chunk(read(written(m.Spoken(replace(self.CHUNK, samples=samples)), pcm)))  # type: ignore[arg-type]
            assert len(back.samples) == len(samples)
            assert back.samples.dtype == np.float32

    def test_features_keep_their_shape(self) -> None:
        features = np.arange(12, dtype=np.float32).reshape(3, 4)
        reply = PlanReply(SpeechPlan((0.0, 1.0)), features, 0.01)
        back = read(written(m.PlanAnswer(1, reply)))
        assert isinstance(back, m.PlanAnswer) and back.reply is not None and back.reply.features is not None
        assert np.array_equal(back.reply.features, features)
        assert back.reply.hop_s == 0.01


class TestTables:
    """The wrong shape of every kind of message is `Garbled`, whatever is wrong with it."""

    @pytest.mark.parametrize("name", list(m._PLAIN))
    @pytest.mark.parametrize("table", [None, 7, [], {"unknown": 1}, {"job": 3}, {"info": {}}, {"fault": {"kind": "explode"}}])
    def test_a_table_of_another_shape(self, name: str, table: Any) -> None:
        header = msgpack.packb([name, table])
        data = m.PREFIX.pack(len(header), 0) + header
        with pytest.raises(m.Garbled):
            read(data)

    def test_a_message_without_its_table(self) -> None:
        for row in (["leave"], ["ping", {"number": 1}, 2], [], ["nothing", {}]):
            header = msgpack.packb(row)
            with pytest.raises(m.Garbled):
                read(m.PREFIX.pack(len(header), 0) + header)


class TestGarbage:
    @given(st.binary(min_size=1, max_size=200))
    def test_bytes_are_messages_or_garbled(self, data: bytes) -> None:
        try:
            list(m.MessageReader().push(data))
        except m.Garbled:
            pass

    @given(st.binary(max_size=60))
    def test_any_header_is_a_message_or_garbled(self, header: bytes) -> None:
        try:
            list(m.MessageReader().push(m.PREFIX.pack(len(header), 0) + header))
        except m.Garbled:
            pass

    @pytest.mark.parametrize("sizes", [(m.MAX_HEADER + 1, 0), (0, m.MAX_PAYLOAD + 1), (2**32 - 1, 2**32 - 1)])
    def test_absurd_sizes_are_refused_at_once(self, sizes: tuple[int, int]) -> None:
        with pytest.raises(m.Garbled):
            list(m.MessageReader().push(m.PREFIX.pack(*sizes)))

    def test_what_is_too_large_is_not_sent(self) -> None:
        big: Any = m.Progress("x" * (m.MAX_HEADER + 1))
        with pytest.raises(m.Garbled, match="too large"):
            m.encode(big)

"""ElevenLabs' sockets: recorded conversations, the alignment's invariants, and the fuzz of every dialect."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.errors import BadOption, ProtocolViolation
from realtime.types import AudioFormat, Codec, Usage
from realtime.wire.alignment import Alignment
from realtime.wire.dialects import SOCKET_PATHS
from realtime.wire.dialects.elevenlabs import ElevenLabsMulti, ElevenLabsStream, parse_output_format
from realtime.wire.dialects.native import NativeJson
from realtime.wire.events import AppendText, Audio, Done, Error, Event, Open, Pong, SegmentStarted, Word
from realtime.wire.transitions import Role

TRANSCRIPTS = sorted((Path(__file__).parent.parent / "transcripts" / "elevenlabs").glob("*.jsonl"))
CLASSES = {"stream-input": ElevenLabsStream, "multi-stream-input": ElevenLabsMulti}


def neutral(raw: dict[str, Any], role: Role) -> Event:
    """An event written as a native JSON message."""
    (event,) = NativeJson(role).decode(json.dumps(raw))
    return event


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcripts(path: Path) -> None:
    head, *lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    dialect = CLASSES[head["dialect"]](head["voice"], head["query"], head["voices"])
    for number, line in enumerate(lines, 2):
        if "client" in line:
            meant = [neutral(raw, Role.SERVER) for raw in line["means"]]
            said = [with_default_format(event, head["query"]) for event in dialect.decode(json.dumps(line["client"]))]
            assert said == [with_default_format(event, head["query"]) for event in meant], f"line {number}"
        else:
            message = dialect.encode(neutral(line["service"], Role.CLIENT))
            assert (None if message is None else json.loads(message)) == line["says"], f"line {number}"
        closing = None if dialect.closing is None else [dialect.closing.code, dialect.closing.reason]
        assert closing == line.get("closes"), f"line {number}"


def with_default_format(event: Event, query: dict[str, str]) -> Event:
    """Transcripts leave out a format that the query implies and that is our own default."""
    if isinstance(event, Open) and query["output_format"] == "pcm_24000":
        assert event.format == AudioFormat()
    return event


def test_both_paths_are_served() -> None:
    for name, kind in CLASSES.items():
        made = SOCKET_PATHS[f"/v1/text-to-speech/{{voice_id}}/{name}"]({"voice_id": "v"}, {"output_format": "pcm_8000"}, ["v"])
        assert type(made) is kind
        (opened,) = made.decode('{"text":" "}')
        assert isinstance(opened, Open) and opened.voice == "v" and opened.format.sample_rate == 8000


class TestMessages:
    @pytest.mark.parametrize("kind", CLASSES.values())
    @pytest.mark.parametrize(
        "message", ["", "[]", "5", "{", b"{}", '{"text":5}', '{"text":["a"]}', "[" * 100_000, '{"text":"' + "x" * 1_100_000 + '"}']
    )
    def test_nonsense_is_refused(self, kind: type[ElevenLabsStream], message: Any) -> None:
        with pytest.raises(ProtocolViolation):
            kind("v", {}).decode(message)

    def test_context_ids_are_strings(self) -> None:
        with pytest.raises(ProtocolViolation, match="context_id"):
            ElevenLabsMulti("v", {}).decode('{"text":"x","context_id":5}')

    def test_either_spelling_of_the_context_and_none_at_all(self) -> None:
        dialect = ElevenLabsMulti("v", {})
        assert [type(event) for event in dialect.decode('{"text":"a ","contextId":"C"}')] == [Open, AppendText]
        assert dialect.decode('{"text":"b ","context_id":"C"}') == (AppendText("c1", "b "),)
        assert dialect.decode('{"text":"c "}')[1] == AppendText("c2", "c ")
        final = dialect.encode(Done("c2", Usage()))
        assert final is not None and json.loads(final)["contextId"] == ""

    def test_text_may_be_the_first_message_and_controls_are_left_out(self) -> None:
        assert ElevenLabsStream("v", {}).decode('{"text":"a\\u0000\\ud800b"}')[1] == AppendText("c1", "ab")

    def test_text_after_the_end_is_late(self) -> None:
        dialect = ElevenLabsStream("v", {})
        dialect.decode('{"text":"a"}')
        dialect.decode('{"text":""}')
        assert dialect.decode('{"text":"b"}') == ()
        dialect.encode(Done("c1", Usage()))
        assert dialect.decode('{"text":"c"}') == ()

    def test_an_alignment_free_event_says_nothing(self) -> None:
        dialect = ElevenLabsStream("v", {})
        dialect.decode('{"text":"a"}')
        assert dialect.encode(Pong()) is None

    def test_a_connection_error_closes(self) -> None:
        dialect = ElevenLabsMulti("v", {})
        message = dialect.encode(Error("protocol_violation", "汉" * 100))
        assert message is not None and json.loads(message)["error"] == "invalid_request"
        assert dialect.closing is not None and dialect.closing.code == 1008 and len(dialect.closing.reason.encode()) <= 123

    def test_leaving_without_contexts_closes_at_once(self) -> None:
        dialect = ElevenLabsMulti("v", {})
        assert dialect.decode('{"close_socket":true}') == ()
        assert dialect.closing is not None and dialect.closing.code == 1000

    def test_leaving_after_an_error_closes_too(self) -> None:
        dialect = ElevenLabsMulti("v", {})
        dialect.decode('{"text":"x"}')
        dialect.decode('{"close_socket":true}')
        assert dialect.closing is None
        dialect.encode(Error("worker_lost", "boom", utterance="c1"))
        assert dialect.closing is not None

    @pytest.mark.parametrize(
        ("settings_", "speed"),
        [({"speed": 1.2}, 1.2), ({"speed": 9}, 2.0), ({"speed": "fast"}, 1.0), ({}, 1.0), (None, 1.0), ({"speed": 10**400}, 2.0)],
    )
    def test_speed(self, settings_: Any, speed: float) -> None:
        (opened, *_) = ElevenLabsStream("v", {}).decode(json.dumps({"text": " ", "voice_settings": settings_}))
        assert isinstance(opened, Open) and opened.speed == speed


class TestQuery:
    @pytest.mark.parametrize(
        ("name", "format"),
        [
            ("pcm_16000", AudioFormat(Codec.PCM_S16LE, 16000)),
            ("mp3_22050_32", AudioFormat(Codec.MP3, 22050, 32000)),
            ("mp3_44100", AudioFormat(Codec.MP3, 44100)),
            ("ulaw_8000", AudioFormat(Codec.MULAW, 8000)),
            ("alaw_8000", AudioFormat(Codec.ALAW, 8000)),
            ("opus_48000_64", AudioFormat(Codec.OGG_OPUS, 48000, 64000)),
        ],
    )
    def test_output_formats(self, name: str, format: AudioFormat) -> None:
        assert parse_output_format(name) == format

    @pytest.mark.parametrize("name", ["", "pcm", "pcm_", "midi_8000", "pcm_8000_1_2", "pcm_x", "pcm_-5", "mp3_99999999"])
    def test_unknown_formats(self, name: str) -> None:
        with pytest.raises(BadOption, match="output_format"):
            ElevenLabsStream("v", {"output_format": name})

    def test_other_parameters(self) -> None:
        with pytest.raises(BadOption, match="language_code"):
            ElevenLabsStream("v", {"language_code": "../zh"})
        (opened, *_) = ElevenLabsStream("v", {"seed": "9" * 5000}).decode('{"text":" "}')
        assert isinstance(opened, Open) and opened.seed == 0 and opened.format.codec is Codec.MP3


@st.composite
def spoken(draw: st.DrawFn) -> tuple[str, list[SegmentStarted], list[int]]:
    """A text, its segments with word times (or without), and the lengths of the pieces of its sound."""
    text = draw(st.text("ab .", min_size=1, max_size=30))
    cuts = sorted({0, len(text), *draw(st.lists(st.integers(0, len(text)), max_size=3))})
    segments = []
    for index, (start, end) in enumerate(pairwise(cuts)):
        inside = sorted(draw(st.sets(st.integers(start, end), max_size=6)))
        words = tuple(Word(a, b, a * 10 + 3, b * 10 - 2) for a, b in zip(inside[::2], inside[1::2], strict=False))
        segments.append(SegmentStarted("c1", index, start, end, start * 10, "e", "en", words))
    return text, segments, draw(st.lists(st.integers(1, 60), min_size=20, max_size=60))


@settings(deadline=None)
@given(spoken())
def test_every_character_is_told_once_in_order(spoken: tuple[str, list[SegmentStarted], list[int]]) -> None:
    text, segments, pieces = spoken
    alignment, told, now, waiting = Alignment(1000), "", 0, list(segments)
    alignment.append(text)
    for piece in [*pieces, 10_000]:
        while waiting and waiting[0].sample_offset <= now:
            alignment.segment(waiting.pop(0))
        now += piece
        for character in alignment.take(now):
            assert character.due_ms < now
            assert character.start_ms <= character.end_ms
            told += character.text
    while waiting:
        alignment.segment(waiting.pop(0))
    told += "".join(character.text for character in alignment.take(now, is_over=True))
    assert told == text


@settings(deadline=None)
@given(spoken())
def test_spans_add_up_to_the_true_time(spoken: tuple[str, list[SegmentStarted], list[int]]) -> None:
    text, segments, pieces = spoken
    dialect = ElevenLabsStream("v", {"output_format": "pcm_8000"})
    dialect.decode(json.dumps({"text": " "}))
    dialect.decode(json.dumps({"text": "x" + text}))
    for segment in segments:
        dialect.encode(replace(segment, sample_offset=segment.sample_offset * 8))
    offset, spans = 0, 0
    for piece in pieces:
        message = dialect.encode(Audio("c1", 0, offset, piece * 8, "e", b""))
        offset += piece * 8
        assert message is not None
        alignment = json.loads(message)["alignment"]
        if alignment is None:
            continue
        lengths = {len(alignment[key]) for key in ("chars", "charStartTimesMs", "charDurationsMs")}
        assert len(lengths) == 1
        assert all(value >= 0 for key in ("charStartTimesMs", "charDurationsMs") for value in alignment[key])
        spans += alignment["charStartTimesMs"][-1] + alignment["charDurationsMs"][-1]
        assert spans == offset / 8


def test_words_without_times_wait_for_theirs_or_for_the_next_segment() -> None:
    alignment = Alignment(1000)
    alignment.append("ab cd. ef")
    part = SegmentStarted("c1", 0, 0, 7, 0, "e", "en", (Word(0, 2, 0, 100),))
    alignment.segment(part)
    assert "".join(c.text for c in alignment.take(150)) == "ab"
    assert alignment.take(400) == []
    alignment.segment(replace(part, words=(Word(0, 2, 0, 100), Word(3, 5, 100, 200))))
    assert "".join(c.text for c in alignment.take(400)) == " cd. "
    alignment = Alignment(1000)
    alignment.append("ab cd. ef")
    alignment.segment(part)
    alignment.segment(SegmentStarted("c1", 1, 7, 9, 300, "e", "en", (Word(7, 9, 300, 400),)))
    assert "".join(c.text for c in alignment.take(350)) == "ab cd. e"


@pytest.mark.parametrize("kind", CLASSES.values())
def test_what_was_never_timed_is_told_at_the_end(kind: type[ElevenLabsStream]) -> None:
    dialect = kind("v", {"output_format": "pcm_8000"})
    dialect.decode('{"text":"ab cd"}')
    dialect.encode(SegmentStarted("c1", 0, 0, 5, 0, "e", "en", (Word(0, 2, 0, 100),)))
    first = dialect.encode(Audio("c1", 0, 0, 8000, "e", b""))
    final = dialect.encode(Done("c1", Usage()))
    assert first is not None and final is not None
    told = [json.loads(message)["alignment"]["chars"] for message in (first, final)]
    assert told == [["a", "b"], [" ", "c", "d"]]


def test_times_that_came_better_later_are_used_for_the_rest() -> None:
    alignment = Alignment(1000)
    alignment.append("ab cd")
    alignment.segment(SegmentStarted("c1", 0, 0, 5, 0, "e", "en", (Word(0, 2, 0, 100), Word(3, 5, 100, 200))))
    assert "".join(c.text for c in alignment.take(60)) == "ab "
    alignment.segment(SegmentStarted("c1", 0, 0, 5, 0, "f", "en", (Word(0, 2, 0, 100), Word(3, 5, 300, 500))))
    assert alignment.take(300) == []
    assert [(c.text, c.start_ms, c.end_ms) for c in alignment.take(500)] == [("c", 300, 400), ("d", 400, 500)]


@settings(deadline=None, max_examples=100)
@given(
    messages=st.lists(
        st.dictionaries(
            st.sampled_from(["text", "flush", "context_id", "contextId", "close_context", "close_socket", "voice_settings", "x"]),
            st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=2),
        ).map(json.dumps)
        | st.text(max_size=20),
        max_size=8,
    ),
    kind=st.sampled_from([ElevenLabsStream, ElevenLabsMulti]),
)
def test_fuzz(messages: list[str], kind: type[ElevenLabsStream]) -> None:
    """The invariant: events that name utterances opened before, or `ProtocolViolation`."""
    dialect, opened = kind("v", {"auto_mode": "true"}), set()
    for message in messages:
        try:
            events = dialect.decode(message)
        except ProtocolViolation:
            continue
        for event in events:
            if isinstance(event, Open):
                opened.add(event.utterance)
            assert event.utterance in opened  # type: ignore[union-attr]

"""ElevenLabs' HTTP endpoints as a dialect."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime import errors
from realtime.errors import BadOption, BadText, ProtocolViolation, RealtimeError
from realtime.types import AudioFormat, Codec, Usage
from realtime.wire.dialects.elevenlabs_http import ElevenLabsSpeech, Timestamps, error_response
from realtime.wire.events import AppendText, Audio, Done, End, Open, Pong, SegmentStarted, Word

BODY = json.dumps({"text": "Hi you.", "model_id": "m", "voice_settings": None})


def speech(timestamps: Timestamps, **query: str) -> ElevenLabsSpeech:
    return ElevenLabsSpeech("v", {"output_format": "pcm_8000", **query}, timestamps, ["v"])


def speak(dialect: ElevenLabsSpeech) -> list[bytes]:
    """A sentence in two pieces; the last word has no time."""
    dialect.decode(BODY)
    events = (
        SegmentStarted("speech", 0, 0, 7, 0, "e", "en", (Word(0, 2, 50, 150),)),
        Audio("speech", 0, 0, 800, "e", b"\x00\x01"),
        Audio("speech", 1, 800, 2400, "e", b"\x02\x03"),
        Done("speech", Usage(7)),
    )
    return [message for message in map(dialect.encode, events) if message is not None]


def test_a_request_is_a_whole_utterance() -> None:
    dialect = speech(Timestamps.NONE, language_code="en", seed="5")
    body = {"text": "Hi.", "previous_text": "Well. ", "voice_settings": {"speed": 1.1}, "seed": 3}
    assert dialect.decode(json.dumps(body).encode()) == (
        Open("speech", voice="v", language="en", format=AudioFormat(Codec.PCM_S16LE, 8000), speed=1.1, seed=5, context="Well. "),
        AppendText("speech", "Hi."),
        End("speech"),
    )


@pytest.mark.parametrize(
    ("format", "media"),
    [("mp3_44100_128", "audio/mpeg"), ("ulaw_8000", "audio/basic"), ("opus_48000_32", "audio/ogg"), ("wav_8000", "audio/wav")],
)
def test_content_types(format: str, media: str) -> None:
    assert speech(Timestamps.NONE, output_format=format).content_type == media
    assert speech(Timestamps.LINES, output_format=format).content_type == "application/json"


def test_sound_is_the_file_itself() -> None:
    dialect = speech(Timestamps.NONE)
    assert speak(dialect) == [b"\x00\x01", b"\x02\x03"]
    assert dialect.encode(Pong()) is None and dialect.closing is None


def test_lines_carry_sound_and_the_characters_that_begin_in_it() -> None:
    lines = [json.loads(line) for line in speak(speech(Timestamps.LINES))]
    assert [base64.b64decode(line["audio_base64"]) for line in lines] == [b"\x00\x01", b"\x02\x03", b""]
    assert [(line["alignment"] or {}).get("characters") for line in lines] == [["H"], ["i"], list(" you.")]
    assert lines[0]["alignment"]["character_start_times_seconds"] == [0.05]
    assert lines[1]["normalized_alignment"]["character_end_times_seconds"] == [0.15]


def test_a_line_without_characters_has_no_alignment() -> None:
    dialect = speech(Timestamps.LINES)
    dialect.decode(BODY)
    line = dialect.encode(Audio("speech", 0, 0, 800, "e", b""))
    assert line is not None and line.endswith(b"\n") and json.loads(line)["alignment"] is None
    assert dialect.encode(Done("speech", Usage())) is None


def test_a_whole_document() -> None:
    (document,) = map(json.loads, speak(speech(Timestamps.WHOLE)))
    assert base64.b64decode(document["audio_base64"]) == b"\x00\x01\x02\x03"
    assert "".join(document["alignment"]["characters"]) == "Hi you."


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ("", ProtocolViolation),
        ("[]", ProtocolViolation),
        ("[" * 100_000, ProtocolViolation),
        (b" " * (1 << 21), ProtocolViolation),
        ("{}", BadText),
        ('{"text":5}', BadText),
        ('{"text":" \\u0000"}', BadText),
    ],
    ids=range(7),
)
def test_bad_bodies(raw: str | bytes, kind: type[RealtimeError]) -> None:
    with pytest.raises(kind) as raised:
        speech(Timestamps.NONE).decode(raw)
    status, body = error_response(raised.value)
    assert status == 422
    assert body["detail"][0]["loc"] == ["body", "text" if kind is BadText else "body"]


def test_bad_queries() -> None:
    with pytest.raises(BadOption, match="output_format"):
        speech(Timestamps.NONE, output_format="midi_1")


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        (errors.Unauthorized("key"), 401, "invalid_api_key"),
        (errors.UnknownVoice("who"), 404, "voice_not_found"),
        (errors.Overloaded("full"), 429, "system_busy"),
        (errors.Draining("bye"), 503, "system_busy"),
        (errors.EngineFailed("boom"), 500, "engine_failed"),
    ],
)
def test_statuses(error: RealtimeError, status: int, name: str) -> None:
    assert error_response(error) == (status, {"detail": {"status": name, "message": error.message}})


@given(
    st.dictionaries(
        st.sampled_from(["text", "previous_text", "voice_settings", "x"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dictionaries(st.just("speed"), st.floats()),
    ).map(json.dumps)
    | st.binary(max_size=30)
)
def test_fuzz(raw: Any) -> None:
    """The invariant: an utterance, or a declared error."""
    try:
        assert len(speech(Timestamps.LINES).decode(raw)) == 3
    except (ProtocolViolation, BadText):
        return

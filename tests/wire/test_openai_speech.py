"""OpenAI's speech endpoint as a dialect."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime import errors
from realtime.errors import BadOption, BadText, ClientError, ProtocolViolation, RealtimeError
from realtime.types import AudioFormat, Codec, Usage
from realtime.wire.dialects.openai_speech import MAX_INPUT_CHARS, OpenAISpeech, error_response
from realtime.wire.events import AppendText, Audio, Done, End, Open, Pong


def body(**fields: Any) -> str:
    return json.dumps({"model": "gpt-4o-mini-tts", "input": "Hello.", "voice": "alloy", **fields})


def opened(dialect: OpenAISpeech, **fields: Any) -> Open:
    event = dialect.decode(body(**fields))[0]
    assert isinstance(event, Open)
    return event


def test_a_request_is_a_whole_utterance() -> None:
    dialect = OpenAISpeech(voices=("alloy",))
    assert dialect.decode(body().encode()) == (
        Open("speech", voice="alloy", format=AudioFormat(Codec.MP3, 24000)),
        AppendText("speech", "Hello."),
        End("speech"),
    )
    assert dialect.content_type == "audio/mpeg"


@pytest.mark.parametrize(
    ("name", "codec", "media"),
    [
        ("opus", Codec.OGG_OPUS, "audio/ogg"),
        ("aac", Codec.AAC, "audio/aac"),
        ("flac", Codec.FLAC, "audio/flac"),
        ("wav", Codec.WAV, "audio/wav"),
        ("pcm", Codec.PCM_S16LE, "audio/pcm"),
    ],
)
def test_response_formats(name: str, codec: Codec, media: str) -> None:
    dialect = OpenAISpeech()
    assert opened(dialect, response_format=name).format == AudioFormat(codec, 24000)
    assert dialect.content_type == media


def test_audio_is_the_file_itself() -> None:
    dialect = OpenAISpeech()
    dialect.decode(body())
    assert dialect.encode(Audio("speech", 0, 0, 1, "e", b"\x00\xff")) == b"\x00\xff"
    assert dialect.encode(Done("speech", Usage())) is None
    assert dialect.encode(Pong()) is None
    assert dialect.closing is None


def test_server_sent_events_join_to_the_file() -> None:
    dialect = OpenAISpeech()
    dialect.decode(body(stream_format="sse"))
    assert dialect.content_type == "text/event-stream"
    lines = [dialect.encode(event) for event in (Audio("speech", 0, 0, 1, "e", b"\x00\xff\x01"), Done("speech", Usage(6)))]
    assert all(line is not None and line.startswith(b"data: {") and line.endswith(b"}\n\n") for line in lines)
    delta, done = (json.loads((line or b"")[6:]) for line in lines)
    assert delta["type"] == "speech.audio.delta" and base64.b64decode(delta["audio"]) == b"\x00\xff\x01"
    assert done == {"type": "speech.audio.done", "usage": {"input_tokens": 6, "output_tokens": 0, "total_tokens": 6}}


def test_foreign_voices_mean_the_default_one() -> None:
    assert opened(OpenAISpeech(("mine",)), voice="ash").voice is None
    assert opened(OpenAISpeech(("mine",)), voice="mine").voice == "mine"
    assert opened(OpenAISpeech(("mine",)), voice={"id": "mine"}).voice == "mine"


@pytest.mark.parametrize(("asked", "got"), [(1, 1.0), (0.25, 0.5), (4.0, 2.0), (1.3, 1.3)])
def test_speed_is_brought_into_range(asked: float, got: float) -> None:
    assert opened(OpenAISpeech(), speed=asked).speed == got


@pytest.mark.parametrize(
    ("fields", "kind", "param"),
    [
        ({"input": ""}, BadText, "input"),
        ({"input": " \x00 "}, BadText, "input"),
        ({"input": None}, BadText, "input"),
        ({"input": "x" * (MAX_INPUT_CHARS + 1)}, BadText, "input"),
        ({"voice": 5}, BadOption, "voice"),
        ({"voice": {"name": "x"}}, BadOption, "voice"),
        ({"response_format": "midi"}, BadOption, "response_format"),
        ({"response_format": ["mp3"]}, BadOption, "response_format"),
        ({"speed": 5}, BadOption, "speed"),
        ({"speed": float("nan")}, BadOption, "speed"),
        ({"speed": True}, BadOption, "speed"),
        ({"stream_format": ["sse"]}, BadOption, "stream_format"),
    ],
)
def test_bad_fields_are_named(fields: dict[str, Any], kind: type[ClientError], param: str) -> None:
    with pytest.raises(kind) as raised:
        OpenAISpeech().decode(body(**fields))
    status, answer = error_response(raised.value)
    assert status == 400
    assert answer["error"]["param"] == param and answer["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("raw", ["", "[]", "{", b"\xff\xfe", "[" * 100_000, b" " * (1 << 21)])
def test_what_is_no_request(raw: str | bytes) -> None:
    with pytest.raises(ProtocolViolation) as raised:
        OpenAISpeech().decode(raw)
    assert error_response(raised.value)[1]["error"]["param"] is None


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (errors.Unauthorized("key"), 401, "invalid_request_error"),
        (errors.Overloaded("full"), 429, "invalid_request_error"),
        (errors.Draining("bye"), 503, "server_error"),
        (errors.EngineFailed("boom"), 500, "server_error"),
        (errors.UnknownVoice("who"), 400, "invalid_request_error"),
        (RealtimeError("what"), 500, "server_error"),
    ],
)
def test_statuses(error: RealtimeError, status: int, kind: str) -> None:
    got, answer = error_response(error)
    assert (got, answer["error"]["type"], answer["error"]["code"]) == (status, kind, error.code)


@given(
    st.dictionaries(
        st.sampled_from(["input", "voice", "response_format", "speed", "stream_format", "model", "x"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers(), max_size=2),
    ).map(json.dumps)
    | st.binary(max_size=30)
)
def test_fuzz(raw: str | bytes) -> None:
    """The invariant: an utterance, or a declared error."""
    try:
        assert len(OpenAISpeech().decode(raw)) == 3
    except ClientError as error:
        assert type(error) in (ProtocolViolation, BadText, BadOption)

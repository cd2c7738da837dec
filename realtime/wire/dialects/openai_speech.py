"""OpenAI's `POST /v1/audio/speech`: the request body is the one message in, the chunks of the response are the messages out.

Written for unmodified clients: the `openai` package, LiveKit's and Pipecat's plugins. Models and voices are theirs: a voice that the
service does not have means the default one. Unknown fields are let pass.
"""

from __future__ import annotations

import json
from binascii import b2a_base64
from collections.abc import Collection, Sequence
from typing import Any

from realtime.errors import BadOption, BadText, ClientError, RealtimeError
from realtime.types import AudioFormat, Codec, nearest_speed
from realtime.wire.dialect import Close, Message, json_map
from realtime.wire.events import AppendText, Audio, Done, End, Event, Open
from realtime.wire.reading import NOT_PROSE, quoted

UTTERANCE = "speech"
MAX_INPUT_CHARS = 4096
"""The original's limit."""

FORMATS: dict[str, tuple[AudioFormat, str]] = {
    "mp3": (AudioFormat(Codec.MP3, 24000), "audio/mpeg"),
    "opus": (AudioFormat(Codec.OGG_OPUS, 24000), "audio/ogg"),
    "aac": (AudioFormat(Codec.AAC, 24000), "audio/aac"),
    "flac": (AudioFormat(Codec.FLAC, 24000), "audio/flac"),
    "wav": (AudioFormat(Codec.WAV, 24000), "audio/wav"),
    "pcm": (AudioFormat(Codec.PCM_S16LE, 24000), "audio/pcm"),
}
"""`response_format` -> what to ask ourselves for, and the media type. 24 kHz is the original's rate for `pcm`."""

STATUS: dict[str, int] = {"unauthorized": 401, "overloaded": 429, "draining": 503, "slow_client": 408, "deadline_missed": 503}
"""Our codes as HTTP statuses; other errors of clients are 400, of ours 500. The package tries 408, 409, 429 and 5xx again."""


class OpenAISpeech:
    """One request. After `decode`, `content_type` says what the response is."""

    closing: Close | None = None

    def __init__(self, voices: Collection[str] = ()) -> None:
        self._voices = voices
        self._is_sse = False
        self._characters = 0
        self.content_type = ""

    def decode(self, message: Message) -> Sequence[Event]:
        """The request body as an utterance. Raises `ProtocolViolation`, `BadText` or `BadOption`."""
        data = json_map(message, "body")
        text = self._text(data)
        format, self.content_type = _format(data)
        self._is_sse = _is_sse(data)
        if self._is_sse:
            self.content_type = "text/event-stream"
        self._characters = len(text)
        return Open(UTTERANCE, voice=self._voice(data), format=format, speed=_speed(data)), AppendText(UTTERANCE, text), End(UTTERANCE)

    def encode(self, event: Event) -> bytes | None:
        """A chunk of the response: the file's bytes, or server-sent events whose base64 pieces join to them."""
        if isinstance(event, Audio):
            if not self._is_sse:
                return event.payload
            audio = b2a_base64(event.payload, newline=False).decode("ascii")
            return _sse({"type": "speech.audio.delta", "audio": audio})
        if isinstance(event, Done) and self._is_sse:
            usage = {"input_tokens": self._characters, "output_tokens": 0, "total_tokens": self._characters}
            return _sse({"type": "speech.audio.done", "usage": usage})
        return None

    def _text(self, data: dict[str, Any]) -> str:
        text = data.get("input")
        if type(text) is not str:
            raise BadText(f"input must be a string, not {quoted(text)}")
        if len(text) > MAX_INPUT_CHARS:
            raise BadText(f"input has {len(text)} characters, the limit is {MAX_INPUT_CHARS}")
        text = NOT_PROSE.sub("", text)
        if not text.strip():
            raise BadText("input is empty")
        return text

    def _voice(self, data: dict[str, Any]) -> str | None:
        voice = data.get("voice")
        name = voice.get("id") if isinstance(voice, dict) else voice
        if type(name) is not str:
            raise BadOption(f"voice must be a string or a map with an id, not {quoted(voice)}")
        return name if name in self._voices else None


def error_response(error: RealtimeError) -> tuple[int, dict[str, Any]]:
    """HTTP status and JSON body of an error, in the form that the package's exceptions carry."""
    status = STATUS.get(error.code, 400 if isinstance(error, ClientError) else 500)
    kind = "invalid_request_error" if status < 500 else "server_error"
    return status, {"error": {"message": error.message, "type": kind, "param": _param(error), "code": error.code}}


def _param(error: RealtimeError) -> str | None:
    if isinstance(error, BadText):
        return "input"
    first = error.message.split(" ", 1)[0]
    return first if isinstance(error, BadOption) and first in ("voice", "response_format", "speed", "stream_format") else None


def _format(data: dict[str, Any]) -> tuple[AudioFormat, str]:
    name = data.get("response_format", "mp3")
    if type(name) is not str or name not in FORMATS:
        raise BadOption(f"response_format must be one of {', '.join(FORMATS)}, not {quoted(name)}")
    return FORMATS[name]


def _is_sse(data: dict[str, Any]) -> bool:
    form = data.get("stream_format", "audio")
    if form not in ("audio", "sse"):
        raise BadOption(f"stream_format must be audio or sse, not {quoted(form)}")
    return bool(form == "sse")


def _speed(data: dict[str, Any]) -> float:
    speed = data.get("speed", 1.0)
    if type(speed) not in (int, float) or not 0.25 <= speed <= 4.0:
        raise BadOption(f"speed must lie in 0.25..4, not {quoted(speed)}")
    return nearest_speed(speed)


def _sse(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data, separators=(",", ":")).encode("ascii") + b"\n\n"

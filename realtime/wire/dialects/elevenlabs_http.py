"""ElevenLabs' `POST /v1/text-to-speech/{voice}`: bare, `/stream`, `/with-timestamps`, `/stream/with-timestamps`.

The request body is the one message in, the chunks of the response are the messages out: the file's bytes, or JSON with base64 and
the time of every character in seconds from the response's beginning (Pipecat's HTTP service adds none up within a response).
"""

from __future__ import annotations

import json
from binascii import b2a_base64
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from typing import Any

from realtime.errors import BadText, ClientError, RealtimeError
from realtime.types import Codec
from realtime.wire.alignment import Alignment, TimedCharacter
from realtime.wire.dialect import Close, Message, json_map
from realtime.wire.dialects.elevenlabs import ERROR_NAMES, opening, speed_of
from realtime.wire.events import AppendText, Audio, Done, End, Event, Limits, SegmentStarted
from realtime.wire.reading import NOT_PROSE, quoted

UTTERANCE = "speech"
CONTENT_TYPES = {
    Codec.PCM_S16LE: "audio/pcm",
    Codec.MP3: "audio/mpeg",
    Codec.MULAW: "audio/basic",
    Codec.ALAW: "audio/x-alaw-basic",
    Codec.OGG_OPUS: "audio/ogg",
    Codec.WAV: "audio/wav",
}
"""LiveKit wants a type that starts with `audio/`."""

STATUS = {"unauthorized": 401, "unknown_voice": 404, "overloaded": 429, "draining": 503, "deadline_missed": 503}
"""Our codes as HTTP statuses; other errors of clients are 422, of ours 500."""


class Timestamps(Enum):
    """What the response is: sound alone, one JSON document, or a JSON object per line."""

    NONE = "none"
    WHOLE = "whole"
    LINES = "lines"


class ElevenLabsSpeech:
    """One request. `content_type` is the response's."""

    closing: Close | None = None

    def __init__(self, voice: str, query: Mapping[str, str], timestamps: Timestamps, voices: Collection[str] = ()) -> None:
        self._template = opening(voice, query, voices)
        self._timestamps = timestamps
        self._alignment = Alignment(self._template.format.sample_rate)
        self._sound = b""
        self._until_ms = 0.0
        self._told: list[TimedCharacter] = []
        self.content_type = CONTENT_TYPES[self._template.format.codec] if timestamps is Timestamps.NONE else "application/json"

    def decode(self, message: Message) -> Sequence[Event]:
        """The request body as an utterance. Raises `ProtocolViolation` or `BadText`."""
        data = json_map(message, "body")
        text, before = data.get("text"), data.get("previous_text")
        if type(text) is not str:
            raise BadText(f"text must be a string, not {quoted(text)}")
        text = NOT_PROSE.sub("", text)
        if not text.strip():
            raise BadText("text is empty")
        self._alignment.append(text)
        context = NOT_PROSE.sub("", before)[-Limits().max_context_chars :] if type(before) is str else ""
        first = replace(self._template, utterance=UTTERANCE, speed=speed_of(data), context=context)
        return first, AppendText(UTTERANCE, text), End(UTTERANCE)

    def encode(self, event: Event) -> bytes | None:
        """A chunk of the response."""
        if isinstance(event, SegmentStarted):
            self._alignment.segment(event)
        elif isinstance(event, Audio):
            return self._audio(event)
        elif isinstance(event, Done):
            self._told += self._alignment.take(self._until_ms, is_over=True)
            if self._timestamps is Timestamps.WHOLE or (self._timestamps is Timestamps.LINES and self._told):
                return self._document() + b"\n"
        return None

    def _audio(self, event: Audio) -> bytes | None:
        if self._timestamps is Timestamps.NONE:
            return event.payload
        self._until_ms = (event.offset + event.samples) * 1000 / self._template.format.sample_rate
        self._told += self._alignment.take(self._until_ms)
        self._sound += event.payload
        return self._document() + b"\n" if self._timestamps is Timestamps.LINES else None

    def _document(self) -> bytes:
        """What was not sent yet, as their JSON."""
        sound, self._sound = self._sound, b""
        told, self._told = self._told, []
        alignment = {
            "characters": [character.text for character in told],
            "character_start_times_seconds": [round(character.start_ms / 1000, 3) for character in told],
            "character_end_times_seconds": [round(character.end_ms / 1000, 3) for character in told],
        }
        spoken = alignment if told else None
        audio = b2a_base64(sound, newline=False).decode("ascii")
        document = {"audio_base64": audio, "alignment": spoken, "normalized_alignment": spoken}
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def error_response(error: RealtimeError) -> tuple[int, dict[str, Any]]:
    """HTTP status and JSON body of an error; 422 has their form of a validation error."""
    status = STATUS.get(error.code, 422 if isinstance(error, ClientError) else 500)
    if status == 422:
        field = "text" if isinstance(error, BadText) else "body"
        return status, {"detail": [{"loc": ["body", field], "msg": error.message, "type": ERROR_NAMES.get(error.code, error.code)}]}
    return status, {"detail": {"status": ERROR_NAMES.get(error.code, error.code), "message": error.message}}

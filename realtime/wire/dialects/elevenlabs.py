"""ElevenLabs' text-to-speech WebSockets: `stream-input` (one text per connection) and `multi-stream-input` (contexts).

Written for unmodified clients: the `elevenlabs` package, LiveKit's plugin, Pipecat. Their habits decide where the public
documentation leaves room; each is named where it matters. Unknown fields are let pass, as the original does.

Times in an alignment count from where the alignment before it ended. For a client that adds up spans (Pipecat) the sums are the true
positions; for one that takes them as relative to the audio beside them (the documentation) they are that, but after pieces in
which no character began. With `sync_alignment` they count from the context's beginning: only LiveKit asks for it, and adds nothing up.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from binascii import b2a_base64
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any

from realtime.errors import BadOption, ProtocolViolation
from realtime.types import AudioFormat, Codec, UtteranceId, nearest_speed
from realtime.wire.alignment import Alignment
from realtime.wire.dialect import POLICY_VIOLATION, Close, Message, cut_reason, json_map
from realtime.wire.events import AppendText, Audio, Cancelled, Done, End, Error, Event, Flush, Open, SegmentStarted
from realtime.wire.reading import NOT_PROSE, quoted
from realtime.wire.rules import LANGUAGE_PATTERN

NORMAL_CLOSURE = 1000
CODECS = {"pcm": Codec.PCM_S16LE, "mp3": Codec.MP3, "ulaw": Codec.MULAW, "alaw": Codec.ALAW, "opus": Codec.OGG_OPUS, "wav": Codec.WAV}
ERROR_NAMES = {
    "unauthorized": "invalid_api_key",
    "unknown_voice": "voice_not_found",
    "overloaded": "system_busy",
    "draining": "system_busy",
    "bad_option": "invalid_request",
    "bad_text": "invalid_request",
    "protocol_violation": "invalid_request",
}
"""Our codes in their words; other codes go out as they are."""


def parse_output_format(name: str) -> AudioFormat:
    """`pcm_24000`, `mp3_44100_128`, `ulaw_8000`. Raises `BadOption` for what is no such name."""
    codec, *numbers = name.split("_")
    if codec not in CODECS or not 1 <= len(numbers) <= 2 or not all(part.isdecimal() and len(part) < 7 for part in numbers):
        raise BadOption(f"output_format {quoted(name)} is not known; write pcm_24000 or mp3_44100_128")
    return AudioFormat(CODECS[codec], int(numbers[0]), int(numbers[1]) * 1000 if len(numbers) == 2 else None)


def opening(voice: str, query: Mapping[str, str], voices: Collection[str]) -> Open:
    """The `open` that a URL asks for, its utterance not named yet. A voice that is not among `voices` means the default one, because
    these clients come with voice ids of their own. Raises `BadOption`."""
    language, seed = query.get("language_code"), query.get("seed", "")
    if language is not None and not re.fullmatch(LANGUAGE_PATTERN, language):
        raise BadOption(f"language_code {quoted(language)} is no language tag")
    return Open(
        "",
        voice=voice if voice in voices else None,
        language=language,
        format=parse_output_format(query.get("output_format", "mp3_44100_128")),
        seed=int(seed) % 2**32 if seed.isdecimal() and len(seed) < 20 else 0,
    )


def speed_of(data: Mapping[str, Any]) -> float:
    """`voice_settings.speed`, brought into our range; their other settings have no counterpart here."""
    settings = data.get("voice_settings")
    speed = settings.get("speed") if isinstance(settings, dict) else None
    if speed is None or type(speed) not in (int, float):
        return 1.0
    return nearest_speed(speed)


@dataclass(slots=True)
class _Context:
    """One of their contexts as one utterance of ours."""

    utterance: UtteranceId
    name: str
    alignment: Alignment
    aligned_ms: float = 0.0
    has_text: bool = False
    has_ended: bool = False


class _ElevenLabs(ABC):
    """What both sockets share. `voice` and `query` come from the URL."""

    def __init__(self, voice: str, query: Mapping[str, str], voices: Collection[str] = ()) -> None:
        self._template = opening(voice, query, voices)
        self.closing: Close | None = None
        self._is_synced = query.get("sync_alignment", "false").lower() == "true"
        self._is_automatic = query.get("auto_mode", "false").lower() == "true"
        self._contexts: dict[UtteranceId, _Context] = {}
        self._opened = 0
        self._flushes = 0

    # ---- in ----

    def decode(self, message: Message) -> Sequence[Event]:
        """One of their messages as any number of events. Raises `ProtocolViolation` for what is none."""
        if not isinstance(message, str):
            raise ProtocolViolation("a binary frame, but messages of this protocol are JSON text")
        data = json_map(message)
        text = data.get("text")
        if text is not None and type(text) is not str:
            raise ProtocolViolation(f"text must be a string, not {quoted(text)}")
        return tuple(self._events(data, text))

    @abstractmethod
    def _events(self, data: dict[str, Any], text: str | None) -> Iterator[Event]:
        """What a well-formed map means."""

    def _open(self, name: str, data: dict[str, Any]) -> tuple[_Context, Open]:
        self._opened += 1
        utterance = f"c{self._opened}"
        context = self._contexts[utterance] = _Context(utterance, name, Alignment(self._template.format.sample_rate))
        return context, replace(self._template, utterance=utterance, speed=speed_of(data))

    def _say(self, context: _Context, text: str, data: dict[str, Any]) -> Iterator[Event]:
        """Text, and a flush where it is asked for. An opening single space is no text; later it may be a token of its own.

        In automatic mode each message is to be spoken as it comes: Pipecat sends sentences without a space between them.
        """
        text = NOT_PROSE.sub("", text)
        if text.strip() or context.has_text:
            context.has_text = True
            context.alignment.append(text)
            if text:
                yield AppendText(context.utterance, text)
        if data.get("flush") is True or (self._is_automatic and text.strip()):
            self._flushes += 1
            yield Flush(context.utterance, f"f{self._flushes}")

    def _end(self, context: _Context) -> Iterator[Event]:
        if not context.has_ended:
            context.has_ended = True
            yield End(context.utterance)

    # ---- out ----

    def encode(self, event: Event) -> str | None:
        """The message for sound, an end or an error; these clients know nothing else."""
        context = self._contexts.get(getattr(event, "utterance", None) or "")
        if isinstance(event, Error):
            return self._encode_error(event, context)
        if context is None:
            return None
        if isinstance(event, SegmentStarted):
            context.alignment.segment(event)
        elif isinstance(event, Audio):
            return _dumps(self._audio(event, context))
        elif isinstance(event, Done | Cancelled):
            del self._contexts[context.utterance]
            return _dumps(self._final(context))
        return None

    @abstractmethod
    def _final(self, context: _Context) -> dict[str, Any]:
        """The last message of a context, with the characters not told yet, if any; closes the socket where that is due."""

    @abstractmethod
    def _encode_error(self, event: Error, context: _Context | None) -> str:
        """The message of an error; closes the socket where that is due."""

    def _audio(self, event: Audio, context: _Context) -> dict[str, Any]:
        until_ms = (event.offset + event.samples) * 1000 / self._template.format.sample_rate
        alignment = self._alignment(context, until_ms)
        payload = b2a_base64(event.payload, newline=False).decode("ascii")
        return {"audio": payload, "isFinal": None, "alignment": alignment, "normalizedAlignment": alignment}

    def _alignment(self, context: _Context, until_ms: float, *, is_over: bool = False) -> dict[str, Any] | None:
        """The characters that begin in a piece, spelled as they were sent; their spans add up to the end of the piece."""
        timed = context.alignment.take(until_ms, is_over=is_over)
        if not timed:
            return None
        since = 0.0 if self._is_synced else context.aligned_ms
        context.aligned_ms = until_ms
        whole = round(until_ms - since)
        starts = [min(whole, max(0, round(character.start_ms - since))) for character in timed]
        edges = [*accumulate(starts, max), whole]
        return {
            "chars": [character.text for character in timed],
            "charStartTimesMs": edges[:-1],
            "charDurationsMs": [after - before for before, after in pairwise(edges)],
        }

    def _error(self, event: Error) -> dict[str, Any]:
        return {"message": event.message, "error": ERROR_NAMES.get(event.code, event.code), "code": POLICY_VIOLATION}


class ElevenLabsStream(_ElevenLabs):
    """`/v1/text-to-speech/{voice_id}/stream-input`: one utterance, then the socket closes."""

    def _events(self, data: dict[str, Any], text: str | None) -> Iterator[Event]:
        context = next(iter(self._contexts.values()), None)
        if context is None:
            if self._opened:
                return  # the text has ended: what still comes is late
            context, opening = self._open("", data)
            yield opening
        if text == "" and data.get("flush") is not True:
            yield from self._end(context)
        elif not context.has_ended:
            yield from self._say(context, text or "", data)

    def _final(self, context: _Context) -> dict[str, Any]:
        self.closing = Close(NORMAL_CLOSURE)
        rest = self._alignment(context, context.aligned_ms, is_over=True)
        return {"audio": None, "isFinal": True, "alignment": rest, "normalizedAlignment": rest}

    def _encode_error(self, event: Error, context: _Context | None) -> str:
        self.closing = Close(POLICY_VIOLATION, cut_reason(event.message))
        return _dumps(self._error(event))


class ElevenLabsMulti(_ElevenLabs):
    """`/v1/text-to-speech/{voice_id}/multi-stream-input`: contexts side by side, named by the client; the same name may come again."""

    def __init__(self, voice: str, query: Mapping[str, str], voices: Collection[str] = ()) -> None:
        super().__init__(voice, query, voices)
        self._is_leaving = False

    def _events(self, data: dict[str, Any], text: str | None) -> Iterator[Event]:
        if data.get("close_socket") is True:
            self._is_leaving = True
            for context in list(self._contexts.values()):
                yield from self._end(context)
            self._leave()
            return
        name = data.get("context_id", data.get("contextId"))
        if name is not None and type(name) is not str:
            raise ProtocolViolation(f"context_id must be a string, not {quoted(name)}")
        found = next((context for context in self._contexts.values() if context.name == (name or "") and not context.has_ended), None)
        if data.get("close_context") is True:
            yield from self._end(found) if found is not None else ()
            return
        if found is None:
            if not text:
                return  # a keepalive, or a flush of what does not exist
            found, opening = self._open(name or "", data)
            yield opening
        yield from self._say(found, text or "", data)

    def _audio(self, event: Audio, context: _Context) -> dict[str, Any]:
        return {**super()._audio(event, context), "isFinal": False, "contextId": context.name}

    def _final(self, context: _Context) -> dict[str, Any]:
        self._leave()
        rest = self._alignment(context, context.aligned_ms, is_over=True)
        alignment = {"alignment": rest, "normalizedAlignment": rest} if rest is not None else {}
        return {"isFinal": True, "contextId": context.name, "audio": None, **alignment}

    def _encode_error(self, event: Error, context: _Context | None) -> str:
        """Pipecat reads no errors but waits for `isFinal`; LiveKit fails the context by `error`. One message serves both."""
        if context is None:
            self.closing = Close(POLICY_VIOLATION, cut_reason(event.message))
            return _dumps(self._error(event))
        del self._contexts[context.utterance]
        return _dumps({**self._error(event), **self._final(context)})

    def _leave(self) -> None:
        if self._is_leaving and not self._contexts:
            self.closing = Close(NORMAL_CLOSURE)


_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

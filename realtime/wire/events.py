"""The neutral events: what any dialect's messages mean.

Every field carries its rule (`realtime.wire.rules`), from which the native dialect, the JSON Schema and the reference page are made.
Long because all messages stand in one list, to be read side by side.

Units, everywhere in this file:
- *text positions* count Unicode code points of the utterance's text, that is of all its `AppendText`s joined; `Open.context` is
  not counted. JavaScript counts UTF-16 units: a browser converts.
- *samples* count the utterance's output timeline at `Open.format.sample_rate`; 0 is the first sample of its first `Audio`. Engine
  delays are trimmed before, so the n-th sample is the n-th one heard.
- *milliseconds* lie on that same timeline.

An utterance ends with exactly one of `Done`, `Cancelled` or `Error`, and nothing about it follows.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Annotated, NamedTuple

from realtime.types import SPEEDS, AudioFormat, Budget, Codec, Emotion, EngineName, Priority, Usage, UtteranceId
from realtime.wire.rules import (
    LANGUAGE_PATTERN,
    NAME_PATTERN,
    REASON_PATTERN,
    Rule,
    identifier,
    milliseconds,
    note,
    option,
    position,
    prose,
)

Id = Annotated[UtteranceId, identifier("The utterance, by the client's own id; free again once the utterance has ended")]


DEFAULT_FORMAT = AudioFormat()


class BudgetProfile(StrEnum):
    """Named sets of budget values; what they hold is the service's configuration."""

    IVR = "ivr"
    BROWSER = "browser"
    CHATBOT = "chatbot"
    BATCH = "batch"


@dataclass(frozen=True, slots=True)
class BudgetChoice:
    """A profile (none: the service's default one) and the values that differ from it. Times in milliseconds."""

    profile: Annotated[BudgetProfile | None, option("The profile to start from; absent: the service's default")] = None
    first_audio_ms: Annotated[int | None, option("First audio is wanted within this time of the first text", low=1, high=600_000)] = None
    start_buffer_ms: Annotated[int | None, option("The listener starts to play when this much has come", low=0, high=60_000)] = None
    max_lead_ms: Annotated[int | None, option("Never more audio ahead of the listener than this", low=100, high=3_600_000)] = None
    sticky: Annotated[bool | None, option("Once switched, stay with that engine until the utterance ends")] = None

    def over(self, base: Budget) -> Budget:
        """`base` (the profile's values) with this choice's own values put over it."""
        own = {f.name: getattr(self, f.name) for f in fields(Budget)}
        return replace(base, **{name: value for name, value in own.items() if value is not None})


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may do. The session enforces these, `Ready` tells them; the defaults are those of a service without settings."""

    max_message_bytes: Annotated[int, position("Largest message from the client, in bytes")] = 1 << 20
    max_text_chars: Annotated[int, position("Most characters in one `text` message")] = 100_000
    max_utterance_chars: Annotated[int, position("Most characters in one utterance")] = 100_000
    max_context_chars: Annotated[int, position("Most characters of `open.context`")] = 20_000
    max_open_utterances: Annotated[int, position("Most utterances open at once on this connection")] = 16
    max_pending_flushes: Annotated[int, position("Most flushes of one utterance that are not answered yet")] = 1000


# ---- from the client ----


@dataclass(frozen=True, slots=True)
class Open:
    """Begin an utterance. Text may follow at once, without waiting for `opened`."""

    utterance: Id
    voice: Annotated[str | None, option("A voice of `ready.voices`; absent: the default one", pattern=NAME_PATTERN)] = None
    language: Annotated[str | None, option("Language tag such as `zh` or `en`; absent: told from the text", pattern=LANGUAGE_PATTERN)] = (
        None
    )
    format: Annotated[AudioFormat, option("How to write the audio")] = DEFAULT_FORMAT
    speed: Annotated[float, option("Rate of speech; 1 is the voice's own", low=SPEEDS[0], high=SPEEDS[1])] = 1.0
    emotion: Annotated[Emotion | None, option("How to say it")] = None
    priority: Annotated[Priority | None, option("Who goes first when deadlines compete; absent: the class of the budget's profile")] = None
    budget: Annotated[BudgetChoice, option("What the listener tolerates")] = BudgetChoice()
    seed: Annotated[int, option("Makes sampling repeatable", low=0, high=2**32 - 1)] = 0
    cache: Annotated[bool, option("false: neither serve this utterance from the cache of spoken segments nor keep it there")] = True
    words: Annotated[bool, option("false: leave word times out of `segment`")] = True
    context: Annotated[
        str, prose("Text that was heard before; not spoken, not counted, and without effect: no engine of today makes use of it")
    ] = ""


@dataclass(frozen=True, slots=True)
class AppendText:
    """More text of an utterance, cut anywhere but inside a character. Never empty."""

    utterance: Id
    text: Annotated[str, prose("The characters that follow; at least one", min_chars=1)]


@dataclass(frozen=True, slots=True)
class Flush:
    """Speak everything that is held back, now; more text may follow. Answered by `flushed`."""

    utterance: Id
    flush_id: Annotated[str, identifier("Comes back in `flushed`")]


@dataclass(frozen=True, slots=True)
class End:
    """No more text comes. Answered by `done` once all audio is sent."""

    utterance: Id


@dataclass(frozen=True, slots=True)
class Cancel:
    """Barge-in: stop at once and discard what is unsent. Answered by `cancelled`. Unless it crossed the end, nothing else comes."""

    utterance: Id


@dataclass(frozen=True, slots=True)
class Played:
    """How far the listener's ear has got. Send it a few times per second while playing, also after `done`.

    In samples and not milliseconds, so that the mark after a frame is exactly `audio.offset + audio.samples`: no rounding can
    make a listener seem to have heard more than was sent. A position beyond what was sent is corrected, not refused.
    """

    utterance: Id
    sample: Annotated[int, position("Samples of the output timeline played so far")]


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there? Answered by `pong` at once."""

    data: Annotated[str, Rule("Comes back in `pong`", max_chars=64)] = ""


# ---- from the service ----


@dataclass(frozen=True, slots=True)
class Voice:
    """A speaker on offer."""

    id: Annotated[str, note("What `open.voice` takes")]
    engine: Annotated[EngineName, note("The engine that has it first")]
    languages: Annotated[tuple[str, ...], Rule("Language tags", max_items=100)] = ()
    description: Annotated[str, note("For people")] = ""
    gender: Annotated[str | None, note("As the voice's makers say")] = None
    emotions: Annotated[tuple[str, ...], Rule("Names that `open.emotion.name` takes", max_items=100)] = ()


@dataclass(frozen=True, slots=True)
class FormatOffer:
    """A codec and the sample rates (Hz) it is offered at."""

    codec: Annotated[Codec, Rule("The codec")]
    sample_rates: Annotated[tuple[int, ...], Rule("Sample rates in Hz", low=1, high=768_000, max_items=100)]


@dataclass(frozen=True, slots=True)
class EngineOffer:
    """An engine in service, in the order of preference."""

    name: Annotated[EngineName, note("Its name in `segment`, `audio`, `switch` and `done`")]
    languages: Annotated[tuple[str, ...], Rule("Language tags", max_items=100)] = ()
    sample_rate: Annotated[int | None, Rule("Its own rate in Hz, before resampling", low=1, high=768_000)] = None


@dataclass(frozen=True, slots=True)
class Ready:
    """The first message of a connection: what is on offer."""

    server_version: Annotated[str, note("Version of the service")]
    limits: Annotated[Limits, Rule("What this connection may do")] = Limits()
    voices: Annotated[tuple[Voice, ...], Rule("Voices", max_items=10_000)] = ()
    formats: Annotated[tuple[FormatOffer, ...], Rule("Formats", max_items=1000)] = ()
    engines: Annotated[tuple[EngineOffer, ...], Rule("Engines, best first", max_items=100)] = ()


@dataclass(frozen=True, slots=True)
class Opened:
    """The utterance is admitted; these are the values in force."""

    utterance: Id
    voice: Annotated[str, note("The voice that speaks")]
    format: Annotated[AudioFormat, Rule("The format of its audio")]
    budget: Annotated[Budget, Rule("Its budget")]


class Word(NamedTuple):
    """When one word sounds: characters `[start_char, end_char)`, milliseconds `[start_ms, end_ms)`. An array of four on the wire."""

    start_char: int
    end_char: int
    start_ms: float
    end_ms: float


@dataclass(frozen=True, slots=True)
class SegmentStarted:
    """A clause or sentence begins to sound; sent before its first audio.

    Sent again with the same `index` when more is known or an engine was switched: the later message replaces the earlier one
    whole (engine and all word times); `span_start`, `span_end` and `sample_offset` stay as they were.
    """

    utterance: Id
    index: Annotated[int, position("Number of the segment in the utterance, from 0")]
    span_start: Annotated[int, position("First character")]
    span_end: Annotated[int, position("One past the last character")]
    sample_offset: Annotated[int, position("Sample at which it begins")]
    engine: Annotated[EngineName, note("The engine that speaks it now")]
    language: Annotated[str, note("The language it is spoken in")]
    words: Annotated[tuple[Word, ...], Rule("Word times known so far, in order", low=0, high=2**53 - 1, max_items=100_000)] = ()


@dataclass(frozen=True, slots=True)
class Audio:
    """A piece of sound. `payload` is in the opened format; a container's header or trailer may come with `samples` = 0.

    Pieces join without gaps: `offset` + `samples` is the next one's `offset`, `seq` counts from 0.
    """

    utterance: Id
    seq: Annotated[int, position("Number of the piece in the utterance, from 0")]
    offset: Annotated[int, position("Its first sample")]
    samples: Annotated[int, position("How many samples it holds")]
    engine: Annotated[EngineName, note("The engine that spoke it (its last sample)")]
    payload: Annotated[bytes, Rule("The bytes: `bin` in MessagePack, base64 (RFC 4648 section 4) in JSON")]


@dataclass(frozen=True, slots=True)
class Switch:
    """Another engine goes on in the middle of the utterance; no word is repeated or lost.

    Reasons in use: `predicted_miss`, `stalled`, `worker_lost`, `engine_failed`, `garbage`, `breaker_open`, `overloaded`,
    `recovered` (back to the better engine); clients take others for information.
    """

    utterance: Id
    from_engine: Annotated[EngineName, note("Who spoke until here")]
    to_engine: Annotated[EngineName, note("Who speaks from here")]
    reason: Annotated[str, Rule("Why, as one word", pattern=REASON_PATTERN)]
    text_offset: Annotated[int, position("First character that the new engine speaks")]
    sample_offset: Annotated[int, position("First sample of the new engine")]


@dataclass(frozen=True, slots=True)
class Flushed:
    """Everything sent before the flush of that id is spoken and its audio sent."""

    utterance: Id
    flush_id: Annotated[str, identifier("From `flush`")]
    text_offset: Annotated[int, position("Characters spoken up to here")]
    sample_offset: Annotated[int, position("Samples sent up to here")]


@dataclass(frozen=True, slots=True)
class TextPaused:
    """Input backpressure: send no more text of this utterance until `text_resumed`. Text already under way is taken, within reason:
    a client with pages of text at hand sends a thousand characters and a `ping`, and goes on at the `pong`."""

    utterance: Id
    held_characters: Annotated[int, position("Characters held unspoken")] = 0


@dataclass(frozen=True, slots=True)
class TextResumed:
    """Text is welcome again."""

    utterance: Id


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The end after `cancel`: what the listener had heard by then, by the last `played` and the clock since."""

    utterance: Id
    heard_characters: Annotated[int, position("Characters heard")]
    heard_ms: Annotated[float, milliseconds("Milliseconds heard")]


@dataclass(frozen=True, slots=True)
class Underruns:
    """Silences that the listener suffered for want of audio, by the service's playout model."""

    count: Annotated[int, position("How many")] = 0
    total_ms: Annotated[float, milliseconds("Their sum")] = 0.0
    worst_ms: Annotated[float, milliseconds("The longest")] = 0.0


@dataclass(frozen=True, slots=True)
class Done:
    """The end: all text is spoken and all audio sent. `ttfa_ms` is absent when there was nothing to be heard.

    Comes after `end`; or without one, when no text came for so long that the service took it for the end. Text that crossed such a
    `done` was not taken: open another utterance from `usage.characters` on.
    """

    utterance: Id
    usage: Annotated[Usage, Rule("What it cost")]
    ttfa_ms: Annotated[float | None, milliseconds("First text received to first audible frame sent, on the service's clock")] = None
    underruns: Annotated[Underruns, Rule("Silences for want of audio")] = Underruns()
    switches: Annotated[int, position("How often the engine changed")] = 0


@dataclass(frozen=True, slots=True)
class Error:
    """What went wrong. With `utterance`: that utterance is over (or was never begun), all others go on.

    Without: a message that could not be attributed to an utterance; the connection goes on unless the service closes it.
    """

    code: Annotated[str, Rule("One of the codes below", pattern=REASON_PATTERN)]
    message: Annotated[str, note("What to do about it, for people")]
    retryable: Annotated[bool, Rule("Whether the same request may succeed later")] = False
    retry_after_ms: Annotated[int | None, milliseconds("Not before")] = None
    utterance: Annotated[UtteranceId | None, identifier("The utterance it ends")] = None
    heard_characters: Annotated[int | None, position("Characters heard until then, where audio had begun")] = None
    heard_ms: Annotated[float | None, milliseconds("Milliseconds heard until then")] = None


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to `ping`."""

    data: Annotated[str, Rule("From `ping`", max_chars=64)] = ""


ClientEvent = Open | AppendText | Flush | End | Cancel | Played | Ping
ServerEvent = Ready | Opened | SegmentStarted | Audio | Switch | Flushed | TextPaused | TextResumed | Cancelled | Done | Error | Pong
Event = ClientEvent | ServerEvent

CLIENT_EVENTS: dict[str, type[ClientEvent]] = {
    "open": Open,
    "text": AppendText,
    "flush": Flush,
    "end": End,
    "cancel": Cancel,
    "played": Played,
    "ping": Ping,
}
"""By the name that messages and prose use."""

SERVER_EVENTS: dict[str, type[ServerEvent]] = {
    "ready": Ready,
    "opened": Opened,
    "segment": SegmentStarted,
    "audio": Audio,
    "switch": Switch,
    "flushed": Flushed,
    "text_paused": TextPaused,
    "text_resumed": TextResumed,
    "cancelled": Cancelled,
    "done": Done,
    "error": Error,
    "pong": Pong,
}

EVENT_NAMES: dict[type[Event], str] = {kind: name for table in (CLIENT_EVENTS, SERVER_EVENTS) for name, kind in table.items()}

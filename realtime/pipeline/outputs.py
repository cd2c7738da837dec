"""What an utterance tells its listener, as values. The server turns each into a wire event; nothing here knows a protocol.

Times of words are milliseconds, positions of audio are samples, both on the utterance's own output timeline.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from realtime.audio.encoder import EncodedFrame
from realtime.types import EngineName, Span, Usage


@dataclass(frozen=True, slots=True)
class Word:
    """One word's place in the original text and on the timeline."""

    span: Span
    start_ms: float
    end_ms: float


@dataclass(frozen=True, slots=True)
class SegmentOut:
    """A segment begins to sound, or more is known about one that did: the later report of an index replaces the earlier."""

    index: int
    span: Span
    start: int
    engine: EngineName
    language: str
    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class AudioOut:
    """Frames that go out together, encoded: what one wake-up of the stream has to send, in one piece so that it costs one write.

    `sequence` is the first frame's number in the utterance; `start` and `samples` span all of them, at the format's rate.
    """

    sequence: int
    start: int
    samples: int
    engine: EngineName
    frames: tuple[EncodedFrame, ...]

    @property
    def payload(self) -> bytes:
        """The bytes of all frames."""
        return b"".join(frame.payload for frame in self.frames)


@dataclass(frozen=True, slots=True)
class SwitchOut:
    """From `sample` on, another engine speaks, beginning with `character`."""

    from_engine: EngineName
    to_engine: EngineName
    reason: str
    character: int
    sample: int


@dataclass(frozen=True, slots=True)
class FlushedOut:
    """Everything fed before the flush has been sent: so many characters, so many samples."""

    flush_id: str
    chars: int
    samples: int


@dataclass(frozen=True, slots=True)
class TextPausedOut:
    """Enough text is waiting: the sender should stop feeding."""

    pending_chars: int


@dataclass(frozen=True, slots=True)
class TextResumedOut:
    """There is room for text again."""

    pending_chars: int


@dataclass(frozen=True, slots=True)
class Underruns:
    """Silences inside the utterance at the listener, as far as the playout clock tells."""

    count: int = 0
    total_ms: float = 0.0
    worst_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class CancelledOut:
    """Stopped on request; nothing of it follows. `heard_chars` counts the original characters that had sounded."""

    heard_chars: int
    heard_ms: float
    usage: Usage
    ttfa_ms: float | None = None


@dataclass(frozen=True, slots=True)
class DoneOut:
    """Everything was spoken and sent."""

    usage: Usage
    ttfa_ms: float | None
    underruns: Underruns = field(default_factory=Underruns)
    switches: int = 0


@dataclass(frozen=True, slots=True)
class FailedOut:
    """The utterance ended early; `heard_chars` and `heard_ms` say how much of it had sounded."""

    code: str
    message: str
    retryable: bool
    retry_after_ms: int | None
    heard_chars: int
    heard_ms: float


Output = SegmentOut | AudioOut | SwitchOut | FlushedOut | TextPausedOut | TextResumedOut | CancelledOut | DoneOut | FailedOut
Ending = CancelledOut | DoneOut | FailedOut

"""Frozen values that every layer shares. Standard library only, so the pure packages may import them.

Positions in text are counted in Unicode code points of the utterance's *original* text (what the client sent), unless a field
says otherwise. Positions in audio are integer samples at a stated rate.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

UtteranceId = str
JobId = str
WorkerId = str
EngineName = str

SPEEDS = (0.5, 2.0)
"""Slowest and fastest rate of speech that may be asked for, 1 is the voice's own; beyond it speech is hard to follow (guess)."""


def nearest_speed(speed: float) -> float:
    """The speed of ours that is nearest to one that other services have; the slowest for not-a-number."""
    slowest, fastest = SPEEDS
    return float(min(fastest, max(slowest, speed)))


class Codec(StrEnum):
    """How samples are written on the wire. `opus` is raw 20 ms packets; `ogg_opus` is one Ogg stream."""

    PCM_S16LE = "pcm_s16le"
    PCM_F32LE = "pcm_f32le"
    MULAW = "mulaw"
    ALAW = "alaw"
    OPUS = "opus"
    OGG_OPUS = "ogg_opus"
    MP3 = "mp3"
    AAC = "aac"
    FLAC = "flac"
    WAV = "wav"


class Priority(StrEnum):
    """Scheduling class of an utterance; earlier members go first when deadlines compete."""

    INTERACTIVE = "interactive"
    NORMAL = "normal"
    BATCH = "batch"


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Half-open range of character positions, `start <= end`."""

    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            raise ValueError(f"a span needs 0 <= start <= end, got {self.start}..{self.end}")

    def __len__(self) -> int:
        return self.end - self.start

    def shifted(self, by: int) -> Span:
        """The same range, `by` characters further on."""
        return Span(self.start + by, self.end + by)


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """What a listener asked for: a codec at a sample rate in Hz; `bitrate` in bit/s where the codec has one (None = its default)."""

    codec: Codec = Codec.PCM_S16LE
    sample_rate: int = 24000
    bitrate: int | None = None


@dataclass(frozen=True, slots=True)
class WordTime:
    """When one word sounds: its characters, and samples [start, end) at the rate that the holder states."""

    span: Span
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class SpokenText:
    """Text to be spoken, with the way back to what it was made from.

    `origin[i]` is the position in the source text of spoken character i; `origin[len(text)]` is the source's end. Non-decreasing.
    """

    text: str
    origin: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.origin) != len(self.text) + 1:
            raise ValueError(f"origin needs {len(self.text) + 1} entries, got {len(self.origin)}")

    @classmethod
    def verbatim(cls, text: str, at: int = 0) -> SpokenText:
        """`text` spoken as it stands, its first character at source position `at`."""
        return cls(text, tuple(range(at, at + len(text) + 1)))

    def source_span(self, spoken: Span) -> Span:
        """The source characters behind a range of spoken ones."""
        return Span(self.origin[spoken.start], self.origin[spoken.end])


@dataclass(frozen=True, slots=True)
class Segment:
    """One clause or sentence, the unit that is synthesised.

    `text` is the original slice `span`; segments of an utterance are contiguous and cover every character once. `language` is a
    guess for mixed input: `zh` or `en`. `is_last_before_flush` marks the one that a flush or the end closed.
    """

    index: int
    span: Span
    text: str
    language: str = "zh"
    is_last_before_flush: bool = False


@dataclass(frozen=True, slots=True)
class Emotion:
    """How to say it. `name` is one of the voice's emotions; `vector` (8 weights: happy, angry, sad, afraid, disgusted,
    melancholic, surprised, calm) is for engines that take one; `strength` 0..1."""

    name: str | None = None
    vector: tuple[float, ...] | None = None
    strength: float = 1.0


@dataclass(frozen=True, slots=True)
class SpeechPlan:
    """When each character of a text will sound, known before any of it is spoken.

    `times_s[i]` is the start of character i in seconds from the start of the sound, `times_s[len]` the whole duration;
    non-decreasing, characters that are not spoken take no time. `words` are the character ranges a listener would call words
    (for Chinese: prosodic words), in order. `source` names what made the plan: an engine, or `rate` for the rate model.
    """

    times_s: tuple[float, ...]
    words: tuple[Span, ...] = ()
    source: str = "rate"

    @property
    def duration_s(self) -> float:
        """Expected length of the sound."""
        return self.times_s[-1]

    def char_at(self, time_s: float) -> int:
        """The character that sounds at `time_s`: the last one that started and is not over; the text's length when past the end."""
        if time_s >= self.duration_s:
            return len(self.times_s) - 1
        low, high = 0, len(self.times_s) - 1
        while low < high:
            mid = (low + high + 1) // 2
            if self.times_s[mid] <= time_s:
                low = mid
            else:
                high = mid - 1
        return low


@dataclass(frozen=True, slots=True)
class Budget:
    """What a listener tolerates. Times in milliseconds."""

    first_audio_ms: int = 1500
    start_buffer_ms: int = 100
    max_lead_ms: int = 8000
    sticky: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """What an utterance cost: characters spoken, and milliseconds of audio sent by each engine."""

    characters: int = 0
    audio_ms_by_engine: dict[EngineName, float] = field(default_factory=dict)

"""What an utterance has to say, what of it was sent, and what of it came back as sound: enough to go on after a lost connection.

Pure. Positions are the whole utterance's, over all connections that it takes: characters of its text, samples of its sound. Each
connection counts from 0 again; `Bases` lies between the two.

A resume point is a place between words: the sound before it is kept, the text after it is spoken again. The last one inside the sound
that arrived is taken, so that what the listener holds unheard carries over the reconnection; the started word behind it, if any, is
said anew from its beginning. Word times make this fine; without them only the beginnings of segments are known.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, replace

from realtime.wire.events import AppendText, Audio, Cancelled, ClientEvent, End, Flush, Flushed, SegmentStarted, ServerEvent, Switch, Word

MAX_PIECE_CHARS = 1000
"""Longest text message, and what goes out between two answers of the service: a quarter of what it holds before it pauses us."""

SPEAKABLE = re.compile(r"[。！？；!?\n]|\.(\s|$)")
"""A sentence's end: with one of these unspoken, a silence is the service's."""


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """Speak on from character `char`; keep the sound before `sample`."""

    char: int
    sample: int


@dataclass(frozen=True, slots=True)
class Bases:
    """Where the present connection's zero lies in the whole utterance."""

    char: int = 0
    sample: int = 0
    seq: int = 0
    segment: int = 0

    def lift(self, event: ServerEvent, sample_rate: int) -> ServerEvent:
        """An event of this connection in the utterance's own positions."""
        shift_ms = self.sample / sample_rate * 1000
        match event:
            case Audio():
                return replace(event, seq=event.seq + self.seq, offset=event.offset + self.sample)
            case SegmentStarted():
                return replace(
                    event,
                    index=event.index + self.segment,
                    span_start=event.span_start + self.char,
                    span_end=event.span_end + self.char,
                    sample_offset=event.sample_offset + self.sample,
                    words=tuple(Word(a + self.char, b + self.char, s + shift_ms, e + shift_ms) for a, b, s, e in event.words),
                )
            case Switch() | Flushed():
                return replace(event, text_offset=event.text_offset + self.char, sample_offset=event.sample_offset + self.sample)
            case Cancelled():
                return replace(event, heard_characters=event.heard_characters + self.char, heard_ms=event.heard_ms + shift_ms)
            case _:
                return event


class Transcript:
    """The text side and the sound side of one utterance."""

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self.text = ""
        self.has_ended = False
        self.bases = Bases()
        self.received_samples = 0
        self.segments: dict[int, SegmentStarted] = {}
        self._runs: list[tuple[str, int, int]] = []
        self._sent = 0
        self._most_sent = 0
        self._is_end_sent = False
        self._was_end_sent = False
        self._unsent_flushes: deque[tuple[int, str]] = deque()
        self._unanswered: dict[str, int] = {}
        self._next_seq = 0

    # ---- what there is to say ----

    def append(self, text: str) -> None:
        """More text."""
        self.text += text

    def flush(self, flush_id: str) -> None:
        """Everything up to here is wanted at once."""
        self._unsent_flushes.append((len(self.text), flush_id))

    def end(self) -> None:
        """There is no more text."""
        self.has_ended = True

    @property
    def unsent_characters(self) -> int:
        """Characters that wait to be sent."""
        return len(self.text) - self._sent

    @property
    def has_unsent(self) -> bool:
        """Whether there is text, a flush or the end to be sent."""
        return self._sent < len(self.text) or bool(self._unsent_flushes) or (self.has_ended and not self._is_end_sent)

    @property
    def is_end_sent(self) -> bool:
        """Whether this connection knows that there is no more text."""
        return self._is_end_sent

    def next_message(self, utterance: str) -> ClientEvent | None:
        """What to send next on this connection, as sent from now on; None when all is sent."""
        flush = self._unsent_flushes[0] if self._unsent_flushes else None
        limit = len(self.text) if flush is None else flush[0]
        if self._sent < limit:
            piece = self.text[self._sent : min(limit, self._sent + MAX_PIECE_CHARS)]
            self._sent += len(piece)
            self._most_sent = max(self._most_sent, self._sent)
            return AppendText(utterance, piece)
        if flush is not None:
            at, flush_id = self._unsent_flushes.popleft()
            self._unanswered[flush_id] = at
            return Flush(utterance, flush_id)
        if self.has_ended and not self._is_end_sent:
            self._is_end_sent = self._was_end_sent = True
            return End(utterance)
        return None

    # ---- what came back ----

    def receive(self, event: ServerEvent) -> ServerEvent:
        """Note an event of the present connection; returns it in the utterance's positions."""
        lifted = self.bases.lift(event, self.sample_rate)
        if isinstance(lifted, Audio):
            self._receive_audio(lifted)
        elif isinstance(lifted, SegmentStarted):
            self.segments[lifted.index] = lifted
        elif isinstance(lifted, Flushed):
            self._unanswered.pop(lifted.flush_id, None)
        return lifted

    @property
    def audio_s_by_engine(self) -> dict[str, float]:
        """Seconds of sound received, by engine."""
        seconds: dict[str, float] = {}
        for engine, start, end in self._runs:
            seconds[engine] = seconds.get(engine, 0.0) + (end - start) / self.sample_rate
        return seconds

    @property
    def words(self) -> list[Word]:
        """All word times known, in order."""
        return [word for _, segment in sorted(self.segments.items()) for word in segment.words]

    @property
    def has_text_due(self) -> bool:
        """Whether the service had text to go on with: an unfinished segment, a whole sentence, or the rest after the end. Text that a
        lost connection swallowed counts."""
        announced = max((segment.span_end for segment in self.segments.values()), default=0)
        if self._is_inside_segment:
            return True
        pending = self.text[announced : self._most_sent]
        return bool(pending.strip()) and (self._was_end_sent or SPEAKABLE.search(pending) is not None)

    @property
    def _is_inside_segment(self) -> bool:
        """Whether the last segment's words have not all arrived. Unknown, hence False, where it has no word times at all."""
        last = self.segments[max(self.segments)] if self.segments else None
        if last is None or not last.words:
            return False
        is_timed = not self._has_words(last.words[-1].end_char, last.span_end)
        return not is_timed or self.received_samples < self._sample(last.words[-1].end_ms)

    def heard_characters(self, sample: int) -> int:
        """Characters whose sound lies wholly before `sample`."""
        return max((word.end_char for word in self.words if self._sample(word.end_ms) <= sample), default=0)

    # ---- going on elsewhere ----

    def resume_point(self) -> ResumePoint:
        """The last place between words inside the sound that arrived."""
        best = ResumePoint(self.bases.char, self.bases.sample)
        for _, segment in sorted(self.segments.items()):
            for point in self._points(segment):
                if best.char <= point.char and best.sample <= point.sample <= self.received_samples:
                    best = point
        return best

    def rewind(self, point: ResumePoint) -> None:
        """Start over from `point` on a new connection: text from there is unsent again, later sound never was."""
        kept = {index: segment for index, segment in self.segments.items() if segment.span_start < point.char}
        self.segments = {
            index: replace(
                segment,
                span_end=min(segment.span_end, point.char),
                words=tuple(word for word in segment.words if word.end_char <= point.char),
            )
            for index, segment in kept.items()
        }
        self.received_samples = point.sample
        self._runs = [(engine, start, min(end, point.sample)) for engine, start, end in self._runs if start < point.sample]
        self.bases = Bases(point.char, point.sample, self._next_seq, max(self.segments, default=-1) + 1)
        self._sent = point.char
        self._is_end_sent = False
        again = [(max(at, point.char), flush_id) for flush_id, at in self._unanswered.items()]
        self._unanswered.clear()
        self._unsent_flushes = deque(sorted([*again, *self._unsent_flushes], key=lambda flush: flush[0]))

    @property
    def is_all_spoken(self) -> bool:
        """Whether nothing is left to be said (white space is not)."""
        return self.has_ended and not self.text[self.bases.char :].strip()

    def _receive_audio(self, audio: Audio) -> None:
        end = audio.offset + audio.samples
        if self._runs and self._runs[-1][0] == audio.engine:
            self._runs[-1] = (audio.engine, self._runs[-1][1], end)
        elif audio.samples:
            self._runs.append((audio.engine, audio.offset, end))
        self.received_samples = end
        self._next_seq = audio.seq + 1

    def _points(self, segment: SegmentStarted) -> list[ResumePoint]:
        """The beginning of a segment, the gaps between its words, and its end."""
        points = [ResumePoint(segment.span_start, segment.sample_offset)]
        for before, after in zip(segment.words, segment.words[1:], strict=False):
            points.append(self._between(before, after))
        if segment.words:
            points.append(self._after(segment.words[-1], segment))
        return points

    def _between(self, before: Word, after: Word) -> ResumePoint:
        if self._has_words(before.end_char, after.start_char):  # words that no times are known for: they are said again
            return ResumePoint(before.end_char, self._sample(before.end_ms))
        return ResumePoint(after.start_char, self._sample((before.end_ms + after.start_ms) / 2))

    def _after(self, last: Word, segment: SegmentStarted) -> ResumePoint:
        end = self._sample(last.end_ms)
        if self._has_words(last.end_char, segment.span_end):
            return ResumePoint(last.end_char, end)
        return ResumePoint(segment.span_end, max(end, self._end_of(segment)))

    def _has_words(self, start: int, end: int) -> bool:
        return any(character.isalnum() for character in self.text[start:end])

    def _end_of(self, segment: SegmentStarted) -> int:
        following = self.segments.get(segment.index + 1)
        return self.received_samples if following is None else following.sample_offset

    def _sample(self, moment_ms: float) -> int:
        return round(moment_ms * self.sample_rate / 1000)

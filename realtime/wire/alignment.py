"""Which characters sound in which piece of audio, for dialects that tell it character by character. Pure.

Every character of the text is given once, in order, spaces and marks included. Word times come from `segment` events; inside a word
the characters share its time evenly, what lies between two words goes with the character before it.
"""

from __future__ import annotations

from dataclasses import dataclass

from realtime.wire.events import SegmentStarted, Word


@dataclass(frozen=True, slots=True)
class TimedCharacter:
    """A character of the text and when it sounds, in milliseconds of the utterance's timeline; `due_ms` is when it is to be told."""

    text: str
    start_ms: float
    end_ms: float
    due_ms: float


class Alignment:
    """One utterance: fed text and segments, asked what has begun to sound by a moment. `sample_rate` of its timeline."""

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._text = ""
        self._segments: dict[int, SegmentStarted] = {}
        self._given = 0

    def append(self, text: str) -> None:
        """More of the utterance's text."""
        self._text += text

    def segment(self, event: SegmentStarted) -> None:
        """A segment, or better times for one; characters that were given already stay as they were told."""
        self._segments[event.index] = event

    def take(self, until_ms: float, *, is_over: bool = False) -> list[TimedCharacter]:
        """Characters not given before that begin to sound before `until_ms`; with `is_over`, all that are left."""
        found: list[TimedCharacter] = []
        for index in sorted(self._segments):
            segment = self._segments[index]
            timed = self._timed(segment, until_ms, has_all_times=is_over or index < max(self._segments))
            begun = [character for character in timed[max(0, self._given - segment.span_start) :] if is_over or character.due_ms < until_ms]
            found += begun
            self._given += len(begun)
            if self._given < segment.span_end:
                break
            del self._segments[index]
        return found

    def _timed(self, segment: SegmentStarted, until_ms: float, *, has_all_times: bool) -> list[TimedCharacter]:
        """The characters of a segment as far as their times are known. Without any word times they share what sounds until now; words
        behind the last one with a time wait for theirs, unless a later segment sounds already."""
        due = end = segment.sample_offset * 1000 / self._rate
        words = segment.words or (Word(segment.span_start, segment.span_end, due, max(due, until_ms)),)
        timed: list[TimedCharacter] = []
        position = segment.span_start
        last = words[-1].end_char
        if has_all_times or not any(character.isalnum() for character in self._text[last : segment.span_end]):
            words = (*words, Word(segment.span_end, segment.span_end, 0, 0))
        for word in words:
            timed += [TimedCharacter(self._text[i], end, end, due) for i in range(position, word.start_char)]
            share = (word.end_ms - word.start_ms) / max(1, word.end_char - word.start_char)
            for i in range(max(position, word.start_char), word.end_char):
                due = word.start_ms + (i - word.start_char) * share
                end = due + share
                timed.append(TimedCharacter(self._text[i], due, end, due))
            position = max(position, word.end_char)
        return timed

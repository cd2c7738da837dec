"""When each character and word of a line sounds. Exact to one mel frame: durations are known before anything is decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from realtime.engines.sambert.frontend.lines import Line
from realtime.types import Span

Times = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class WordFrames:
    """A word's source characters and its frames [start, end) in its line."""

    span: Span
    start: int
    end: int


class CharacterTimes:
    """Collects start times of characters over several lines; what nobody spoke takes no time."""

    def __init__(self, length: int) -> None:
        self._times: Times = np.full(length + 1, np.nan)

    def add(self, spans: Sequence[Span], starts_s: Times) -> None:
        """Spans of symbols in order, and their start times, one more than there are spans. The first to speak a character has it."""
        at = 0
        while at < len(spans):
            # Phones of one syllable share its span: the syllable is the unit.
            end = at + 1
            while end < len(spans) and spans[end] == spans[at] and len(spans[at]):
                end += 1
            self._fill(spans[at], float(starts_s[at]), float(starts_s[end]))
            at = end

    def _fill(self, span: Span, start_s: float, end_s: float) -> None:
        for k in range(len(span)):
            if np.isnan(self._times[span.start + k]):
                self._times[span.start + k] = start_s + k * (end_s - start_s) / len(span)

    def finish(self, total_s: float) -> tuple[float, ...]:
        """Times of all characters and the end, non-decreasing."""
        out = self._times.copy()
        out[-1] = total_s
        following = total_s
        for i in range(len(out) - 1, -1, -1):
            if np.isnan(out[i]):
                out[i] = following
            following = out[i]
        return tuple(np.minimum(np.maximum.accumulate(out), total_s).tolist())


def line_words(line: Line, starts: npt.NDArray[np.int64]) -> list[WordFrames]:
    """Words of a line with their frames, breaks not included; `starts` [T+1] are the symbols' first frames.

    Words that share source characters with the one before (a number spoken as several words) are one word to the listener.
    """
    out: list[WordFrames] = []
    at = 0
    for one in line.words:
        first, end = int(starts[at]), int(starts[at + one.size - 1])
        at += one.size
        span = one.span
        if (out and span.start < out[-1].span.end) or (not len(span) and out):
            before = out.pop()
            span, first = Span(before.span.start, max(before.span.end, span.end)), before.start
        out.append(WordFrames(span, first, end))
    return [word for word in out if len(word.span)]


def symbol_at(line: Line, position: int) -> int | None:
    """The first symbol of the syllable that speaks source character `position` or the next spoken one; None if all come before it."""
    at = 0
    for one in line.words:
        for syllable, span in zip(one.word.syllables, one.syllable_spans, strict=True):
            if span.end > position:
                return at
            at += len(syllable.phones)
        at += 1
    return None

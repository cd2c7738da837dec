"""The front end's result: lines of symbols, each symbol with the source characters it stands for."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from realtime.engines.sambert.frontend.units import ProsodicWord
from realtime.engines.sambert.symbols import Symbol
from realtime.types import Span

WORD_BREAK, CLAUSE_BREAK, SENTENCE_BREAK = "#1", "#3", "#4"
NO_EMOTION = "emotion_none"
MAX_SYMBOLS = 120
"""Longest line (specification 10.6), about 45 characters; longer ones are cut, at a clause mark if there is one."""


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """A prosodic word and the break behind it. `span` and `break_span` are source positions; `syllable_spans` one per syllable."""

    word: ProsodicWord
    span: Span
    syllable_spans: tuple[Span, ...]
    level: str
    break_span: Span

    @property
    def size(self) -> int:
        """Symbols, the break included."""
        return sum(len(one.phones) for one in self.word.syllables) + 1


@dataclass(frozen=True, slots=True)
class Line:
    """What is given to the acoustic model at once. `ends_sentence` tells whether a pause belongs behind it."""

    words: tuple[SpokenWord, ...]
    ends_sentence: bool

    def symbols(self, emotion: str, speaker: str) -> list[Symbol]:
        """All symbols; breaks carry no emotion, and the last is always a sentence's end."""
        out: list[Symbol] = []
        for i, one in enumerate(self.words):
            out += _phones(one.word, emotion, speaker)
            level = SENTENCE_BREAK if i == len(self.words) - 1 else one.level
            out.append(Symbol(level, "tone_none", "s_none", "word_none", NO_EMOTION, speaker))
        return out

    def spans(self) -> list[Span]:
        """Source characters of each symbol of `symbols`, in order; the phones of a syllable all stand for its characters."""
        out = []
        for one in self.words:
            for syllable, span in zip(one.word.syllables, one.syllable_spans, strict=True):
                out += [span] * len(syllable.phones)
            out.append(one.break_span)
        return out


@dataclass(frozen=True, slots=True)
class Reading:
    """A text as lines; `unspoken` counts the characters that no rule can speak."""

    lines: tuple[Line, ...]
    unspoken: Counter[str] = field(default_factory=Counter)


def _phones(word: ProsodicWord, emotion: str, speaker: str) -> list[Symbol]:
    total = sum(len(one.phones) for one in word.syllables)
    out: list[Symbol] = []
    for syllable in word.syllables:
        count = len(syllable.phones)
        for k, phone in enumerate(syllable.phones):
            at = len(out)
            flag = "s_both" if count == 1 else "s_begin" if k == 0 else "s_end" if k == count - 1 else "s_middle"
            place = "word_both" if total == 1 else "word_begin" if at == 0 else "word_end" if at == total - 1 else "word_middle"
            out.append(Symbol(phone, f"tone{syllable.tone}", flag, place, emotion, speaker))
    return out


def cut(words: list[SpokenWord], ends_sentence: bool, limit: int = MAX_SYMBOLS) -> list[Line]:
    """A sentence as lines of at most `limit` symbols, cut behind the last clause mark in reach, else behind a word."""
    out = []
    while words:
        size, reach, best = 0, 0, 0
        for i, one in enumerate(words, 1):
            size += one.size
            if size > limit and reach:
                break
            reach = i
            if one.level == CLAUSE_BREAK:
                best = i
        end = reach if reach == len(words) else (best or reach)
        out.append(Line(tuple(words[:end]), ends_sentence and end == len(words)))
        words = words[end:]
    return out

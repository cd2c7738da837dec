"""Text to clauses, and clauses to runs of one script each, because espeak-ng reads one language at a time. Pure.

Every character belongs to exactly one clause and one run, in order, so times can be given for all of them.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

LONGEST_CLAUSE = 160  # characters: some 40 s of Chinese, 40 ms of work
# A clause ends with its marks, closing quotes and spaces. ASCII marks count only before a space or the end: 3.14, 10:30, U.S.A
CLAUSE_END = re.compile(r"(?:[，。！？；：、…—]+|[,.!?;:]+(?=[\s\"'”’)\]]|$)|\n)[”’」』）)\]\"'》]*\s*")
FULL_STOPS = frozenset("。！？….!?\n")
HAN = re.compile(r"[㐀-鿿豈-﫿\U00020000-\U0003ffff]")


@dataclass(frozen=True, slots=True)
class Clause:
    """Characters [start, end) of a text, and what its last mark is: a full stop, a comma, or nothing."""

    start: int
    end: int
    pause: str  # "stop", "comma" or "none"


@dataclass(frozen=True, slots=True)
class Run:
    """Characters [start, end) in one language, `zh` or `en`."""

    start: int
    end: int
    language: str


def is_speakable(text: str) -> bool:
    """Holds a letter or digit of any script."""
    return any(char.isalnum() for char in text)


def readable(text: str) -> str:
    """The text with what espeak-ng should not name (emoji, symbols, controls, surrogates) as spaces, one for one."""
    return "".join(" " if unicodedata.category(char) in UNREADABLE else char for char in text)


UNREADABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "So", "Sk"})


def split_clauses(text: str, start: int = 0) -> list[Clause]:
    """The clauses of `text[start:]`, at absolute positions; what can't be spoken belongs to a neighbour unless it is all there is."""
    clauses: list[Clause] = []
    at = start
    for mark in CLAUSE_END.finditer(text, start):
        clauses += _shortened(text, at, mark.end(), _pause(mark.group()))
        at = mark.end()
    if at < len(text):
        clauses += _shortened(text, at, len(text), "none")
    return _without_mute(text, clauses)


def split_runs(text: str, clause: Clause, language: str) -> list[Run]:
    """The runs of a clause. Digits and marks go with the letters before them, at the beginning with `language`'s or the next."""
    runs: list[Run] = []
    at, now = clause.start, ""
    for index in range(clause.start, clause.end):
        kind = _language_of(text[index])
        if not kind or kind == now:
            continue
        if now:
            runs.append(Run(at, index, now))
            at = index
        now = kind
    return [*runs, Run(at, clause.end, now or language)]


def _without_mute(text: str, clauses: list[Clause]) -> list[Clause]:
    """Clauses without anything to speak joined to the one before, or at the beginning to the one after."""
    joined: list[Clause] = []
    for clause in clauses:
        if joined and not is_speakable(readable(text[clause.start : clause.end])):
            joined[-1] = Clause(joined[-1].start, clause.end, joined[-1].pause)
        elif joined and not is_speakable(readable(text[joined[-1].start : joined[-1].end])):
            joined[-1] = Clause(joined[-1].start, clause.end, clause.pause)
        else:
            joined.append(clause)
    return joined


def _language_of(char: str) -> str:
    """`zh` for Chinese characters, `en` for Latin letters, nothing for what either language reads."""
    if HAN.match(char):
        return "zh"
    return "en" if char.isalpha() and "LATIN" in unicodedata.name(char, "") else ""


def _pause(mark: str) -> str:
    return "stop" if FULL_STOPS & set(mark) else "comma"


def _shortened(text: str, start: int, end: int, pause: str) -> list[Clause]:
    """One clause, or several where it is too long: cut at the last space that leaves a good part, else anywhere."""
    parts = []
    while end - start > LONGEST_CLAUSE:
        space = text.rfind(" ", start + LONGEST_CLAUSE // 2, start + LONGEST_CLAUSE)
        cut = space + 1 if space >= 0 else start + LONGEST_CLAUSE
        parts.append(Clause(start, cut, "none"))
        start = cut
    return [*parts, Clause(start, end, pause)]

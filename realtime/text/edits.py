"""Rewriting a text while keeping, for every new character, the way back to the old one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from difflib import SequenceMatcher
from typing import NamedTuple

from realtime.types import SpokenText

PRONUNCIATION = re.compile(r"<[^<>|\s]{1,16}\|[^<>|\n]{1,40}>")
"""`<重|chong2>`: how to say a word. Engines read it, so nothing here may touch it."""


class Edit(NamedTuple):
    """text[start:end] becomes `text`."""

    start: int
    end: int
    text: str


def apply(spoken: SpokenText, edits: Iterable[Edit]) -> SpokenText:
    """Make edits (in order, without overlap). The new characters of an edit share its old ones evenly."""
    pieces: list[str] = []
    origin: list[int] = []
    at = 0
    for start, end, new in edits:
        pieces += (spoken.text[at:start], new)
        origin += spoken.origin[at:start]
        origin += (spoken.origin[start + k * (end - start) // len(new)] for k in range(len(new)))
        at = end
    if not pieces:
        return spoken
    pieces.append(spoken.text[at:])
    origin += spoken.origin[at:]
    return SpokenText("".join(pieces), tuple(origin))


def substitute(spoken: SpokenText, pattern: re.Pattern[str], speak: Callable[[re.Match[str]], str | None]) -> SpokenText:
    """Replace every match by what `speak` returns; None leaves it, and so does touching a pronunciation mark."""
    kept = [m.span() for m in PRONUNCIATION.finditer(spoken.text)] if "|" in spoken.text else []
    edits = []
    for match in pattern.finditer(spoken.text):
        if any(match.start() < end and start < match.end() for start, end in kept):
            continue
        new = speak(match)
        if new is not None and new != match.group():
            edits += _tight(match, new)
    return apply(spoken, edits)


def _tight(match: re.Match[str], new: str) -> list[Edit]:
    """If the match contains its replacement, what is around it goes and the rest stays where it was."""
    start, end = match.span()
    inside = match.group().find(new) if new else -1
    if inside < 0:
        return [Edit(start, end, new)]
    first = start + inside
    return [Edit(start, first, ""), Edit(first + len(new), end, "")]


def differences(old: str, new: str, at: int = 0) -> list[Edit]:
    """The edits that turn `old` (standing at position `at`) into `new`, each as small as can be."""
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    return [Edit(at + a, at + b, new[c:d]) for tag, a, b, c, d in matcher.get_opcodes() if tag != "equal"]

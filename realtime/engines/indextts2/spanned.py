"""Editing text without losing where each character came from."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from realtime.types import Span, SpokenText

Replace = str | Callable[[re.Match[str]], str]


def joined(parts: Sequence[SpokenText], end: int) -> SpokenText:
    """Texts one after the other; `end` is the source position after the last."""
    origin = [o for part in parts for o in part.origin[:-1]]
    return SpokenText("".join(part.text for part in parts), (*origin, max(end, origin[-1] if origin else end)))


def cut(text: SpokenText, start: int, end: int) -> SpokenText:
    """Characters [start, end) of a text."""
    return SpokenText(text.text[start:end], text.origin[start : end + 1])


def standing_for(new: str, source: Span) -> SpokenText:
    """`new` in the place of a source range, its characters spread evenly over it."""
    width, count = len(source), max(len(new), 1)
    return SpokenText(new, (*(source.start + i * width // count for i in range(len(new))), source.end))


def sub(pattern: re.Pattern[str], replace: Replace, text: SpokenText) -> SpokenText:
    """`pattern.sub(replace, text)`; a replacement (literal, or made from the match) stands for the characters that it replaces.

    An equal replacement keeps the map as it was.
    """
    parts: list[SpokenText] = []
    at = 0
    for match in pattern.finditer(text.text):
        new = replace if isinstance(replace, str) else replace(match)
        parts.append(cut(text, at, match.start()))
        old = cut(text, match.start(), match.end())
        same_length = len(new) == len(old.text)
        parts.append(SpokenText(new, old.origin) if same_length else standing_for(new, Span(old.origin[0], old.origin[-1])))
        at = match.end()
    if not parts:
        return text
    return joined([*parts, cut(text, at, len(text.text))], text.origin[-1])


class Vault:
    """Pieces of text taken out under a placeholder, to be put back later.

    `mark` makes the placeholder of the n-th piece from its letters (a, b, ..., z, aa, ...).
    """

    def __init__(self, mark: Callable[[str], str]) -> None:
        self.mark = mark
        self.kept: dict[str, str] = {}

    def hide(self, pattern: re.Pattern[str], text: SpokenText) -> SpokenText:
        """Every match becomes a placeholder."""
        return sub(pattern, lambda match: self._keep(match.group()), text)

    def show(self, text: SpokenText, change: Callable[[str], str] = lambda kept: kept) -> SpokenText:
        """Put the pieces back, each through `change`."""
        if not self.kept:
            return text
        longest_first = sorted(self.kept, key=len, reverse=True)
        pattern = re.compile("|".join(map(re.escape, longest_first)))
        return sub(pattern, lambda match: change(self.kept[match.group()]), text)

    def _keep(self, piece: str) -> str:
        place, letters = len(self.kept), ""
        while True:
            letters = chr(ord("a") + place % 26) + letters
            place = place // 26 - 1
            if place < 0:
                break
        name = self.mark(letters)
        self.kept[name] = piece
        return name

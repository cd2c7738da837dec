"""Regular expressions over text that knows where each character came from, and a place to hide pieces of it."""

from __future__ import annotations

import re
from collections.abc import Callable

from realtime.text.edits import Edit, apply
from realtime.types import SpokenText

Replace = str | Callable[[re.Match[str]], str]


def sub(pattern: re.Pattern[str], replace: Replace, text: SpokenText) -> SpokenText:
    """`pattern.sub(replace, text)`, but `replace` is literal, or makes the new text from the match."""
    matches = pattern.finditer(text.text)
    return apply(text, [Edit(*m.span(), replace if isinstance(replace, str) else replace(m)) for m in matches])


class Vault:
    """Pieces of text taken out under a placeholder, to be put back later with the places that they came from.

    `mark` makes the placeholder of the n-th piece from its letters (a, b, ..., z, aa, ...).
    """

    def __init__(self, mark: Callable[[str], str]) -> None:
        self.mark = mark
        self.kept: dict[str, SpokenText] = {}

    def hide(self, pattern: re.Pattern[str], text: SpokenText) -> SpokenText:
        """Every match becomes a placeholder."""
        return sub(pattern, lambda match: self._keep(text, *match.span()), text)

    def show(self, text: SpokenText, change: Callable[[str], str] = lambda kept: kept) -> SpokenText:
        """Put the pieces back, each through `change`."""
        if not self.kept:
            return text
        longest_first = sorted(self.kept, key=len, reverse=True)
        letters, origin, at = "", list[int](), 0
        for match in re.finditer("|".join(map(re.escape, longest_first)), text.text):
            kept = self.kept[match.group()]
            new = change(kept.text)
            letters += text.text[at : match.start()] + new
            origin += text.origin[at : match.start()]
            origin += (kept.origin[i * len(kept.text) // len(new)] for i in range(len(new)))
            at = match.end()
        return SpokenText(letters + text.text[at:], (*origin, *text.origin[at:]))

    def _keep(self, text: SpokenText, start: int, end: int) -> str:
        place, letters = len(self.kept), ""
        while True:
            letters = chr(ord("a") + place % 26) + letters
            place = place // 26 - 1
            if place < 0:
                break
        name = self.mark(letters)
        self.kept[name] = SpokenText(text.text[start:end], text.origin[start : end + 1])
        return name

"""Chinese words and prosodic words (specification 10.3). A prosodic word is what stands between two breaks."""

from __future__ import annotations

from collections.abc import Sequence

from realtime.engines.sambert.frontend.dictionary import cut, frequency
from realtime.engines.sambert.frontend.sandhi import DIGITS, NUMERALS, UNITS
from realtime.engines.sambert.frontend.units import Hanzi, Word

MAX_SYLLABLES = 4
"""Longest prosodic word that merging makes (specification 10.3); a longer dictionary word that can't be tiled stays whole."""
MAX_WITH_PARTICLES = 6


def segment(text: str, start: int) -> list[Word]:
    """Words with tags of a run of Chinese characters that begins at position `start`."""
    out = []
    for word, tag in cut(text):
        out.append(Word(word, tag, start))
        start += len(word)
    return out


def tiles(word: str) -> list[int]:
    """Lengths of the shorter dictionary words (2 or 3 characters) that tile a word of four or more; [len] if none do."""
    n = len(word)
    if n < 4:
        return [n]
    if all(char in NUMERALS for char in word):
        return _numeral_tiles(word)
    # best[i]: (number of tiles, -total frequency, lengths) of the first i characters.
    best: list[tuple[int, int, list[int]] | None] = [(0, 0, [])] + [None] * n
    for end in range(2, n + 1):
        for size in (2, 3):
            before = best[end - size] if size <= end else None
            seen = frequency(word[end - size : end]) if before is not None else 0
            if before is None or not seen:
                continue
            candidate = (before[0] + 1, before[1] - seen, [*before[2], size])
            if best[end] is None or candidate[:2] < best[end][:2]:  # type: ignore[index]
                best[end] = candidate
    found = best[n]
    return found[2] if found is not None else [n]


def _numeral_tiles(word: str) -> list[int]:
    """Digit strings in groups of three or four (eleven digits, a phone number: 3 4 4); other numbers after their units."""
    n = len(word)
    if all(char in DIGITS for char in word):
        if n == 11:
            return [3, 4, 4]
        groups = -(-n // MAX_SYLLABLES)
        return [n // groups + (1 if i < n % groups else 0) for i in range(groups)]
    out, size = [], 0
    for i, char in enumerate(word):
        size += 1
        if char in UNITS and word[i + 1 : i + 2] not in UNITS and i + 1 < n:
            out.append(size)
            size = 0
    return [*out, size] if size else out


_LOCALISERS = frozenset("里上下中边内外")
_PARTICLES = frozenset("的地得了着过们吗呢吧啊呀哦嘛啦哇")


class _Group:
    """A prosodic word in the making: its characters and what its last token was."""

    def __init__(self, token: Word) -> None:
        self.chars = list(token.readings)
        self.last, self.is_single = token, len(token.readings) == 1
        self.count = 1

    def add(self, token: Word) -> None:
        self.chars += token.readings
        self.last, self.is_single = token, False
        self.count += 1


def prosodic_words(words: Sequence[Word]) -> list[list[Hanzi]]:
    """Merge the words of one phrase (readings filled in) into prosodic words."""
    groups: list[_Group] = []
    for token in _tokens(words):
        if groups and _joins(groups[-1], token):
            groups[-1].add(token)
        else:
            groups.append(_Group(token))
    return [group.chars for group in groups]


def _tokens(words: Sequence[Word]) -> list[Word]:
    """Words cut into tiles, each with its share of the readings."""
    out = []
    for word in words:
        if word.is_given:
            out.append(word)
            continue
        at = 0
        for size in tiles(word.text):
            part = word.text[at : at + size]
            out.append(Word(part, word.tag, word.start + at, word.readings[at : at + size]))
            at += size
    return out


def _joins(group: _Group, token: Word) -> bool:
    """Whether a token belongs to the prosodic word before it."""
    size, added, last = len(group.chars), len(token.readings), group.last
    if token.is_given or (last.is_given and added > 1):
        return False
    if added == 1 and (token.tag.startswith(("u", "y")) or token.text in _PARTICLES):
        return size + added <= MAX_WITH_PARTICLES
    if size + added > MAX_SYLLABLES:
        return False
    if added == 1 and token.tag.startswith("f") and token.text in _LOCALISERS:
        return True
    if _is_number(last) and _is_count(token):
        return True
    if group.is_single and added == 1:
        pair = (last.tag[:1], token.tag[:1])
        return pair in (("p", "r"), ("r", "d")) or (last.text == "不" or last.text == "没")
    return False


def _is_number(token: Word) -> bool:
    return all(char in NUMERALS for char in token.text)


def _is_count(token: Word) -> bool:
    """A measure word, or a further part of the same number."""
    return (len(token.text) == 1 and token.tag[:1] in ("q", "m")) or (_is_number(token) and len(token.text) == 1)

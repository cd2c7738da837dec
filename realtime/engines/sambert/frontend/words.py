"""Chinese words and prosodic words (specification 10.3). A prosodic word is what stands between two breaks."""

from __future__ import annotations

import re
from collections.abc import Sequence

from realtime.engines.sambert.frontend.dictionary import cut, frequency
from realtime.engines.sambert.frontend.sandhi import DIGITS, NUMERALS, UNITS
from realtime.engines.sambert.frontend.units import Hanzi, Word

MAX_SYLLABLES = 4
"""Longest prosodic word that merging makes (specification 10.3); a longer dictionary word that can't be tiled stays whole."""
MAX_WITH_PARTICLES = 6


# Numbers as wetext writes them out. Two digits alone are no number (五一 is a holiday), nor are 千万 and 万一; 三点一刻 is a time.
_DIGIT, _ANY = "零〇一二三四五六七八九幺", "零〇一二两三四五六七八九十百千万亿"
_NUMBER = re.compile(
    rf"(?:(?:[一二两三四五六七八九][十百千万亿]|十[一二三四五六七八九])[{_ANY}]*|[{_DIGIT}]{{3,}})(?:点[{_DIGIT}]+(?![十刻分]))?"
    rf"|[{_DIGIT}]点[{_DIGIT}]+(?![十刻分{_DIGIT}])"
)


def segment(text: str, start: int) -> list[Word]:
    """Words with tags of a run of Chinese characters that begins at position `start`; written-out numbers are one word each."""
    out: list[Word] = []
    at = 0
    for number in [*_NUMBER.finditer(text), None]:
        end = number.start() if number else len(text)
        for word, tag in cut(text[at:end]) if end > at else ():
            out += _split(Word(word, tag, start + at))
            at += len(word)
        if number:
            out.append(Word(number.group(), "m", start + at))
            at = number.end()
    return out


_GLUED = {"地": "uv", **dict.fromkeys("我你他她它您", "r")}


def _placed(text: str) -> list[tuple[int, tuple[str, str]]]:
    out, at = [], 0
    for pair in cut(text):
        out.append((at, pair))
        at += len(pair[0])
    return out


def _split(word: Word) -> list[Word]:
    """The model of unknown words likes to glue a pronoun or the adverbial particle to the verb behind it (他长, 地说)."""
    if len(word.text) > 1 and word.text[0] in _GLUED and not frequency(word.text):
        first = Word(word.text[0], _GLUED[word.text[0]], word.start)
        return [first, *(Word(text, tag, word.start + 1 + i) for i, (text, tag) in _placed(word.text[1:]))]
    return [word]


def tiles(word: str) -> list[int]:
    """Lengths of the shorter dictionary words (2 or 3 characters) that tile a word of four or more; [len] if none do."""
    n = len(word)
    if n < 4:
        return [n]
    if is_number(word):
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
    if n <= MAX_SYLLABLES:
        return [n]
    whole, point, _ = word.partition("点")
    if point:
        return [*tiles(whole), n - len(whole)]
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


_MEASURES = frozenset("度元分角块毛岁年月日号点秒米克斤里吨升人次")
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
    if last.text == "第" and is_number(token.text):
        return size + added <= MAX_SYLLABLES
    if is_number(last.text) and added == 1 and (token.tag[:1] in ("q", "m") or token.text in _MEASURES):
        return size + added <= MAX_SYLLABLES + 1
    if size + added > MAX_SYLLABLES:
        return False
    if added == 1 and token.tag.startswith("f") and token.text in _LOCALISERS:
        return True
    if group.is_single and added == 1:
        pair = (last.tag[:1], token.tag[:1])
        return pair in (("p", "r"), ("r", "d")) or (last.text == "不" or last.text == "没")
    return False


def is_number(word: str) -> bool:
    """Whether a word is a written-out number."""
    return all(char in NUMERALS or char == "点" for char in word) and word != "点"

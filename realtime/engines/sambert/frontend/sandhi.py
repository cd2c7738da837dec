"""Tone rules that depend on neighbours (specification 10.5.1). Works on one phrase: characters between two marks.

Order: the characters 一 and 不 first (their rules look at the dictionary tone of what follows), then runs of third tones inside each
prosodic word. Surface tones are written, as the voices' training data have them.
"""

from __future__ import annotations

from collections.abc import Sequence

from realtime.engines.sambert.frontend.units import Hanzi, Word

NUMERALS = frozenset("零〇一二三四五六七八九十百千万亿两幺")
DIGITS = frozenset("零〇一二三四五六七八九幺")
UNITS = frozenset("百千万亿")
# After these 一 counts or names (月 日 号 and the like), so it keeps its tone.
_NAMED = frozenset("月日号")
_CLOCK = frozenset("钟半整多左")


def apply_to_phrase(words: Sequence[Word]) -> None:
    """Set the tones of 一 and 不 in place."""
    chars = [one for word in words for one in word.readings]
    ends = {id(word.readings[-1]) for word in words if word.readings}
    sizes = {id(one): len(word.readings) for word in words for one in word.readings}
    for i, one in enumerate(chars):
        if one.is_given:
            continue
        if one.char == "一":
            one.pinyin, one.tone = "yi", _yi(chars, i, is_word_end=id(one) in ends and sizes[id(one)] > 1)
        elif one.char == "不":
            one.pinyin, one.tone = "bu", _bu(chars, i)


def _char(chars: Sequence[Hanzi], i: int) -> str:
    return chars[i].char if 0 <= i < len(chars) else ""


def _is_repeated_around(chars: Sequence[Hanzi], i: int) -> bool:
    return 0 < i < len(chars) - 1 and chars[i - 1].char == chars[i + 1].char


def _yi(chars: Sequence[Hanzi], i: int, *, is_word_end: bool) -> int:
    before, after = _char(chars, i - 1), _char(chars, i + 1)
    if before == "第" or before in NUMERALS:
        return 1
    if _is_repeated_around(chars, i):
        return 5
    if not after or is_word_end or after in _NAMED or after in DIGITS or after == "十":
        return 1
    if after == "点" and _char(chars, i + 2) in NUMERALS | _CLOCK:
        return 1
    following = chars[i + 1]
    if following.tone == 4 or following.char == "个":
        return 2
    return 4 if following.tone in (1, 2, 3) else 1


def _bu(chars: Sequence[Hanzi], i: int) -> int:
    if _is_repeated_around(chars, i):
        return 5
    return 2 if i + 1 < len(chars) and chars[i + 1].tone == 4 else 4


# Verb, 不, complement: the 不 is neutral. These complements make the pattern sure in a word of three.
_COMPLEMENTS = frozenset("见到起了及住着出来去动完上下开好懂清通过得成掉倒惯定多")
_ADVERBS = frozenset("决绝毫并从永都也还就更再")


def neutral_negations(words: Sequence[Word]) -> None:
    """看不见, 来不及, 对不起: 不 in the middle of such a word loses its tone."""
    for word in words:
        text = word.text
        if len(text) != 3 or text[1] != "不" or word.is_given or len(word.readings) != 3:
            continue
        if text[2] in _COMPLEMENTS and text[0] not in _ADVERBS:
            word.readings[1].tone = 5


def third_tones(chars: Sequence[Hanzi]) -> None:
    """In a prosodic word, of third tones in a row all but the last become second tones."""
    for i in range(len(chars) - 1):
        if chars[i].tone == 3 and chars[i + 1].tone == 3 and not chars[i].is_given:
            chars[i].tone = 2

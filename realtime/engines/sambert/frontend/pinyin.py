"""Readings of words: our own table first, then the library by whole word, then tags and neighbours for single polyphones.

pypinyin is asked for a word as a string (a list would switch its phrase look-up off inside unknown words) and without its own tone
rules, which are partial; `sandhi.py` applies all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from importlib import resources

from realtime.engines.sambert.frontend.reading_tables import read_word
from realtime.engines.sambert.frontend.sandhi import NUMERALS
from realtime.engines.sambert.frontend.syllables import normal, parse_pinyin, symbols_of
from realtime.engines.sambert.frontend.units import Hanzi, Word

MAX_TABLE_WORD = 6


@cache
def table() -> dict[str, tuple[tuple[str, int], ...]]:
    """`readings.tsv`: word -> syllables with tones."""
    text = resources.files(__package__).joinpath("readings.tsv").read_text(encoding="utf-8")
    out = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            word, pinyin = line.split("\t")
            parts = parse_pinyin(pinyin)
            assert parts is not None and len(parts) == len(word), f"readings.tsv: {line!r}"
            out[word] = tuple(parts)
    return out


@lru_cache(maxsize=8192)
def library(word: str) -> tuple[tuple[str, int], ...] | None:
    """pypinyin's reading of a word of Chinese characters; None when it has none that the inventory has."""
    found = read_word(word)
    if found is None or any(symbols_of(plain) is None for plain, _ in found):
        return None
    return tuple((normal(plain), tone) for plain, tone in found)


def read(words: Sequence[Word]) -> None:
    """Fill in the readings of the words of one phrase, in place. Words whose readings were given keep them."""
    for i, word in enumerate(words):
        if word.readings:
            continue
        pairs = _of_word(word.text)
        if len(word.text) == 1:
            pairs = _single(words, i) or pairs
        word.readings = [
            Hanzi(char, plain, tone, word.start + k, word.start + k + 1)
            for k, (char, (plain, tone)) in enumerate(zip(word.text, pairs, strict=True))
        ]
    _repeated_verbs(words)


def is_readable(char: str) -> bool:
    """Whether one Chinese character has a reading."""
    return library(char) is not None


def _of_word(word: str) -> tuple[tuple[str, int], ...]:
    """The table's longest words inside win over the library's reading of the whole."""
    whole = table().get(word)
    if whole is not None:
        return whole
    pairs = list(library(word) or tuple(pair for char in word for pair in (library(char) or (("en", 5),))))
    _correct(word, pairs)
    at = 0
    while at < len(word) - 1:
        for size in range(min(MAX_TABLE_WORD, len(word) - at), 1, -1):
            found = table().get(word[at : at + size])
            if found is not None:
                pairs[at : at + size] = found
                at += size
                break
        else:
            at += 1
    return tuple(pairs)


# 得 ends these words in full; as the second character of any other it is the particle (长得, 显得).
_FULL_DE = frozenset("取得 获得 所得 心得 难得 夺得 赢得 博得 求得 购得 自得 相得 不得 只得 应得 分得 贪得 使不得".split())


def _correct(word: str, pairs: list[tuple[str, int]]) -> None:
    """What the library gets wrong where it knows no phrase, in place."""
    if len(word) == 2 and word[1] == "得" and word not in _FULL_DE:
        pairs[1] = ("de", 5)
    if len(word) == 3 and word[2] == "地" and word[0] == word[1]:
        pairs[2] = ("de", 5)
    if len(word) == 2 and (word[0] in NUMERALS or word[0] in "几每") and word[1] in _MEASURES:
        pairs[1] = _MEASURES[word[1]]
    for i, char in enumerate(word):
        if char == "长" and len(word) > 1 and i and word[i - 1] in "很太多更最较不好颇够挺":
            pairs[i] = ("chang", 2)


def _repeated_verbs(words: Sequence[Word]) -> None:
    """数一数, 量一量: what is done a little is a verb, however the words were cut."""
    chars = [one for word in words for one in word.readings if not one.is_given]
    for a, middle, b in zip(chars, chars[1:], chars[2:], strict=False):
        if middle.char in "一了" and a.char == b.char and a.char in _VERBS:
            for one in (a, b):
                one.pinyin, one.tone = _VERBS[a.char]


# --- single characters with several readings, by tag and neighbour ---

_DEFAULTS = {"长": ("chang", 2), "佛": ("fo", 2), "尽": ("jin", 4), "吓": ("xia", 4)}
_MEASURES = {
    "行": ("hang", 2),
    "种": ("zhong", 3),
    "只": ("zhi", 1),
    "重": ("chong", 2),
    "间": ("jian", 1),
    "卷": ("juan", 4),
    "场": ("chang", 3),
}
_VERBS = {"种": ("zhong", 4), "数": ("shu", 3), "背": ("bei", 1), "传": ("chuan", 2), "弹": ("tan", 2), "教": ("jiao", 1), "为": ("wei", 2)}
_VERBS |= {
    "调": ("tiao", 2),
    "系": ("ji", 4),
    "倒": ("dao", 4),
    "中": ("zhong", 4),
    "分": ("fen", 1),
    "量": ("liang", 2),
    "钻": ("zuan", 1),
}
_TITLES = frozenset("校院局部处市省县州会团排连营班组队厅科股行船社店馆站所村镇乡")


def _single(words: Sequence[Word], i: int) -> tuple[tuple[str, int], ...] | None:
    word = words[i]
    before = words[i - 1] if i else None
    after = words[i + 1] if i + 1 < len(words) else None
    pair = _particle(word, before, after)
    if pair is None and word.text in _MEASURES and before is not None and _counts(before):
        pair = _MEASURES[word.text]
    if pair is None and word.text == "还" and after is not None and after.text[:1] in "钱债款书清你我他她" and after.tag[:1] != "v":
        pair = ("huan", 2)
    if pair is None and word.text == "长" and before is not None and before.text[-1:] in _TITLES and before.tag.startswith("n"):
        pair = ("zhang", 3)
    if pair is None and word.text == "长" and after is not None and after.text[:1] in "得大高出成了着":
        pair = ("zhang", 3)
    is_verb = word.tag.startswith("v") or (after is not None and after.text in ("了", "着", "过"))
    if pair is None and word.text in _VERBS and is_verb:
        pair = _VERBS[word.text]
    pair = pair or _DEFAULTS.get(word.text)
    return (pair,) if pair else None


def _counts(word: Word) -> bool:
    return word.text[-1:] in NUMERALS or word.text in ("这", "那", "哪", "几", "每", "某", "各", "多少", "好几", "多")


def _particle(word: Word, before: Word | None, after: Word | None) -> tuple[str, int] | None:
    """得, 地, 着, 了, 过 after what they belong to."""
    kind = before.tag[:1] if before is not None else ""
    if word.text == "得":
        if kind in ("r", "n", "d") or before is None or (before is not None and before.text[-1:] in "们还也就都"):
            return "dei", 3
        return "de", 5
    if word.text == "地":
        # The adverbial particle stands after adjectives and adverbs and before verbs; else it is the noun.
        is_adverbial = word.tag.startswith("u") or (
            kind in ("a", "d", "z", "i", "l") and after is not None and after.tag[:1] in ("v", "d", "p")
        )
        return ("de", 5) if is_adverbial else ("di", 4)
    if word.text == "过" and (word.tag.startswith("u") or (kind == "v" and after is not None)):
        return "guo", 5
    if word.text == "着" and kind == "v":
        return "zhe", 5
    return None

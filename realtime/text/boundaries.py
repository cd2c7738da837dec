"""Where a text may be cut: the marks, closers and abbreviations of each language, as tables.

A new language is one row of `LANGUAGES`. The sets used while scanning are the union over all rows, because an utterance mixes
languages and a delta does not say which one it is in.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache


class Strength(IntEnum):
    """How good a place to cut is."""

    NONE = 0
    WORD = 1
    WEAK = 2
    CLAUSE = 3
    SENTENCE = 4


@dataclass(frozen=True, slots=True)
class LanguageMarks:
    """One language's row.

    `stops` end a sentence, `clauses` a clause, `weak` separate list items (good for a forced cut only), `closers` stay with the
    sentence that they follow. Abbreviations are lower case without their last dot: `titles` never end a sentence, `maybe` end one
    only before a word of `starters`, `numbered` don't when a digit follows.
    """

    stops: str
    clauses: str
    weak: str = ""
    closers: str = ""
    titles: frozenset[str] = frozenset()
    maybe: frozenset[str] = frozenset()
    numbered: frozenset[str] = frozenset()
    starters: frozenset[str] = frozenset()


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


LANGUAGES: dict[str, LanguageMarks] = {
    "zh": LanguageMarks(
        stops="。！？；｡",
        clauses="，：",
        weak="、",
        closers="”’」』）】》〉〕］｝〗〙〛﹂﹄｣",
    ),
    "en": LanguageMarks(
        stops="!?‼⁇⁈⁉",
        clauses=",;:",
        closers=")]}»›",
        titles=_words(
            "mr mrs ms mx messrs dr prof rev hon pres gov sen rep gen col maj capt cmdr lt sgt cpl adm insp supt fr "
            "e.g i.e vs v viz cf ca al esp"
        ),
        maybe=_words(
            "u.s u.k u.n e.u d.c a.m p.m a.d b.c ph.d m.d b.a m.a b.sc m.sc d.phil ll.b etc inc ltd co corp llc "
            "bros jr sr esq dept univ assn st mt ft ave blvd rd hwy apt jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed "
            "thu thur thurs fri est tel ext "
            "approx min max temp misc incl excl avg std intl natl govt"
        ),
        numbered=_words("no nos fig figs vol vols p pp ch chap sec sect art eq eqs ex ver v pt pts para par ref refs tab"),
        starters=_words(
            "a an the this that these those there here he she it we they i you my your his her its our their who what when where why how "
            "which if in on at as so and but or because although however then now after before while since for from with to let lets "
            "yes no not please thanks thank well some many most all each every one two both another also still yet maybe perhaps "
            "is are was were do does did can could will would should shall may might has have had don't it's i'm we're "
            "they're you're that's"
        ),
    ),
}

STOPS = frozenset("".join(row.stops for row in LANGUAGES.values()))
CLAUSES = frozenset("".join(row.clauses for row in LANGUAGES.values()))
WEAK = frozenset("".join(row.weak for row in LANGUAGES.values()))
CLOSERS = frozenset("".join(row.closers for row in LANGUAGES.values()))
TITLES = frozenset().union(*(row.titles for row in LANGUAGES.values()))
MAYBE = frozenset().union(*(row.maybe for row in LANGUAGES.values()))
NUMBERED = frozenset().union(*(row.numbered for row in LANGUAGES.values()))
STARTERS = frozenset().union(*(row.starters for row in LANGUAGES.values()))
DOTS = frozenset(".．")
ELLIPSES = frozenset("…⋯")
DASHES = frozenset("—―")
QUOTES = frozenset("\"'*_~`＂")
"""Marks that open as well as close; which of the two is told by counting them."""

# CJK ideographs and their extensions, kana, bopomofo, hangul, and the marks 々〇〆: one character is about one syllable.
_CJK_RANGES = (
    (0x3005, 0x3007),
    (0x3040, 0x312F),
    (0x31A0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xAC00, 0xD7AF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)


@lru_cache(maxsize=8192)
def is_cjk(char: str) -> bool:
    """Whether a character is written without spaces around words and sounds as about one syllable."""
    code = ord(char)
    return code >= 0x3005 and any(low <= code <= high for low, high in _CJK_RANGES)


def is_word_char(char: str) -> bool:
    """Whether a character belongs to a word of a script that has spaces."""
    return char.isalnum() and not is_cjk(char)


_SPEAKABLE_SYMBOLS = frozenset("%‰℃℉°＋％￥")


def is_speakable(text: str) -> bool:
    """Whether there is anything to say in a text: a letter, digit, ideograph, currency sign or unit."""
    return any(c.isalnum() or c in _SPEAKABLE_SYMBOLS or unicodedata.category(c) == "Sc" for c in text)


def weight_of(text: str) -> int:
    """Rough speaking time: 1 for a character of a spaced script (about 65 ms), 3 for a CJK one (about 200 ms)."""
    if text.isascii():
        return len(text)
    return sum(3 if is_cjk(c) else 1 for c in text)


_VIRAMA = 9  # canonical combining class of the signs that join two Indic consonants
_ZWJ = "\u200d"
_PREPENDS = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\u0d4e\U000110bd\U000110cd")


def is_extender(char: str) -> bool:
    """Whether a character continues the grapheme cluster before it (UAX 29: Extend, ZWJ, SpacingMark, emoji modifiers, tags)."""
    if char < "\u0300":
        return False
    code = ord(char)
    return (
        unicodedata.category(char) in ("Mn", "Me", "Mc")
        or char in "\u200c\u200d\u0e33\u0eb3\uff9e\uff9f"
        or 0x1F3FB <= code <= 0x1F3FF
        or 0xE0020 <= code <= 0xE007F
    )


def is_cluster_break(text: str, at: int) -> bool:
    """Whether `text` may be cut before position `at` without splitting a grapheme cluster, a CR LF or a pair of surrogates."""
    if at <= 0 or at >= len(text):
        return True
    left, right = text[at - 1], text[at]
    if unicodedata.category(left) in ("Cc", "Zl", "Zp"):
        return not (left == "\r" and right == "\n")
    if is_extender(right):
        return False
    if left < "\u0300":
        return True
    if left in _PREPENDS:
        return unicodedata.category(right) in ("Cc", "Zl", "Zp")
    if "\ud800" <= left <= "\udbff":
        return not "\udc00" <= right <= "\udfff"
    if left == _ZWJ:
        return not (_is_pictograph(right) and _is_pictograph(_base_before(text, at)))
    if unicodedata.combining(left) == _VIRAMA:
        return not (is_word_char(right) and is_word_char(_base_before(text, at)))
    if 0x1100 <= ord(left) <= 0x11FF or 0xA960 <= ord(left) <= 0xD7FF:
        return not (0x1160 <= ord(right) <= 0x11FF or 0x1100 <= ord(left) <= 0x115F or 0xD7B0 <= ord(right) <= 0xD7FF)
    return not (_is_flag(left) and _is_flag(right) and _flags_before(text, at) % 2)


def _is_pictograph(char: str) -> bool:
    return char in "©®‼⁉™ℹ〰〽" or (char >= "\u2190" and unicodedata.category(char) == "So")


def _base_before(text: str, at: int) -> str:
    """The character that the extenders directly before `at` belong to."""
    first = at - 1
    while first > 0 and is_extender(text[first]):
        first -= 1
    return text[first]


def _is_flag(char: str) -> bool:
    return 0x1F1E6 <= ord(char) <= 0x1F1FF


def _flags_before(text: str, at: int) -> int:
    """How many regional indicators stand directly before `at`; two make one flag."""
    first = at
    while first > 0 and _is_flag(text[first - 1]):
        first -= 1
    return at - first

"""Normalised text -> items: Chinese runs, Latin runs, given readings, marks. What can't be spoken is transliterated or counted."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from realtime.text.edits import PRONUNCIATION


class Kind(Enum):
    """What an item is."""

    HAN = "han"
    LATIN = "latin"
    GIVEN = "given"
    CLAUSE = "clause"
    SENTENCE = "sentence"


@dataclass(frozen=True, slots=True)
class Item:
    """A piece of the normalised text; `text` is what is spoken, `reading` how, where that was given."""

    kind: Kind
    text: str
    start: int
    end: int
    reading: str = ""


CLAUSE_MARKS = frozenset("、，,；;：:—–()（）「」『』[]【】《》〈〉{}～~")
SENTENCE_MARKS = frozenset("。！？!?…\n\r\u2028\u2029｡")
# Marks that change nothing in speech; what stands on either side is another word anyway.
SILENT_MARKS = frozenset("\"'“”‘’‹›«»·•‧・-‐‑‒―_*#^`|\\/+=<>@&%$€£¥￥©®™°§¶†‡")
# Blanks, marks upon other characters, and characters that only control (joiners, directions).
_SILENT_CATEGORIES = frozenset(("Zs", "Zl", "Zp", "Mn", "Mc", "Me", "Cc", "Cf"))
_HAN = re.compile(r"[\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_LATIN = re.compile(r"[A-Za-z]+(?:['’\-][A-Za-z]+)*")
_DIGIT_NAMES = dict(zip("0123456789", "零一二三四五六七八九", strict=True))
_ENGLISH_DIGITS = dict(zip("0123456789", "zero one two three four five six seven eight nine".split(), strict=True))


def scan(text: str, language: str, unspoken: Counter[str], is_readable: Callable[[str], bool], ours: str = "\n") -> list[Item]:
    """Items in order. Characters that no rule can speak are counted in `unspoken` and left out.

    Readings that begin with `ours` were put there by the lexicon (a line's end never begins one, so by default there are none).
    """
    out: list[Item] = []
    at = 0
    while at < len(text):
        given = PRONUNCIATION.match(text, at)
        latin = _LATIN.match(text, at)
        if given:
            word, reading = given.group()[1:-1].split("|", 1)
            # A mark that the lexicon put there stands for its whole word; in one of the user's, the word itself has the time.
            span = (at, given.end()) if reading.startswith(ours) else (at + 1, at + 1 + len(word))
            out.append(Item(Kind.GIVEN, word, *span, reading))
            at = given.end()
        elif latin:
            out.append(Item(Kind.LATIN, latin.group(), at, latin.end()))
            at = latin.end()
        else:
            _one(text, at, language, out, unspoken, is_readable)
            at += 1
    return out


def _one(text: str, at: int, language: str, out: list[Item], unspoken: Counter[str], is_readable: Callable[[str], bool]) -> None:
    char = text[at]
    if _HAN.match(char) and is_readable(char):
        _extend(out, Kind.HAN, char, at)
    elif char in SENTENCE_MARKS or (char == "." and _ends_sentence(text, at)):
        out.append(Item(Kind.SENTENCE, char, at, at + 1))
    elif char in CLAUSE_MARKS:
        out.append(Item(Kind.CLAUSE, char, at, at + 1))
    elif char in _DIGIT_NAMES:
        if language == "en":
            out.append(Item(Kind.LATIN, _ENGLISH_DIGITS[char], at, at + 1))
        else:
            _extend(out, Kind.HAN, _DIGIT_NAMES[char], at)
    elif not (char.isspace() or char == "." or char in SILENT_MARKS or unicodedata.category(char) in _SILENT_CATEGORIES):
        _foreign(char, at, out, unspoken)


def _extend(out: list[Item], kind: Kind, char: str, at: int) -> None:
    """Add to the run before if it touches."""
    if out and out[-1].kind is kind and out[-1].end == at and len(out[-1].text) == out[-1].end - out[-1].start:
        before = out.pop()
        out.append(Item(kind, before.text + char, before.start, at + 1))
    else:
        out.append(Item(kind, char, at, at + 1))


def _ends_sentence(text: str, at: int) -> bool:
    """A full stop with nothing, a blank or a closing mark behind it, and a letter or a Chinese character before."""
    rest = text[at + 1 : at + 2]
    return not rest or rest.isspace() or rest in "\"'”’)）]】」』" or bool(_HAN.match(rest))


def _foreign(char: str, at: int, out: list[Item], unspoken: Counter[str]) -> None:
    """Letters of other scripts are read through their Latin transliteration; anything else can't be spoken and is counted."""
    latin = ""
    if char.isalpha():
        from anyascii import anyascii

        latin = re.sub(r"[^A-Za-z]", "", anyascii(char))
    if not latin:
        unspoken[char] += 1
        return
    if out and out[-1].kind is Kind.LATIN and out[-1].end == at and not out[-1].text.isupper():
        before = out.pop()
        out.append(Item(Kind.LATIN, before.text + latin.lower(), before.start, at + 1))
    else:
        out.append(Item(Kind.LATIN, latin.lower(), at, at + 1))

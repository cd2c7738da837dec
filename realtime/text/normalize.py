"""Spoken forms: numbers, dates, money, units and symbols in words, for Chinese, English and both in one sentence.

A pre-pass (`rules_zh`, `rules_en`) says what `wetext` misreads; `wetext` says the rest. It is given only runs that hold a digit and
none of the characters it mangles. Words without digits are never touched by it. Every step keeps the way back to the source. The
library's own map (`normalize_with_mapping`) costs 8 to 15 times its plain call (3 to 30 ms instead of 0.2 to 1.7 ms for a clause,
measured), so the map of its part is the difference of what went in and came out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from realtime.text import rules_en, rules_zh
from realtime.text.edits import PRONUNCIATION, Edit, apply, differences, substitute
from realtime.text.rules import Rule
from realtime.types import SpokenText

RULES: dict[str, tuple[Rule, ...]] = {"zh": rules_zh.RULES, "en": rules_en.RULES}
LIBRARY_ERRORS = (AssertionError, RuntimeError, ValueError, LookupError, TypeError)
"""What wetext 0.1.8 was seen to raise on odd input, and what its native part can raise."""
MAX_RUN = 200
"""Longest run handed to the library at once; segments are shorter. Guess: keeps one call below some milliseconds."""


@dataclass(frozen=True, slots=True)
class NormalizationFailure:
    """A piece of text that the library failed on and that therefore stayed as it was written."""

    text: str
    language: str
    reason: str


OnFailure = Callable[[NormalizationFailure], None]


@cache
def _library(language: str) -> Any:
    """The library's normaliser; loads its grammars (about 0.3 s) at the first use."""
    from wetext import Normalizer

    if language == "zh":
        return Normalizer(lang="zh", operator="tn", remove_erhua=False, full_to_half=False)
    return Normalizer(lang="en", operator="tn")


def warm_up(languages: tuple[str, ...] = ("zh", "en")) -> None:
    """Load the grammars now instead of at the first number."""
    for language in languages:
        _library(language).normalize("1 2")


_MANGLED = r"\"\\<>|{}\[\]\n\r\t#+¢^_`"
_SAFE_RUN = {
    "zh": re.compile(rf"[^{_MANGLED}，。！？；、“”‘’（）《》【】…—]+"),
    "en": re.compile(rf"[^{_MANGLED}()“”‘—–…;:!?]+"),
}
_DIGIT = re.compile(r"[0-9]")


def normalize(spoken: SpokenText, language: str, on_failure: OnFailure | None = None) -> SpokenText:
    """The spoken form of a text in `zh` or `en` (any other language is read as `en`). Never raises, whatever the text.

    What the library can't read stays as written and is told to `on_failure`.
    """
    language = language if language in RULES else "en"
    for _, pattern, speak in RULES[language]:
        spoken = substitute(spoken, pattern, speak)
    if _DIGIT.search(spoken.text):
        spoken = apply(spoken, _library_edits(spoken.text, language, on_failure))
    return substitute(spoken, _DOUBLE_BLANK, lambda _: " ")


_DOUBLE_BLANK = re.compile(r" {2,}| +(?=[,.!?;:，。！？；：](?:\s|\Z))")


def _library_edits(text: str, language: str, on_failure: OnFailure | None) -> list[Edit]:
    """What the library changes in each run that it may see."""
    edits: list[Edit] = []
    at = 0
    for mark in [*PRONUNCIATION.finditer(text), None]:
        end = mark.start() if mark else len(text)
        for run in _SAFE_RUN[language].finditer(text, at, end):
            for start in range(run.start(), run.end(), MAX_RUN):
                piece = text[start : min(start + MAX_RUN, run.end())]
                if _DIGIT.search(piece):
                    edits += _piece_edits(piece, start, language, on_failure)
        at = mark.end() if mark else end
    return edits


def _piece_edits(piece: str, at: int, language: str, on_failure: OnFailure | None) -> list[Edit]:
    """The library's edits of one run; if it fails, those of each word of it."""
    core = piece.strip()
    at += len(piece) - len(piece.lstrip())
    try:
        return differences(core, _library(language).normalize(core), at)
    except LIBRARY_ERRORS as error:
        words = list(re.finditer(r"\S+", core))
        if len(words) > 1:
            return [
                edit for m in words if _DIGIT.search(m.group()) for edit in _piece_edits(m.group(), at + m.start(), language, on_failure)
            ]
        if on_failure is not None:
            on_failure(NormalizationFailure(core, language, f"{type(error).__name__}: {error}"))
        return []

"""What both languages' pre-passes share: a rule is a pattern and a way to say its match."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import NamedTuple


class Rule(NamedTuple):
    """`speak` may answer None: this match is left as it is."""

    name: str
    pattern: re.Pattern[str]
    speak: Callable[[re.Match[str]], str | None]


def rule(name: str, pattern: str, speak: Callable[[re.Match[str]], str | None], flags: int = 0) -> Rule:
    """A rule from a pattern's source."""
    return Rule(name, re.compile(pattern, flags), speak)


def without_commas(match: re.Match[str]) -> str:
    """`1,234,567` as 1234567."""
    return match.group().replace(",", "").replace("，", "")


def _plain(match: re.Match[str]) -> str:
    return unicodedata.normalize("NFKC", match.group())


def _single(match: re.Match[str]) -> str:
    """A run of marks as its first `?` and first `!`, or one of what it is."""
    run = match.group()
    kinds = [c for c in dict.fromkeys(run) if c in "?!？！"]
    return "".join(kinds[:2]) if kinds else run[0]


MAIL = r"(?<![\w.+-])([A-Za-z0-9][\w.+-]{0,63})@((?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24})(?![A-Za-z0-9])"
HOST = (
    r"(?<![\w@.-])((?:[A-Za-z0-9-]{1,63}\.){1,5}"
    r"(?:com|org|net|edu|gov|io|ai|app|dev|co|cn|uk|de|fr|jp|us|info|biz|me|tv|cc|xyz|tech|top|site|online|eu|ru|in|hk|tw))(?![A-Za-z0-9@])"
)
THOUSANDS = r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d])"

COMMON: tuple[Rule, ...] = (
    rule("full-width letters and digits", r"[０-９Ａ-Ｚａ-ｚ％＋－＝／＄＃＆＠．]+", _plain),
    rule("minus sign", r"−(?=\d)", lambda _: "-"),
    rule("units in one character", r"[㎜㎝㎞㎏㎎㎡㎥㏄]", _plain),
    rule("circled and Roman digits", r"[①-⑳Ⅰ-Ⅻⅰ-ⅻ]", _plain),
    rule("repeated ! and ?", r"[!?！？]{2,}", _single),
    rule("repeated stops", r"([,，、;；:：])\1+", _single),
    rule("full stops as an ellipsis", r"。{2,}", lambda _: "……"),
    rule("blanks", r"[ \t\r\n\xa0\u3000]{2,}|[\t\r\n\xa0\u3000]", lambda _: " "),
)

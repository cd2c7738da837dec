"""pypinyin's tables of readings, looked up without loading the library: as sorted lines they take 8 MB of a worker, as its own
dictionaries 55 MB. The result is the library's: longest phrases first from the left, single characters by their first reading.
"""

from __future__ import annotations

import json
import unicodedata
from array import array
from bisect import bisect_left
from functools import cache
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from typing import Any

from realtime.errors import ModelMissing

MAX_PHRASE = 16
_TONE_MARKS = {"\u0304": 1, "\u0301": 2, "\u030c": 3, "\u0300": 4}
_TAB = b"\t"


def with_number(marked: str) -> tuple[str, int]:
    """`lǜ` -> (`lv`, 4); without a mark the tone is 5, neutral."""
    tone, letters = 5, ""
    for char in unicodedata.normalize("NFD", marked):
        if char in _TONE_MARKS:
            tone = _TONE_MARKS[char]
        elif char == "\u0308":
            letters = letters[:-1] + "v"
        elif char == "\u0302":
            letters = letters[:-1] + "ê"
        else:
            letters += char
    return letters.replace("ɡ", "g"), tone


class _Table:
    """Sorted lines `key TAB value` in one piece of memory: many small objects would keep the parser's memory from being given back."""

    def __init__(self, entries: dict[str, str]) -> None:
        lines = sorted(f"{key}\t{value}".encode() for key, value in entries.items())
        self._lines = b"\n".join(lines) + b"\n"
        self._starts = array("I", accumulate((len(line) + 1 for line in lines[:-1]), initial=0))

    def _find(self, wanted: bytes) -> int | None:
        """Where the first line that starts with `wanted` begins."""
        size, lines, starts = len(wanted), self._lines, self._starts
        at = bisect_left(starts, wanted, key=lambda start: lines[start : start + size])
        return starts[at] if at < len(starts) and lines.startswith(wanted, starts[at]) else None

    def get(self, key: str) -> str | None:
        wanted = key.encode() + _TAB
        start = self._find(wanted)
        return None if start is None else self._lines[start + len(wanted) : self._lines.index(b"\n", start)].decode()

    def has_prefix(self, start: str) -> bool:
        return self._find(start.encode()) is not None


def _load(name: str) -> Any:
    """A data file of the library, found without importing it: the import alone would load all of its dictionaries."""
    spec = find_spec("pypinyin")
    if spec is None or spec.origin is None:
        raise ModelMissing("the package pypinyin is not installed")
    return json.loads(Path(spec.origin).with_name(name).read_bytes())


@cache
def phrases() -> _Table:
    """Phrase -> marked syllables, one per character."""
    return _Table({word: " ".join(one[0] for one in readings) for word, readings in _load("phrases_dict.json").items()})


@cache
def characters() -> _Table:
    """Character -> its first reading, marked."""
    return _Table({chr(int(code)): readings.split(",")[0] for code, readings in _load("pinyin_dict.json").items()})


def read_word(word: str) -> list[tuple[str, int]] | None:
    """Readings of the characters of a word; None when one has none."""
    out: list[tuple[str, int]] = []
    at = 0
    while at < len(word):
        size, found = _longest_phrase(word, at)
        marked = found.split(" ") if found is not None else [characters().get(word[at]) or ""]
        if not all(marked):
            return None
        out += [with_number(one) for one in marked]
        at += size
    return out if len(out) == len(word) else None


def _longest_phrase(word: str, at: int) -> tuple[int, str | None]:
    best: tuple[int, str | None] = (1, None)
    for end in range(at + 2, min(len(word), at + MAX_PHRASE) + 1):
        piece = word[at:end]
        if not phrases().has_prefix(piece):
            break
        found = phrases().get(piece)
        if found is not None:
            best = (end - at, found)
    return best

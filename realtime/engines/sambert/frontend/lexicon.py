"""The user's own readings: word -> pinyin (`chong2 qing4`) or ARPAbet phones (`HH AH0 L OW1`). One table per deployment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from realtime.engines.sambert.frontend.english import parse_phones
from realtime.engines.sambert.frontend.syllables import parse_pinyin
from realtime.errors import BadOption

MAX_ENTRIES = 50_000
"""Bound on a deployment's table: the pattern of all words must stay quick to search. Guess."""


class Lexicon:
    """Finds its words in text, longest first; Latin words in any case and only whole."""

    def __init__(self, entries: Mapping[str, str] | None = None) -> None:
        """Raises `BadOption` naming an entry whose reading can't be understood."""
        entries = dict(entries or {})
        if len(entries) > MAX_ENTRIES:
            raise BadOption(f"the lexicon has {len(entries)} entries, at most {MAX_ENTRIES} are taken")
        for word, reading in entries.items():
            if not word.strip() or not is_reading(reading):
                raise BadOption(
                    f"lexicon: {word!r} -> {reading!r}: neither pinyin with tones (chong2 qing4) nor ARPAbet phones (HH AH0 L OW1)"
                )
        self._entries = {word.lower(): reading for word, reading in entries.items()}
        ordered = sorted(self._entries, key=len, reverse=True)
        alternatives = "|".join(rf"(?<![A-Za-z]){re.escape(w)}(?![A-Za-z])" if w.isascii() else re.escape(w) for w in ordered)
        self._pattern = re.compile(alternatives, re.IGNORECASE) if ordered else None

    @classmethod
    def read(cls, path: Path) -> Lexicon:
        """From a file: one `word TAB reading` per line, `#` starts a comment. Raises `BadOption` naming file and line."""
        entries = {}
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise BadOption(f"lexicon {path}: {error}") from error
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            word, tab, reading = line.partition("\t")
            if not tab or not is_reading(reading):
                raise BadOption(f"{path}:{number}: expected word TAB pinyin with tones or ARPAbet phones, got {line!r}")
            entries[word.strip()] = reading
        return cls(entries)

    def __len__(self) -> int:
        return len(self._entries)

    def mark(self, text: str) -> list[tuple[int, int, str]]:
        """(start, end, reading) of each of its words in `text`."""
        if self._pattern is None:
            return []
        return [(m.start(), m.end(), self._entries[m.group().lower()]) for m in self._pattern.finditer(text)]


def is_reading(reading: str) -> bool:
    """Whether a reading is pinyin with tones or ARPAbet phones."""
    return understand(reading) is not None


def understand(reading: str) -> tuple[list[tuple[str, int]], None] | tuple[None, tuple[str, ...]] | None:
    """A reading as pinyin syllables or as phones; None if it is neither. All capitals are taken as phones first (`B AO1`)."""
    phones, pinyin = parse_phones(reading), parse_pinyin(reading)
    if phones is not None and (pinyin is None or reading == reading.upper()):
        return None, phones
    return (pinyin, None) if pinyin is not None else None

"""What travels between the steps. Positions count characters of the normalised text."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Hanzi:
    """One Chinese character with its reading. `tone` 1-4, 5 is neutral; `is_given` readings are not changed by tone rules."""

    char: str
    pinyin: str
    tone: int
    start: int
    end: int
    is_given: bool = False


@dataclass(slots=True)
class Word:
    """A dictionary word (or one that the user gave) with its tag and, once known, its readings."""

    text: str
    tag: str
    start: int
    readings: list[Hanzi] = field(default_factory=list)
    is_given: bool = False


@dataclass(frozen=True, slots=True)
class Syllable:
    """Phones that share a tone; `tone` is a number as in `tone0`..`tone5`."""

    phones: tuple[str, ...]
    tone: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ProsodicWord:
    """Syllables between two breaks."""

    syllables: tuple[Syllable, ...]

    @property
    def start(self) -> int:
        """First character."""
        return self.syllables[0].start

    @property
    def end(self) -> int:
        """Past the last character."""
        return max(one.end for one in self.syllables)

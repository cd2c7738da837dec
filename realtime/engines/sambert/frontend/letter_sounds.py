"""A small letter-to-sound fallback for English words outside every dictionary: longest spelling first, left to right.

It aims at being understood, not at being right; a name that matters belongs in the user lexicon.
"""

from __future__ import annotations

import re

# (spelling, what must precede, what must follow, phones); `^` and `$` are the word's ends. Vowels carry no stress yet.
_RULES: tuple[tuple[str, str, str, str], ...] = (
    ("tion", "", "", "sh ah n"), ("sion", "", "", "zh ah n"), ("ture", "", "$", "ch er"), ("cious", "", "", "sh ah s"),
    ("tious", "", "", "sh ah s"), ("ough", "", "", "ow"), ("augh", "", "", "ao"), ("eigh", "", "", "ey"), ("igh", "", "", "ay"),
    ("tch", "", "", "ch"), ("sch", "", "", "sh"), ("dge", "", "", "jh"), ("que", "", "$", "k"), ("eau", "", "", "ow"),
    ("oor", "", "", "ao r"), ("our", "", "", "aw er"), ("ear", "", "", "ih r"), ("eer", "", "", "ih r"), ("air", "", "", "eh r"),
    ("are", "", "$", "eh r"), ("ire", "", "$", "ay er"), ("ore", "", "$", "ao r"), ("ure", "", "$", "y uh r"),
    ("ch", "", "", "ch"), ("sh", "", "", "sh"), ("th", "", "", "th"), ("ph", "", "", "f"), ("wh", "", "", "w"), ("ck", "", "", "k"),
    ("ng", "", "$|[^aeiouy]", "ng"), ("nk", "", "", "ng k"), ("qu", "", "", "k w"), ("kn", "^", "", "n"), ("wr", "^", "", "r"),
    ("gn", "^", "", "n"), ("ps", "^", "", "s"), ("gh", "", "", "g"), ("sc", "", "[eiy]", "s"), ("zh", "", "", "zh"),
    ("ee", "", "", "iy"), ("ea", "", "", "iy"), ("oo", "", "", "uw"), ("ou", "", "", "aw"), ("ow", "", "$", "ow"), ("ow", "", "", "aw"),
    ("oi", "", "", "oy"), ("oy", "", "", "oy"), ("ai", "", "", "ey"), ("ay", "", "", "ey"), ("au", "", "", "ao"), ("aw", "", "", "ao"),
    ("ei", "", "", "ey"), ("ey", "", "", "iy"), ("ie", "", "", "iy"), ("oa", "", "", "ow"), ("ue", "", "$", "uw"), ("ew", "", "", "uw"),
    ("ar", "", "", "aa r"), ("er", "", "", "er"), ("ir", "", "", "er"), ("or", "", "", "ao r"), ("ur", "", "", "er"),
    ("le", "[^aeiouy]", "$", "ah l"), ("y", "^", "", "y"), ("y", "[^aeiou]", "$", "iy"), ("y", "", "", "ih"),
    ("a", "", "[^aeiouy]e$", "ey"), ("i", "", "[^aeiouy]e$", "ay"), ("o", "", "[^aeiouy]e$", "ow"), ("u", "", "[^aeiouy]e$", "uw"),
    ("e", "", "[^aeiouy]e$", "iy"), ("e", "[^aeiouy].*[aeiouy].*", "$", ""), ("a", "", "$", "ah"), ("o", "", "$", "ow"),
    ("i", "", "$", "iy"), ("u", "", "$", "uw"), ("a", "", "", "ae"), ("e", "", "", "eh"), ("i", "", "", "ih"), ("o", "", "", "aa"),
    ("u", "", "", "ah"), ("c", "", "[eiy]", "s"), ("g", "", "[eiy]", "jh"), ("x", "^", "", "z"), ("x", "", "", "k s"),
    ("s", "[aeiouy]", "[aeiouy]", "z"), ("b", "", "", "b"), ("c", "", "", "k"), ("d", "", "", "d"), ("f", "", "", "f"),
    ("g", "", "", "g"), ("h", "", "", "hh"), ("j", "", "", "jh"), ("k", "", "", "k"), ("l", "", "", "l"), ("m", "", "", "m"),
    ("n", "", "", "n"), ("p", "", "", "p"), ("q", "", "", "k"), ("r", "", "", "r"), ("s", "", "", "s"), ("t", "", "", "t"),
    ("v", "", "", "v"), ("w", "", "", "w"), ("z", "", "", "z"),
)  # fmt: skip
_COMPILED = tuple(
    (spelling, re.compile(f"(?:{before})$") if before else None, re.compile(after) if after else None, phones.split())
    for spelling, before, after, phones in _RULES
)
_VOWELS = frozenset("aa ae ah ao aw ay eh er ey ih iy ow oy uh uw".split())


def sound_out(word: str) -> tuple[str, ...]:
    """Phones of a lower-case word, the first vowel stressed (of four or more vowels, the last but two)."""
    phones: list[str] = []
    at = 0
    while at < len(word):
        if at and word[at] == word[at - 1] and word[at] not in "aeiou":
            at += 1
            continue
        for spelling, before, after, sounds in _COMPILED:
            end = at + len(spelling)
            if (
                not word.startswith(spelling, at)
                or (before and not _precedes(before, word[:at]))
                or (after and not after.match(word[end:]))
            ):
                continue
            phones += sounds
            at = end
            break
        else:
            at += 1
    vowels = [i for i, phone in enumerate(phones) if phone in _VOWELS]
    if not vowels:
        vowels, phones = [1 if phones else 0], [*phones[:1], "ah", *phones[1:]]
    stressed = vowels[0] if len(vowels) < 4 else vowels[-3]
    return tuple(phone + ("1" if i == stressed else "0") if phone in _VOWELS else phone for i, phone in enumerate(phones))


def _precedes(pattern: re.Pattern[str], head: str) -> bool:
    return pattern.search(head) is not None

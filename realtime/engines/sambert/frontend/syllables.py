"""Mandarin syllables: which exist, and the two symbols of each (specification 10.5.3). The table is rebuilt from the rule and checked
against the lists of valid finals, so an unknown syllable is never guessed silently."""

from __future__ import annotations

import re
from functools import cache

# Finals that each initial takes; "" is no initial. 411 plain syllables.
_J = "i ia ian iang iao ie in ing iong iu v van ve vn"
_G = "a ai an ang ao e ei en eng ong ou u ua uai uan uang ui un uo"
_ZH = "a ai an ang ao e ei en eng i ong ou u ua uai uan uang ui un uo"
_Z = "a ai an ang ao e ei en eng i ong ou u uan ui un uo"
PLAIN: dict[str, str] = {
    "": "a ai an ang ao e ei en eng er o ou",
    "b": "a ai an ang ao ei en eng i ian iao ie in ing o u",
    "p": "a ai an ang ao ei en eng i ian iao ie in ing o ou u",
    "m": "a ai an ang ao e ei en eng i ian iao ie in ing iu o ou u",
    "f": "a an ang ei en eng o ou u",
    "d": "a ai an ang ao e ei en eng i ia ian iao ie ing iu ong ou u uan ui un uo",
    "t": "a ai an ang ao e ei eng i ian iao ie ing ong ou u uan ui un uo",
    "n": "a ai an ang ao e ei en eng i ian iang iao ie in ing iu ong ou u uan un uo v ve",
    "l": "a ai an ang ao e ei eng i ia ian iang iao ie in ing iu o ong ou u uan un uo v ve",
    "g": _G,
    "k": _G,
    "h": _G,
    "j": _J,
    "q": _J,
    "x": _J,
    "zh": _ZH,
    "ch": _ZH.replace(" ei ", " "),
    "sh": _ZH.replace(" ong ", " "),
    "r": "an ang ao e en eng i ong ou u uan ui un uo",
    "z": _Z,
    "c": _Z.replace(" ei ", " "),
    "s": _Z.replace(" ei ", " "),
    "y": "a an ang ao e i in ing o ong ou v van ve vn",
    "w": "a ai an ang ei en eng o u",
}
# Finals that each initial takes with a rhotic ending (erhua). 250 syllables.
RHOTIC: dict[str, str] = {
    "b": "ang an ao a ei eng en ian iao ing i o u",
    "p": "ai ang an ao en ian iao ie ing i o u",
    "m": "ai ang an ao a ei en ian iao ing i o",
    "f": "ang an a eng en u",
    "d": "ai an ang ao eng ian iao ie ing i ong ou uan ui un uo u",
    "t": "ai ang an ao e ian iao i ing ong ou uan ui uo u",
    "n": "ao a iang ian iao ing i iu v",
    "l": "an ao a ei eng e iang ian iao ia ing i iu ou uo un u v",
    "g": "ai an ao eng en e ong ou uai uan ua ui un uo u",
    "k": "ai an ao eng e ong ou uai uang uan un",
    "h": "ai an ao ei e ou uan uang ua ui un uo u",
    "j": "ian iao ia ie ing in i iu van ve vn",
    "q": "ian iao ing i iu van vn v",
    "x": "iang ian ia ie ing i in iong iu",
    "zh": "ang an ao a en e i ong ou ua uan un uo u",
    "ch": "ang ao a eng e i ong ou uang uan ui un uo u",
    "sh": "ai ao eng en i uai ou ua ui un uo u",
    "r": "ang en",
    "z": "ai ao a i uan ui uo",
    "c": "ao a i ong ui un uo",
    "s": "a ai an i ui un",
    "y": "ang an ao a e ing in i ou van v ve",
    "w": "an a ei en eng o u",
}
INITIALS = ("zh", "ch", "sh", *"bpmfdtnlgkhjqxrzcsyw")
# Syllables that the reading library gives and the inventory lacks.
NEAREST = {
    "n": "en", "ng": "en", "m": "en", "hm": "en", "hng": "en", "ê": "ei", "rua": "ruan", "len": "leng", "nia": "niang", "wong": "weng",
    "din": "ding", "bong": "beng", "biang": "bian", "cei": "cui", "fiao": "biao", "eh": "ei", "yai": "ya", "lo": "lo", "yo": "yo",
}  # fmt: skip
_SILENT = {"a": "ga", "e": "ge", "o": "go"}
_LONG = {"iu": "iou", "ui": "uei", "un": "uen"}
_SYLLABLE = re.compile(r"(zh|ch|sh|[bpmfdtnlgkhjqxrzcsyw]?)([aeiouv].*)")


@cache
def normal(syllable: str) -> str:
    """Spelling used here: ü is v, after j q x y a final spelt u is v (ju -> jv), what the inventory lacks becomes its nearest."""
    plain = syllable.replace("u:", "v").replace("ü", "v")
    plain = NEAREST.get(plain, plain)
    if plain[:1] in ("j", "q", "x", "y") and plain[1:2] == "u":
        plain = plain[0] + "v" + plain[2:]
    return plain


@cache
def symbols_of(syllable: str) -> tuple[str, str] | None:
    """The two symbols of a syllable without tone (`hao`, `huir`), None if the inventory has no such syllable."""
    plain = normal(syllable)
    if plain == "er":
        return "ge", "er_c"
    split = _SYLLABLE.fullmatch(plain)
    if split is None:
        return None
    initial, final = split.groups()
    if final in PLAIN.get(initial, "").split():
        rhotic = ""
    elif final.endswith("r") and final[:-1] in RHOTIC.get(initial, "").split():
        final, rhotic = final[:-1], "r"
    else:
        return None
    onset = ("xx_c" if initial == "x" else initial + "_c") if initial else _SILENT[final[0]]
    return onset, _final(initial, final) + rhotic + "_c"


def _final(initial: str, final: str) -> str:
    if final == "i":
        return "ih" if initial in ("zh", "ch", "sh", "r") else "ii" if initial in ("z", "c", "s") else "i"
    return _LONG.get(final, final)


def has_rhotic(syllable: str) -> bool:
    """Whether erhua can merge into this syllable."""
    split = _SYLLABLE.fullmatch(normal(syllable))
    return split is not None and split.group(2) in RHOTIC.get(split.group(1), "").split()


_TONED = re.compile(r"([a-zü:ê]+)([1-5])")


def parse_pinyin(text: str) -> list[tuple[str, int]] | None:
    """`chong2qing4`, `chong2 qing4` or `lv4'se4` -> [(chong, 2), (qing, 4)]; None if it is not all such syllables."""
    compact = re.sub(r"[\s'\-]+", "", text.lower())
    parts = [(normal(one.group(1)), int(one.group(2))) for one in _TONED.finditer(compact)]
    if not parts or "".join(one.group(0) for one in _TONED.finditer(compact)) != compact:
        return None
    return parts if all(symbols_of(plain) for plain, _ in parts) else None

"""The rhotic ending 儿 (specification 10.5.2): merged into the syllable before it, unless the word says it in full."""

from __future__ import annotations

from collections.abc import Sequence

from realtime.engines.sambert.frontend.syllables import has_rhotic, normal
from realtime.engines.sambert.frontend.units import Hanzi

# Words in which 儿 is a syllable of its own.
FULL = tuple("女儿 婴儿 幼儿 孤儿 胎儿 健儿 男儿 宠儿 混血儿 新生儿 少儿 育儿 产儿 患儿 弃儿 孙儿 侄儿 孩儿 妻儿".split())
_FULL_FROM_HERE = ("儿子", "儿童", "儿女", "儿媳", "儿科", "儿歌", "儿戏", "儿孙", "儿所", "儿园")


def is_full(word: str, at: int) -> bool:
    """Whether the 儿 at position `at` of a word is a syllable of its own."""
    return at == 0 or word[: at + 1].endswith(FULL) or word[at:].startswith(_FULL_FROM_HERE)


def merge(chars: Sequence[Hanzi], full: Sequence[bool]) -> list[Hanzi]:
    """Drop each 儿 that the syllable before it can take; `full[i]` says that character i stays a syllable."""
    out: list[Hanzi] = []
    for one, stays in zip(chars, full, strict=True):
        if one.char == "儿" and not one.is_given and not stays and out and not out[-1].is_given and not out[-1].pinyin.endswith("r"):
            before = out[-1]
            if has_rhotic(before.pinyin):
                before.pinyin, before.end = normal(before.pinyin) + "r", one.end
                continue
            one.pinyin, one.tone = "er", 5
        out.append(one)
    return out

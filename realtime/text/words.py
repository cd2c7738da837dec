"""Breaks between Chinese words, for the rare sentence that is too long and has no mark to cut at (jieba, accurate mode)."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

from realtime.text.boundaries import is_cjk

_NUMERALS = frozenset("零〇一二两三四五六七八九十百千万亿点")


@cache
def _tokenizer() -> Any:
    """jieba with its dictionary: about 0.5 s and 50 MB once."""
    import jieba

    jieba.setLogLevel(logging.WARNING)
    jieba.initialize()
    return jieba


def warm_up() -> None:
    """Load the dictionary now instead of at the first overlong sentence."""
    _tokenizer()


def last_word_break(text: str, start: int, end: int) -> int:
    """The last position in (start, end) between two Chinese words of text[start:end]; `start` when there is none.

    The word that touches `end` may be incomplete, so its far side does not count.
    """
    window = text[start:end]
    if not any(map(is_cjk, window)):
        return start
    best = at = start
    for word in _tokenizer().cut(window, HMM=False):
        if at > start and at < end and _is_between_words(text[at - 1], text[at]):
            best = at
        at += len(word)
    return best


def _is_between_words(left: str, right: str) -> bool:
    return is_cjk(left) and is_cjk(right) and not (left in _NUMERALS and right in _NUMERALS)

"""Which language a piece of mixed text is read in."""

from __future__ import annotations

from realtime.text.boundaries import is_cjk, is_word_char

CJK_SHARE = 3
"""One ideograph outweighs this many Latin letters: it takes as long to say, and a Chinese voice reads Latin words, not the reverse."""


def guess_language(text: str, default: str) -> str:
    """`zh` or `en`, whichever takes the longer to say; `default` for text without letters."""
    ideographs = sum(map(is_cjk, text)) if not text.isascii() else 0
    letters = sum(1 for c in text if c.isalpha() and is_word_char(c))
    if not ideographs and not letters:
        return default
    return "zh" if ideographs * CJK_SHARE >= letters else "en"

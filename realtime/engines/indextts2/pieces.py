"""Cutting a list of vocabulary pieces into segments that the model can say in one go. Specification section 4.3.

Commas and hyphens close sub-segments as soon as they are met; the merge pass joins them again up to the limit. One deviation: a quote
taken along after a full stop is not said twice (in the reference the scan does not advance past it).
"""

from __future__ import annotations

from collections.abc import Sequence

STOPS = frozenset({".", "!", "?", "▁.", "▁?", "▁..."})
COMMAS = frozenset({",", "▁,"})
HYPHENS = frozenset({"-"})
QUOTES = frozenset({"'", "▁'"})
SHORTEST = 2
"""A stop closes a segment only if the segment has more pieces than this."""

Range = tuple[int, int]


def segments(pieces: Sequence[str], limit: int, first: int = 0) -> list[Range]:
    """Half-open ranges of pieces that cover all of them in order, none longer than `limit`.

    `first` keeps the ranges short until that many pieces have gone by (the reference's `quick_streaming_tokens`).
    Raises `ValueError` if `limit` is below 1.
    """
    if limit < 1:
        raise ValueError(f"a segment needs room for at least one piece, got {limit}")
    return _merged(_split(pieces, (0, len(pieces)), STOPS, limit), limit, first)


def _split(pieces: Sequence[str], span: Range, marks: frozenset[str], limit: int) -> list[Range]:
    """Split a range at `marks`, and at lesser marks before those."""
    found: list[Range] = []
    start, at = span[0], span[0]
    while at < span[1]:
        piece = pieces[at]
        at += 1
        if piece in COMMAS and marks == STOPS:
            found += _split(pieces, (start, at), COMMAS, limit)
        elif piece in HYPHENS and marks != HYPHENS:
            found += _split(pieces, (start, at), HYPHENS, limit)
        elif at - start > limit:
            found.append((start, at - 1))
            at -= 1
        elif piece in marks and at - start > SHORTEST:
            if at < span[1] and pieces[at] in QUOTES and at - start < limit:
                at += 1
            found.append((start, at))
        else:
            continue
        start = at
    if start < span[1]:
        found += [(i, min(i + limit, span[1])) for i in range(start, span[1], limit)]
    return found


def _merged(ranges: Sequence[Range], limit: int, first: int) -> list[Range]:
    """Join neighbours that fit together: up to the limit, or to half of it among the first pieces."""
    merged: list[Range] = []
    for start, end in ranges:
        together = end - merged[-1][0] if merged else limit + 1
        if together <= limit and (end > first or together <= limit / 2):
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return merged

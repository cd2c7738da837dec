"""How long to be silent after a segment, by what ends it.

Engines trim their own trailing silence, so that pauses are the same whoever speaks.
"""

from __future__ import annotations

from realtime.types import Segment

# Between sentences sambert.md section 8 puts 280 ms and indextts2.md section 4.4 puts 200 ms; between clauses both put nothing,
# and a segment cut at a clause had a pause of its own there (guess: a short breath).
SENTENCE_MS = 220
CLAUSE_MS = 60
SENTENCE_ENDS = "。！？!?….;；"
CLAUSE_ENDS = "，,、:：—"
CLOSERS = "\"'”’」』）)】]》 \n\t　"


def pause_ms(segment: Segment) -> int:
    """Milliseconds of silence that belong after the segment's sound; none at the end of what there is to say."""
    stripped = segment.text.rstrip(CLOSERS)
    if segment.is_last_before_flush or not stripped:
        return 0
    if stripped[-1] in SENTENCE_ENDS:
        return SENTENCE_MS
    return CLAUSE_MS if stripped[-1] in CLAUSE_ENDS else 0

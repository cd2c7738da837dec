"""Where another engine takes over a segment that is partly spoken.

The old sound may be cut anywhere it was not taken yet. The new engine starts at a word; if that word was taken in part already,
the part of the new sound that repeats it is skipped.
"""

from __future__ import annotations

import numpy as np

from realtime.pipeline.align import align, describe, describe_mels, next_word
from realtime.pipeline.attempt import ResumePoint
from realtime.pipeline.segment_run import SegmentRun
from realtime.text.boundaries import is_speakable

MOST_DOUBT_S = 0.3
"""An alignment whose good ends lie further apart than a word is no better than the plan alone (guess)."""

SOUNDED_MS = 80
"""So much of a character's own sound makes it heard: the emitter's tail, and twice a beacon's burst."""


def find_resume(run: SegmentRun, is_raw: bool = False) -> ResumePoint:
    """The resume point of a run whose live attempt is dead or about to be left. Pure but for reading the run.

    `is_raw`: the voice speaks every character, so that even a full stop is something left to say.
    """
    segment, total = run.segment, run.buffer.total
    if run.resume is not None:
        return run.resume  # another handover is under way: nothing was sent beyond its resume point
    if total == 0:
        return ResumePoint(segment.span.start, 0)
    heard = None if is_raw or run.is_exact else _by_ear(run)
    if heard is not None:
        return heard
    said = _said(run) if is_raw else run.char_at(total)
    begin = said if is_raw else word_start(segment.text, said - segment.span.start) + segment.span.start
    rest = segment.text[said - segment.span.start :]
    if not rest or not (is_raw or is_speakable(rest)):
        return ResumePoint(segment.span.end, total, is_nothing_left=True)
    at = run.sample_at(begin)
    if at is None:
        return ResumePoint(said, total)
    if at >= run.buffer.taken:
        return ResumePoint(begin, min(at, total), is_exact=run.is_exact)
    if is_raw:
        return ResumePoint(begin, run.buffer.taken, is_exact=run.is_exact)
    return ResumePoint(begin, total, skip_s=(total - at) / run.rate)


def _by_ear(run: SegmentRun) -> ResumePoint | None:
    """The resume point of sound whose engine did not say where its words lie, found by aligning the last second of it with what the
    plan's engine would say; None when there is nothing to align with, or the place is not clear."""
    if run.reference is None or run.plan is None:
        return None
    segment, total = run.segment, run.buffer.total
    sound = np.concatenate([run.buffer.recent(), run.buffer.held()])
    begins_s = max(0.0, (total - len(sound)) / run.rate)
    found = align(describe(sound, run.rate), describe_mels(run.reference), begin_s=begins_s)
    if found.doubt_s > MOST_DOUBT_S:
        return None
    char, begin_s = next_word(run.plan, found.time_s, len(segment.text))
    if not is_speakable(segment.text[char:]):
        return ResumePoint(segment.span.end, total, is_nothing_left=True)
    return ResumePoint(segment.span.start + char, total, skip_s=max(0.0, found.time_s - begin_s))


def _said(run: SegmentRun) -> int:
    """The first character that was not said, of a voice that gives each its own sound: one that was begun to be sent counts as said,
    because the tail that is held back has the rest of it."""
    char = run.char_at(run.buffer.total)
    begin = run.sample_at(char)
    is_begun = begin is not None and begin < run.buffer.taken and run.buffer.total - begin >= run.rate * SOUNDED_MS // 1000
    return char + 1 if is_begun else char


def word_start(text: str, at: int) -> int:
    """The start of the word around position `at`: a run of letters and digits of one alphabet; each Han character is its own."""
    if at >= len(text) or not is_word_character(text[at]):
        return at
    while at > 0 and is_word_character(text[at - 1]) and not (is_han(text[at]) or is_han(text[at - 1])):
        at -= 1
    return at


def is_word_character(char: str) -> bool:
    """Belongs to a word rather than between two."""
    return char.isalnum() or char in "'’"


def is_han(char: str) -> bool:
    """A CJK ideograph (Unicode blocks Unified Ideographs, Extension A and B onward, Compatibility)."""
    return "㐀" <= char <= "鿿" or "豈" <= char <= "﫿" or "\U00020000" <= char <= "\U0003ffff"

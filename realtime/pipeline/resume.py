"""Where another engine takes over a segment that is partly spoken.

The old sound may be cut anywhere it was not taken yet. Where its engine told when its words begin, that is exact. Otherwise the place is
found by ear, and chosen: the old voice is cut before the word whose beginning is the most certain, of those that lie in what is still
held, because a word said twice or lost is worse than a little less of the old voice. Only where no word begins there, the cut falls into
a word: the new engine starts at that word, and the part of its sound that was heard is skipped.
"""

from __future__ import annotations

from dataclasses import dataclass

from realtime.audio.splice import FADE_MS
from realtime.pipeline.align import Alignment, align
from realtime.pipeline.attempt import ResumePoint
from realtime.pipeline.segment_run import SegmentRun
from realtime.text.boundaries import is_speakable
from realtime.types import SpeechPlan

MOST_DOUBT_S = 0.6
"""An alignment whose likely ends lie further apart than this is no better than the plan alone (guess: two words)."""

MOST_GIVEN_UP_S = 0.8
"""So much of the old voice's sound may be given up for a surer cut: a long word, and less than a lead should ever shrink by at once."""

GIVING_UP = 0.03
"""Seconds of doubt that a second less of the old voice is worth (guess): of places equally sure the latest is taken."""

RIPE_S, UNRIPE = 0.2, 0.25
"""A word of which less than `RIPE_S` was said may be the end of the one before, drawn out: so much doubt per missing second (guess)."""

INSIDE_A_WORD_S = 0.15
"""Doubt that a cut inside a word is charged on top: its sounds can't be placed as its beginning can, and the change of voice is heard."""

STUB_S, STUB = 0.05, 0.2
"""So little of a word's end, in seconds and as a share of the word, is not said by another voice: it would be a click, and half of it lies
under the fade. The share is from 4,800 changes: a third lost 11 words and said 10 twice, a fifth 5 and 12."""

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
    """The resume point of sound whose engine did not say where its words lie, found by aligning it with what the plan's engine would
    say; None when there is nothing to align with, or the place is not clear."""
    ear = run.buffer.ear
    if run.reference is None or run.plan is None or ear is None or not ear.is_whole:
        return None
    if run.buffer.taken == 0 and run.buffer.total <= MOST_GIVEN_UP_S * run.rate:
        return ResumePoint(run.segment.span.start, 0)  # nothing was heard: the surest place is the beginning
    found = align(ear.rows(), run.reference, run.tempo.ratio, run.tempo.doubt, run.timbres)
    if found.doubt_s > MOST_DOUBT_S:
        return None
    cut = _surest_cut(run, run.plan, found)
    start = run.segment.span.start
    if not is_speakable(run.segment.text[cut.character :]):
        return ResumePoint(run.segment.span.end, run.buffer.total, is_nothing_left=True)
    at = min(max(round(cut.at_s * run.rate), run.buffer.taken), run.buffer.total)
    return ResumePoint(start + cut.character, at, skip_s=cut.skip_s)


@dataclass(frozen=True, slots=True)
class _Cut:
    """One way to go on: from `character` of the segment, at `at_s` of the old sound, without the first `skip_s` of the new."""

    character: int
    at_s: float
    skip_s: float
    harm_s: float


def _surest_cut(run: SegmentRun, plan: SpeechPlan, found: Alignment) -> _Cut:
    """Of the words that begin in what is held, and of the end of the sound, the least harmful place."""
    end_s = run.buffer.total / run.rate
    first_s = max(run.buffer.taken / run.rate + FADE_MS / 1000, end_s - MOST_GIVEN_UP_S)
    character, begins_s, is_begun = next_word(plan, found.time_s, len(run.segment.text))
    harm_s = found.doubt_s + (INSIDE_A_WORD_S if is_begun else 0.0)
    best = _Cut(character, end_s, found.time_s - begins_s if is_begun else 0.0, harm_s)
    for word in plan.words:
        crossing = found.crossing(plan.times_s[word.start])
        if crossing is not None and first_s <= crossing.at_s <= end_s:
            said_s = end_s - crossing.at_s
            harm_s = crossing.doubt_s + GIVING_UP * said_s + UNRIPE * max(0.0, RIPE_S - said_s)
            best = min(best, _Cut(word.start, crossing.at_s, 0.0, harm_s), key=lambda cut: cut.harm_s)
    return best


def next_word(plan: SpeechPlan, time_s: float, length: int) -> tuple[int, float, bool]:
    """The first character of the word under way at `time_s` (of the next one, when in between or only a stub is left), when it begins,
    and whether it has begun; the text's length and the plan's end when no word is left."""
    for word in plan.words:
        begins_s, ends_s = plan.times_s[word.start], plan.times_s[word.end]
        if ends_s > time_s + min(STUB_S, STUB * (ends_s - begins_s)):
            return word.start, begins_s, begins_s < time_s
    return length, plan.duration_s, False


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

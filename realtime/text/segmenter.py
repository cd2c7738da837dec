"""Text chunks in, segments out: clauses and sentences, as early as they can be spoken.

Three layers: `scan.next_mark` says where the text may be cut and how well; this file decides which of those places are used
(short first segment, longer later ones, maximum length); `due` adds what waiting decides. Without `due`, the segments are a
function of the whole text: no cutting of it into deltas changes them.

Cost: amortised O(1) per character for pushes of any size. A push of 1 MB takes seconds of Python: callers that must stay responsive
push slices of some kB. What is held is bounded by `HARD_FACTOR` times the longest segment plus one look-ahead.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from realtime.text.boundaries import Strength, is_cjk, is_cluster_break, is_speakable, weight_of
from realtime.text.language import guess_language
from realtime.text.scan import LOOKBEHIND, Certainty, next_mark
from realtime.text.words import last_word_break
from realtime.types import Segment, Span

HARD_FACTOR = 4
"""A run without any place to cut (no space, no mark) is cut at this many times the maximum; guess."""
MAX_CLUSTER = 256
"""Characters of one grapheme cluster that are kept together; the stream-safe format of UAX 15 allows 30."""


@dataclass(frozen=True, slots=True)
class Stage:
    """How long a segment should be. Weights: 1 per character of a spaced script, 3 per CJK character (so about 65 ms of speech each).

    A clause mark closes the segment from `clause_weight` on, a sentence mark always; over `max_weight` it is cut at the best place
    inside. After `max_wait_s` the text held is released at its last clause, or else word.
    """

    clause_weight: int
    max_weight: int
    max_wait_s: float


DEFAULT_SCHEDULE = (
    Stage(clause_weight=12, max_weight=75, max_wait_s=0.7),
    Stage(clause_weight=45, max_weight=120, max_wait_s=1.5),
    Stage(clause_weight=75, max_weight=150, max_wait_s=2.5),
)
"""First a clause (4 ideographs or 2 short words, under a second of sound), then more; guesses, to be tuned with a listener's lead."""


@dataclass(frozen=True, slots=True)
class SegmenterOptions:
    """`schedule`: the stage of the first, second, ... segment; the last one holds for all others. `settle_s`: how long after a full
    stop nothing must come for it to be spoken at once; `settle_dot_s`: the same after `.`, `:` or a line's end, where what comes
    next could still change what they are; `settle_number_s`: after
    `1980.` or `a.m.`, where it often does. `language`: of text that has no letters, until some has."""

    schedule: tuple[Stage, ...] = DEFAULT_SCHEDULE
    settle_s: float = 0.04
    settle_dot_s: float = 0.15
    settle_number_s: float = 0.6
    language: str = "zh"

    def __post_init__(self) -> None:
        if not self.schedule or any(not 0 < s.clause_weight <= s.max_weight for s in self.schedule):
            raise ValueError("a schedule needs at least one stage, with 0 < clause_weight <= max_weight")
        if min(self.settle_s, self.settle_dot_s, self.settle_number_s, *(s.max_wait_s for s in self.schedule)) <= 0:
            raise ValueError("settle and wait times must be above 0 s")


class _Closing(Enum):
    """Why the scan runs: more may come, or a flush says that nothing does."""

    OPEN = 0
    FLUSH = 1


@dataclass(slots=True)
class _Held:
    """What is known of the segment being built; positions are indices of the buffer."""

    start: int
    pos: int
    weight: int = 0
    clause: int = 0
    word: int = 0
    is_speakable: bool = False
    is_searched: bool = False


class Segmenter:
    """One utterance's text, cut into segments. `now` is any monotonic scale in seconds, the same in every call."""

    def __init__(self, options: SegmenterOptions | None = None) -> None:
        self.options = options or SegmenterOptions()
        self._text = ""
        self._base = 0
        self._held = _Held(0, 0)
        self._count = 0
        self._language = self.options.language
        self._since: float | None = None
        self._pushed_at = 0.0

    def __repr__(self) -> str:
        return f"<Segmenter {self._count} segments, {len(self._text) - self._held.start} characters held>"

    @property
    def held(self) -> int:
        """Characters pushed and not yet part of a segment."""
        return len(self._text) - self._held.start

    # ---- feeding ----

    def push(self, delta: str, now: float) -> list[Segment]:
        """Take the next piece of text; returns the segments that it completes."""
        if not delta:
            return []
        self._text += delta
        self._pushed_at = now
        found = self._scan(_Closing.OPEN)
        self._trim(now, bool(found))
        return found

    def flush(self, now: float) -> list[Segment]:
        """Nothing more belongs to what was pushed: return all that is held. Pushing may go on afterwards."""
        found = self._scan(_Closing.FLUSH)
        if self.held and (self._held.is_speakable or not found):
            found.append(self._cut(len(self._text)))
        elif self.held:  # unspeakable rest: joins the sentence before it
            last = found.pop()
            self._count -= 1
            self._held = _Held(last.span.start - self._base, len(self._text))
            found.append(self._cut(len(self._text)))
        if found:
            last = found[-1]
            found[-1] = Segment(last.index, last.span, last.text, last.language, is_last_before_flush=True)
        self._trim(now, True)
        return found

    # ---- waiting ----

    def next_due(self) -> float | None:
        """When `due` will have something to release if nothing is pushed until then; None when nothing speakable is held."""
        return min((when for when, _ in self._releases()), default=None)

    def due(self, now: float) -> list[Segment]:
        """Release what has waited long enough: a settled full stop, or the last clause or words of a sentence left open."""
        found: list[Segment] = []
        while True:
            ready = [cut for when, cut in self._releases() if when <= now]
            if not ready:
                break
            found.append(self._cut(max(ready)))
            self._trim(now, True)
            found += self._scan(_Closing.OPEN)
        if found:
            self._trim(now, True)
        return found

    def _releases(self) -> list[tuple[float, int]]:
        """What waiting will release: (when, buffer position to cut at).

        A clause waits `max_wait_s`, words without a clause mark twice that. Only after as long a silence the last word counts as
        complete, and only after twice that silence a number or mark that was left open.
        """
        held = self._held
        end = len(self._text)
        if not self._has_speech(end):
            return []
        stage = self._stage()
        wait = stage.max_wait_s
        since = self._pushed_at if self._since is None else self._since
        releases = [(self._pushed_at + 4 * wait, end)]
        settled = self._settled(stage)
        if settled is not None:
            releases.append(settled)
        if held.clause > held.start and self._has_speech(held.clause):
            releases.append((since + wait, held.clause))
        if held.word > held.start and self._has_speech(held.word):
            releases.append((since + 2 * wait, held.word))
        whole = self._whole_words()
        if whole > held.start and self._has_speech(whole):
            releases.append((self._pushed_at + 2 * wait, whole))
        return releases

    def _has_speech(self, end: int) -> bool:
        held = self._held
        if end >= held.pos:
            return held.is_speakable or is_speakable(self._text[held.pos : end])
        return is_speakable(self._text[held.start : end])

    def _settled(self, stage: Stage) -> tuple[float, int] | None:
        """The mark at the end of what is held, as if the text ended there."""
        held, text = self._held, self._text
        if held.pos == len(text):
            return None
        mark = next_mark(text, held.pos, max(0, held.start - LOOKBEHIND), True)
        assert mark is not None, "a final scan always decides"
        if mark.certainty is Certainty.UNSURE or text[mark.end :].strip():
            return None
        is_long = held.weight + mark.end - held.pos >= stage.clause_weight
        if mark.strength is Strength.SENTENCE or (mark.strength is Strength.CLAUSE and is_long):
            return self._pushed_at + self._settle_s(mark.certainty), mark.end
        return None

    def _settle_s(self, certainty: Certainty) -> float:
        options = self.options
        return {Certainty.SURE: options.settle_s, Certainty.LIKELY: options.settle_dot_s}.get(certainty, options.settle_number_s)

    def _whole_words(self) -> int:
        """The end of what is held, without a number or mark that may go on."""
        held, text = self._held, self._text
        end = len(text)
        if held.pos < end and text[held.pos] in "<[":
            end = held.pos
        elif end and (text[end - 1].isdigit() or text[end - 1] in ".,:"):
            while end > held.start and not text[end - 1].isspace() and not is_cjk(text[end - 1]):
                end -= 1
        return end

    # ---- cutting ----

    def _stage(self) -> Stage:
        schedule = self.options.schedule
        return schedule[min(self._count, len(schedule) - 1)]

    def _scan(self, closing: _Closing) -> list[Segment]:
        """Advance over all that can be decided; returns what that completes."""
        found: list[Segment] = []
        is_final = closing is _Closing.FLUSH
        while self._held.pos < len(self._text):
            held = self._held
            mark = next_mark(self._text, held.pos, max(0, held.start - LOOKBEHIND), is_final)
            if mark is None:
                break
            piece = self._text[held.pos : mark.end]
            held.weight += weight_of(piece)
            held.is_speakable = held.is_speakable or is_speakable(piece)
            held.pos = mark.end
            cut = self._cut_after(mark.strength)
            if cut is not None:
                found.append(self._cut(cut))
        return found

    def _cut_after(self, strength: Strength) -> int | None:
        """Where to cut now that everything up to `pos` is known and a mark of `strength` stands there; None = not yet."""
        held, stage = self._held, self._stage()
        is_long = held.weight > stage.max_weight
        if is_long:
            forced = self._forced_cut(stage)
            if forced is not None:
                return forced
        is_wanted = strength is Strength.SENTENCE or (strength is Strength.CLAUSE and held.weight >= stage.clause_weight)
        if is_wanted and held.is_speakable:
            return held.pos
        if strength >= Strength.WEAK:
            held.clause = held.pos
        if strength >= Strength.WORD:
            held.word = held.pos
        return held.pos if is_long and strength >= Strength.WORD else None

    def _forced_cut(self, stage: Stage) -> int | None:
        """The best place to cut a segment that grew too long; None when there is none and it may still grow."""
        held = self._held
        if not held.is_searched:
            held.is_searched = True
            full = self._position_of_weight(stage.max_weight)
            if held.clause > held.start and held.clause - held.start >= (full - held.start) // 3:
                return held.clause
            word = max(held.word, last_word_break(self._text, held.word, full))
            if word > held.start:
                return word
        if held.weight <= stage.max_weight * HARD_FACTOR:
            return None
        hard = self._position_of_weight(stage.max_weight * HARD_FACTOR)
        cut = hard
        while cut > held.start and hard - cut < MAX_CLUSTER and not is_cluster_break(self._text, cut):
            cut -= 1
        return cut if cut > held.start and is_cluster_break(self._text, cut) else hard

    def _position_of_weight(self, weight: int) -> int:
        """The position at which the held text's weight would exceed `weight`, which is less than its whole weight."""
        at = self._held.start
        while weight >= 0:
            weight -= 3 if is_cjk(self._text[at]) else 1
            at += 1
        return at - 1

    def _cut(self, end: int) -> Segment:
        """Make buffer[start:end] a segment; what was scanned beyond it is scanned again."""
        start = self._held.start
        text = self._text[start:end]
        self._language = guess_language(text, self._language)
        segment = Segment(self._count, Span(self._base + start, self._base + end), text, self._language)
        self._count += 1
        self._held = _Held(end, end, 0, end, end)
        return segment

    def _trim(self, now: float, is_new: bool) -> None:
        """Forget what is no longer read, and note since when the rest has waited."""
        gone = self._held.start - LOOKBEHIND
        if gone > 0:
            self._text = self._text[gone:]
            self._base += gone
            held = self._held
            held.start -= gone
            held.pos -= gone
            held.clause -= gone
            held.word -= gone
        if not self.held:
            self._since = None
        elif is_new or self._since is None:
            self._since = now

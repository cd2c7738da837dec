"""Segments that need not be spoken again: kept ones, and ones that somebody else is being told at this moment.

The first run of a text *leads*: its chunks are kept until it is complete and copied, as they come, to every run of the same text that
*follows* it, so that the same words for many listeners are made once. A leader that fails, hands over or is cancelled lets its
followers go: they go on from where they are like anybody else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from realtime.engines.base import Chunk
from realtime.pipeline.attempt import Attempt
from realtime.pipeline.cache import CacheKey, SegmentCache, SpokenSegment
from realtime.pipeline.forms import spoken_for
from realtime.pipeline.outputs import Word
from realtime.pipeline.segment_run import SegmentRun
from realtime.pipeline.voices import Part, VoiceBook
from realtime.types import Emotion, SpokenText

# More sound than this is never kept for one segment: 60 s are longer than any segment should be.
MAX_KEPT_S = 60.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What of a request decides how a segment sounds."""

    language: str | None
    speed: float
    emotion: Emotion | None
    seed: int


@dataclass(slots=True, eq=False)
class Follower:
    """A run that is fed a leader's chunks. `on_audio` after each, `on_end(is_whole)` once."""

    run: SegmentRun
    attempt: Attempt
    on_audio: Callable[[], None]
    on_end: Callable[[bool], None]


@dataclass(slots=True, eq=False)
class Leader:
    """A run whose sound may be kept. Its own attempt is the only one that may ever have spoken."""

    key: CacheKey
    run: SegmentRun
    attempt: Attempt | None = None
    chunks: list[Chunk] = field(default_factory=list)
    followers: list[Follower] = field(default_factory=list)


class Recall:
    """The cache and the leaders of the moment."""

    def __init__(self, cache: SegmentCache, voices: VoiceBook) -> None:
        self.cache = cache
        self._voices = voices
        self._leaders: dict[CacheKey, Leader] = {}
        self._by_run: dict[SegmentRun, Leader] = {}

    def __repr__(self) -> str:
        return f"<Recall {self.cache!r}, {len(self._leaders)} leaders>"

    def key(self, run: SegmentRun, part: Part, wish: Wish) -> CacheKey | None:
        """The key of a run as `part` would speak it; None while the cache is off."""
        if not self.cache.is_on:
            return None
        info = self._voices.info(part.engine)
        language = wish.language or run.segment.language
        spoken = spoken_for(run, info).text
        return CacheKey(part.engine, info.revision, part.voice, language, spoken, wish.speed, wish.emotion, wish.seed)

    def fill(self, run: SegmentRun, key: CacheKey) -> bool:
        """Give the run its whole sound if that is kept."""
        levels = [level.name for level in self._voices.info(key.engine).levels]
        kept = self.cache.get(key, levels)
        if kept is None:
            return False
        run.fill(kept.at_rate(run.rate), key.engine, kept.words_at(run.segment.span.start))
        return True

    def lead(self, run: SegmentRun, key: CacheKey) -> None:
        """`run` is going to be spoken; others may follow it."""
        leader = Leader(key, run)
        self._leaders[key] = self._by_run[run] = leader

    def follow(self, key: CacheKey, run: SegmentRun, on_audio: Callable[[], None], on_end: Callable[[bool], None]) -> bool:
        """Feed `run` from the leader of its text, if there is one; what that has said already comes at once."""
        leader = self._leaders.get(key)
        if leader is None or leader.attempt is None:
            return False
        spoken = _moved(leader.attempt.spoken, run.segment.span.start - leader.run.segment.span.start)
        attempt = Attempt("", key.engine, key.voice, "", leader.attempt.level, spoken)
        run.begin(attempt)
        for chunk in leader.chunks:
            run.receive(attempt, chunk)
        leader.followers.append(Follower(run, attempt, on_audio, on_end))
        return True

    def leave(self, run: SegmentRun) -> None:
        """A follower's utterance is over."""
        for leader in self._leaders.values():
            leader.followers = [follower for follower in leader.followers if follower.run is not run]

    def started(self, run: SegmentRun, attempt: Attempt) -> None:
        """The run got an engine. A second one, or one that begins in the middle, ends its leading."""
        leader = self._by_run.get(run)
        if leader is None:
            return
        if leader.attempt is not None or attempt.start > 0 or attempt.engine != leader.key.engine:
            self.abandon(run)
        else:
            leader.attempt = attempt

    def heard(self, run: SegmentRun, attempt: Attempt, chunk: Chunk) -> None:
        """A chunk of the run was good."""
        leader = self._by_run.get(run)
        if leader is None or leader.attempt is not attempt:
            return
        leader.chunks.append(chunk)
        for follower in leader.followers:
            follower.run.receive(follower.attempt, chunk)
            follower.on_audio()
        if attempt.native_samples > MAX_KEPT_S * attempt.rate:
            self.abandon(run)

    def completed(self, run: SegmentRun) -> None:
        """The run is complete: keep it if one attempt spoke all of it, and complete the followers."""
        leader = self._by_run.get(run)
        if leader is None or leader.attempt is None or len(run.voicings) != 1 or not leader.chunks:
            self.abandon(run)
            return
        self._forget(leader)
        words: list[Word] = list(run.words())
        entry = SpokenSegment.of([c.samples for c in leader.chunks], leader.attempt.rate, words, run.segment.span.start)
        self.cache.put(leader.key, leader.attempt.level, entry)
        for follower in leader.followers:
            follower.run.finish(follower.attempt)
            follower.on_end(True)

    def abandon(self, run: SegmentRun) -> None:
        """The run can't be kept: let its followers go on by themselves."""
        leader = self._by_run.get(run)
        if leader is None:
            return
        self._forget(leader)
        for follower in leader.followers:
            follower.run.drop(follower.attempt)
            follower.on_end(False)

    def _forget(self, leader: Leader) -> None:
        del self._by_run[leader.run]
        if self._leaders.get(leader.key) is leader:
            del self._leaders[leader.key]


def _moved(spoken: SpokenText, by: int) -> SpokenText:
    return SpokenText(spoken.text, tuple(at + by for at in spoken.origin)) if by else spoken

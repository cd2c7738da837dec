"""Segments that need not be spoken again: kept ones, and ones that somebody else is being told at this moment.

The first run of a text that gets an engine *leads*: its chunks are kept until it is complete and copied, as they come, to every run of
the same text that *follows* it, so that the same words for many listeners are made once. Runs that wait for an engine are *candidates*;
when one's turn comes and another leads by then, it follows. A leader that fails, hands over or is cancelled lets its followers go: they
go on from where they are like anybody else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from realtime import metrics
from realtime.engines.base import Chunk
from realtime.pipeline.attempt import Attempt
from realtime.pipeline.cache import CacheKey, SegmentCache, SpokenSegment
from realtime.pipeline.forms import spoken_for
from realtime.pipeline.outputs import Word
from realtime.pipeline.pauses import pause_ms
from realtime.pipeline.segment_run import SegmentRun
from realtime.pipeline.shared_cache import SharedCache
from realtime.pipeline.streams import Stream
from realtime.pipeline.voices import VoiceBook
from realtime.types import SpokenText

# More sound than this is never kept for one segment: 60 s are longer than any segment should be.
MAX_KEPT_S = 60.0


class Host(Protocol):
    """Who is told what becomes of followers."""

    def followed(self, stream: Stream) -> None:
        """A follower's segment is whole."""
        ...

    def let_go(self, stream: Stream, run: SegmentRun) -> None:
        """A run must be spoken after all, from where it is."""
        ...


@dataclass(slots=True, eq=False)
class Follower:
    """A run that is fed the chunks that are made for a listener of `leader`."""

    stream: Stream
    run: SegmentRun
    attempt: Attempt
    leader: Stream


@dataclass(slots=True, eq=False)
class Leader:
    """A run whose sound others may share. Its own attempt is the only one that may ever have spoken; `is_kept` unless it is of two
    quality levels."""

    key: CacheKey
    stream: Stream
    run: SegmentRun
    attempt: Attempt
    is_kept: bool = True
    chunks: list[Chunk] = field(default_factory=list)
    followers: dict[SegmentRun, Follower] = field(default_factory=dict)


class Recall:
    """Both tiers of the cache, and the leaders of the moment."""

    def __init__(self, cache: SegmentCache, voices: VoiceBook, shared: SharedCache | None = None) -> None:
        self.cache = cache
        self.host: Host | None = None
        self._shared = shared
        self._voices = voices
        self._candidates: dict[SegmentRun, tuple[CacheKey, Stream]] = {}
        self._leaders: dict[CacheKey, Leader] = {}
        self._by_run: dict[SegmentRun, Leader] = {}
        self._followed: dict[SegmentRun, Leader] = {}

    def __repr__(self) -> str:
        return f"<Recall {self.cache!r}, {len(self._leaders)} leaders, {len(self._followed)} followers>"

    @property
    def has_any(self) -> bool:
        """Something may be kept, so that a listener can be served although nobody speaks."""
        return len(self.cache) > 0 or (self._shared is not None and self._shared.is_up)

    # ---- before a run is spoken ----

    def look_up(self, stream: Stream, run: SegmentRun, then: Callable[[], None]) -> bool:
        """Ask the shared cache for a text that is not at hand here; `then` is called once, soon. False: there is nothing to wait for."""
        if self._shared is None or (key := self._key(stream, run)) is None:
            return False
        levels = self._levels(key)
        if key in self._leaders or self.cache.has(key, levels):
            return False
        return self._shared.look_up(key, levels, lambda found: then())  # what was found is in memory by then

    def recalled(self, stream: Stream, run: SegmentRun) -> bool:
        """Whether the run gets its sound from here, now or as it comes; if not, it is a candidate to be spoken."""
        key = self._key(stream, run)
        if key is None:
            return False
        if self._fill(stream, run, key) or self._follow(stream, run, key):
            return True
        self._candidates[run] = (key, stream)
        return False

    def recalled_after_all(self, stream: Stream, run: SegmentRun) -> bool:
        """The same for a candidate whose turn with an engine has come: others may have spoken its text meanwhile."""
        if run not in self._candidates:
            return False
        key, _ = self._candidates[run]
        if not (self._fill(stream, run, key) or self._follow(stream, run, key)):
            return False
        del self._candidates[run]
        return True

    # ---- while it is spoken ----

    def started(self, run: SegmentRun, attempt: Attempt) -> None:
        """The run got an engine. A second one, or one that begins in the middle, ends its leading."""
        if run not in self._candidates:
            self.abandon(run)
            return
        key, stream = self._candidates.pop(run)
        metrics.cache_misses.inc()
        if attempt.start == 0 and attempt.engine == key.engine and key not in self._leaders:
            self._leaders[key] = self._by_run[run] = Leader(key, stream, run, attempt)

    def adjusted(self, run: SegmentRun) -> None:
        """Its quality level changes on the way: good enough to be shared, not to be kept."""
        if leader := self._by_run.get(run):
            leader.is_kept = False

    def heard(self, run: SegmentRun, attempt: Attempt, chunk: Chunk) -> None:
        """A chunk of the run was good."""
        leader = self._by_run.get(run)
        if leader is None or leader.attempt is not attempt:
            return
        leader.chunks.append(chunk)
        for follower in leader.followers.values():
            follower.run.receive(follower.attempt, chunk)
            follower.stream.listener.nudge()
        if attempt.native_samples > MAX_KEPT_S * attempt.rate:
            self.abandon(run)

    def completed(self, run: SegmentRun) -> None:
        """The run is complete: keep it if one attempt spoke all of it, and complete the followers."""
        leader = self._by_run.get(run)
        if leader is None or len(run.voicings) != 1 or not leader.chunks:
            self.forget(run)
            return
        self._dissolve(leader)
        if leader.is_kept:
            self._keep(leader)
        for follower in leader.followers.values():
            follower.run.finish(follower.attempt)
            self._pad(follower.stream, follower.run)
            if self.host is not None:
                self.host.followed(follower.stream)

    def abandon(self, run: SegmentRun) -> None:
        """The run can't be shared any more: let its followers go on by themselves."""
        leader = self._by_run.get(run)
        if leader is None:
            return
        self._dissolve(leader)
        for follower in leader.followers.values():
            self._let_go(follower)

    def forget(self, run: SegmentRun) -> None:
        """Nobody wants the run any more, whatever it was."""
        self._candidates.pop(run, None)
        if (followed := self._followed.pop(run, None)) is not None:
            followed.followers.pop(run).stream.following.discard(run)
        self.abandon(run)

    @property
    def has_followers(self) -> bool:
        """Somebody follows somebody."""
        return bool(self._followed)

    def followers(self) -> list[Follower]:
        """Those who follow somebody now."""
        return [leader.followers[run] for run, leader in self._followed.items()]

    def leave(self, follower: Follower) -> None:
        """A follower goes on by itself: its leader is too slow for it."""
        leader = self._followed.pop(follower.run, None)
        if leader is None:
            return
        del leader.followers[follower.run]
        follower.stream.following.discard(follower.run)
        self._let_go(follower)

    # ---- private ----

    def _let_go(self, follower: Follower) -> None:
        follower.run.drop(follower.attempt)
        if self.host is not None:
            self.host.let_go(follower.stream, follower.run)
        follower.stream.listener.nudge()

    def _key(self, stream: Stream, run: SegmentRun) -> CacheKey | None:
        """The key of a run as its first engine would speak it; None while the cache is off, for all or for this request."""
        part, request = stream.parts[0], stream.listener.request
        if not self.cache.is_on or not request.has_cache:
            return None
        info = self._voices.info(part.engine)
        language = request.language or run.segment.language
        spoken = spoken_for(run, info).text
        return CacheKey(part.engine, info.revision, part.voice, language, spoken, request.speed, request.emotion, request.seed)

    def _levels(self, key: CacheKey) -> list[str]:
        return [level.name for level in self._voices.info(key.engine).levels]

    def _fill(self, stream: Stream, run: SegmentRun, key: CacheKey) -> bool:
        kept = self.cache.get(key, self._levels(key))
        if kept is None:
            return False
        metrics.cache_hits.inc()
        run.fill(kept.at_rate(run.rate), key.engine, kept.words_at(run.segment.span.start))
        self._pad(stream, run)
        return True

    def _follow(self, stream: Stream, run: SegmentRun, key: CacheKey) -> bool:
        """Feed `run` from the leader of its text, if there is one; what that has said already comes at once."""
        leader = self._leaders.get(key)
        if leader is None:
            return False
        metrics.cache_joined.inc()
        spoken = _moved(leader.attempt.spoken, run.segment.span.start - leader.run.segment.span.start)
        attempt = Attempt("", key.engine, key.voice, "", leader.attempt.level, spoken)
        run.begin(attempt)
        for chunk in leader.chunks:
            run.receive(attempt, chunk)
        leader.followers[run] = Follower(stream, run, attempt, leader.stream)
        self._followed[run] = leader
        stream.following.add(run)
        stream.listener.nudge()
        return True

    def _keep(self, leader: Leader) -> None:
        words: list[Word] = list(leader.run.words())
        start = leader.run.segment.span.start
        entry = SpokenSegment.of([chunk.samples for chunk in leader.chunks], leader.attempt.rate, words, start)
        self.cache.put(leader.key, leader.attempt.level, entry)
        if self._shared is not None:
            self._shared.put(leader.key, leader.attempt.level, entry)

    def _pad(self, stream: Stream, run: SegmentRun) -> None:
        run.pad(run.rate * pause_ms(run.segment) // 1000)
        stream.listener.nudge()

    def _dissolve(self, leader: Leader) -> None:
        del self._by_run[leader.run]
        del self._leaders[leader.key]
        for run, follower in leader.followers.items():
            del self._followed[run]
            follower.stream.following.discard(run)


def _moved(spoken: SpokenText, by: int) -> SpokenText:
    return SpokenText(spoken.text, tuple(at + by for at in spoken.origin)) if by else spoken

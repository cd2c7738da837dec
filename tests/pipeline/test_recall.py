"""The recall by itself: who leads, who follows, what is kept, and that nothing is left of those who are gone."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from realtime.engines.base import Chunk
from realtime.pipeline.attempt import Attempt
from realtime.pipeline.cache import SegmentCache
from realtime.pipeline.forms import spoken_for
from realtime.pipeline.recall import Recall
from realtime.pipeline.requests import Request
from realtime.pipeline.segment_run import SegmentRun
from realtime.pipeline.streams import Stream
from realtime.pipeline.voices import Part, VoiceBook
from realtime.types import Segment, Span
from tests.fakes import FakeEngine

RATE = 16000
TEXT = "您好。"
CHUNKS = [np.full(800, 0.1 * k, np.float32) for k in (1, 2, 3)]


@dataclass
class Listener:
    """Counts how often it was told that there is something new."""

    id: str
    request: Request = field(default_factory=Request)
    nudges: int = 0
    unsent_s: float = 0.0

    def nudge(self) -> None:
        self.nudges += 1

    def fail(self, error: Exception) -> None:
        raise AssertionError(error)


@dataclass
class Rig:
    """A recall of one engine; `start`, `say` and `finish` are what the dispatcher and its worker do."""

    recall: Recall
    voices: VoiceBook
    gone: list[SegmentRun] = field(default_factory=list)
    whole: list[Stream] = field(default_factory=list)
    count: int = 0

    def let_go(self, stream: Stream, run: SegmentRun) -> None:
        self.gone.append(run)

    def followed(self, stream: Stream) -> None:
        self.whole.append(stream)

    def listener(self, text: str = TEXT, at: int = 0, **request: object) -> tuple[Stream, SegmentRun]:
        self.count += 1
        stream = Stream(Listener(f"u{self.count}", Request(**request)), (Part("main", "v"),))  # type: ignore[arg-type]
        return stream, SegmentRun(Segment(0, Span(at, at + len(text)), text, "zh"), RATE)

    def start(self, run: SegmentRun, engine: str = "main", level: str = "standard") -> Attempt:
        attempt = Attempt("j", engine, "v", "w", level, spoken_for(run, self.voices.info("main")))
        run.begin(attempt)
        self.recall.started(run, attempt)
        return attempt

    def say(self, run: SegmentRun, attempt: Attempt, *which: int) -> None:
        for k in which:
            chunk = Chunk("j", CHUNKS[k], RATE)
            run.receive(attempt, chunk)
            self.recall.heard(run, attempt, chunk)

    def finish(self, run: SegmentRun, attempt: Attempt) -> None:
        run.finish(attempt)
        self.recall.completed(run)

    @property
    def is_empty(self) -> bool:
        r = self.recall
        return not (r._candidates or r._leaders or r._by_run or r._followed)


@pytest.fixture
def rig() -> Rig:
    voices = VoiceBook(("main",))
    voices.learn(FakeEngine("main", rtf={"standard": 0.5, "fast": 0.1}).info)
    rig = Rig(Recall(SegmentCache(1 << 20), voices), voices)
    rig.recall.host = rig
    return rig


def sound(run: SegmentRun) -> list[float]:
    """The chunks that a run has, by their levels; the pause behind a sentence left out."""
    held = run.buffer.held()
    return [round(float(held[at]), 1) for at in range(0, len(held), 800) if held[at]]


def test_whoever_gets_an_engine_first_leads_and_the_others_follow_when_their_turn_comes(rig: Rig) -> None:
    (one, first), (two, second), (three, third) = rig.listener(), rig.listener(at=40), rig.listener()
    assert not rig.recall.recalled(one, first) and not rig.recall.recalled(two, second) and not rig.recall.recalled(three, third)
    assert not rig.recall.recalled_after_all(two, second), "nobody speaks it yet"
    attempt = rig.start(second)
    rig.say(second, attempt, 0, 1)
    assert rig.recall.recalled_after_all(one, first)
    assert sound(first) == [0.1, 0.2], "what was said already comes at once"
    rig.say(second, attempt, 2)
    rig.finish(second, attempt)
    assert sound(first) == sound(second) == [0.1, 0.2, 0.3] and first.is_complete and rig.whole == [one]
    assert first.buffer.total > 2400, "with the pause behind a sentence"
    assert rig.recall.recalled_after_all(three, third) and sound(third) == [0.1, 0.2, 0.3]
    assert rig.is_empty and not one.following


def test_sound_of_two_quality_levels_is_shared_but_not_kept(rig: Rig) -> None:
    (one, first), (two, second) = rig.listener(), rig.listener()
    rig.recall.recalled(one, first)
    attempt = rig.start(first)
    rig.say(first, attempt, 0)
    assert rig.recall.recalled(two, second)
    rig.recall.adjusted(first)
    rig.say(first, attempt, 1)
    rig.finish(first, attempt)
    assert sound(second) == [0.1, 0.2] and second.is_complete
    assert len(rig.recall.cache) == 0 and rig.is_empty and rig.gone == []


def test_a_leader_that_gets_a_second_engine_lets_its_followers_go(rig: Rig) -> None:
    (one, first), (two, second) = rig.listener(), rig.listener()
    rig.recall.recalled(one, first)
    attempt = rig.start(first)
    rig.say(first, attempt, 0)
    rig.recall.recalled(two, second)
    rig.recall.started(first, Attempt("k", "spare", "v", "x", "standard", attempt.spoken))
    assert rig.gone == [second] and second.live is None and sound(second) == [0.1]
    assert rig.is_empty and not two.following


def test_a_stand_in_does_not_lead(rig: Rig) -> None:
    (one, first), (two, second) = rig.listener(), rig.listener()
    rig.recall.recalled(one, first)
    attempt = rig.start(first, engine="spare")
    rig.say(first, attempt, 0)
    assert not rig.recall.recalled(two, second)
    rig.finish(first, attempt)
    assert len(rig.recall.cache) == 0


def test_a_follower_that_leaves_is_fed_no_more_and_takes_nobody_along(rig: Rig) -> None:
    (one, first), (two, second), (three, third) = rig.listener(), rig.listener(), rig.listener()
    rig.recall.recalled(one, first)
    attempt = rig.start(first)
    for stream, run in ((two, second), (three, third)):
        rig.recall.recalled(stream, run)
    rig.say(first, attempt, 0)
    rig.recall.forget(second)
    rig.say(first, attempt, 1)
    assert sound(second) == [0.1] and sound(third) == [0.1, 0.2] and not two.following
    rig.recall.forget(first)  # the leader hangs up
    assert rig.gone == [third] and rig.is_empty


def test_a_candidate_that_leaves_is_forgotten(rig: Rig) -> None:
    one, first = rig.listener()
    rig.recall.recalled(one, first)
    rig.recall.forget(first)
    assert rig.is_empty


@pytest.mark.parametrize("request_fields", [{"has_cache": False}, {"speed": 1.2}, {"seed": 3}, {"language": "en"}])
def test_other_wishes_share_nothing(rig: Rig, request_fields: dict[str, object]) -> None:
    (one, first), (two, second) = rig.listener(), rig.listener(**request_fields)
    rig.recall.recalled(one, first)
    attempt = rig.start(first)
    rig.say(first, attempt, 0)
    assert not rig.recall.recalled(two, second)
    rig.finish(first, attempt)
    assert not rig.recall.recalled_after_all(two, second)

"""When another engine takes over, and who wins: the rules, as pure functions of plain numbers.

                    deadline - p99(first chunk) - margin          deadline - commit       deadline
    leader  ======================|.......(late)..........................|..................|
    challenger                    |<-- first chunk --> ready, held        |
                               start                            the one that has audio wins

The start is early enough for the challenger to be ready when the listener runs dry; the decision is as late as possible, so that an
engine that was merely slow keeps the voice. A challenger that lost costs only its own work.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from realtime.scheduling.fleet import Worker
from realtime.scheduling.rates import RateBook
from realtime.scheduling.streams import Run


@dataclass(frozen=True, slots=True)
class HandoverSettings:
    """Margins and limits of handovers."""

    margin_s: float = 0.05  # over the p99: event loop, pipe, alignment (measured 5-15 ms), and the other's second chunk
    commit_s: float = 0.03  # a decision this long before the deadline still reaches the listener in time
    most_ahead_s: float = 2.0  # no race begins earlier than this before the deadline, however slow the other engine is
    stall_factor: float = 3.0  # silence of so many times what 99 of 100 chunks take, as measured, is a stall (guess)
    stall_wait_s: float = (
        2.0  # and half the time that is left until another engine must start, at most this (a loaded host pauses for 0.4 s)
    )
    most_races: int = 3  # per segment: won so often without keeping up, an engine loses; begun so often, the next ones begin later
    patience_share: float = 0.9  # of an engine's chunks come by then: one that will surely be in time is given so long before a race
    width: float = 6.0  # times the share of workers that fell ill of late: so many that were asked are not waited for with a twin (guess)
    most_runs: int = 6  # of a segment at a time: of each engine one, and others of its workers while those that run are overdue (guess)
    least_patience_share: float = 0.5  # where most workers are ill, as probably this one is (guess)
    most_lost_runs: int = 6  # per segment and engine: a worker's death is not the text's fault, so many may be
    return_after_s: float = 2.0  # hysteresis: the first choice is taken again no sooner than this after a switch
    return_slack_s: float = 0.5  # and only with so much time to spare
    most_switches: int = 4  # per utterance: then it stays where it is
    patience_s: float = 5.0  # how long an utterance in mid-speech waits for any engine to come back before it fails


class Verdict(Enum):
    """How a race stands."""

    OPEN = auto()
    LEADER = auto()
    CHALLENGER = auto()


@dataclass(frozen=True, slots=True)
class RaceView:
    """What a verdict rests on. `has_fresh_audio`: the leader produced something since the race began; `keeps_up`: its next chunk and its
    last will be in time; `is_hopeless`: it is too slow to end in time, or had its chances; `is_ready`: the challenger has audio (or
    knows that nothing is left to say)."""

    has_fresh_audio: bool
    keeps_up: bool
    is_hopeless: bool
    is_ready: bool
    must_decide: bool


def verdict(view: RaceView) -> Verdict:
    """Who takes the segment from here on.

    | leader has fresh audio | and is | challenger ready | before commit | at commit |
    |---|---|---|---|---|
    | yes | keeping up | any | leader | leader |
    | yes | tight | any | open | leader (the next race may begin at once) |
    | yes | hopeless | yes | challenger | challenger |
    | yes | hopeless | no | open | leader |
    | no | any | yes | open | challenger |
    | no | any | no | open | open: the first that has audio |
    """
    if view.has_fresh_audio and view.keeps_up and not view.is_hopeless:
        return Verdict.LEADER
    if view.has_fresh_audio and view.is_hopeless and view.is_ready:
        return Verdict.CHALLENGER
    if not view.must_decide:
        return Verdict.OPEN
    if view.has_fresh_audio:
        return Verdict.LEADER
    return Verdict.CHALLENGER if view.is_ready else Verdict.OPEN


def start_at(deadline: float, worker: Worker, rates: RateBook, settings: HandoverSettings) -> float:
    """When a run on that worker must start for its first sound to meet the deadline in 99 of 100 cases: at its fastest level, with what
    it has on it; but no later than the engine's first chunks have needed of late, as others may come with it."""
    card = worker.card
    expected = rates.first_chunk_s(card.id, tuple(card.rates)[-1], len(worker.runs) + 1)
    needed = max(expected * rates.first_lateness(card.engine), rates.first_chunk_p99_s(card.engine))
    return deadline - min(settings.most_ahead_s, needed) - settings.margin_s - settings.commit_s


def next_sound_at(run: Run, rates: RateBook, jobs: float) -> float:
    """When the run should be heard of next: its first chunk, or one as long as the last."""
    if run.audio_s == 0:
        return run.began_at + rates.first_chunk_s(run.worker_id, run.level, jobs)
    return run.heard_of_at + max(0.01, run.chunk_s * rates.rtf(run.worker_id, run.level, jobs))


def surely_at(run: Run, rates: RateBook, jobs: float, share: float = 0.99) -> float:
    """When the run will have been heard of, in a share of the cases; no sooner than at the pace of its own last chunks."""
    expected = next_sound_at(run, rates, jobs)
    if run.audio_s == 0:
        return run.began_at + (expected - run.began_at) * rates.first_lateness(run.engine, share)
    return run.heard_of_at + max((expected - run.heard_of_at) * rates.lateness(run.engine, share), run.chunk_s * run.pace)


def stalled_at(run: Run, rates: RateBook, jobs: float, settings: HandoverSettings, begin: float) -> float:
    """From when on silence of the run is a stall. With time to spare until `begin`, when another engine must start, patience costs nothing;
    without, the predicted miss comes first."""
    since = run.heard_of_at if run.audio_s else run.began_at
    silent_at = since + settings.stall_factor * (surely_at(run, rates, jobs) - since)
    return silent_at + min(settings.stall_wait_s, max(0.0, (begin - silent_at) / 2))


def keeps_up(run: Run, rates: RateBook, jobs: float, deadline: float) -> bool:
    """True when the next chunk is surely in time."""
    return surely_at(run, rates, jobs) <= deadline


def is_hopeless(run: Run, rates: RateBook, jobs: float, remaining_s: float, deadline: float) -> bool:
    """True when the rest of the segment, at the worker's rate or at the run's own of late, can't be in time to its end."""
    at_end = run.heard_of_at + remaining_s * max(run.pace, rates.rtf(run.worker_id, run.level, jobs))
    return at_end > deadline + remaining_s

"""The account of what happened to the engines under an utterance that came back wrong."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from realtime.bench import handover_processes
from realtime.bench.ear import Ear
from realtime.bench.witness import Witness, WitnessedLog, WitnessedScheduler
from realtime.clock import MonotonicClock
from realtime.engines.base import Chunk, Done
from realtime.pipeline.outputs import DoneOut, FailedOut
from realtime.scheduling.actions import Fail, Reason
from realtime.scheduling.cards import JobSpec, LevelRate, StreamSpec, WorkerCard
from realtime.types import Budget, Priority, Usage
from realtime.workers.interface import JobEvent, LossReason, WorkerLost
from tests.fakes import FakeClock


def told(witness: Witness, utterance: str, since: float = 0.0) -> list[str]:
    return [line.split(maxsplit=1)[1] for line in witness.account(utterance, since)]


def test_an_account_has_what_concerns_the_utterance_and_what_concerns_all() -> None:
    clock = FakeClock(100.0)
    witness = Witness(clock)
    witness.note("u1", "before it was asked for")
    clock._now = 110.0
    witness.saw(JobEvent("main-0", Chunk("u1/0#1", np.zeros(100, np.float32), 16000, at=0)))
    witness.saw(JobEvent("main-0", Chunk("u1/0#1", np.zeros(100, np.float32), 16000, at=100)))
    witness.saw(JobEvent("main-0", Done("u10/0#1", 200)))
    witness.saw(WorkerLost("main-0", "main", LossReason.DIED, "killed", ("u1/0#1",)))
    assert told(witness, "u1", 105.0) == ["u1/0#1 sounds on main-0", "WorkerLost main-0 died, killed, ('u1/0#1',)"]
    assert told(witness, "u10", 105.0) == ["u10/0#1 on main-0: done, 200 samples", "WorkerLost main-0 died, killed, ('u1/0#1',)"]


def test_the_log_of_the_pipeline_is_part_of_it(caplog: pytest.LogCaptureFixture) -> None:
    witness = Witness(FakeClock())
    log = logging.getLogger("realtime.dispatcher")
    log.addHandler(handler := WitnessedLog(witness))
    with caplog.at_level(logging.INFO, logger=log.name):
        log.warning("%s on %s failed: %s", "u2/0#1", "main-0", "garbage")
    log.removeHandler(handler)
    assert told(witness, "u2") == ["u2/0#1 on main-0 failed: garbage"] and told(witness, "u3") == []


def test_when_nobody_is_left_it_tells_who_was_there() -> None:
    scheduler = WitnessedScheduler()
    scheduler.witness = Witness(FakeClock(0.0))
    scheduler.worker_ready(WorkerCard("main-0", "main", 4, {"standard": LevelRate(0.1, 0.05)}), 0.0)
    scheduler.open_stream(StreamSpec("u1", ("main",), Priority.INTERACTIVE, Budget()), 0.0)
    scheduler.submit(JobSpec("u1/0", "u1", 0, 2.0, 20), 0.0)
    scheduler.plan(0.0)
    scheduler.failed("u1/0", "main", Reason.UNSPEAKABLE, 0.1)
    assert any(isinstance(action, Fail) for action in scheduler.plan(0.1))
    assert told(scheduler.witness, "u1")[-1] == "who was there: main-0 (0 of 4 jobs)"


def test_an_error_is_counted_with_what_it_left_unsaid_and_not_as_words_lost() -> None:
    world = handover_processes._World(MonotonicClock(), lambda done, found: None)
    failed = FailedOut("engine_failed", "nobody is left", True, None, 0, 0.0)
    handover_processes._judge("u1", "nobody said this", Ear(24000, world.clock), failed, world, 0.0)
    assert (world.tally.failed, world.tally.unsaid, world.tally.dropped) == (1, 16, 0)
    handover_processes._judge("u2", "lost", Ear(24000, world.clock), DoneOut(Usage(4, {}), None), world, 0.0)
    assert (world.tally.failed, world.tally.unsaid, world.tally.dropped) == (1, 16, 4)
    assert [trouble.split(":")[0] for trouble in world.tally.trouble] == ["u1", "u2"]

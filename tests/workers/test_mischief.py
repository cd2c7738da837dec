"""Faults as an admin asks for them: checked before they are sent, aimed at who works, and the same again from the same seed."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from realtime.errors import BadOption, WorkerLost
from realtime.workers.interface import Fault, FaultKind, WorkerState, WorkerStatus
from realtime.workers.mischief import LATEST_MS, Chance, Mischief, aim_from, plan_from, random_faults
from tests.fakes import FakeClock, settle


@dataclass
class Pool:
    """Remembers what is done to it."""

    rows: list[WorkerStatus]
    done: list[tuple[str, Fault]] = field(default_factory=list)
    is_gone: bool = False

    def workers(self) -> tuple[WorkerStatus, ...]:
        return tuple(self.rows)

    def inject(self, worker_id: str, fault: Fault) -> None:
        if self.is_gone:
            raise WorkerLost("gone")
        self.done.append((worker_id, fault))


def pool() -> Pool:
    ready = WorkerState.READY
    rows = [
        WorkerStatus("a-0.0", "a", ready),
        WorkerStatus("a-1.0", "a", ready, jobs=("u1/0#1", "u12/3#2")),
        WorkerStatus("b-0.0", "b", ready),
        WorkerStatus("c-0.0", "c", WorkerState.STARTING),
    ]
    return Pool(rows)


def mischief(rows: Pool, clock: FakeClock | None = None) -> Mischief:
    return Mischief(rows, clock or FakeClock())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("body", "worker", "job"),
    [
        ({}, "a-1.0", None),
        ({"engine": "a"}, "a-1.0", None),
        ({"engine": "b"}, "b-0.0", None),
        ({"worker": "a-0.0"}, "a-0.0", None),
        ({"job": "u1"}, "a-1.0", "u1/0#1"),
        ({"job": "u12/3"}, "a-1.0", "u12/3#2"),
        ({"job": "u1/0#1"}, "a-1.0", "u1/0#1"),
    ],
)
def test_a_fault_falls_on_who_is_meant(body: dict[str, Any], worker: str, job: str | None) -> None:
    rows = pool()
    answer = mischief(rows).take({"kind": "kill", "at_ms": 120, **body})
    assert rows.done == [(worker, Fault(FaultKind.KILL, job, 120.0))]
    assert answer["worker"] == worker and answer.get("job") == job and answer["at_ms"] == 120


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"kind": "explode"},
        {"kind": ["kill"]},
        {"kind": "kill", "when": 3},
        {"kind": "kill", "at_ms": "soon"},
        {"kind": "kill", "at_ms": -1},
        {"kind": "kill", "at_ms": float("nan")},
        {"kind": "kill", "value": True},
        {"kind": "kill", "job": 7},
        {"kind": "kill", "job": "u2"},
        {"kind": "kill", "job": "u"},
        {"kind": "kill", "engine": "c"},
        {"kind": "kill", "worker": "a-9.0"},
        {"kind": "stall"},
        {"kind": "slow"},
        {"kind": "slow", "value": 0.5},
        {"plan": []},
        {"plan": {"kind": "kill"}},
        {"plan": [{"kind": "kill"}, {"kind": "explode"}]},
        {"plan": [{"kind": "kill"}, {"kind": "kill", "job": "u2"}]},
        {"random": True},
        {"random": {"per_minute": -1}},
        {"random": {"seed": 1}},
        {"random": {"seed": "x", "per_minute": 1}},
        {"random": {"per_minute": 1, "kinds": ["explode"]}},
        {"random": {"per_minute": 1, "kinds": "kill"}},
        {"random": {"per_minute": 1, "often": True}},
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_is_done(body: dict[str, Any]) -> None:
    rows = pool()
    with pytest.raises(BadOption) as caught:
        mischief(rows).take(body)
    assert rows.done == [] and caught.value.message


def test_a_plan_is_done_whole_and_names_its_wrong_fault() -> None:
    rows = pool()
    assert len(mischief(rows).take({"plan": [{"kind": "kill"}, {"kind": "nan", "engine": "b", "at_ms": 5}]})["plan"]) == 2
    assert [worker for worker, _ in rows.done] == ["a-1.0", "b-0.0"]
    with pytest.raises(BadOption, match="fault 1 of the plan"):
        plan_from([{"kind": "kill"}, {"kind": "slow"}])


def test_every_kind_can_be_asked_for() -> None:
    assert [aim_from({"kind": kind.value, "value": 2}).fault.kind for kind in FaultKind] == list(FaultKind)


def test_random_faults_come_from_their_seed_at_their_rate() -> None:
    chance = Chance(3, per_minute=60.0)
    some = list(itertools.islice(random_faults(chance), 3000))
    assert some == list(itertools.islice(random_faults(chance), 3000))
    assert some != list(itertools.islice(random_faults(Chance(4, 60.0)), 3000))
    assert sum(pause for pause, _, _ in some) / len(some) == pytest.approx(1.0, rel=0.1)
    assert {aim.fault.kind for _, aim, _ in some} == set(FaultKind)
    assert all(0 <= (aim.fault.at_ms or 0.0) <= LATEST_MS and 0 <= share < 1 for _, aim, share in some)
    assert all(aim_from({"kind": aim.fault.kind.value, "value": aim.fault.value}) for _, aim, _ in some)


async def test_random_faults_begin_change_and_end_when_told() -> None:
    rows, clock = pool(), FakeClock()
    desk = mischief(rows, clock)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.run)
        await clock.advance(100.0)
        assert rows.done == []
        desk.take({"random": {"seed": 1, "per_minute": 60, "kinds": ["kill"], "engine": "a"}})
        await clock.advance(60.0)
        first = len(rows.done)
        assert 40 <= first <= 80 and {worker for worker, _ in rows.done} == {"a-1.0"}
        rows.rows = rows.rows[2:]  # nobody fits: nothing happens
        await clock.advance(60.0)
        assert len(rows.done) == first
        desk.take({"random": {"seed": 1, "per_minute": 60, "kinds": ["nan"]}})
        await clock.advance(10.0)
        assert rows.done[-1][0] == "b-0.0" and rows.done[-1][1].kind is FaultKind.NAN
        rows.is_gone, before = True, len(rows.done)
        await clock.advance(10.0)  # it goes down just then: no harm
        rows.is_gone = False
        desk.take({"random": {"per_minute": 0}})
        await settle()
        await clock.advance(100.0)
        assert len(rows.done) == before
        tasks.cancel_scope.cancel()

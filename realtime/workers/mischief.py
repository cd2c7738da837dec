"""Faults on purpose, as an admin asks for them: one, a plan of several, or at random from a seed.

    {"kind": "stall", "value": 5000, "engine": "espeak", "at_ms": 350}     one fault; engine, worker, job and at_ms are optional
    {"plan": [{...}, {...}]}                                               several: all of them, or an error and none
    {"random": {"seed": 7, "per_minute": 30}}                              until told otherwise; `per_minute` 0 ends it

`job` is an utterance (`u3`), a segment of it (`u3/0`) or one try at that (`u3/0#1`), as `/v1/workers` lists them. A fault goes to one
ready worker that fits, one with work if there is any.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import anyio

from realtime.clock import Clock
from realtime.errors import BadOption, RealtimeError
from realtime.types import JobId
from realtime.workers.interface import Fault, FaultKind, WorkerPool, WorkerStatus

log = logging.getLogger("realtime.faults")

MOST_PLANNED = 1_000
MOST_PER_MINUTE = 6_000.0
# What a random fault's value is drawn from, by kind; its unit is the kind's own (interface.py).
VALUES = {FaultKind.STALL: (200.0, 5_000.0), FaultKind.SLOW: (1.0, 8.0), FaultKind.GARBAGE: (0.0, 500.0), FaultKind.NAN: (0.0, 500.0)}
NEEDED = {FaultKind.STALL: ("its length in ms", 1.0), FaultKind.SLOW: ("a factor from 1", 1.0)}
LATEST_MS = 2_000.0  # random faults strike somewhere in a job's first two seconds of sound


@dataclass(frozen=True, slots=True)
class Aim:
    """A fault, and on whom it may fall."""

    fault: Fault
    engine: str | None = None
    worker: str | None = None


@dataclass(frozen=True, slots=True)
class Chance:
    """How often which faults come, on whom."""

    seed: int
    per_minute: float
    kinds: tuple[FaultKind, ...] = tuple(FaultKind)
    engine: str | None = None


class Mischief:
    """Does faults to a pool that allows them. `run` does the random ones, in the service's task group."""

    def __init__(self, pool: WorkerPool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock
        self._chance: Chance | None = None
        self._changed = anyio.Event()

    def take(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Do what a request asks; the answer says what was done. Raises `BadOption` that says what is wrong with it."""
        if "random" in body:
            self._chance = chance_from(body["random"])
            self._changed.set()
            return {"random": None if self._chance is None else {"seed": self._chance.seed, "per_minute": self._chance.per_minute}}
        if "plan" in body:
            return {"plan": [self._do(*found) for found in [(aim, self._worker_for(aim)) for aim in plan_from(body["plan"])]]}
        aim = aim_from(body)
        return self._do(aim, self._worker_for(aim))

    async def run(self) -> None:
        """Do random faults while any are wished for. Runs until cancelled."""
        while True:
            self._changed = anyio.Event()
            if self._chance is None:
                await self._changed.wait()
            else:
                await self._strike_while(self._chance)

    async def _strike_while(self, chance: Chance) -> None:
        due = self._clock.now()
        for pause_s, aim, share in random_faults(chance):
            due += pause_s
            await self._clock.wait(self._changed, due)
            if self._chance is not chance:
                return
            self._changed = anyio.Event()
            self._strike(aim, share)

    def _strike(self, aim: Aim, share: float) -> None:
        workers = self._fitting(aim)
        if not workers:
            return
        worker = workers[int(share * len(workers))]
        try:
            self._pool.inject(worker.id, aim.fault)
        except RealtimeError as error:  # it went down meanwhile
            log.info("no fault: %s", error.message)
        else:
            log.info("fault %s at %g ms (value %g) on %s", aim.fault.kind, aim.fault.at_ms or 0.0, aim.fault.value, worker.id)

    def _do(self, aim: Aim, worker: WorkerStatus) -> dict[str, Any]:
        fault = aim.fault
        if fault.job_id is not None:
            fault = replace(fault, job_id=_job_of(worker, fault.job_id))
        self._pool.inject(worker.id, fault)
        done = {"worker": worker.id, "kind": fault.kind.value, "job": fault.job_id, "at_ms": fault.at_ms}
        return {key: value for key, value in done.items() if value is not None}

    def _worker_for(self, aim: Aim) -> WorkerStatus:
        workers = self._fitting(aim)
        if not workers and aim.fault.job_id is not None:
            raise BadOption(f"no worker speaks job {aim.fault.job_id!r} now; GET /v1/workers lists the jobs of each")
        if not workers:
            raise BadOption(f"no ready worker fits (engine {aim.engine!r}, worker {aim.worker!r})")
        return workers[0]

    def _fitting(self, aim: Aim) -> list[WorkerStatus]:
        """Ready workers that the fault may fall on: those with work, or all if none has any."""
        ready = [w for w in self._pool.workers() if w.is_ready and aim.worker in (None, w.id) and aim.engine in (None, w.engine)]
        if aim.fault.job_id is not None:
            return [w for w in ready if _job_of(w, aim.fault.job_id) is not None]
        return [w for w in ready if w.jobs] or ready


def aim_from(body: Any) -> Aim:
    """One fault of a request. Raises `BadOption`."""
    if not isinstance(body, Mapping) or (unknown := set(body) - {"kind", "engine", "worker", "job", "at_ms", "value"}):
        what = f"no {sorted(unknown)[0]!r}" if isinstance(body, Mapping) else "an object"
        raise BadOption(f"a fault is {what}: its keys are kind, engine, worker, job, at_ms and value")
    try:
        kind = FaultKind(str(body.get("kind")))
    except ValueError:
        raise BadOption(f"no fault {body.get('kind')!r}; there are: {', '.join(FaultKind)}") from None
    at_ms = None if body.get("at_ms") is None else _number(body, "at_ms", 0.0)
    value = _number(body, "value", 0.0) if body.get("value") is not None else 0.0
    if value < (needed := NEEDED.get(kind, ("", 0.0)))[1]:
        raise BadOption(f"{kind.value} needs {needed[0]} as `value`")
    engine, worker, job = (_text(body, key) for key in ("engine", "worker", "job"))
    return Aim(Fault(kind, job, at_ms, value), engine, worker)


def plan_from(body: Any) -> list[Aim]:
    """All faults of a plan. Raises `BadOption` that names the first one that is wrong."""
    if not isinstance(body, list) or not 0 < len(body) <= MOST_PLANNED:
        raise BadOption(f"a plan is a list of 1 to {MOST_PLANNED} faults")
    aims = []
    for number, item in enumerate(body):
        try:
            aims.append(aim_from(item))
        except BadOption as error:
            raise BadOption(f"fault {number} of the plan: {error.message}") from None
    return aims


def chance_from(body: Any) -> Chance | None:
    """A wish for random faults; None if it is for none. Raises `BadOption`."""
    if not isinstance(body, Mapping) or set(body) - {"seed", "per_minute", "kinds", "engine"}:
        raise BadOption("random faults are an object: its keys are seed, per_minute, kinds and engine")
    seed, per_minute = body.get("seed", 0), _number(body, "per_minute", 0.0, MOST_PER_MINUTE)
    if not isinstance(seed, int):
        raise BadOption("`seed` is a whole number")
    listed = body.get("kinds") or list(FaultKind)
    if not isinstance(listed, list) or any(kind not in list(FaultKind) for kind in listed):
        raise BadOption(f"`kinds` is a list out of: {', '.join(FaultKind)}")
    return Chance(seed, per_minute, tuple(FaultKind(kind) for kind in listed), _text(body, "engine")) if per_minute else None


def random_faults(chance: Chance) -> Iterator[tuple[float, Aim, float]]:
    """Endless: seconds until the fault (a Poisson process), the fault, and which of the workers that fit (a share of 0 to 1)."""
    dice = random.Random(chance.seed)
    while True:
        pause_s = dice.expovariate(chance.per_minute / 60)
        kind = dice.choice(chance.kinds)
        fault = Fault(kind, None, dice.uniform(0.0, LATEST_MS), dice.uniform(*VALUES.get(kind, (0.0, 0.0))))
        yield pause_s, Aim(fault, chance.engine), dice.random()


def _job_of(worker: WorkerStatus, wanted: str) -> JobId | None:
    """The worker's job that is meant by an id, or by the beginning of one up to `/` or `#`."""
    return next((job for job in worker.jobs if job == wanted or job.startswith((f"{wanted}/", f"{wanted}#"))), None)


def _number(body: Mapping[str, Any], key: str, least: float, most: float = 1e9) -> float:
    value = body.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not least <= value <= most:
        raise BadOption(f"`{key}` is a number from {least:g} to {most:g}")
    return float(value)


def _text(body: Mapping[str, Any], key: str) -> str | None:
    value = body.get(key)
    if value is not None and not isinstance(value, str):
        raise BadOption(f"`{key}` is a text")
    return value

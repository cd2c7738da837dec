"""The handover proof on real worker processes in real time: fewer faults, but real kills, stops and pipes."""

from __future__ import annotations

import logging
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import anyio

from realtime.bench.ear import Ear
from realtime.bench.handover import ENGINES, UNBOUNDED, admit, compare, random_text
from realtime.bench.handover_report import Step, progress
from realtime.bench.witness import Witness, WitnessedLog, WitnessedScheduler
from realtime.clock import MonotonicClock
from realtime.engines.beacon.decoder import listen
from realtime.errors import RealtimeError
from realtime.pipeline.dispatcher import Dispatcher
from realtime.pipeline.outputs import DoneOut, Ending
from realtime.pipeline.planning import Planner
from realtime.pipeline.requests import Request
from realtime.pipeline.utterance import Utterance, UtteranceOptions
from realtime.pipeline.voices import VoiceBook
from realtime.types import AudioFormat, Budget, Codec
from realtime.workers.interface import Fault, FaultKind, PoolEvent, WorkerSpec
from realtime.workers.pool import Pool

RATE = 24000
AT_ONCE = 4
KINDS = (FaultKind.KILL, FaultKind.STOP, FaultKind.STALL, FaultKind.SLOW, FaultKind.NAN, FaultKind.GARBAGE, FaultKind.EXCEPTION)
VALUES = {FaultKind.STALL: 1500.0, FaultKind.SLOW: 10.0}
# How long a worker is sick of a fault that does not end it; one made slow is made well then. A stall ends by the step's timeout.
SICK_S = {FaultKind.SLOW: 3.0, FaultKind.STALL: 2.0, FaultKind.NAN: 2.0, FaultKind.GARBAGE: 2.0, FaultKind.EXCEPTION: 1.0}


@dataclass(slots=True)
class _Tally:
    faults: Counter[str] = field(default_factory=Counter)
    utterances: int = 0
    characters: int = 0
    repeated: int = 0
    dropped: int = 0
    failed: int = 0
    unsaid: int = 0
    silence_ms_max: float = 0.0
    trouble: list[str] = field(default_factory=list)


def measure(seed: int, utterances: int, show: int = 0) -> dict[str, Any]:
    """Speak so many utterances, four at a time, while workers are shot; prints what happened to the first `show` that came back wrong."""
    with progress("utterances on real processes", utterances) as step:
        tally = anyio.run(_run, seed, utterances, step)
    for trouble in tally.trouble[:show]:
        print(trouble)
    return {
        "process_faults": tally.faults.total(),
        "process_utterances": tally.utterances,
        "process_characters": tally.characters,
        "process_repeated": tally.repeated,
        "process_dropped": tally.dropped,
        "process_failed": tally.failed,
        "process_unsaid": tally.unsaid,
        "process_silence_ms_max": round(tally.silence_ms_max, 1),
    }


def _spec(k: int, name: str) -> WorkerSpec:
    voice = {
        "id": f"v-{name}",
        "layout": k,
        "sample_rate": (24000, 16000, 48000)[k],
        "tempo": (0.9, 0.7, 1.0)[k],
        "stand_ins": {other: f"v-{other}" for other in ENGINES if other != name},
    }
    pace = {"rate_factor": (0.4, 0.1, 0.1)[k], "first_chunk_ms": (100, 30, 30)[k]}
    options = {"name": name, "voices": [voice], "chunk_ms": 100, "capacity": 8, **pace}
    return WorkerSpec(name, options, count=2, factory="beacon", step_timeout_s=1.0, is_measured=False)


async def _run(seed: int, utterances: int, step: Step) -> _Tally:
    rng, clock = random.Random(seed), MonotonicClock()
    world = _World(clock, step)
    log = logging.getLogger("realtime.dispatcher")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(handler := WitnessedLog(world.witness))
    async with world.pool, anyio.create_task_group() as tasks:
        world.planner.attach(world.pool, tasks)
        tasks.start_soon(world.dispatcher.run)
        await world.pool.wait_ready(ENGINES, 60)
        tasks.start_soon(_shoot, world, rng)
        limit = anyio.Semaphore(AT_ONCE)
        async with anyio.create_task_group() as speakers:
            for k in range(utterances):
                speakers.start_soon(_one, f"u{k}", random_text(rng), world, limit)
        tasks.cancel_scope.cancel()
    log.removeHandler(handler)
    log.propagate = True
    return world.tally


class _World:
    """The service, without its sockets, and who watches it."""

    def __init__(self, clock: MonotonicClock, step: Step) -> None:
        self.clock = clock
        self.step = step
        self.tally = _Tally()
        self.witness = Witness(clock)
        voices = VoiceBook(ENGINES, None, {})
        self.planner = Planner(voices)
        scheduler = WitnessedScheduler(UNBOUNDED)
        scheduler.witness = self.witness
        self.dispatcher = Dispatcher(scheduler, voices, clock, self.planner)
        self.pool = Pool(tuple(_spec(k, name) for k, name in enumerate(ENGINES)), clock, self._hear, allow_faults=True)
        self.dispatcher.attach(self.pool)

    def _hear(self, event: PoolEvent) -> None:
        self.witness.saw(event)
        self.dispatcher.on_pool_event(event)


async def _shoot(world: _World, rng: random.Random) -> None:
    """Do something bad to a busy worker every now and then, as long as every engine keeps one that is well."""
    sick: dict[str, float] = {}  # who was shot, and until when it is no help to anybody
    slowed: set[str] = set()
    while True:
        await anyio.sleep(rng.uniform(0.15, 0.5))
        now, ready = world.clock.now(), [w for w in world.pool.workers() if w.is_ready]
        for worker_id in [w.id for w in ready if w.id in slowed and sick[w.id] <= now]:
            slowed.discard(worker_id)
            _strike(world, worker_id, Fault(FaultKind.SLOW, value=1.0))
        well = [w for w in ready if sick.get(w.id, 0.0) <= now]
        busy = [w for w in ready if w.jobs and any(other.engine == w.engine and other.id != w.id for other in well)]
        if not busy or len({w.engine for w in well}) < len(ENGINES):
            continue
        kind, victim = rng.choice(KINDS), rng.choice(busy)
        if _strike(world, victim.id, Fault(kind, value=VALUES.get(kind, 0.0))):
            sick[victim.id] = now + SICK_S.get(kind, float("inf"))
            slowed |= {victim.id} if kind is FaultKind.SLOW else set()
            world.tally.faults[kind.value] += 1
            world.witness.note("", f"fault {kind} on {victim.id}, which has {', '.join(victim.jobs)}")


def _strike(world: _World, worker_id: str, fault: Fault) -> bool:
    """Do it; False if the worker went away in between."""
    try:
        world.pool.inject(worker_id, fault)
    except RealtimeError:
        return False
    return True


async def _one(name: str, text: str, world: _World, limit: anyio.Semaphore) -> None:
    async with limit:
        ear, asked_at = Ear(RATE, world.clock), world.clock.now()
        request = Request(voice="v-main", budget=Budget(first_audio_ms=10_000, max_lead_ms=1500), has_cache=False)
        utterance = Utterance(name, UtteranceOptions(request, AudioFormat(Codec.PCM_F32LE, RATE)), world.dispatcher, world.clock)
        await admit(utterance)
        utterance.feed(text)
        utterance.end()
        ending = await utterance.run(ear.take)
    _judge(name, text, ear, ending, world, asked_at)


def _judge(name: str, text: str, ear: Ear, ending: Ending, world: _World, asked_at: float) -> None:
    """What was heard of an utterance that ended in an error must be its beginning: no word twice, none left out before its end."""
    tally, is_done = world.tally, isinstance(ending, DoneOut)
    heard = listen(ear.sound(), RATE).text
    repeated, dropped = compare(text if is_done else text[: len(heard)], heard)
    silence_ms = ear.silence_s(0.1) * 1000
    tally.utterances += 1
    tally.characters += len(text)
    tally.repeated += repeated
    tally.dropped += dropped
    tally.failed += not is_done
    tally.unsaid += 0 if is_done else len(text) - len(heard)
    tally.silence_ms_max = max(tally.silence_ms_max, silence_ms)
    world.step(tally.utterances, f"{tally.repeated} repeated, {tally.dropped} dropped, {tally.failed} failed")
    if repeated or dropped or not is_done or silence_ms > 1:
        lines = [f"{name}: {ending!r}, silence {silence_ms:.0f} ms", f"said  {text}", f"heard {heard}"]
        tally.trouble.append("\n  ".join((*lines, *world.witness.account(name, asked_at))))

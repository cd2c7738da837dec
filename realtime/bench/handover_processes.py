"""The handover proof on real worker processes in real time: fewer faults, but real kills, stops and pipes."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import anyio
import numpy as np

from realtime.bench.handover import ENGINES, UNBOUNDED, admit, compare, random_text
from realtime.clock import MonotonicClock
from realtime.engines.beacon.decoder import listen
from realtime.errors import RealtimeError
from realtime.pipeline.dispatcher import Dispatcher
from realtime.pipeline.outputs import AudioOut, DoneOut, Output
from realtime.pipeline.planning import Planner
from realtime.pipeline.requests import Request
from realtime.pipeline.utterance import Utterance, UtteranceOptions
from realtime.pipeline.voices import VoiceBook
from realtime.scheduling.scheduler import Scheduler
from realtime.types import AudioFormat, Budget, Codec
from realtime.workers.interface import Fault, FaultKind, WorkerSpec
from realtime.workers.pool import Pool

RATE = 24000
AT_ONCE = 4
KINDS = (FaultKind.KILL, FaultKind.STOP, FaultKind.STALL, FaultKind.SLOW, FaultKind.NAN, FaultKind.GARBAGE, FaultKind.EXCEPTION)
VALUES = {FaultKind.STALL: 1500.0, FaultKind.SLOW: 10.0}


@dataclass(slots=True)
class _Tally:
    faults: Counter[str] = field(default_factory=Counter)
    characters: int = 0
    repeated: int = 0
    dropped: int = 0
    failed: int = 0
    busy: int = 0


def measure(seed: int, utterances: int) -> dict[str, Any]:
    """Speak so many utterances, four at a time, while workers are shot."""
    tally = anyio.run(_run, seed, utterances)
    return {
        "process_faults": tally.faults.total(),
        "process_characters": tally.characters,
        "process_repeated": tally.repeated,
        "process_dropped": tally.dropped,
        "process_failed": tally.failed,
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


async def _run(seed: int, utterances: int) -> _Tally:
    tally, rng, clock = _Tally(), random.Random(seed), MonotonicClock()
    voices = VoiceBook(ENGINES, None, {})
    planner = Planner(voices)
    dispatcher = Dispatcher(Scheduler(UNBOUNDED), voices, clock, planner)
    pool = Pool(tuple(_spec(k, name) for k, name in enumerate(ENGINES)), clock, dispatcher.on_pool_event, allow_faults=True)
    dispatcher.attach(pool)
    async with pool, anyio.create_task_group() as tasks:
        planner.attach(pool, tasks)
        tasks.start_soon(dispatcher.run)
        await pool.wait_ready(ENGINES, 60)
        tasks.start_soon(_shoot, pool, rng, tally)
        limit = anyio.Semaphore(AT_ONCE)
        async with anyio.create_task_group() as speakers:
            for k in range(utterances):
                speakers.start_soon(_one, f"u{k}", random_text(rng), dispatcher, limit, tally)
        tasks.cancel_scope.cancel()
    return tally


async def _shoot(pool: Pool, rng: random.Random, tally: _Tally) -> None:
    """Do something bad to a busy worker every now and then, as long as every engine keeps one that is well."""
    while True:
        await anyio.sleep(rng.uniform(0.15, 0.5))
        ready = Counter(w.engine for w in pool.workers() if w.is_ready)
        busy = [w for w in pool.workers() if w.is_ready and w.jobs and ready[w.engine] > 1]
        if not busy or len(ready) < len(ENGINES):
            continue
        kind = rng.choice(KINDS)
        try:
            pool.inject(rng.choice(busy).id, Fault(kind, value=VALUES.get(kind, 0.0)))
            tally.faults[kind.value] += 1
        except RealtimeError:
            continue  # it went away in between


async def _one(name: str, text: str, dispatcher: Dispatcher, limit: anyio.Semaphore, tally: _Tally) -> None:
    pieces: list[np.ndarray[Any, np.dtype[np.float32]]] = []

    async def take(output: Output) -> None:
        if isinstance(output, AudioOut):
            pieces.append(np.frombuffer(output.payload, np.float32))

    async with limit:
        request = Request(voice="v-main", budget=Budget(first_audio_ms=10_000, max_lead_ms=1500), has_cache=False)
        utterance = Utterance(name, UtteranceOptions(request, AudioFormat(Codec.PCM_F32LE, RATE)), dispatcher, MonotonicClock())
        await admit(utterance)
        utterance.feed(text)
        utterance.end()
        ending = await utterance.run(take)
    tally.failed += not isinstance(ending, DoneOut)
    heard = listen(np.concatenate(pieces), RATE).text if pieces else ""
    repeated, dropped = compare(text, heard)
    tally.characters += len(text)
    tally.repeated += repeated
    tally.dropped += dropped

"""How soon the service acts: on a cancel, and on a worker that is killed while listeners hear it.

Real server and processes. Every listener has a playout clock with a start buffer of 100 ms. Cancels: an utterance is cancelled at a
random moment of its speech while other listeners are served, and alone, to see what its worker still makes for nobody. Kills: a busy
worker of the main engine is killed with SIGKILL; how soon `/v1/workers` no longer offers it, when its replacement serves, and whether any
listener noticed. Times are those of an observer over loopback, who asks every few milliseconds: what that costs is in them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np
from rich.console import Console
from rich.progress import track
from websockets.asyncio.client import ClientConnection

from realtime.bench.figures import table
from realtime.bench.line import Playback, ask, greeted, send, series
from realtime.bench.processes import service, two_engines

RTF, FIRST_MS, CHUNK_MS = 0.1, 60.0, 100.0
CONFIG = two_engines(
    f"workers = 2\noptions = {{ rate_factor = {RTF}, first_chunk_ms = {FIRST_MS}, chunk_ms = {CHUNK_MS}, capacity = 16 }}",
    f'workers = 2\noptions = {{ name = "spare", rate_factor = 0.05, first_chunk_ms = 30.0, chunk_ms = {CHUNK_MS}, capacity = 16 }}',
)
START_BUFFER_S = 0.1
LOOK_S = 0.002  # between two looks at the workers
ORPHANED_S = 0.1  # in which a worker makes several chunks
PATIENCE_S = 20.0  # for anything that is waited for
CHARACTERS = 240  # of an utterance, 15 s
SEGMENT = 15
AIMS = {
    "cancel_last_audio_p99_ms": "50",
    "orphaned_chunks_per_job_max": "1",
    "kill_detected_p99_ms": "100",
    "interrupted": "0",
    "failed": "0",
}

Workers = list[dict[str, Any]]


@dataclass(slots=True)
class _Found:
    """Times in ms."""

    cancel: list[float] = field(default_factory=list)  # to the last sound
    cancelled: list[float] = field(default_factory=list)  # to the answer
    orphans: list[float] = field(default_factory=list)  # chunks made after it per job under way, of each cancelled alone
    detected: list[float] = field(default_factory=list)
    replaced: list[float] = field(default_factory=list)
    listeners: int = 0
    switches: int = 0
    waits: list[float] = field(default_factory=list)  # of each listener, the longest
    failures: list[str] = field(default_factory=list)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `realtime bench reflexes`."""
    parser.add_argument("--streams", type=int, default=12, help="listeners at once beside what is measured (default 12)")
    parser.add_argument("--cancels", type=int, default=60, help="utterances to cancel, beside the others and alone (default 60 each)")
    parser.add_argument("--kills", type=int, default=15, help="workers to kill (default 15)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure and print. Raises `RuntimeError` if the service does not start."""
    console, found = Console(stderr=True), _Found()
    with service(CONFIG) as (port, _):
        asyncio.run(_measure(port, options, found, console))
    result = _report(options, found)
    console.print(table(f"{options.streams} listeners at once", result, AIMS))
    return result


def _report(options: argparse.Namespace, found: _Found) -> dict[str, Any]:
    times = {
        "cancel_last_audio": found.cancel,
        "cancel_answered": found.cancelled,
        "kill_detected": found.detected,
        "kill_replaced": found.replaced,
    }
    figures = {f"{name}_p{share}_ms": float(np.percentile(ms, share)) for name, ms in times.items() if ms for share in (50, 99)}
    return figures | {
        "cancels": len(found.cancel),
        "kills": len(found.detected),
        **({"orphaned_chunks_per_job_max": max(found.orphans)} if found.orphans else {}),
        "listeners": found.listeners,
        "switches": found.switches,
        "interrupted": sum(ms > 0 for ms in found.waits),
        "longest_wait_ms": max(found.waits, default=0.0),
        "failed": len(found.failures),
        **({"first_failure": found.failures[0]} if found.failures else {}),
    }


async def _measure(port: int, options: argparse.Namespace, found: _Found, console: Console) -> None:
    dice = random.Random(options.seed)
    for _ in track(range(options.cancels), "cancels, alone", console=console, transient=True):
        await _cancel(port, dice, found, is_alone=True)
    async with asyncio.TaskGroup() as tasks:
        listeners = [tasks.create_task(_listen_on(port, dice, found)) for _ in range(options.streams)]
        await asyncio.sleep(1.0)
        for _ in track(range(options.cancels), "cancels beside listeners", console=console, transient=True):
            await _cancel(port, dice, found, is_alone=False)
        for _ in track(range(options.kills), "kills", console=console, transient=True):
            await asyncio.to_thread(_kill, port, dice, found)
            await asyncio.sleep(dice.uniform(0.1, 0.5))
        for listener in listeners:
            listener.cancel()


async def _cancel(port: int, dice: random.Random, found: _Found, is_alone: bool) -> None:
    """Speak, cancel after a random time, and see what still comes."""
    before = await asyncio.to_thread(_orphans, port)
    async with greeted(port) as socket:
        await _speak(socket, _text(dice), max_lead_ms=8000)
        async for raw in socket:
            if msgpack.unpackb(raw)["type"] == "audio":
                break
        with suppress(TimeoutError):
            async with asyncio.timeout(dice.uniform(0.0, 0.6)):
                async for _ in socket:
                    pass
        jobs = sum(row["jobs"] for row in await asyncio.to_thread(_workers, port))
        asked = last = time.monotonic()
        await send(socket, type="cancel", utterance="u")
        async with asyncio.timeout(PATIENCE_S):
            async for raw in socket:
                kind = msgpack.unpackb(raw)["type"]
                last = time.monotonic() if kind == "audio" else last
                if kind in ("cancelled", "done"):
                    break
        found.cancelled.append((time.monotonic() - asked) * 1000)
        found.cancel.append((last - asked) * 1000)
    if is_alone:
        await asyncio.sleep(ORPHANED_S)
        found.orphans.append((await asyncio.to_thread(_orphans, port) - before) / max(1, jobs))


def _kill(port: int, dice: random.Random, found: _Found) -> None:
    """Kill a busy worker of the main engine, when all serve."""
    _wait_until(port, lambda rows: _serving(rows) == 2 and any(row["jobs"] for row in _main(rows)))
    main = _main(_workers(port))
    victim = dice.choice([row for row in main if row["jobs"]] or main)
    killed = time.monotonic()
    os.kill(victim["pid"], signal.SIGKILL)
    _wait_until(port, lambda rows: all(row["id"] != victim["id"] or row["state"] != "ready" for row in rows))
    found.detected.append((time.monotonic() - killed) * 1000)
    _wait_until(port, lambda rows: _serving(rows) == 2)
    found.replaced.append((time.monotonic() - killed) * 1000)


async def _listen_on(port: int, dice: random.Random, found: _Found) -> None:
    """One utterance after the other, until told to stop."""
    while True:
        await asyncio.sleep(dice.uniform(0.0, 0.5))
        found.listeners += 1
        try:
            await _listen(port, _text(dice), found)
        except (OSError, TimeoutError) as error:
            found.failures.append(repr(error))


async def _listen(port: int, text: str, found: _Found) -> None:
    playback = Playback(START_BUFFER_S)
    async with asyncio.timeout(3 * CHARACTERS), greeted(port) as socket:
        await _speak(socket, text, max_lead_ms=2000)
        async for raw in socket:
            message, now = msgpack.unpackb(raw), time.monotonic()
            if message["type"] == "audio":
                playback.hear(message["samples"] / 24000, now)
            elif message["type"] == "switch":
                found.switches += 1
            elif message["type"] == "error":
                found.failures.append(message["code"])
                break
            elif message["type"] == "done":
                break
    found.waits.append(playback.worst_s * 1000)


async def _speak(socket: ClientConnection, text: str, max_lead_ms: int) -> None:
    budget = {"profile": "chatbot", "max_lead_ms": max_lead_ms}
    await send(socket, type="open", utterance="u", voice="beacon-a", words=False, budget=budget)
    await send(socket, type="text", utterance="u", text=text)
    await send(socket, type="end", utterance="u")


def _text(dice: random.Random) -> str:
    return "".join("。" if k % SEGMENT == SEGMENT - 1 else chr(dice.randrange(0x4E00, 0x9000)) for k in range(CHARACTERS))


def _main(workers: Workers) -> Workers:
    return [row for row in workers if row["engine"] == "beacon"]


def _serving(workers: Workers) -> int:
    return sum(row["state"] == "ready" for row in _main(workers))


def _workers(port: int) -> Workers:
    workers: Workers = json.loads(ask(port, "/v1/workers"))["workers"]
    return workers


def _orphans(port: int) -> int:
    """Chunks made for nobody since the service began."""
    return sum(round(value) for name, value in series(port).items() if name.startswith("realtime_orphan_chunks_total{"))


def _wait_until(port: int, is_so: Callable[[Workers], bool]) -> None:
    """Look until it is so. Raises `TimeoutError` after `PATIENCE_S`."""
    begun = time.monotonic()
    while not is_so(_workers(port)):
        if time.monotonic() - begun > PATIENCE_S:
            raise TimeoutError("the workers did not come to what was waited for")
        time.sleep(LOOK_S)

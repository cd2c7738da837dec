"""The scheduler's policy with real processes on this machine: Poisson arrivals of calls, chats and batches at 1x and 2x capacity.

Main engine and stand-in are test voices that keep to a given RTF, so the load is known; sockets, processes, clocks and scheduling are
real. A stream is good when its first audio came within its budget and it was never interrupted, on the listener's own clock with its
start buffer.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np
from rich.console import Console
from rich.progress import track

from realtime.bench.line import Playback, greeted, send
from realtime.bench.processes import service, two_engines

# The jobs of a worker take turns, and beginning one holds up the others: it makes `_per_worker` seconds of sound per second in all.
MAIN_RTF, MAIN_FIRST_S, SPARE_RTF, SPARE_FIRST_S, CAPACITY = 0.25, 0.15, 0.05, 0.03, 4
SPARE = f'options = {{ name = "spare", rate_factor = {SPARE_RTF}, first_chunk_ms = {1000 * SPARE_FIRST_S}, capacity = {CAPACITY} }}'
MAIN = f"options = {{ rate_factor = {MAIN_RTF}, first_chunk_ms = {1000 * MAIN_FIRST_S}, capacity = {CAPACITY} }}"
KINDS = {"ivr": 0.4, "chatbot": 0.4, "batch": 0.2}
PRIORITIES = {"ivr": "interactive", "chatbot": "interactive", "batch": "batch"}
FIRST_AUDIO_MS = {"ivr": 800, "chatbot": 1200, "batch": 60_000}
START_BUFFER_MS = {"ivr": 100, "chatbot": 100, "batch": 3000}
MEAN_CHARACTERS = 60
CHARACTERS_PER_S = 15.625
SEGMENT_CHARACTERS = 15
STEPS = 100  # of the progress bar


@dataclass(slots=True)
class Outcome:
    """What became of one stream."""

    kind: str
    is_admitted: bool = False
    is_refused: bool = False
    worst_gap_ms: float = 0.0
    switches: int = 0
    refusal_ms: float = 0.0
    first_audio_ms: float | None = None
    audio_ms: dict[str, float] = field(default_factory=dict)
    failure: str = ""

    @property
    def is_whole(self) -> bool:
        """Never interrupted."""
        return self.worst_gap_ms == 0 and not self.failure

    @property
    def is_good(self) -> bool:
        """Begun in time and never interrupted."""
        in_time = self.first_audio_ms is not None and self.first_audio_ms <= FIRST_AUDIO_MS[self.kind]
        return in_time and self.is_whole and not self.is_refused


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `realtime bench live`."""
    parser.add_argument("--seconds", type=float, default=30.0, help="how long streams arrive at each load (default 30)")
    parser.add_argument("--loads", default="1,2", help="multiples of what the main engine can make (default 1,2)")
    parser.add_argument("--workers", type=int, default=4, help="processes of the main engine (default 4), beside one of the stand-in")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure and print."""
    console = Console(stderr=True)
    config = two_engines(f"workers = {options.workers}\n{MAIN}", SPARE)
    rows = []
    for load in (float(word) for word in options.loads.split(",")):
        with console.status(f"load {load:g}x: starting"), service(config) as (port, _):
            outcomes = asyncio.run(_offer(port, load, options, console))
        rows.append(_row(load, options.workers, outcomes))
        console.print(rows[-1])
    return {"loads": rows, "main_rtf": MAIN_RTF, "spare_rtf": SPARE_RTF}


def _row(load: float, workers: int, outcomes: list[Outcome]) -> dict[str, Any]:
    admitted = [o for o in outcomes if not o.is_refused]
    by_engine: dict[str, float] = {}
    for outcome in admitted:
        for engine, ms in outcome.audio_ms.items():
            by_engine[engine] = by_engine.get(engine, 0.0) + ms
    first = [o.first_audio_ms for o in admitted if o.first_audio_ms is not None and o.kind != "batch"]
    refusals = [o.refusal_ms for o in outcomes if o.is_refused]
    row = {
        "load": load,
        "workers": workers,
        "streams": len(outcomes),
        "continuity": sum(o.is_whole for o in admitted) / max(1, len(admitted)),
        "goodput": sum(o.is_good for o in outcomes) / max(1, len(outcomes)),
        "main_engine_share": by_engine.get("beacon", 0.0) / max(1e-9, sum(by_engine.values())),
        "refused": len(refusals) / max(1, len(outcomes)),
        "failed": sum(bool(o.failure) for o in outcomes),
        "switches": sum(o.switches for o in admitted),
        "worst_gap_ms": max((o.worst_gap_ms for o in admitted), default=0.0),
        "served_at_most": min(1.0, (1 + _per_worker(SPARE_RTF, SPARE_FIRST_S) / (workers * _per_worker(MAIN_RTF, MAIN_FIRST_S))) / load),
    }
    if first:
        row["first_audio_p95_ms"] = float(np.percentile(first, 95))
    if refusals:
        row["refusal_p99_ms"] = float(np.percentile(refusals, 99))
    return row


async def _offer(port: int, load: float, options: argparse.Namespace, console: Console) -> list[Outcome]:
    dice = random.Random(options.seed)
    per_second = load * options.workers * _per_worker(MAIN_RTF, MAIN_FIRST_S) / (MEAN_CHARACTERS / CHARACTERS_PER_S)
    outcomes: list[Outcome] = []
    begin = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for step in track(range(STEPS), f"load {load:g}x", console=console, transient=True):
            end = begin + options.seconds * (step + 1) / STEPS
            while time.monotonic() < end:
                await asyncio.sleep(dice.expovariate(per_second))
                outcome = Outcome(dice.choices(list(KINDS), list(KINDS.values()))[0])
                outcomes.append(outcome)
                tasks.create_task(_listen(port, outcome, _text(dice)))
    return outcomes


def _per_worker(rtf: float, first_s: float) -> float:
    """Seconds of sound per second of one worker."""
    return 1 / (rtf + first_s / (SEGMENT_CHARACTERS / CHARACTERS_PER_S))


def _text(dice: random.Random) -> str:
    count = max(8, int(dice.expovariate(1 / MEAN_CHARACTERS)))
    chars = [chr(dice.randrange(0x4E00, 0x9000)) for _ in range(min(count, 300))]
    for at in range(SEGMENT_CHARACTERS - 1, len(chars), SEGMENT_CHARACTERS):
        chars[at] = "。"
    return "".join(chars)


async def _listen(port: int, outcome: Outcome, text: str) -> None:
    playback = Playback(START_BUFFER_MS[outcome.kind] / 1000)
    try:
        async with asyncio.timeout(120), greeted(port) as socket:
            asked = time.monotonic()
            wishes = {"voice": "beacon-a", "budget": {"profile": outcome.kind}, "priority": PRIORITIES[outcome.kind]}
            await send(socket, type="open", utterance="u", **wishes)
            await send(socket, type="text", utterance="u", text=text)
            await send(socket, type="end", utterance="u")
            async for raw in socket:
                message, now = msgpack.unpackb(raw), time.monotonic()
                if message["type"] == "audio":
                    if not playback.has_begun:
                        outcome.first_audio_ms = (now - asked) * 1000
                    playback.hear(message["samples"] / 24000, now)
                    outcome.worst_gap_ms = playback.worst_s * 1000
                elif message["type"] == "switch":
                    outcome.switches += 1
                elif message["type"] == "opened":
                    outcome.is_admitted = True
                elif message["type"] == "done":
                    outcome.audio_ms = message["usage"]["audio_ms_by_engine"]
                    return
                elif message["type"] == "error":
                    outcome.is_refused = not outcome.is_admitted and message["code"] == "overloaded"
                    outcome.refusal_ms = (now - asked) * 1000
                    outcome.failure = "" if outcome.is_refused else message["code"]
                    return
    except (OSError, TimeoutError) as error:
        outcome.failure = type(error).__name__

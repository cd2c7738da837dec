"""Everything at once, for as long as you like: does the service stay whole, and does it give back what it took?

Visitors of every kind come and go on a real service whose workers are hit by random faults: listeners whose sound is read back and
compared with their text, listeners who cancel, vanish, read slowly or talk nonsense, and HTTP clients of three dialects. Memory and
descriptors of the gateway are looked at all the while; memory's slope is that of a line through the second half, with its standard error.
At the end everybody leaves, and nothing may be left: no connection, utterance, job or descriptor.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np
import psutil
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from realtime.bench.figures import table
from realtime.bench.handover import compare
from realtime.bench.intact import random_text
from realtime.bench.line import ask, greeted, send, series
from realtime.bench.processes import service, two_engines
from realtime.engines.beacon.decoder import listen

CONFIG = two_engines(
    "workers = 2\noptions = { rate_factor = 0.05, first_chunk_ms = 30.0, capacity = 16 }",
    'workers = 2\noptions = { name = "spare", rate_factor = 0.05, first_chunk_ms = 20.0, capacity = 16 }',
    cache_mb=4,
)
RATE = 24000
LOOK_S = 1.0  # between two looks at memory and descriptors
WARM_S = 20.0  # of visits before the first look: libraries load when they are first used
LEAVE_S = 15.0  # in which all must have been given back
PATIENCE_S = 60.0
NONSENSE: tuple[Any, ...] = (
    {"type": "sing"},
    {"type": "flush"},
    {"type": "open"},
    [1, 2],
    "hello",
    None,
)


@dataclass(slots=True)
class _Found:
    """Of all visits. `words`: characters said, repeated, dropped."""

    visits: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    words: list[int] = field(default_factory=lambda: [0, 0, 0])
    switches: int = 0
    broken: list[str] = field(default_factory=list)  # what no client should ever meet
    looks: list[tuple[float, float, int]] = field(default_factory=list)  # s, bytes, descriptors


@dataclass(slots=True)
class _Place:
    """Where the service is."""

    port: int
    found: _Found


Visit = Callable[[_Place, random.Random], Awaitable[None]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `realtime bench soak`."""
    parser.add_argument("--minutes", type=float, default=5.0, help="how long (default 5)")
    parser.add_argument("--visitors", type=int, default=16, help="at once (default 16)")
    parser.add_argument("--faults-per-minute", type=float, default=20.0, help="that hit workers, any kind (default 20; 0 for none)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure and print. Raises `RuntimeError` if the service does not start."""
    console, found = Console(stderr=True), _Found()
    with service(CONFIG, "--allow-faults") as (port, pid):
        left = asyncio.run(_soak(_Place(port, found), psutil.Process(pid), options, console))
    result = _report(options, found) | left
    console.print(table(f"{options.minutes:g} minutes, {options.visitors} visitors at once", result))
    return result


def _report(options: argparse.Namespace, found: _Found) -> dict[str, Any]:
    said, repeated, dropped = found.words
    result: dict[str, Any] = {"minutes": options.minutes, "visits": found.visits.total(), "visits_by_kind": dict(found.visits)}
    result |= {"characters": said, "repeated": repeated, "dropped": dropped, "switches": found.switches}
    result |= {"ends": dict(found.ends), "errors_by_code": dict(found.codes), "broken": len(found.broken)}
    if found.broken:
        result["first_broken"] = found.broken[0]
    if len(half := found.looks[len(found.looks) // 2 :]) > 10:
        result |= _slope(half) | {"rss_mb_first": found.looks[0][1] / 1e6, "rss_mb_last": found.looks[-1][1] / 1e6}
    return result


def _slope(looks: list[tuple[float, float, int]]) -> dict[str, float]:
    """Least squares; the error as if looks were independent, which is too little where memory moves slowly."""
    at, size = np.array([look[0] for look in looks]) / 3600, np.array([look[1] for look in looks]) / 1e6
    (slope, _), ((variance, _), _) = np.polyfit(at, size, 1, cov=True)
    return {"rss_slope_mb_per_h": float(slope), "rss_slope_error_mb_per_h": float(np.sqrt(variance))}


async def _soak(place: _Place, gateway: psutil.Process, options: argparse.Namespace, console: Console) -> dict[str, Any]:
    dice, seconds = random.Random(options.seed), options.minutes * 60
    descriptors = gateway.num_fds()
    if options.faults_per_minute:
        await _fault(place, {"seed": options.seed, "per_minute": options.faults_per_minute})
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), TextColumn("{task.fields[found]}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("visitors come and go", total=seconds, found="")
        begun, ends = time.monotonic(), time.monotonic() + seconds
        async with asyncio.TaskGroup() as tasks:
            for _ in range(options.visitors):
                tasks.create_task(_visitor(place, random.Random(dice.random()), ends))
            while (now := time.monotonic()) < ends:
                if now - begun > min(WARM_S, seconds / 4):
                    place.found.looks.append((now, gateway.memory_info().rss, gateway.num_fds()))
                bar.update(task, completed=now - begun, found=f"{place.found.visits.total()} visits, {len(place.found.broken)} broken")
                await asyncio.sleep(LOOK_S)
    await _fault(place, {"seed": 0, "per_minute": 0})
    return await _left(place, gateway, descriptors)


async def _fault(place: _Place, chance: dict[str, Any]) -> None:
    await asyncio.to_thread(ask, place.port, "/v1/faults", {"random": chance})


async def _left(place: _Place, gateway: psutil.Process, descriptors: int) -> dict[str, Any]:
    """What was not given back within `LEAVE_S`. Workers that are being started again hold descriptors until they serve."""
    until = time.monotonic() + LEAVE_S
    while True:
        workers = json.loads(await asyncio.to_thread(ask, place.port, "/v1/workers"))["workers"]
        gauges = await asyncio.to_thread(series, place.port)
        left = {
            "left_connections": round(gauges["realtime_connections"]),
            "left_utterances": round(gauges["realtime_utterances"]),
            "left_jobs": sum(row["jobs"] for row in workers),
            "left_descriptors": gateway.num_fds() - descriptors,
        }
        if not any(left.values()) or time.monotonic() > until:
            return left
        await asyncio.sleep(0.2)


async def _visitor(place: _Place, dice: random.Random, ends: float) -> None:
    """Visit after visit. What goes wrong in a way that no fault explains is `broken`."""
    while time.monotonic() < ends:
        name, visit = dice.choice(list(VISITS.items()))
        place.found.visits[name] += 1
        try:
            async with asyncio.timeout(PATIENCE_S):
                await visit(place, dice)
        except (OSError, TimeoutError, ConnectionClosed, http.client.HTTPException, AssertionError) as error:
            place.found.broken.append(f"{name}: {error!r}")
        await asyncio.sleep(dice.uniform(0.0, 0.3))


async def _listen(place: _Place, dice: random.Random) -> None:
    """Give text in pieces, take everything, and read it back."""
    text, pieces, ending = random_text(dice), [], ""
    async with greeted(place.port) as socket:
        await _open(socket, dice)
        for at in range(0, len(text), 7):
            await send(socket, type="text", utterance="u", text=text[at : at + 7])
            await asyncio.sleep(dice.uniform(0.0, 0.02))
        await send(socket, type="end", utterance="u")
        async for message in _messages(socket, place):
            ending = message["type"]
            if ending == "audio":
                pieces.append(np.frombuffer(message["payload"], "<i2"))
    sound = np.concatenate(pieces).astype(np.float32) / 32768 if pieces else np.zeros(0, np.float32)
    heard = (await asyncio.to_thread(listen, sound, RATE)).text
    said = text if ending == "done" else text[: len(heard)]  # of one that every engine failed, what was heard must be its beginning
    for k, count in enumerate((len(said), *compare(said, heard))):
        place.found.words[k] += count


async def _cancel(place: _Place, dice: random.Random) -> None:
    """Think better of it."""
    async with greeted(place.port) as socket:
        await _open(socket, dice)
        await send(socket, type="text", utterance="u", text=random_text(dice))
        await asyncio.sleep(dice.uniform(0.0, 0.5))
        await send(socket, type="cancel", utterance="u")
        async for _ in _messages(socket, place):
            pass


async def _vanish(place: _Place, dice: random.Random) -> None:
    """Be cut off."""
    async with greeted(place.port) as socket:
        await _open(socket, dice)
        await send(socket, type="text", utterance="u", text=random_text(dice))
        await asyncio.sleep(dice.uniform(0.0, 0.5))
        socket.transport.abort()


async def _dawdle(place: _Place, dice: random.Random) -> None:
    """Read nothing for a while."""
    async with greeted(place.port) as socket:
        await _open(socket, dice)
        await send(socket, type="text", utterance="u", text=random_text(dice) * 10)
        await send(socket, type="end", utterance="u")
        await asyncio.sleep(dice.uniform(0.5, 3.0))


async def _babble(place: _Place, dice: random.Random) -> None:
    """Send what is no message; each is answered, and the line stays up."""
    async with greeted(place.port) as socket:
        for _ in range(3):
            await socket.send(msgpack.packb(dice.choice(NONSENSE)))
            assert msgpack.unpackb(await socket.recv())["type"] == "error", "nonsense was not refused"


async def _fetch(place: _Place, dice: random.Random) -> None:
    """One text over HTTP."""
    text = random_text(dice)
    path, body = dice.choice(
        (
            ("/api/tts", {"text": text, "format": dice.choice(("mp3", "ogg_opus", "wav", "flac"))}),
            ("/v1/audio/speech", {"model": "tts-1", "voice": "alloy", "input": text, "response_format": "mp3"}),
            ("/v1/text-to-speech/any/stream", {"text": text}),
        )
    )
    assert await asyncio.to_thread(ask, place.port, path, body), f"{path} sent no sound"


VISITS: dict[str, Visit] = {"listen": _listen, "cancel": _cancel, "vanish": _vanish, "dawdle": _dawdle, "babble": _babble, "fetch": _fetch}


async def _open(socket: ClientConnection, dice: random.Random) -> None:
    budget = {"profile": dice.choice(("chatbot", "browser", "batch")), "max_lead_ms": 60_000}
    await send(socket, type="open", utterance="u", voice="beacon-a", words=False, budget=budget, cache=dice.random() < 0.5)


async def _messages(socket: ClientConnection, place: _Place) -> Any:
    """Up to the utterance's end, which is counted."""
    async for raw in socket:
        message = msgpack.unpackb(raw)
        yield message
        place.found.switches += message["type"] == "switch"
        if message["type"] == "error":
            place.found.codes[message["code"]] += 1
        if message["type"] in ("done", "cancelled", "error"):
            place.found.ends[message["type"]] += 1
            return
    raise ConnectionError("the line was closed before the utterance ended")

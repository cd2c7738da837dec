"""What a cached segment saves: time to first audio of texts spoken before, beside the same texts' first time.

The engine is a test voice that needs 300 ms for its first chunk, about what a good one needs on a CPU. Measured at the client, over a
WebSocket on loopback. With a Redis given (`--redis-url`, or REALTIME_REDIS_URL), a second gateway that has spoken nothing is asked for
what the first one spoke: its hits come from there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from typing import Any

import msgpack
import numpy as np
from rich.console import Console
from websockets.asyncio.client import ClientConnection, connect

from realtime.bench.line import series
from realtime.bench.processes import service
from realtime.config import redis_url_from_environment
from realtime.errors import BadOption

CONFIG = """
chain = ["beacon"]
[server]
web_player = false
[log]
level = "WARNING"
[engines.beacon]
options = { rate_factor = 0.3, first_chunk_ms = 300.0 }
"""
# What the bench leaves in a Redis runs out by itself, soon.
REDIS_CONFIG = "[cache]\nredis_ttl_h = 0.1\nredis_url = {}\n"
WRITTEN_S = 10.0  # so long may the last write of the first gateway take


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `realtime bench cache`."""
    parser.add_argument("--texts", type=int, default=40, help="different prompts (default 40)")
    parser.add_argument("--hits", type=int, default=5, help="times each is asked for again (default 5)")
    parser.add_argument("--redis-url", default=None, help="measure the shared tier with this Redis too (default REALTIME_REDIS_URL)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure and print. Raises `BadOption` for a Redis that does not answer."""
    url = options.redis_url or redis_url_from_environment()
    config = CONFIG + (REDIS_CONFIG.format(json.dumps(url)) if url else "")
    texts = _texts(options)
    with service(config) as (port, _):
        misses, hits = asyncio.run(_misses_and_hits(port, texts, options))
        if url:
            _wait_written(port, len(texts))
    result: dict[str, Any] = {"texts": len(texts)} | _percentiles("miss", misses) | _percentiles("hit", hits)
    result["miss_to_hit_p50"] = float(np.percentile(misses, 50) / np.percentile(hits, 50))
    if url:
        with service(config) as (port, _):
            result |= _percentiles("redis_hit", asyncio.run(_first_audio_of(port, texts)))
            result |= _redis_figures(port)
    console = Console(stderr=True)
    for name, value in result.items():
        console.print(f"{name:32} {value:.4g}")
    return result


def _texts(options: argparse.Namespace) -> list[str]:
    dice = random.Random(options.seed)
    return ["".join(chr(dice.randrange(0x4E00, 0x9000)) for _ in range(15)) + "。" for _ in range(options.texts)]


def _percentiles(name: str, values: list[float]) -> dict[str, float]:
    return {f"{name}_first_audio_p{q}_ms": float(np.percentile(values, q)) for q in (50, 95)}


async def _misses_and_hits(port: int, texts: list[str], options: argparse.Namespace) -> tuple[list[float], list[float]]:
    dice, again = random.Random(options.seed + 1), list(texts)
    misses, hits = await _first_audio_of(port, texts), []
    for _ in range(options.hits):
        dice.shuffle(again)
        hits += await _first_audio_of(port, again)
    return misses, hits


async def _first_audio_of(port: int, texts: list[str]) -> list[float]:
    subprotocols: Any = ["realtime.v1.msgpack"]
    async with connect(f"ws://127.0.0.1:{port}/v1/stream", subprotocols=subprotocols, compression=None) as socket:
        await socket.recv()
        return [await _first_audio_ms(socket, text) for text in texts]


async def _first_audio_ms(socket: ClientConnection, text: str) -> float:
    began, first = time.perf_counter(), 0.0
    await socket.send(msgpack.packb({"type": "open", "utterance": "u", "voice": "beacon-a"}))
    await socket.send(msgpack.packb({"type": "text", "utterance": "u", "text": text}))
    await socket.send(msgpack.packb({"type": "end", "utterance": "u"}))
    while True:
        message = msgpack.unpackb(await asyncio.wait_for(socket.recv(), 30))
        if message["type"] == "audio" and not first:
            first = (time.perf_counter() - began) * 1000
        elif message["type"] == "done":
            return first
        elif message["type"] == "error":
            raise RuntimeError(message["message"])


# ---- the shared tier, as the service's own metrics have it


def _wait_written(port: int, texts: int) -> None:
    until = time.monotonic() + WRITTEN_S
    while series(port).get('realtime_shared_cache_writes_total{end="written"}', 0.0) < texts:
        if time.monotonic() > until:
            raise BadOption("the Redis does not take what is written to it; the service's log says why")
        time.sleep(0.05)


def _redis_figures(port: int) -> dict[str, float]:
    """How many of the hits came in time, and the mean time of a look-up in the gateway."""
    found = series(port)
    asked, took_s = (found.get(f"realtime_shared_cache_seconds_{what}", 0.0) for what in ("count", "sum"))
    in_time = found.get('realtime_shared_cache_look_ups_total{answer="hit"}', 0.0)
    return {"redis_hits": in_time, "redis_look_up_mean_ms": 1000 * took_s / max(1.0, asked)}

"""What a cached segment saves: time to first audio of texts spoken before, beside the same texts' first time.

The engine is a test voice that needs 300 ms for its first chunk, about what a good one needs on a CPU. Measured at the client, over a
WebSocket on loopback.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from typing import Any

import msgpack
import numpy as np
from rich.console import Console
from websockets.asyncio.client import ClientConnection, connect

from realtime.bench.processes import service

CONFIG = """
chain = ["beacon"]
[server]
web_player = false
[log]
level = "WARNING"
[engines.beacon]
options = { rate_factor = 0.3, first_chunk_ms = 300.0 }
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `realtime bench cache`."""
    parser.add_argument("--texts", type=int, default=40, help="different prompts (default 40)")
    parser.add_argument("--hits", type=int, default=5, help="times each is asked for again (default 5)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure and print."""
    with service(CONFIG) as (port, _):
        misses, hits = asyncio.run(_measure(port, options))
    result = {
        "texts": options.texts,
        "miss_first_audio_p50_ms": float(np.percentile(misses, 50)),
        "miss_first_audio_p95_ms": float(np.percentile(misses, 95)),
        "hit_first_audio_p50_ms": float(np.percentile(hits, 50)),
        "hit_first_audio_p95_ms": float(np.percentile(hits, 95)),
        "miss_to_hit_p50": float(np.percentile(misses, 50) / np.percentile(hits, 50)),
    }
    console = Console(stderr=True)
    for name, value in result.items():
        console.print(f"{name:28} {value:.4g}")
    return result


async def _measure(port: int, options: argparse.Namespace) -> tuple[list[float], list[float]]:
    dice = random.Random(options.seed)
    texts = ["".join(chr(dice.randrange(0x4E00, 0x9000)) for _ in range(15)) + "。" for _ in range(options.texts)]
    subprotocols: Any = ["realtime.v1.msgpack"]
    async with connect(f"ws://127.0.0.1:{port}/v1/stream", subprotocols=subprotocols, compression=None) as socket:
        await socket.recv()
        misses = [await _first_audio_ms(socket, text) for text in texts]
        hits = []
        for _ in range(options.hits):
            dice.shuffle(texts)
            hits += [await _first_audio_ms(socket, text) for text in texts]
    return misses, hits


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

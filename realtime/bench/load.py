"""The listeners of `bench overhead`, in a process of their own: N connections at once, each with a playout clock.

`python -m realtime.bench.load JSON`: reads a `LoadSpec`, prints a `LoadResult` as JSON. A listener starts to play `BUFFER_S` after
its first audio and counts an underrun whenever a frame comes later than the sound before it lasts.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import msgpack
import uvloop
from websockets.asyncio.client import connect

BUFFER_S = 0.1
# Listeners begin spread over this share of a stream's length: each first word is asked for while the others are being served.
RAMP_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class LoadSpec:
    """`text` None: the bare sender, which is told the frames instead."""

    url: str
    streams: int
    seconds: float
    text: str | None
    frame_ms: int = 100
    sample_rate: int = 24000
    max_lead_ms: int = 2000


@dataclass(slots=True)
class LoadResult:
    """What the listeners saw. Times in milliseconds."""

    streams: int
    whole: int = 0
    failed: list[str] = field(default_factory=list)
    first_audio_ms: list[float] = field(default_factory=list)
    worst_underrun_ms: float = 0.0
    messages: int = 0
    audio_s: float = 0.0


class Listener:
    """One playout clock."""

    def __init__(self, result: LoadResult) -> None:
        self._result = result
        self._asked_at = time.monotonic()
        self._plays_until: float | None = None
        self._is_whole = True

    def hear(self, seconds: float) -> None:
        """A frame of so many seconds came."""
        now = time.monotonic()
        self._result.messages += 1
        self._result.audio_s += seconds
        if self._plays_until is None:
            self._result.first_audio_ms.append((now - self._asked_at) * 1000)
            self._plays_until = now + BUFFER_S
        if now > self._plays_until:
            self._is_whole = False
            self._result.worst_underrun_ms = max(self._result.worst_underrun_ms, (now - self._plays_until) * 1000)
            self._plays_until = now
        self._plays_until += seconds

    def close(self) -> None:
        """All came."""
        self._result.whole += self._is_whole


async def listen(spec: LoadSpec, index: int, result: LoadResult) -> None:
    """One stream from connect to end; whatever goes wrong is told in the result."""
    await asyncio.sleep(RAMP_SHARE * spec.seconds * index / spec.streams)
    try:
        async with asyncio.timeout(spec.seconds * 2 + 30):
            await (_listen_bare(spec, result) if spec.text is None else _listen_native(spec, result))
    except Exception as error:
        result.failed.append(f"{type(error).__name__}: {error}"[:200])


async def _listen_bare(spec: LoadSpec, result: LoadResult) -> None:
    size = spec.sample_rate * spec.frame_ms // 1000 * 2
    async with connect(spec.url, compression=None, ping_interval=None) as socket:
        listener = Listener(result)
        await socket.send(f"{int(spec.seconds * 1000 / spec.frame_ms)} {size} {spec.frame_ms} {spec.max_lead_ms}")
        async for message in socket:
            if isinstance(message, str):
                break
            listener.hear(spec.frame_ms / 1000)
        listener.close()


async def _listen_native(spec: LoadSpec, result: LoadResult) -> None:
    async with connect(spec.url, subprotocols=["realtime.v1.msgpack"], compression=None, ping_interval=None) as socket:  # type: ignore[list-item]
        await socket.recv()
        budget = {"profile": "browser", "max_lead_ms": spec.max_lead_ms, "first_audio_ms": 10_000}
        fields: dict[str, Any] = {
            "utterance": "u",
            "voice": "beacon-null",
            "language": "zh",
            "budget": budget,
            "words": False,
            "cache": False,
        }
        await socket.send(msgpack.packb({"type": "open", **fields}))
        listener = Listener(result)
        await socket.send(msgpack.packb({"type": "text", "utterance": "u", "text": spec.text}))
        await socket.send(msgpack.packb({"type": "end", "utterance": "u"}))
        async for raw in socket:
            message = msgpack.unpackb(raw)
            if message["type"] == "audio":
                listener.hear(message["samples"] / spec.sample_rate)
            elif message["type"] == "done":
                listener.close()
                return
            elif message["type"] == "error":
                raise ConnectionError(message["message"])


async def run(spec: LoadSpec) -> LoadResult:
    """All listeners at once."""
    result = LoadResult(spec.streams)
    await asyncio.gather(*(listen(spec, index, result) for index in range(spec.streams)))
    return result


if __name__ == "__main__":
    print(json.dumps(dataclasses.asdict(uvloop.run(run(LoadSpec(**json.loads(sys.argv[1])))))))

"""A client's line to a service on this machine: a socket of the native protocol with a playout clock, and single requests over HTTP."""

from __future__ import annotations

import http.client
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgpack
from websockets.asyncio.client import ClientConnection, connect

PATIENCE_S = 60.0


class Playback:
    """A listener who begins to play `start_buffer_s` after the first sound came; `worst_s` is their longest wait for sound since."""

    def __init__(self, start_buffer_s: float) -> None:
        self.worst_s = 0.0
        self._start_buffer_s = start_buffer_s
        self._plays_until: float | None = None

    @property
    def has_begun(self) -> bool:
        """True once any sound came."""
        return self._plays_until is not None

    def hear(self, seconds: float, now: float) -> None:
        """So much more sound came."""
        plays_until = now + self._start_buffer_s if self._plays_until is None else self._plays_until
        self.worst_s = max(self.worst_s, now - plays_until)
        self._plays_until = max(plays_until, now) + seconds


@asynccontextmanager
async def greeted(port: int) -> AsyncIterator[ClientConnection]:
    """A native socket, MessagePack, of which the service's greeting was read."""
    subprotocols: Any = ["realtime.v1.msgpack"]
    async with connect(f"ws://127.0.0.1:{port}/v1/stream", subprotocols=subprotocols, compression=None) as socket:
        await socket.recv()
        yield socket


async def send(socket: ClientConnection, **message: Any) -> None:
    """One message."""
    await socket.send(msgpack.packb(message))


def ask(port: int, path: str, body: dict[str, Any] | None = None) -> bytes:
    """What a GET yields, or a POST of `body`. Raises `http.client.HTTPException` that tells the refusal, `OSError` without a service."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        line.request(
            "GET" if body is None else "POST", path, None if body is None else json.dumps(body), {"content-type": "application/json"}
        )
        answer = line.getresponse()
        content = answer.read()
        if answer.status >= 400:
            raise http.client.HTTPException(f"{path}: {answer.status} {content[:200]!r}")
        return content
    finally:
        line.close()


def series(port: int) -> dict[str, float]:
    """The service's metrics, by name with labels as written in `/metrics`."""
    lines = (line for line in ask(port, "/metrics").decode().splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

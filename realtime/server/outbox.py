"""What waits to be written to one socket: bounded bytes, discardable by utterance.

Whoever puts first writes for all: no writer task, so an idle connection costs nothing and a frame takes one task switch less. When
full, `put` waits; a reader that lets it stay full too long is the connection's to close (`stalled_since`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import anyio

from realtime.clock import Clock
from realtime.types import UtteranceId

Write = Callable[[Sequence[str | bytes]], Awaitable[None]]

# So much is given to the socket at a time, as far as there is; the rest can still be discarded. asyncio's transports hold as much
# before they ask writers to wait.
WRITE_BYTES = 64 * 1024


class Outbox:
    """Messages in order, `max_bytes` of them at most before `put` waits."""

    def __init__(self, write: Write, max_bytes: int, clock: Clock) -> None:
        self._write = write
        self._max_bytes = max_bytes
        self._clock = clock
        self._queue: deque[tuple[UtteranceId | None, str | bytes]] = deque()
        self._bytes = 0
        self._is_writing = False
        self._room = anyio.Event()
        self.stalled_since: float | None = None

    def __repr__(self) -> str:
        return f"<Outbox {len(self._queue)} messages, {self._bytes} of {self._max_bytes} bytes>"

    @property
    def held_bytes(self) -> int:
        """Bytes that wait."""
        return self._bytes

    async def put(self, *messages: str | bytes, utterance: UtteranceId | None = None) -> None:
        """Queue messages and, if nobody is writing, write until the queue is empty. `utterance` makes them discardable."""
        while self._bytes >= self._max_bytes and self._is_writing:
            if self._room.is_set():
                self._room = anyio.Event()
            await self._room.wait()
        self.add(*messages, utterance=utterance)
        if not self._is_writing:
            await self._drain()

    def add(self, *messages: str | bytes, utterance: UtteranceId | None = None) -> None:
        """Queue messages that leave with those of the next `put`, which must follow at once."""
        for message in messages:
            self._queue.append((utterance, message))
            self._bytes += len(message)

    async def emptied(self) -> None:
        """Wait until everything was written, or the one who wrote has given up."""
        while self._is_writing:
            if self._room.is_set():
                self._room = anyio.Event()
            await self._room.wait()

    def discard(self, utterance: UtteranceId) -> int:
        """Forget what waits of an utterance's discardable messages; returns how many."""
        kept = deque(entry for entry in self._queue if entry[0] != utterance)
        dropped = len(self._queue) - len(kept)
        self._queue = kept
        self._bytes = sum(len(message) for _, message in kept)
        self._room.set()
        return dropped

    async def _drain(self) -> None:
        self._is_writing = True
        try:
            while self._queue:
                self.stalled_since = self._clock.now()
                await self._write(self._take())
                self._room.set()
        finally:
            self._is_writing = False
            self.stalled_since = None
            self._room.set()

    def _take(self) -> list[str | bytes]:
        taken, size = [], 0
        while self._queue and size < WRITE_BYTES:
            message = self._queue.popleft()[1]
            taken.append(message)
            size += len(message)
        self._bytes -= size
        return taken

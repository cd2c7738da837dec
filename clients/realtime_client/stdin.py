"""Text from standard input as it arrives: unbuffered, UTF-8 put together across reads, controls that can't be spoken left out.

A thread reads, because pipes, terminals and plain files can't all be waited for in one event loop. It is a daemon: a read that never
returns must not keep the program alive.
"""

from __future__ import annotations

import asyncio
import codecs
import os
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import CancelledError

from realtime.wire.reading import NOT_PROSE

READ_BYTES = 1 << 16
QUEUE_READS = 4
"""Reads ahead of what is sent; then the thread waits, and the writer of the pipe with it."""


class Stdin:
    """An async iterator of text. `ended_at` is when the input ended, on the given clock; None before that."""

    def __init__(self, now: Callable[[], float], fd: int = 0) -> None:
        self.ended_at: float | None = None
        self._now, self._fd = now, fd
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(QUEUE_READS)

    async def __aiter__(self) -> AsyncIterator[str]:
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, args=(loop,), name="stdin", daemon=True).start()
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while data := await self._queue.get():
            text = NOT_PROSE.sub("", decoder.decode(data))
            if text:
                yield text
        if rest := decoder.decode(b"", final=True):
            yield rest

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        data = b"?"
        while data:
            try:
                data = os.read(self._fd, READ_BYTES)
            except OSError:
                data = b""  # closed under us: the same as its end
            if not data:
                self.ended_at = self._now()
            put = self._queue.put(data)
            try:
                asyncio.run_coroutine_threadsafe(put, loop).result()
            except (RuntimeError, CancelledError):  # the loop is closed: nobody listens any more
                put.close()
                return

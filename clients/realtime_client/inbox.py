"""Audio between the socket and whoever listens: bounded, and cut where an utterance was resumed.

When full, `put` waits, and with it the reading of the socket: the service sees a slow reader and slows down. Utterances of one
connection share that fate, so a listener who only pauses should cancel or take the audio.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace

from realtime.types import Codec
from realtime.wire.events import Audio

MAX_HELD_BYTES = 16 << 20
"""Guess: three minutes of 48 kHz PCM; a service that honours `max_lead_ms` never comes near."""

SAMPLE_BYTES = {Codec.PCM_S16LE: 2, Codec.PCM_F32LE: 4, Codec.MULAW: 1, Codec.ALAW: 1}
"""Codecs whose pieces can be cut at any sample: those an utterance can be resumed in."""


class Inbox:
    """A queue of audio with an end, which may be an error."""

    def __init__(self, codec: Codec, max_held_bytes: int = MAX_HELD_BYTES) -> None:
        self._sample_bytes = SAMPLE_BYTES.get(codec)
        self._max = max_held_bytes
        self._held: deque[Audio] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()
        self._is_closed = False
        self._error: Exception | None = None

    @property
    def can_cut(self) -> bool:
        """Whether `cut` is possible in this codec."""
        return self._sample_bytes is not None

    async def put(self, audio: Audio) -> None:
        """Add a piece; waits while the inbox is full. Dropped after the end."""
        while self._bytes > self._max and not self._is_closed:
            await self._wait()
        if not self._is_closed:
            self._held.append(audio)
            self._bytes += len(audio.payload)
            self._changed.set()

    async def get(self) -> Audio | None:
        """The next piece; None after the last. Raises the error that ended the utterance, once what came before it is taken."""
        while not self._held and not self._is_closed:
            await self._wait()
        if self._held:
            audio = self._held.popleft()
            self._bytes -= len(audio.payload)
            self._changed.set()
            return audio
        if self._error is not None:
            raise self._error
        return None

    def cut(self, sample: int) -> None:
        """Forget what is held from `sample` on."""
        while self._held and self._held[-1].offset + self._held[-1].samples > sample:
            last = self._held.pop()
            self._bytes -= len(last.payload)
            kept = sample - last.offset
            if kept > 0 and self._sample_bytes is not None:
                short = replace(last, samples=kept, payload=last.payload[: kept * self._sample_bytes])
                self._held.append(short)
                self._bytes += len(short.payload)
        self._changed.set()

    def close(self, error: Exception | None = None) -> None:
        """No more comes; what is held can still be taken."""
        if not self._is_closed:
            self._is_closed, self._error = True, error
            self._changed.set()

    def clear(self) -> None:
        """Forget everything held."""
        self._held.clear()
        self._bytes = 0
        self._changed.set()

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()

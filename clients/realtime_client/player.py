"""Sound to the default device, through `sounddevice` (extra `[play]`). Its callback thread only copies."""

from __future__ import annotations

import asyncio
import importlib
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from realtime.audio.samples import Samples
from realtime.errors import BadOption, how_to_install
from realtime_client.pieces import AudioPiece
from realtime_client.playout import START_BUFFER_MS


class Player:
    """A device that plays one utterance. `position` is what has been heard, in samples."""

    def __init__(self, sample_rate: int) -> None:
        try:
            sounddevice: Any = importlib.import_module("sounddevice")
        except (ImportError, OSError) as error:  # OSError: the package is there, PortAudio is not
            raise BadOption(f"can't play here ({error}); use --out FILE, or {how_to_install('play')}") from None
        self.position = 0
        self._held: deque[Samples] = deque()
        self._held_samples = 0
        self._start_at = round(sample_rate * START_BUFFER_MS / 1000)
        self._is_started = False
        self._lock = threading.Lock()
        self._on_drained: Callable[[], object] | None = None
        try:
            self._stream = sounddevice.OutputStream(samplerate=sample_rate, channels=1, dtype="float32", callback=self._fill)
            self._stream.start()
        except sounddevice.PortAudioError as error:
            raise BadOption(f"no sound device ({error}); use --out FILE") from None

    def write(self, piece: AudioPiece) -> None:
        """Queue a piece; one that starts before the end of the queue replaces what was not heard from there on."""
        with self._lock:
            surplus = self.position + self._held_samples - piece.offset
            if piece.samples and surplus > 0:
                self._drop(surplus)
            self._held.append(piece.pcm)
            self._held_samples += len(piece.pcm)
            self._is_started = self._is_started or self._held_samples >= self._start_at

    async def finish(self) -> None:
        """Wait until all of it was heard."""
        drained = asyncio.Event()
        loop = asyncio.get_running_loop()
        with self._lock:
            self._is_started = True
            self._on_drained = lambda: loop.call_soon_threadsafe(drained.set)
            if not self._held_samples:
                drained.set()
        await drained.wait()
        await asyncio.sleep(float(self._stream.latency))

    def close(self) -> None:
        """Be silent at once."""
        with self._lock:
            self._held.clear()
            self._held_samples = 0
        self._stream.abort()
        self._stream.close()

    def _drop(self, surplus: int) -> None:
        while surplus > 0 and self._held:
            last = self._held.pop()
            kept = last[: max(0, len(last) - surplus)]
            self._held_samples -= len(last) - len(kept)
            surplus -= len(last) - len(kept)
            if len(kept):
                self._held.append(kept)

    def _fill(self, out: Any, frames: int, _time: Any, _status: Any) -> None:
        """PortAudio's callback: float32 [frames, 1]."""
        done = 0
        with self._lock:
            while done < frames and self._held and self._is_started:
                head = self._held[0]
                part = head[: frames - done]
                out[done : done + len(part), 0] = part
                done += len(part)
                if len(part) == len(head):
                    self._held.popleft()
                else:
                    self._held[0] = head[len(part) :]
            self._held_samples -= done
            self.position += done
            if not self._held_samples and self._on_drained is not None:
                self._on_drained()
                self._on_drained = None
        out[done:] = np.float32(0)

"""Both legs of a call as one stereo WAV: left the caller, right what he heard. Written while the call lasts, in a thread of its own.

One pair of frames per tick of the pacer, so that the legs stay together: what came in passes the jitter buffer, what went out is what was
sent. Bounded: when the disk does not keep up with `MAX_HELD` seconds, the recording ends there and says so; the call goes on."""

from __future__ import annotations

import asyncio
import logging
import queue
import re
import threading
import wave
from pathlib import Path

import numpy as np
from realtime_ivr.call import FRAME_SAMPLES, RATE
from realtime_ivr.sounds import from_call

from realtime.audio.samples import Int16
from realtime.types import Codec

log = logging.getLogger("realtime_ivr")

MAX_HELD = 60
"""Seconds of sound that wait for the disk: 2 MB. Guess."""


class Recording:
    """`sent` and `heard` take frames; `aclose` finishes the file. Raises nothing: a failure is in `error`."""

    def __init__(self, path: Path, encoding: Codec) -> None:
        self.path, self.error = path, ""
        self._encoding = encoding
        self._sent = self._silence = np.zeros(FRAME_SAMPLES, np.int16)
        self._frames: queue.Queue[bytes | None] = queue.Queue(MAX_HELD * 50 + 1)
        self._thread = threading.Thread(target=self._write, name=f"recording {path.name}", daemon=True)
        self._thread.start()

    def sent(self, payload: bytes) -> None:
        """A frame went to the caller; `heard` of the same tick follows."""
        self._sent = from_call(payload, self._encoding)

    def heard(self, pcm: Int16) -> None:
        """The caller's frame of this tick."""
        pair = np.zeros((FRAME_SAMPLES, 2), "<i2")
        pair[: len(pcm[:FRAME_SAMPLES]), 0] = pcm[:FRAME_SAMPLES]
        pair[: len(self._sent), 1] = self._sent
        self._sent = self._silence
        try:
            self._frames.put_nowait(pair.tobytes())
        except queue.Full:
            self.error = self.error or f"the disk is too slow for {self.path}; the recording ends early"

    async def aclose(self) -> None:
        """Finish the file."""
        await asyncio.to_thread(self._finish)
        if self.error:
            log.error("%s", self.error)

    def _finish(self) -> None:
        try:
            self._frames.put(None, timeout=5)
        except queue.Full:
            self.error = self.error or f"{self.path} could not be finished"
            return
        self._thread.join(10)

    def _write(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with wave.open(str(self.path), "wb") as file:
                file.setnchannels(2)
                file.setsampwidth(2)
                file.setframerate(RATE)
                while (frames := self._frames.get()) is not None:
                    file.writeframes(frames)
        except (OSError, wave.Error) as error:
            self.error = f"can't record {self.path}: {error}"
            while self._frames.get() is not None:  # keep the call's side from filling up
                pass


def file_name(call_id: str) -> str:
    """A call's id as a file name: it was written by the other side."""
    return (re.sub(r"[^A-Za-z0-9.-]+", "_", call_id).strip("._") or "call")[:100] + ".wav"

"""The voice of last resort: espeak-ng in a process of its own, for when the service does not answer. `python -m realtime_ivr.local_voice`.

In its own process because the library is GPL, global and synchronous. Requests are JSON lines on stdin (`text`, `language`), an answer is
the number of bytes as 4 bytes, big endian, and as many bytes of 8 kHz 16-bit samples; 0xFFFFFFFF says that it could not. Started once,
kept."""

from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from realtime_ivr.call import RATE
from realtime_ivr.errors import CallFailed

from realtime.audio.resample import resample
from realtime.audio.samples import Int16, from_int16, to_int16
from realtime.errors import how_to_install

log = logging.getLogger("realtime_ivr")

SYNCHRONOUS, DONT_EXIT, UTF8 = 2, 0x8000, 1  # AUDIO_OUTPUT_SYNCHRONOUS, espeakINITIALIZE_DONT_EXIT, espeakCHARS_UTF8 of speak_lib.h
VOICES = {"zh": "cmn", "en": "en-us"}
FAILED = 0xFFFFFFFF
MISSING = f"espeak-ng is not installed; {how_to_install('espeak')}"
ANSWER_S = 3.0
"""A sentence takes some 20 ms. Guess with room for a loaded machine; then the process is replaced."""
START_S = 10.0
"""To start the process: 0.3 s on an idle machine."""
MAX_BYTES = 4 << 20
_Receive = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class LocalVoice:
    """The process, from the side of those who need it. One sentence at a time."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self.is_missing = False

    def __repr__(self) -> str:
        return f"<LocalVoice {'missing' if self.is_missing else 'running' if self._process else 'not started'}>"

    async def speak(self, text: str, language: str) -> Int16:
        """The sound of a sentence, int16 [n] at 8 kHz. Raises `CallFailed` when there is no espeak-ng or it does not answer."""
        async with self._turn:
            if self.is_missing:
                raise CallFailed(MISSING)
            try:
                async with asyncio.timeout(ANSWER_S if self._process is not None else START_S):
                    return await self._ask(text, language)
            except (TimeoutError, OSError, EOFError) as error:  # IncompleteReadError is an EOFError
                await self._stop()
                raise CallFailed(f"the local voice did not answer: {error or 'too slow'}") from None

    async def warm_up(self) -> None:
        """Have the process running before it is needed; a missing library is logged, nothing is raised."""
        try:
            await self.speak("a", "en")
        except CallFailed as error:
            log.warning("no local voice for when the service is away: %s", error.message)

    async def aclose(self) -> None:
        """Stop the process."""
        async with self._turn:
            await self._stop()

    async def _ask(self, text: str, language: str) -> Int16:
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "realtime_ivr.local_voice", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
            )
        process = self._process
        assert process.stdin is not None and process.stdout is not None  # asked for as pipes
        process.stdin.write(json.dumps({"text": text, "language": language}).encode() + b"\n")
        await process.stdin.drain()
        size = int.from_bytes(await process.stdout.readexactly(4), "big")
        if size == FAILED:
            self.is_missing = True
            raise CallFailed(MISSING)
        return np.frombuffer(await process.stdout.readexactly(min(size, MAX_BYTES)), np.int16)

    async def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()


class _Espeak:
    """The library, as much as is needed."""

    def __init__(self) -> None:
        import espeakng_loader

        self._c = ctypes.CDLL(espeakng_loader.get_library_path())
        self.rate = int(self._c.espeak_Initialize(SYNCHRONOUS, 200, _short(Path(espeakng_loader.get_data_path()).parent), DONT_EXIT))
        if self.rate <= 0:
            raise OSError("espeak-ng can't read its data")
        self._parts: list[Int16] = []
        self._callback = _Receive(self._receive)  # must live as long as the library uses it
        self._c.espeak_SetSynthCallback(self._callback)

    def speak(self, text: str, language: str) -> Int16:
        """16-bit samples at 8 kHz."""
        self._parts = []
        self._c.espeak_SetVoiceByName(VOICES.get(language.split("-")[0], "en-us").encode())
        raw = text.encode() + b"\0"
        self._c.espeak_Synth(raw, len(raw), 0, 1, 0, UTF8, None, None)
        whole = np.concatenate(self._parts) if self._parts else np.zeros(0, np.int16)
        return to_int16(resample(from_int16(whole) * np.float32(0.7), self.rate, RATE))

    def _receive(self, wave: Any, count: int, events: Any) -> int:
        if wave and count > 0:
            self._parts.append(np.ctypeslib.as_array(wave, (count,)).copy())
        return 0


def _short(folder: Path) -> bytes:
    """The library keeps its data path in 160 bytes: a longer one goes through an open descriptor."""
    path = str(folder)
    return path.encode() if len(path.encode()) < 140 else f"/proc/self/fd/{os.open(path, os.O_PATH | os.O_DIRECTORY)}".encode()


def main() -> None:
    """Serve stdin until it ends."""
    try:
        espeak = _Espeak()
    except (ImportError, OSError):
        sys.stdout.buffer.write(FAILED.to_bytes(4, "big"))
        sys.stdout.buffer.flush()
        return
    for line in sys.stdin.buffer:
        request = json.loads(line)
        data = espeak.speak(str(request["text"]), str(request["language"])).tobytes()[:MAX_BYTES]
        sys.stdout.buffer.write(len(data).to_bytes(4, "big") + data)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()

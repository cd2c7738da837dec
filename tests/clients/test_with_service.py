"""The client and the real service in processes of their own, with the voice whose sound can be read back."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
import wave
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
from realtime_client import Utterance, connect

from realtime.audio.wavfile import read_wav
from realtime.engines.beacon.decoder import decode
from realtime.wire.events import Opened

pytestmark = pytest.mark.slow

TEXT = "The quick brown fox jumps over the lazy dog. 今天天气很好，我们去公园散步吧。 Pack my box with five dozen jugs."

LONG = " ".join([TEXT] * 2)  # longer than what a service sends ahead


class Service:
    """`realtime serve` as a child process."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._log = folder, folder / "service.log"
        self.port = 0

    def start(self) -> None:
        """Start on the same port as before, if there was one; returns when it listens."""
        command = [sys.executable, "-m", "realtime", "serve", "--engines", "beacon", "--port", str(self.port)]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=self._folder, stdout=log, stderr=log, start_new_session=True)
        for _ in range(1000):
            line = self._log.read_text(encoding="utf-8")
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                self.port = int(found.group(1))
                return
            time.sleep(0.02)
        raise AssertionError(f"the service did not start: {line}")

    def kill(self) -> None:
        """SIGKILL, to it and its workers."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    running = Service(tmp_path)
    running.start()
    yield running
    running.kill()


async def warm(service: Service) -> None:
    """Wait until the voice is there."""
    while True:
        async with connect(f"127.0.0.1:{service.port}") as client:
            if client.ready.voices:
                return
        await asyncio.sleep(0.1)


async def listen(utterance: Utterance, pace: float, sound: list[np.ndarray]) -> AsyncIterator[float]:
    """Collect the sound at `pace` times real time; yields the seconds so far."""
    end = 0
    async for piece in utterance:
        if piece.offset < end:
            sound[:] = [np.concatenate(sound)[: piece.offset]]
        sound.append(piece.pcm)
        end = piece.offset + piece.samples
        yield end / 24000
        await asyncio.sleep(piece.samples / 24000 / pace)


@pytest.mark.parametrize("pace", [1.0, 1000.0], ids=["listener", "file"])
async def test_a_service_killed_in_mid_word_loses_and_repeats_nothing(service: Service, pace: float) -> None:
    await warm(service)
    async with connect(f"127.0.0.1:{service.port}") as client:
        utterance = client.speak(LONG)
        sound: list[np.ndarray] = []
        is_killed = False
        async for seconds in listen(utterance, pace, sound):
            if seconds > 1.5 and not is_killed:
                is_killed = True
                service.kill()
                service.start()
        assert is_killed
        assert sum(isinstance(event, Opened) for event in utterance.events) == 2
        assert decode(np.concatenate(sound), 24000) == LONG


async def test_say_speaks_while_its_input_is_open(service: Service, tmp_path: Path) -> None:
    await warm(service)
    out = tmp_path / "o.wav"
    command = [sys.executable, "-m", "realtime", "say", "--url", f"127.0.0.1:{service.port}", "--out", str(out), "--json"]
    process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdin is not None
    process.stdin.write(TEXT.encode())
    while not (out.exists() and out.stat().st_size > 44):
        await asyncio.sleep(0.02)
    output, _ = await process.communicate(b" The end.")
    figures = json.loads(output.splitlines()[-1])
    assert process.returncode == 0
    assert figures["first_audio_before_input_end"] is True
    with wave.open(str(out)) as file:
        assert file.getnframes() / file.getframerate() == pytest.approx(figures["audio_s"], abs=0.001)
    samples, rate = read_wav(out)
    assert decode(samples, rate) == TEXT + " The end."

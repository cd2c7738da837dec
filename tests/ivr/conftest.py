"""Real phones for tests: baresip processes, started on free ports with a folder of their own, driven over their control port."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import wave
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from realtime_ivr.call import Call, CallInfo, Digit, Direction, HangUpSide, HungUp, MarkHeard
from realtime_ivr.desk import Desk, DeskOptions
from realtime_ivr.flow import Flow, make_flow
from realtime_ivr.local_voice import LocalVoice
from realtime_ivr.pacer import Pacer
from realtime_ivr.playout import Playout
from realtime_ivr.prompts import PromptStore
from realtime_ivr.runner import Program
from realtime_ivr.saying import Voices
from realtime_ivr.service import Service
from realtime_ivr.sip.agent import SipSettings
from realtime_ivr.sounds import from_call
from realtime_ivr.transports.sip import SipTransport

from realtime.audio.g711 import MULAW_DECODE
from realtime.types import Codec

MODULES = "/usr/lib/baresip/modules"
CONFIG = """\
sip_listen 127.0.0.1:{sip}
module_path {modules}
module g711.so
module aufile.so
module sndfile.so
module_tmp uuid.so
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen 127.0.0.1:{control}
audio_source aufile,{source}
ausrc_srate 8000
auplay_srate 8000
rtp_ports {rtp}-{rtp_last}
snd_path {folder}
jitter_buffer_delay 3-6
"""
RTP_PORTS = 50
_numbers = itertools.count(0)


def free_ports(count: int = 1) -> int:
    """The first of so many ports, an even one, that nobody has for UDP or TCP. They lie below those that the kernel gives to connections
    (32768 to 60999), so nobody is given one between this look and its use; other runs of these tests draw theirs by chance too."""
    while True:
        first = random.randrange(10_000, 32_000 - count, 2)
        with ExitStack() as probes:
            try:
                for port, kind in itertools.product(range(first, first + count), (socket.SOCK_DGRAM, socket.SOCK_STREAM)):
                    probes.enter_context(socket.socket(socket.AF_INET, kind)).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first


def write_wav(path: Path, samples: npt.NDArray[np.int16]) -> None:
    """8 kHz mono 16 bit, what `aufile` reads."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(samples.tobytes())


class Phone:
    """A baresip. `dial`, `press`, `hang_up`; `heard` is its recording of what it decoded."""

    def __init__(self, folder: Path, sip_port: int, control_port: int) -> None:
        self.folder, self.sip_port, self._control_port = folder, sip_port, control_port
        self.events: list[dict[str, object]] = []
        self.uri = f"sip:bob@127.0.0.1:{sip_port}"
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._listening: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    async def connect(self) -> None:
        """Reach the control port of the process that was just started."""
        async with asyncio.timeout(30):  # a loaded machine
            while True:
                try:
                    self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._control_port)
                    break
                except OSError:
                    await asyncio.sleep(0.05)
        self._listening = asyncio.create_task(self._listen())

    async def aclose(self) -> None:
        if self._listening is not None and self._writer is not None:
            self._writer.close()
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)

    async def command(self, command: str, params: str = "") -> None:
        assert self._writer is not None
        data = json.dumps({"command": command, "params": params}).encode()
        self._writer.write(b"%d:%s," % (len(data), data))
        await self._writer.drain()

    async def dial(self, uri: str) -> None:
        await self.command("dial", uri)

    async def press(self, key: str) -> None:
        await self.command("sndcode", key)

    async def hang_up(self) -> None:
        await self.command("hangup")

    async def wait_for(self, kind: str, seconds: float = 10) -> dict[str, object]:
        """The first event of a kind (CALL_ESTABLISHED, CALL_CLOSED ..) since the last such wait."""
        async with asyncio.timeout(seconds):
            while True:
                for event in self.events:
                    if event.get("type") == kind:
                        self.events.remove(event)
                        return event
                self._changed.clear()
                await self._changed.wait()

    def heard(self) -> npt.NDArray[np.int16]:
        """What came out of the decoder, of the latest call; complete when the phone has stopped or the call is over."""
        files = sorted(self.folder.glob("dump-*-dec.wav"))
        assert files, "the phone recorded nothing"
        data = files[-1].read_bytes()  # the header's length is written at the end only
        return np.frombuffer(data[44 : 44 + (len(data) - 44) // 2 * 2], "<i2")

    async def _listen(self) -> None:
        assert self._reader is not None
        while True:
            try:
                length = int((await self._reader.readuntil(b":"))[:-1])
                message = json.loads(await self._reader.readexactly(length))
                await self._reader.readexactly(1)
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            self.events.append(message)
            self._changed.set()


SERVICE = """\
chain = ["beacon", "slow"]
[server]
port = {port}
data_dir = "{data}"
[engines.beacon]
options = {{ chunk_ms = 200 }}
[engines.slow]
factory = "beacon"
options = {{ name = "slow", chunk_ms = 200, rate_factor = 0.6, voices = ["beacon-b"] }}
"""


@pytest.fixture(scope="session")
def service_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service in a process of its own, for all tests of a run: voice beacon-a at once, beacon-b at 0.6 of the clock's pace."""
    folder = tmp_path_factory.mktemp("service")
    port = free_ports()
    (folder / "service.toml").write_text(SERVICE.format(port=port, data=folder / "data"))
    url = f"http://127.0.0.1:{port}"
    with (folder / "log").open("wb") as log:
        command = [sys.executable, "-m", "realtime", "serve", "--config", str(folder / "service.toml")]
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not _is_ready(url):
            assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url + "/ready", timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


MakePhone = Callable[..., Awaitable[Phone]]


@pytest.fixture
async def make_phone(tmp_path: Path) -> AsyncIterator[MakePhone]:
    """`await make_phone(answers=True, says=samples)`: a running baresip, stopped when the test ends."""
    if shutil.which("baresip") is None:
        pytest.skip("baresip is not installed: apt install --no-install-recommends baresip-core")
    async with AsyncExitStack() as stack:

        async def make(
            *, answers: bool = True, says: npt.NDArray[np.int16] | None = None, codecs: str = "pcmu/8000/1,pcma/8000/1"
        ) -> Phone:
            return await stack.enter_async_context(_phone(tmp_path / f"phone{next(_numbers)}", answers, says, codecs))

        yield make


def _furnish(folder: Path, answers: bool, says: npt.NDArray[np.int16] | None, codecs: str) -> tuple[int, int]:
    """Configuration, account and sound of a phone; its SIP and control ports."""
    folder.mkdir()
    sip = free_ports(4 + RTP_PORTS)  # two that baresip has for SIP, with and without TLS
    control, rtp = sip + 2, sip + 4
    source = folder / "source.wav"
    write_wav(source, np.zeros(8000 * 90, np.int16) if says is None else says)
    text = CONFIG.format(sip=sip, modules=MODULES, control=control, source=source, rtp=rtp, rtp_last=rtp + RTP_PORTS - 1, folder=folder)
    (folder / "config").write_text(text)
    mode = "auto" if answers else "manual"
    (folder / "accounts").write_text(f"<sip:bob@127.0.0.1:{sip}>;regint=0;answermode={mode};audio_codecs={codecs}\n")
    return sip, control


@asynccontextmanager
async def _phone(folder: Path, answers: bool, says: npt.NDArray[np.int16] | None, codecs: str) -> AsyncIterator[Phone]:
    sip, control = _furnish(folder, answers, says, codecs)
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            "baresip", "-f", str(folder), "-t", "100", stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=asyncio.subprocess.STDOUT
        )
    phone = Phone(folder, sip, control)
    try:
        await phone.connect()
        yield phone
    finally:
        await phone.aclose()
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()


class FakeCall(Call):
    """A call without a network: its caller hears 20 ms every `tick_s`, and what he heard is in `heard`."""

    def __init__(self, encoding: Codec = Codec.MULAW, tick_s: float = 0.002) -> None:
        super().__init__(CallInfo("fake", "fake", Direction.INCOMING, "sip:caller@here", "sip:us@here"), encoding)
        self.frames: list[bytes] = []
        self.transferred: list[str] = []
        self._playout = Playout(encoding)
        self._tick_s = tick_s
        self._clock = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while self.hung_up is None:
            await asyncio.sleep(self._tick_s)
            frame = self._playout.next_frame()
            if frame is not None:
                self.frames.append(frame)
            self._report()

    @property
    def heard(self) -> npt.NDArray[np.int16]:
        return from_call(b"".join(self.frames), self.encoding)

    def press(self, keys: str) -> None:
        for key in keys:
            self.emit(Digit(key))

    async def hang_up(self, reason: str = "") -> None:
        self.emit(HungUp(HangUpSide.FLOW, reason))
        self._clock.cancel()

    def gone(self) -> None:
        self.emit(HungUp(HangUpSide.CALLER))
        self._clock.cancel()

    async def transfer(self, target: str) -> None:
        self.transferred.append(target)
        self.emit(HungUp(HangUpSide.FLOW, "transferred"))

    def play(self, payload: bytes) -> None:
        self._playout.push(payload)

    def mark(self, name: str) -> None:
        self._playout.mark(name)

    def clear(self) -> int:
        forgotten = self._playout.clear()
        self._report()
        return forgotten

    def cut(self, position: int) -> None:
        self._playout.cut(position)

    @property
    def played(self) -> int:
        return self._playout.played

    @property
    def queued(self) -> int:
        return self._playout.queued

    def _report(self) -> None:
        for name in self._playout.marks_passed():
            if name:
                self.emit(MarkHeard(name))


@pytest.fixture
def fake_call() -> Callable[..., FakeCall]:
    """`fake_call(encoding, tick_s)`, within a running loop."""
    return FakeCall


# ---- an office that the phones call ----


class Proxy:
    """A wire to the service that can be cut and mended."""

    def __init__(self, to_port: int) -> None:
        self._to, self._server = to_port, None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = free_ports()
        self._held = asyncio.Event()
        self._held.set()

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", self.port)

    async def cut(self) -> None:
        """As a killed process: the port is closed, connections are reset."""
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def stall(self) -> None:
        """Nothing passes any more, and nobody is told."""
        self._held.clear()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers |= {writer, there[1]}
        for source, target in ((reader, there[1]), (there[0], writer)):
            task = asyncio.create_task(self._pass(source, target))
            self._tasks.add(task)

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(4096):
                await self._held.wait()
                target.write(data)
                await target.drain()
        except OSError:
            pass
        finally:
            target.close()


@pytest.fixture
def wire_to() -> Callable[[str], Proxy]:
    """`wire_to(service_url)`: a wire that is not mended yet."""
    return lambda url: Proxy(int(url.rsplit(":", 1)[1]))


@dataclass
class Office:
    """An IVR that takes calls; what it sent, packet by packet, with times."""

    desk: Desk
    sip: SipTransport
    records: Path
    calls: list[Call] = field(default_factory=list)
    sent: list[tuple[float, bytes]] = field(default_factory=list)

    @property
    def uri(self) -> str:
        return f"sip:ivr@127.0.0.1:{self.sip.agent.port}"

    async def over(self, count: int = 1, seconds: float = 20) -> list[dict[str, Any]]:
        """The records, when so many calls are over."""
        async with asyncio.timeout(seconds):
            while self.desk.finished < count:
                await asyncio.sleep(0.02)
        return [json.loads(line) for line in self.records.read_text().splitlines()]

    def sent_pcm(self) -> npt.NDArray[np.int16]:
        return np.concatenate([MULAW_DECODE[np.frombuffer(frame, np.uint8)] for _, frame in self.sent])


@pytest.fixture
def office(tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[Office]]:
    """`async with office(program, url) as o`."""

    @asynccontextmanager
    async def start(program: Program | Flow | dict[str, Any], url: str, **options: Any) -> AsyncIterator[Office]:
        if isinstance(program, dict):
            program = make_flow(program, tmp_path)
        voices = Voices(Service(url), PromptStore(), LocalVoice())
        records = tmp_path / "calls.jsonl"
        desk = Desk(voices, program, DeskOptions(records, **options))
        await voices.service.start()

        async def serve(call: Call) -> None:
            opened.calls.append(call)
            call.on_sent.append(lambda frame: opened.sent.append((time.monotonic(), frame)))
            await desk.serve(call)

        sip = SipTransport(SipSettings(port=0), serve, pacer=Pacer(), rtp_ports=(50000, 54000))
        opened = Office(desk, sip, records)
        await sip.start()
        try:
            yield opened
        finally:
            await sip.aclose()
            await voices.service.aclose()
            await voices.local.aclose()
            assert not desk.calls and not sip.agent.legs, "a call leaked"

    return start

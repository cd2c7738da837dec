"""Asterisk AudioSocket: Asterisk connects by TCP, both sides send 8 kHz signed 16-bit little endian in small messages; we own the clock.

Message: 1 byte kind, 2 bytes length (big endian), payload. What was sent can't be taken back, so the queue is here and 20 ms leave every
20 ms, header and payload in one write (Asterisk's reader does not cope with a split header). Written from Asterisk's source; it met a
simulator, no real Asterisk."""

from __future__ import annotations

import asyncio
import logging
import uuid
from enum import IntEnum

import numpy as np
from realtime_ivr.call import FRAME_SAMPLES, KEYS, Call, CallInfo, Digit, Direction, HangUpSide, HungUp, MarkHeard
from realtime_ivr.linked import HELLO_S, MAX_CALLS, MAX_UNSENT_BYTES, OnCall
from realtime_ivr.pacer import Pacer
from realtime_ivr.playout import Playout

from realtime.errors import BadOption
from realtime.types import Codec

log = logging.getLogger("realtime_ivr")

SILENT_FRAME = bytes(FRAME_SAMPLES * 2)


class Kind(IntEnum):
    """Of a message. Asterisk has more kinds of sound, at other rates; the dialplan application always uses this one."""

    HANG_UP = 0x00
    UUID = 0x01
    DTMF = 0x03
    SOUND_8K = 0x10
    ERROR = 0xFF


class Malformed(Exception):
    """Raised for what is no AudioSocket message."""


def message(kind: Kind, payload: bytes = b"") -> bytes:
    """Header and payload together."""
    return bytes([kind]) + len(payload).to_bytes(2, "big") + payload


class Reader:
    """Bytes in, messages out. Pure."""

    def __init__(self) -> None:
        self._data = bytearray()

    def push(self, data: bytes) -> list[tuple[int, bytes]]:
        """The (kind, payload) that are whole now."""
        self._data += data
        found = []
        while len(self._data) >= 3 and len(self._data) >= (end := 3 + int.from_bytes(self._data[1:3], "big")):
            found.append((self._data[0], bytes(self._data[3:end])))
            del self._data[:end]
        return found


class AudioSocketCall(Call):
    """One channel."""

    def __init__(self, info: CallInfo, writer: asyncio.StreamWriter, pacer: Pacer) -> None:
        super().__init__(info, Codec.PCM_S16LE)
        self._playout = Playout(Codec.PCM_S16LE)
        self._writer, self._pacer = writer, pacer
        pacer.add(self)

    async def hang_up(self, reason: str = "") -> None:
        """A hang-up message, then the connection's end."""
        if self.hung_up is None:
            self._writer.write(message(Kind.HANG_UP))
            self.over(HangUpSide.FLOW, reason)
        self._writer.close()

    def over(self, side: HangUpSide, reason: str = "") -> None:
        """The call is over, whoever did it."""
        self._pacer.remove(self)
        self.emit(HungUp(side, reason))

    def tick(self, skipped: int) -> None:
        """The pacer's: 20 ms."""
        if self._writer.transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self.over(HangUpSide.NETWORK, "the connection takes nothing")
            return
        self.quality.late_ticks += skipped
        frame = self._playout.next_frame() or SILENT_FRAME
        self._writer.write(message(Kind.SOUND_8K, frame))
        self.quality.packets_sent += 1
        for listener in self.on_sent:
            listener(frame)
        self._report()

    def play(self, payload: bytes) -> None:
        """Queue sound."""
        self._playout.push(payload)

    def mark(self, name: str) -> None:
        """Report when all queued so far is sent."""
        self._playout.mark(name)

    def clear(self) -> int:
        """Take back what was not sent."""
        forgotten = self._playout.clear()
        self._report()
        return forgotten

    def cut(self, position: int) -> None:
        """Take back what lies behind `position`."""
        self._playout.cut(position)

    @property
    def played(self) -> int:
        """Samples sent."""
        return self._playout.played

    @property
    def queued(self) -> int:
        """Samples that wait."""
        return self._playout.queued

    def happened(self, kind: int, payload: bytes) -> bool:
        """A message; False when it ends the call."""
        if kind == Kind.HANG_UP:
            return False
        if kind == Kind.SOUND_8K:
            self.quality.packets_received += 1
            self.heard_from_caller(np.frombuffer(payload[: len(payload) // 2 * 2], "<i2").astype(np.int16, copy=False))
        elif kind == Kind.DTMF and payload[:1].decode("ascii", "replace").upper() in tuple(KEYS):
            self.emit(Digit(payload[:1].decode("ascii").upper()))
        elif kind == Kind.ERROR:
            log.warning("call %s: Asterisk reports error %s", self.info.id, payload.hex())
        else:
            self.quality.packets_refused += 1
        return True

    def _report(self) -> None:
        for name in self._playout.marks_passed():
            if name:
                self.emit(MarkHeard(name))


class AudioSocketTransport:
    """The server that Asterisk connects to."""

    def __init__(self, host: str, port: int, on_call: OnCall, pacer: Pacer) -> None:
        self.host, self.port = host, port
        self._on_call, self._pacer = on_call, pacer
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<AudioSocketTransport {self.host}:{self.port}, {len(self._tasks)} calls>"

    async def start(self) -> None:
        """Listen. Raises `BadOption`."""
        try:
            self._server = await asyncio.start_server(self._connected, self.host, self.port)
        except OSError as error:
            raise BadOption(f"can't listen for AudioSocket at {self.host}:{self.port}: {error.strerror or error}") from None
        self.port = self._server.sockets[0].getsockname()[1]

    async def aclose(self) -> None:
        """End every call."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= MAX_CALLS:
            writer.close()
            return
        task = asyncio.create_task(self._talk(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        messages = Reader()
        try:
            async with asyncio.timeout(HELLO_S):
                name, rest = await _greeted(reader, messages)
        except (TimeoutError, Malformed, OSError) as error:
            log.warning("a connection at the AudioSocket port is none of Asterisk's: %s", error or "silent")
            writer.close()
            return
        call = AudioSocketCall(CallInfo(name, "audiosocket", Direction.INCOMING), writer, self._pacer)
        reading = asyncio.create_task(self._read(call, reader, messages, rest))
        try:
            await self._on_call(call)
        finally:
            await call.hang_up()
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, call: AudioSocketCall, reader: asyncio.StreamReader, messages: Reader, ready: list[tuple[int, bytes]]) -> None:
        try:
            while True:
                for kind, payload in ready:
                    if not call.happened(kind, payload):
                        call.over(HangUpSide.CALLER)
                        return
                data = await reader.read(1 << 14)
                if not data:
                    call.over(HangUpSide.CALLER, "the connection ended")
                    return
                ready = messages.push(data)
        except OSError as error:
            call.over(HangUpSide.NETWORK, f"the connection broke: {error}")


async def _greeted(reader: asyncio.StreamReader, messages: Reader) -> tuple[str, list[tuple[int, bytes]]]:
    """The call's id from the first message, and what came with it. Raises `Malformed`."""
    while True:
        data = await reader.read(1 << 14)
        if not data:
            raise Malformed("closed without a word")
        found = messages.push(data)
        if found:
            kind, payload = found[0]
            if kind != Kind.UUID or len(payload) != 16:
                raise Malformed(f"began with kind {kind:#x}, not with an id")
            return str(uuid.UUID(bytes=payload)), found[1:]
        if data[:1] != bytes([Kind.UUID]):
            raise Malformed("began with no id")

"""Phones that call us, to measure what a caller gets: `python -m realtime_ivr.load sip:ivr@127.0.0.1:5090 --calls 50 --seconds 10`.

A process of its own. So many calls are kept up as `--calls` says, each until the other side hangs up or `--seconds` are over; with
`--total` the next one begins where one ends. Each sends silence every 20 ms, as phones do, and notes of each packet that comes its number
and when it came, by the kernel's clock. With `--keep` the sound of each call is written to a file of mu-law bytes. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from realtime_ivr.call import FRAME_SAMPLES, HungUp
from realtime_ivr.errors import CallFailed
from realtime_ivr.sip.agent import SipAgent, SipSettings
from realtime_ivr.sip.leg import Leg
from realtime_ivr.sip.rtp import Stream, parse

HOST = "127.0.0.1"
ANSWER_S = 10.0
TIMESTAMPS = getattr(socket, "SO_TIMESTAMPNS", 35)  # asm-generic/socket.h
TICK_S = 0.02
SILENCE = b"\xff" * FRAME_SAMPLES


@dataclass
class Heard:
    """What one phone got."""

    number: int
    times: list[float] = field(default_factory=list)
    sequences: list[int] = field(default_factory=list)
    sound: dict[int, bytes] = field(default_factory=dict)
    failure: str = ""

    @property
    def lost(self) -> int:
        """Sequence numbers that never came, between the first and the last."""
        if not self.sequences:
            return 0
        first = self.sequences[0]
        numbers = {(number - first + 0x8000 & 0xFFFF) - 0x8000 for number in self.sequences}
        return max(numbers) - min(numbers) + 1 - len(numbers)

    def payload(self) -> bytes:
        """The sound in order of media time, a lost packet as silence."""
        if not self.sound:
            return b""
        first = next(iter(self.sound))
        placed = {(at - first + 0x80000000 & 0xFFFFFFFF) - 0x80000000: data for at, data in self.sound.items()}
        return b"".join(placed.get(at, SILENCE) for at in range(min(placed), max(placed) + 1, FRAME_SAMPLES))


class Phone:
    """One call: a socket for media, a leg for signalling."""

    def __init__(self, agent: SipAgent, number: int) -> None:
        self.heard = Heard(number)
        self._agent = agent
        self._stream = Stream()
        self._over = asyncio.Event()
        self._leg: Leg | None = None
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.setsockopt(socket.SOL_SOCKET, TIMESTAMPS, 1)
        self._socket.bind((HOST, 0))

    async def run(self, uri: str, seconds: float) -> Heard:
        """Call, listen, hang up."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._socket.fileno(), self._readable)
        ticking = asyncio.create_task(self._tick())
        try:
            await self._call(uri, seconds)
        except CallFailed as error:
            self.heard.failure = error.message
        finally:
            ticking.cancel()
            loop.remove_reader(self._socket.fileno())
            self._socket.close()
        return self.heard

    async def _call(self, uri: str, seconds: float) -> None:
        leg, invite = await self._agent.prepare(uri)
        self._leg, leg.media_port, leg.on_over = leg, self._socket.getsockname()[1], self._ended
        self._agent.call(leg, invite)
        try:
            async with asyncio.timeout(ANSWER_S):
                await leg.answered.wait()
        except TimeoutError:
            leg.hang_up("nobody answered")
            raise CallFailed("nobody answered") from None
        if leg.failure is not None:
            raise leg.failure
        try:
            async with asyncio.timeout(seconds):
                await self._over.wait()
        except TimeoutError:
            leg.hang_up("enough")

    def _ended(self, end: HungUp) -> None:
        self._over.set()

    def _readable(self) -> None:
        while True:
            try:
                data, controls, _, _ = self._socket.recvmsg(2048, 64)
            except BlockingIOError:
                return
            packet = parse(data)
            if packet is None or packet.payload_type != 0 or not controls:
                continue
            whole, part = struct.unpack("qq", controls[0][2][:16])
            self.heard.times.append(whole + part / 1e9)
            self.heard.sequences.append(packet.sequence)
            self.heard.sound[packet.timestamp] = packet.payload

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due += TICK_S
            await asyncio.sleep(due - loop.time())
            if self._leg is not None and self._leg.terms is not None:
                self._socket.sendto(self._stream.frame(0, SILENCE), self._leg.terms.remote)
                self._stream.advance()


async def place(uri: str, calls: int, total: int, seconds: float, keep: Path | None) -> dict[str, Any]:
    """Keep `calls` up until `total` were made; what they got."""
    agent = SipAgent(SipSettings(host=HOST, port=0, max_calls=calls * 2), lambda leg: leg.refuse(486))
    await agent.start()
    numbers = iter(range(total))
    done: list[Heard] = []

    async def line(at: int) -> None:
        await asyncio.sleep(at * TICK_S * 2 + at * TICK_S / max(1, calls))  # begun one after the other, at any phase
        for number in numbers:
            heard = await Phone(agent, number).run(uri, seconds)
            done.append(heard)
            if keep is not None:
                (keep / f"{number:06d}.ulaw").write_bytes(heard.payload())
                heard.sound.clear()

    await asyncio.gather(*(line(at) for at in range(calls)))
    await agent.aclose()
    answered = [heard for heard in done if not heard.failure]
    return {
        "calls": len(answered),
        "failures": sorted({heard.failure for heard in done if heard.failure}),
        "packets_lost": sum(heard.lost for heard in answered),
        "times": [heard.times for heard in answered],
    }


def main() -> None:
    """The process."""
    parser = argparse.ArgumentParser(description="Place calls and note what comes.")
    parser.add_argument("uri")
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--total", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    print(json.dumps(asyncio.run(place(given.uri, given.calls, given.total or given.calls, given.seconds, given.keep))), flush=True)


if __name__ == "__main__":
    main()

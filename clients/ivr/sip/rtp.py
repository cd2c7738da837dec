"""RTP packets out and in (RFC 3550, RFC 3551). Pure; `now` (seconds) is an argument.

Out: sequence and timestamp go on by one and 160 per tick, whether or not a packet is sent; a pause shows as a jump of the timestamp and a
marker. In: `Gate` decides whose packets count. Symmetric RTP (RFC 4961) sends to where they come from, not to where SDP says, which lets
a phone behind NAT hear us, and would let anyone take over a call. So a source must come from the host that SDP names or that signals, the
first such one is kept, and another port of such a host takes over only when the first has been silent for `TAKEOVER_S`. A new SSRC counts
after `PROBATION` packets in a row.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass
from enum import Enum, auto

from realtime_ivr.call import FRAME_SAMPLES
from realtime_ivr.sip.reading import Address

HEADER = struct.Struct("!BBHII")
TAKEOVER_S = 1.0
"""Guess: longer than any loss burst, short enough for a transfer at the other side."""
PROBATION = 2
"""MIN_SEQUENTIAL of RFC 3550, A.1."""


@dataclass(frozen=True, slots=True)
class Packet:
    """An RTP packet that is well formed."""

    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes


def parse(data: bytes) -> Packet | None:
    """The packet; None for what is none (version, lengths of CSRC list, extension and padding must fit)."""
    if len(data) < 12 or data[0] >> 6 != 2:
        return None
    first, second, sequence, timestamp, ssrc = HEADER.unpack_from(data)
    start, end = 12 + 4 * (first & 15), len(data)
    if first & 0x10:
        if end < start + 4:
            return None
        start += 4 + 4 * int.from_bytes(data[start + 2 : start + 4], "big")
    if first & 0x20:
        end -= data[-1] or len(data)
    if start > end:
        return None
    return Packet(second & 0x7F, second > 0x7F, sequence, timestamp, ssrc, data[start:end])


class Stream:
    """Numbers of the packets that we send."""

    def __init__(self) -> None:
        self.ssrc = random.getrandbits(32)
        self.timestamp = random.getrandbits(32)
        self._sequence = random.getrandbits(16)
        self._needs_marker = True
        self.packets = 0
        self.octets = 0

    def frame(self, payload_type: int, payload: bytes) -> bytes:
        """A packet of this tick's sound."""
        marker, self._needs_marker = self._needs_marker, False
        return self._packet(payload_type, marker, self.timestamp, payload)

    def event(self, payload_type: int, payload: bytes, *, is_first: bool, age_samples: int) -> bytes:
        """A packet of an event that began `age_samples` ago."""
        self._needs_marker = True
        return self._packet(payload_type, is_first, self.timestamp - age_samples & 0xFFFFFFFF, payload)

    def advance(self, frames: int = 1) -> None:
        """Media time goes on."""
        self.timestamp = self.timestamp + frames * FRAME_SAMPLES & 0xFFFFFFFF

    def paused(self) -> None:
        """Nothing is sent in this tick: the next frame starts a talk spurt."""
        self._needs_marker = True

    def _packet(self, payload_type: int, marker: bool, timestamp: int, payload: bytes) -> bytes:
        header = HEADER.pack(0x80, (0x80 if marker else 0) | payload_type, self._sequence, timestamp, self.ssrc)
        self._sequence = self._sequence + 1 & 0xFFFF
        self.packets += 1
        self.octets += len(payload)
        return header + payload


class Verdict(Enum):
    """What a packet is to us. NEW_SOURCE: take it, and forget what was held of the old one."""

    TAKEN = auto()
    NEW_SOURCE = auto()
    REFUSED = auto()


class Gate:
    """Whose packets count. `hosts`: where they may come from."""

    def __init__(self, remote: Address, hosts: frozenset[str]) -> None:
        self.remote, self.hosts = remote, hosts
        self._latched: Address | None = None
        self._last_at = 0.0
        self._ssrc: int | None = None
        self._candidate: tuple[int, int] = (-1, 0)
        self._run = 0

    def __repr__(self) -> str:
        return f"<Gate {self.remote[0]}:{self.remote[1]} {'latched' if self._latched else 'open'}>"

    @property
    def is_latched(self) -> bool:
        """Whether a source was heard."""
        return self._latched is not None

    def admit(self, packet: Packet, source: Address, now: float) -> Verdict:
        """Judge a packet."""
        if source != self._latched:
            if source[0] not in self.hosts or (self._latched is not None and now - self._last_at < TAKEOVER_S):
                return Verdict.REFUSED
            self._latched = self.remote = source
            self._ssrc = None
        if packet.ssrc == self._ssrc:
            self._last_at, self._run = now, 0
            return Verdict.TAKEN
        return self._new_ssrc(packet, now)

    def _new_ssrc(self, packet: Packet, now: float) -> Verdict:
        follows = self._candidate == (packet.ssrc, packet.sequence - 1 & 0xFFFF)
        self._run = self._run + 1 if follows else 1
        self._candidate = (packet.ssrc, packet.sequence)
        if self._ssrc is not None and self._run < PROBATION:
            return Verdict.REFUSED
        self._ssrc, self._last_at, self._run = packet.ssrc, now, 0
        return Verdict.NEW_SOURCE

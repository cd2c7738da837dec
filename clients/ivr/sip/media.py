"""One call's media: an RTP and an RTCP socket, a frame out per tick, what comes in checked, reordered and handed on.

Every tick sends exactly one packet while the other side wants to hear us: sound, or silence (a receiver's clock and NAT bindings live on
it; `suppresses_silence` saves it, a packet per second aside), or a key. The caller's sound passes the voice detector at once, in order of
arrival, and the jitter buffer for recordings.
"""

from __future__ import annotations

import asyncio
import logging
import random
import struct
import time
from collections.abc import Callable

import numpy as np
from aiortp.clock import current_ntp_time
from aiortp.packet import (
    RtcpByePacket,
    RtcpPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpSdesPacket,
    RtcpSenderInfo,
    RtcpSourceInfo,
    RtcpSrPacket,
    RtpPacket,
    is_rtcp,
)
from aiortp.stats import StreamStatistics
from realtime_ivr.call import FRAME_SAMPLES, RATE, SILENCE, Quality
from realtime_ivr.errors import CallFailed
from realtime_ivr.jitter import JitterBuffer
from realtime_ivr.playout import Playout
from realtime_ivr.sip.dtmf import KeyReceiver, KeySender
from realtime_ivr.sip.offer import Terms
from realtime_ivr.sip.reading import Address
from realtime_ivr.sip.rtp import Gate, Packet, Stream, Verdict, parse

from realtime.audio.g711 import ALAW_DECODE, MULAW_DECODE, expand
from realtime.audio.samples import Int16
from realtime.types import Codec

log = logging.getLogger("realtime_ivr")

REPORT_TICKS = 250
"""RTCP every 5 s, the least interval of RFC 3550, 6.2, varied by half either way (6.3.1)."""
COMFORT_NOISE = 13
KEEPALIVE_TICKS = 50
"""With silence suppressed, a packet per second keeps NAT bindings open and tells the other side that we are there. Guess."""
MAX_PAYLOAD = 2400
"""300 ms of G.711 in one packet; nobody sends more than 60."""


class _Socket(asyncio.DatagramProtocol):
    def __init__(self, receive: Callable[[bytes, Address], None]) -> None:
        self._receive = receive

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._receive(data, (addr[0], addr[1]))

    def error_received(self, exc: Exception) -> None:
        log.debug("media socket: %s", exc)  # the other side closed its port: signalling will tell


class Ports:
    """Even port numbers for RTP, each with its odd neighbour for RTCP (RFC 3550, 11), taken from a range in turn."""

    def __init__(self, host: str, first: int = 20000, last: int = 29999) -> None:
        self.host, self._first, self._count = host, first + first % 2, max(1, (last - first + 1) // 2)
        self._next = random.randrange(self._count)

    async def open(self, media: Media) -> None:
        """Bind the sockets of `media`. Raises `CallFailed` when no pair is free."""
        loop = asyncio.get_running_loop()
        for _ in range(min(self._count, 200)):
            port = self._first + 2 * self._next
            self._next = (self._next + 1) % self._count
            try:
                rtp, _ = await loop.create_datagram_endpoint(lambda: _Socket(media.receive), local_addr=(self.host, port))
            except OSError:
                continue
            try:
                rtcp, _ = await loop.create_datagram_endpoint(lambda: _Socket(media.receive_rtcp), local_addr=(self.host, port + 1))
            except OSError:
                rtp.close()
                continue
            media.opened(port, rtp, rtcp)
            return
        raise CallFailed(f"no free RTP port pair from {self._first} on at {self.host}", status=503)


class Media:
    """Made with its callbacks, bound by `Ports.open`, running once `apply` knows the terms."""

    def __init__(self, quality: Quality, on_key: Callable[[str], None], on_voice: Callable[[Int16], None]) -> None:
        self.port = 0
        self.playout = Playout(Codec.MULAW)
        self.keys = KeySender()
        self.on_marks: Callable[[list[str]], None] = lambda names: None
        self.on_sent: list[Callable[[bytes], None]] = []
        self.on_played_in: Callable[[Int16], None] | None = None
        self.terms: Terms | None = None
        self.stream = Stream()
        self.quality = quality
        self.jitter = JitterBuffer()
        self._on_key, self._on_voice = on_key, on_voice
        self._receiver = KeyReceiver()
        self._gate: Gate | None = None
        self._stats: StreamStatistics | None = None
        self._remote_ssrc = 0
        self._rtp: asyncio.DatagramTransport | None = None
        self._rtcp: asyncio.DatagramTransport | None = None
        self.suppresses_silence = False
        self._silent_ticks = 0
        self._until_report = 50
        self._sender_report: tuple[int, float] | None = None

    def opened(self, port: int, rtp: asyncio.DatagramTransport, rtcp: asyncio.DatagramTransport) -> None:
        """The sockets are there."""
        self.port, self._rtp, self._rtcp = port, rtp, rtcp

    def apply(self, terms: Terms, signalling_host: str) -> None:
        """Terms were agreed, first or anew. A changed address starts the search for the source anew."""
        if self.terms is None:
            self.playout = Playout(terms.encoding)
        if self._gate is None or self.terms is None or self.terms.remote != terms.remote:
            self._gate = Gate(terms.remote, frozenset({terms.remote[0], signalling_host}))
        self.terms = terms

    def close(self) -> None:
        """Say goodbye by RTCP and close both sockets."""
        if self._rtcp is not None and self._gate is not None and self._gate.remote[1]:
            self._send_rtcp(self._report() + bytes(RtcpByePacket([self.stream.ssrc])))
        for socket in (self._rtp, self._rtcp):
            if socket is not None:
                socket.close()
        self._rtp = self._rtcp = None

    # ---- out ----

    def tick(self, skipped: int) -> None:
        """Send this tick's packet."""
        if skipped:
            self.stream.advance(skipped)
            self.quality.late_ticks += skipped
        terms = self.terms
        if terms is None or self._rtp is None or self._gate is None:
            return
        if self.keys.is_busy and terms.events_type is not None:
            self._send_keys(terms.events_type)
        elif terms.may_send:
            self._send_sound(terms)
        else:
            self.stream.paused()
        self.stream.advance()
        self._pull()
        self._until_report -= 1
        if self._until_report <= 0:
            self._until_report = int(REPORT_TICKS * random.uniform(0.5, 1.5))
            self._send_rtcp(self._report())

    def _send_sound(self, terms: Terms) -> None:
        assert self._rtp is not None and self._gate is not None  # `tick` looked
        sound = self.playout.next_frame()
        self._silent_ticks = 0 if sound else self._silent_ticks + 1
        if self.suppresses_silence and self._silent_ticks % KEEPALIVE_TICKS:
            self.stream.paused()
        else:
            frame = sound or SILENCE[terms.encoding] * FRAME_SAMPLES
            self._rtp.sendto(self.stream.frame(terms.payload_type, frame), self._gate.remote)
            self.quality.packets_sent = self.stream.packets
            for listener in self.on_sent:
                listener(frame)
        passed = self.playout.marks_passed()
        if passed:
            self.on_marks(passed)

    def _send_keys(self, events_type: int) -> None:
        assert self._rtp is not None and self._gate is not None  # `tick` looked
        for packet in self.keys.tick():
            data = self.stream.event(events_type, packet.payload, is_first=packet.is_first, age_samples=packet.age_samples)
            self._rtp.sendto(data, self._gate.remote)

    # ---- in ----

    def receive(self, data: bytes, source: Address) -> None:
        """A datagram at the RTP port."""
        if is_rtcp(data):  # multiplexed (RFC 5761), though we did not offer it
            self.receive_rtcp(data, source)
            return
        packet = parse(data)
        if packet is None or self._gate is None or self.terms is None or len(packet.payload) > MAX_PAYLOAD:
            self.quality.packets_refused += 1
            return
        now = time.monotonic()
        verdict = self._gate.admit(packet, source, now)
        if verdict is Verdict.REFUSED:
            self.quality.packets_refused += 1
            return
        if verdict is Verdict.NEW_SOURCE:
            self.jitter.reset()
            self._stats, self._remote_ssrc = StreamStatistics(RATE), packet.ssrc
        self._count(packet)
        self._sort(packet, now)

    def _sort(self, packet: Packet, now: float) -> None:
        assert self.terms is not None  # `receive` looked
        if packet.payload_type == self.terms.events_type:
            key = self._receiver.push(packet.payload, packet.timestamp)
            if key is not None:
                self._on_key(key)
        elif packet.payload_type == self.terms.payload_type:
            if self.on_played_in is not None:
                self.jitter.push(packet.sequence, packet.timestamp / (RATE / 1000), packet.payload, now)
            self._on_voice(self._decode(packet.payload))
        elif packet.payload_type != COMFORT_NOISE:
            self.quality.packets_refused += 1

    def _count(self, packet: Packet) -> None:
        assert self._stats is not None  # made with the source
        self._stats.add(RtpPacket(payload_type=packet.payload_type, sequence_number=packet.sequence, timestamp=packet.timestamp))
        self.quality.packets_received += 1
        self.quality.packets_lost = max(0, self._stats.packets_lost)
        self.quality.jitter_ms = self._stats.jitter / RATE * 1000

    def _decode(self, payload: bytes) -> Int16:
        assert self.terms is not None  # only with terms
        return expand(payload, MULAW_DECODE if self.terms.encoding is Codec.MULAW else ALAW_DECODE)

    def _pull(self) -> None:
        """This tick's frame of the caller, for those who want him at an even pace."""
        if self.on_played_in is not None:
            heard = self.jitter.pop()
            is_sound = heard is not None and not heard.is_lost
            self.on_played_in(self._decode(heard.payload) if heard is not None and is_sound else np.zeros(FRAME_SAMPLES, np.int16))

    # ---- RTCP ----

    def receive_rtcp(self, data: bytes, source: Address) -> None:
        """A datagram at the RTCP port: what they hear of us."""
        if self._gate is None or source[0] not in self._gate.hosts:
            self.quality.packets_refused += 1
            return
        try:
            packets = RtcpPacket.parse(data)
        except (ValueError, IndexError, KeyError, struct.error):
            self.quality.packets_refused += 1
            return
        for packet in packets:
            if isinstance(packet, RtcpSrPacket):
                self._sender_report = (packet.sender_info.ntp_timestamp, time.monotonic())
            if isinstance(packet, RtcpSrPacket | RtcpRrPacket):
                self._read_reports(packet.reports)

    def _read_reports(self, reports: list[RtcpReceiverInfo]) -> None:
        for report in reports:
            if report.ssrc == self.stream.ssrc:
                self.quality.lost_there = max(0, report.packets_lost)
                self.quality.jitter_there_ms = report.jitter / RATE * 1000
                if report.lsr:
                    units = (current_ntp_time() >> 16) - report.lsr - report.dlsr & 0xFFFFFFFF
                    self.quality.round_trip_ms = units / 65.536 if units < 1 << 20 else 0.0  # over 16 s: their clock, not the way

    def _report(self) -> bytes:
        name = bytes(RtcpSdesPacket([RtcpSourceInfo(self.stream.ssrc, [(1, b"realtime-ivr")])]))
        reports = [] if self._stats is None else [self._receiver_report(self._stats)]
        if self.stream.packets:
            sent = RtcpSenderInfo(current_ntp_time(), self.stream.timestamp, self.stream.packets, self.stream.octets & 0xFFFFFFFF)
            return bytes(RtcpSrPacket(self.stream.ssrc, sent, reports)) + name
        return bytes(RtcpRrPacket(self.stream.ssrc, reports)) + name

    def _receiver_report(self, stats: StreamStatistics) -> RtcpReceiverInfo:
        last, delay = 0, 0
        if self._sender_report is not None:
            last = self._sender_report[0] >> 16 & 0xFFFFFFFF
            delay = int((time.monotonic() - self._sender_report[1]) * 65536) & 0xFFFFFFFF
        highest = stats.cycles + (stats.max_seq or 0) & 0xFFFFFFFF
        return RtcpReceiverInfo(self._remote_ssrc, stats.fraction_lost, stats.packets_lost, highest, stats.jitter, last, delay)

    def _send_rtcp(self, data: bytes) -> None:
        if self._rtcp is not None and self._gate is not None:
            self._rtcp.sendto(data, (self._gate.remote[0], self._gate.remote[1] + 1))

"""Keys as telephone-events (RFC 4733), both ways. Pure.

Out: an event lasts `DURATION_MS`; each 20 ms tick gives a packet with the event's first timestamp and its duration so far, the last three
times (section 2.5.1.4), then a pause, so that a receiver tells two equal keys apart. In: a key counts at the first packet of its event,
whichever that is; packets of one event share their timestamp.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from realtime_ivr.call import FRAME_SAMPLES

CODES = "0123456789*#ABCD"
"""Event code is the position (RFC 4733, table 3)."""
TICKS = 8
"""160 ms; precedent: Asterisk and SIPp send 100 to 250."""
PAUSE_TICKS = 5
VOLUME = 10
"""-10 dBm0."""
MAX_QUEUED = 64
"""Keys that wait to be sent; more are refused. A number with extension has under 40."""


@dataclass(frozen=True, slots=True)
class EventPacket:
    """The payload, whether it carries the marker, and how many samples of media time the event began before now."""

    payload: bytes
    is_first: bool
    age_samples: int


class KeySender:
    """Keys in, at most one packet per tick out."""

    def __init__(self) -> None:
        self._keys: deque[str] = deque()
        self._now: Iterator[list[EventPacket]] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether keys are being sent; sound waits meanwhile."""
        return self._now is not None or bool(self._keys)

    def push(self, keys: str) -> None:
        """Send these keys. Raises `ValueError` for what is no key, or too many."""
        keys = keys.upper()
        if wrong := sorted(set(keys) - set(CODES)):
            raise ValueError(f"no keys: {' '.join(wrong)}; there are {CODES}")
        if len(self._keys) + len(keys) > MAX_QUEUED:
            raise ValueError(f"{MAX_QUEUED} keys at most at once")
        self._keys.extend(keys)

    def tick(self) -> list[EventPacket]:
        """What to send in this tick; empty in the pause after a key."""
        if self._now is None and self._keys:
            self._now = _event(self._keys.popleft())
        if self._now is None:
            return []
        packets = next(self._now, None)
        if packets is None:
            self._now = None
            return self.tick()
        return packets


def _event(key: str) -> Iterator[list[EventPacket]]:
    code = CODES.index(key)
    for tick in range(TICKS):
        duration = (tick + 1) * FRAME_SAMPLES
        is_last = tick == TICKS - 1
        payload = struct.pack("!BBH", code, (0x80 if is_last else 0) | VOLUME, duration)
        yield [EventPacket(payload, tick == 0, tick * FRAME_SAMPLES)] * (3 if is_last else 1)
    for _ in range(PAUSE_TICKS):
        yield []


class KeyReceiver:
    """Event packets in, each key once."""

    def __init__(self) -> None:
        self._seen: deque[int] = deque(maxlen=8)
        self.malformed = 0

    def push(self, payload: bytes, timestamp: int) -> str | None:
        """The key, if this packet is the first of its event."""
        if len(payload) < 4:
            self.malformed += 1
            return None
        code = payload[0]
        if timestamp in self._seen or code >= len(CODES):  # 16 is flash, others are tones: nobody pressed them
            return None
        self._seen.append(timestamp)
        return CODES[code]


def key_in_info(text: str) -> str | None:
    """The key in the body of an INFO: `Signal=5` of `application/dtmf-relay`, or `5` alone."""
    lines = [line.partition("=")[2] for line in text.splitlines() if line.lower().startswith("signal")]
    key = (lines[0] if lines else text).strip().upper()[:1]
    return key if key and key in CODES else None

"""A phone call as flows and programs see it, whatever network it came over.

Sound goes out as 8 kHz bytes in `encoding`, is queued without limit of time but bounded in size, and is heard in order; `clear` takes
back what was not heard. Positions are samples of the sound played on this call, silences between prompts not counted, so that they
carry over what the network adds. What the caller does comes as events; his voice goes to the listeners, 20 ms at a time.

A new transport: one file in `transports/` with a subclass, and one line in `server.py`.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from realtime_ivr.errors import CallFailed

from realtime.audio.samples import Int16
from realtime.types import Codec

RATE = 8000
FRAME_S = 0.020
FRAME_SAMPLES = 160
SAMPLE_BYTES = {Codec.MULAW: 1, Codec.ALAW: 1, Codec.PCM_S16LE: 2}
SILENCE = {Codec.MULAW: b"\xff", Codec.ALAW: b"\xd5", Codec.PCM_S16LE: b"\x00\x00"}
"""One sample of silence: positive zero of each law (G.711 tables 1 and 2)."""
KEYS = "0123456789*#ABCD"
MAX_EVENTS = 256
"""Events nobody took. When full, more digits are dropped and counted (a caller can't mean them), a hang-up always fits."""


class Direction(StrEnum):
    """Who called."""

    INCOMING = "incoming"
    OUTGOING = "outgoing"


class HangUpSide(StrEnum):
    """Who ended a call."""

    CALLER = "caller"
    FLOW = "flow"
    NETWORK = "network"


@dataclass(frozen=True, slots=True)
class CallInfo:
    """What is known of a call from its beginning. `headers`: what the network told in addition (SIP `X-` headers, Twilio parameters).

    Everything in here was written by the other side; trust it as far as you trust the network.
    """

    id: str
    transport: str
    direction: Direction
    caller: str = ""
    callee: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Digit:
    """A key was pressed: reported at its first packet, not when it is let go."""

    key: str


@dataclass(frozen=True, slots=True)
class MarkHeard:
    """Everything played before `mark(name)` was heard or cleared."""

    name: str


@dataclass(frozen=True, slots=True)
class Voice:
    """The caller began to speak (as the voice detector says)."""


@dataclass(frozen=True, slots=True)
class Held:
    """The caller put us on hold, or took us back."""

    is_held: bool


@dataclass(frozen=True, slots=True)
class HungUp:
    """The call is over."""

    side: HangUpSide
    reason: str = ""


CallEvent = Digit | MarkHeard | Voice | Held | HungUp
Listener = Callable[[Int16], None]


@dataclass(slots=True)
class Quality:
    """Counters of one call's media. `lost_there` and `jitter_there_ms` are what the other side reported by RTCP."""

    packets_sent: int = 0
    packets_received: int = 0
    packets_lost: int = 0
    packets_refused: int = 0
    jitter_ms: float = 0.0
    lost_there: int = 0
    jitter_there_ms: float = 0.0
    round_trip_ms: float = 0.0
    late_ticks: int = 0


class Call(ABC):
    """One call. Made by a transport; used by one flow."""

    def __init__(self, info: CallInfo, encoding: Codec) -> None:
        self.info, self.encoding = info, encoding
        self.listeners: list[Listener] = []
        self.on_sent: list[Callable[[bytes], None]] = []
        self.quality = Quality()
        self.hung_up: HungUp | None = None
        self.dropped_events = 0
        self._events: asyncio.Queue[CallEvent] = asyncio.Queue()

    def __repr__(self) -> str:
        state = f"over ({self.hung_up.side})" if self.hung_up else "up"
        return f"<{type(self).__name__} {self.info.id} {self.info.caller} -> {self.info.callee} {state}>"

    # ---- signalling ----

    async def answer(self) -> None:  # noqa: B027  # most networks answer before they connect to us
        """Pick up. Raises `CallFailed` if the caller is gone."""

    @abstractmethod
    async def hang_up(self, reason: str = "") -> None:
        """End it; what is still queued is not said. Nothing happens if it is over."""

    async def transfer(self, target: str) -> None:
        """Hand the caller on to `target`. Raises `CallFailed` where this network can't, or the other side refuses."""
        raise CallFailed(f"{self.info.transport} can't transfer a call; hang up and let the dialplan go on")

    async def send_digits(self, keys: str) -> None:
        """Press keys. Raises `CallFailed` where this network can't."""
        raise CallFailed(f"{self.info.transport} can't send digits ({keys})")

    # ---- sound to the caller ----

    @abstractmethod
    def play(self, payload: bytes) -> None:
        """Queue sound: whole samples at 8 kHz in `encoding`. The last started 20 ms wait for their rest, or for a `mark`. Raises
        `CallFailed` when the queue is full."""

    @abstractmethod
    def mark(self, name: str) -> None:
        """A `MarkHeard` event comes when everything queued so far was heard or cleared."""

    @abstractmethod
    def clear(self) -> int:
        """Take back what was not heard; returns how many samples of it there were."""

    @abstractmethod
    def cut(self, position: int) -> None:
        """Take back what was queued from `position` on and not heard; its marks stay."""

    @property
    @abstractmethod
    def played(self) -> int:
        """Samples heard so far."""

    @property
    @abstractmethod
    def queued(self) -> int:
        """Samples queued and not heard."""

    # ---- events ----

    async def next_event(self) -> CallEvent:
        """What happened next. After the hang-up was taken, there is nothing more to wait for: it is given again."""
        if self.hung_up is not None and self._events.empty():
            return self.hung_up
        return await self._events.get()

    def pending_events(self) -> list[CallEvent]:
        """What happened and was not taken yet; it is taken now."""
        return [self._events.get_nowait() for _ in range(self._events.qsize())]

    def emit(self, event: CallEvent) -> None:
        """For transports and the voice detector: something happened."""
        if isinstance(event, HungUp):
            if self.hung_up is not None:
                return
            self.hung_up = event
        elif self.hung_up is not None:
            return
        elif self._events.qsize() >= MAX_EVENTS:
            self.dropped_events += 1
            return
        self._events.put_nowait(event)

    def heard_from_caller(self, pcm: Int16) -> None:
        """For transports: a frame of the caller's voice, in order."""
        for listener in self.listeners:
            listener(pcm)

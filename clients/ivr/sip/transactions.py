"""What is sent again and when, what was seen before, what times out: the transactions of RFC 3261, section 17, over UDP. Pure.

Fed with messages and the time (`now`, seconds); what is to be sent collects in `outbox`, what timed out comes from `expire`. The 200 to
an INVITE is repeated here too (section 13.3.1.4 leaves it to the user of transactions; RFC 6026 shows why it belongs here).

    client INVITE   sent again after 0.5, 1, 2 .. s until a provisional answer; 32 s until any final one; errors are acknowledged, and again
                    when they come again
    client other    sent again after 0.5, 1, 2, 4, 4 .. s; 32 s
    server INVITE   the last answer repeats with each repeated request; finals repeat by themselves until the ACK, 32 s at most
    server other    the answer repeats with each repeated request, for 32 s
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

from aiosipua.message import SipRequest, SipResponse
from realtime_ivr.sip.reading import Address, Request, Response, StreamAddress, reply_address

T1_S, T2_S, T4_S = 0.5, 4.0, 5.0
"""RFC 3261, table 4."""
LIFE_S = 64 * T1_S
MAX_TRANSACTIONS = 20_000
"""Some 40 MB at worst. When full, new requests are not answered: over UDP they come again."""

ClientKey = tuple[str, str]
ServerKey = tuple[str, str, str]
MakeAck = Callable[[SipResponse], SipRequest]


class Stage(Enum):
    """Of either side. DONE keeps its key to absorb repetitions until its life ends."""

    WAITING = auto()
    PROCEEDING = auto()
    FINAL = auto()
    DONE = auto()


@dataclass(slots=True)
class _Client:
    data: bytes
    to: Address
    request: SipRequest
    is_invite: bool
    ends_at: float
    interval: float = T1_S
    stage: Stage = Stage.WAITING
    ack: bytes = b""


@dataclass(slots=True)
class _Server:
    request: Request
    ends_at: float
    is_invite: bool
    stage: Stage = Stage.WAITING
    answer: bytes = b""
    to: Address = ("", 0)
    is_success: bool = False
    interval: float = T1_S


@dataclass(frozen=True, slots=True)
class Unanswered:
    """No final answer came to a request of ours."""

    key: ClientKey
    request: SipRequest


@dataclass(frozen=True, slots=True)
class Unacknowledged:
    """No ACK came for our 200."""

    key: ServerKey
    request: Request


@dataclass(slots=True)
class Transactions:
    """All of one socket."""

    max_transactions: int = MAX_TRANSACTIONS
    outbox: list[tuple[bytes, Address]] = field(default_factory=list)
    refused: int = 0
    _clients: dict[ClientKey, _Client] = field(default_factory=dict)
    _servers: dict[ServerKey, _Server] = field(default_factory=dict)
    _accepted: dict[tuple[str, int], ServerKey] = field(default_factory=dict)
    _timers: list[tuple[float, int, ClientKey | ServerKey]] = field(default_factory=list)
    _order: itertools.count[int] = field(default_factory=itertools.count)

    def __len__(self) -> int:
        return len(self._clients) + len(self._servers)

    # ---- our requests ----

    def request(self, request: SipRequest, to: Address, now: float) -> ClientKey:
        """Send a request (not an ACK), again and again until answered. Returns its key."""
        via = request.via[0]
        key = (via.branch or "", request.method)
        client = _Client(bytes(request), to, request, request.method == "INVITE", now + LIFE_S)
        self._clients[key] = client
        self.outbox.append((client.data, to))
        self._arm(key, client.ends_at if isinstance(to, StreamAddress) else now + T1_S)  # TCP repeats for us (RFC 3261, 17.1.1.2)
        return key

    def receive_response(self, response: Response, now: float, make_ack: MakeAck) -> bool:
        """Take a response; whether it is news for the owner. A repeated 200 to an INVITE is: its ACK was lost."""
        client = self._clients.get(response.key)
        if client is None:
            return False
        if response.status < 200:
            return self._provisional(client, response.key, now)
        if client.is_invite and response.status < 300:
            client.stage, client.ends_at = Stage.DONE, now + LIFE_S
            self._arm(response.key, client.ends_at)
            return True
        if client.stage in (Stage.FINAL, Stage.DONE):
            if client.ack:
                self.outbox.append((client.ack, client.to))
            return False
        if client.is_invite:
            client.ack = bytes(make_ack(response.message))
            self.outbox.append((client.ack, client.to))
        client.stage, client.ends_at = Stage.FINAL, now + (LIFE_S if client.is_invite else T4_S)
        self._arm(response.key, client.ends_at)
        return True

    def _provisional(self, client: _Client, key: ClientKey, now: float) -> bool:
        if client.stage not in (Stage.WAITING, Stage.PROCEEDING):
            return False
        client.stage = Stage.PROCEEDING
        client.interval = T2_S
        if client.is_invite:  # timer A stops, B does not: how long it may ring is the owner's affair
            client.ends_at = float("inf")
        return True

    def pending_request(self, key: ClientKey) -> SipRequest | None:
        """The request of ours that has this key, while it is remembered."""
        client = self._clients.get(key)
        return None if client is None else client.request

    def has_provisional(self, key: ClientKey) -> bool:
        """Whether a request of ours was answered, though not finally."""
        client = self._clients.get(key)
        return client is not None and client.stage is Stage.PROCEEDING

    # ---- their requests ----

    def receive_request(self, request: Request, now: float) -> bool:
        """Take a request; whether it is new. A repeated one gets its last answer again."""
        server = self._servers.get(request.key)
        if request.method == "ACK":
            return self._acknowledged(server, now, request.key)
        if server is not None:
            if server.answer:
                self.outbox.append((server.answer, server.to))
            return False
        if len(self) >= self.max_transactions:
            self.refused += 1
            return False
        is_invite = request.method == "INVITE"
        self._servers[request.key] = _Server(request, float("inf") if is_invite else now + LIFE_S, is_invite)
        if not is_invite:
            self._arm(request.key, now + LIFE_S)
        return True

    def _acknowledged(self, server: _Server | None, now: float, key: ServerKey) -> bool:
        """An ACK with the INVITE's branch ends an error answer; one with its own belongs to a 200 and is the owner's."""
        if server is None or server.is_success or server.stage is not Stage.FINAL:
            return server is None or server.is_success
        server.stage, server.ends_at = Stage.DONE, now + T4_S
        self._arm(key, server.ends_at)
        return False

    def respond(self, request: Request, response: SipResponse, now: float) -> None:
        """Answer a request that `receive_request` called new. A final answer to an INVITE repeats until its ACK."""
        server = self._servers.get(request.key)
        to = reply_address(response, request.source)
        data = bytes(response)
        self.outbox.append((data, to))
        if server is None or server.stage in (Stage.FINAL, Stage.DONE):
            return
        server.answer, server.to = data, to
        if response.status_code < 200:
            server.stage = Stage.PROCEEDING
            return
        server.stage = Stage.FINAL
        server.is_success = response.status_code < 300
        if server.is_invite and server.is_success:
            self._accepted[request.call_id, request.sequence] = request.key
        if server.is_invite:
            server.ends_at = now + LIFE_S
            self._arm(request.key, now + T1_S)

    def acknowledge_call(self, call_id: str, sequence: int, now: float) -> None:
        """The ACK of our 200 came. It has a branch of its own, so the call and the INVITE's number tell which 200."""
        key = self._accepted.pop((call_id, sequence), None)
        server = None if key is None else self._servers.get(key)
        if key is not None and server is not None and server.stage is Stage.FINAL:
            server.stage, server.ends_at = Stage.DONE, now + LIFE_S
            self._arm(key, server.ends_at)

    def knows(self, key: ServerKey) -> bool:
        """Whether a request with this key came."""
        return key in self._servers

    # ---- time ----

    @property
    def next_due(self) -> float | None:
        """When `expire` wants to be called."""
        return self._timers[0][0] if self._timers else None

    def expire(self, now: float) -> list[Unanswered | Unacknowledged]:
        """Repeat what is due; what timed out."""
        over: list[Unanswered | Unacknowledged] = []
        while self._timers and self._timers[0][0] <= now:
            _, _, key = heapq.heappop(self._timers)
            found = self._client_due(key, now) if len(key) == 2 else self._server_due(key, now)
            if found is not None:
                over.append(found)
        return over

    def _client_due(self, key: ClientKey, now: float) -> Unanswered | None:
        client = self._clients.get(key)
        if client is None:
            return None
        if now >= client.ends_at:
            del self._clients[key]
            return Unanswered(key, client.request) if client.stage in (Stage.WAITING, Stage.PROCEEDING) else None
        if client.stage is Stage.WAITING or (client.stage is Stage.PROCEEDING and not client.is_invite):
            self.outbox.append((client.data, client.to))
            client.interval = client.interval * 2 if client.is_invite else min(T2_S, client.interval * 2)
            self._arm(key, min(client.ends_at, now + client.interval))
        return None

    def _server_due(self, key: ServerKey, now: float) -> Unacknowledged | None:
        server = self._servers.get(key)
        if server is None:
            return None
        if now >= server.ends_at:
            del self._servers[key]
            self._accepted.pop((server.request.call_id, server.request.sequence), None)
            return Unacknowledged(key, server.request) if server.is_success and server.is_invite and server.stage is Stage.FINAL else None
        if server.is_invite and server.stage is Stage.FINAL:
            self.outbox.append((server.answer, server.to))
            server.interval = min(T2_S, server.interval * 2)
            self._arm(key, min(server.ends_at, now + server.interval))
        return None

    def _arm(self, key: ClientKey | ServerKey, when: float) -> None:
        if when != float("inf"):
            heapq.heappush(self._timers, (when, next(self._order), key))

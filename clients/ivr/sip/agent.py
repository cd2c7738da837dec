"""The SIP socket: dispatches what comes, repeats what must be repeated, keeps floods out, makes and takes calls.

One UDP socket, TCP connections where they are wanted (`streams.py`), one timer. A new call is refused with 503 and Retry-After when
`max_calls` are up or more than `invites_per_s` come, with 488 when no codec is common, with 403 when its host may not call; none of these
leaves anything behind. Long because it is the one place where sockets, transactions and calls meet.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address

from aiosipua.auth import SipDigestAuth
from aiosipua.dialog import create_dialog_from_request
from aiosipua.headers import SipUri, parse_uri
from aiosipua.message import SipRequest, SipResponse
from aiosipua.utils import generate_tag
from realtime_ivr.errors import CallFailed
from realtime_ivr.sip.dialog import ack_error, cancel_of, first_request, local_host
from realtime_ivr.sip.leg import Leg, Stage
from realtime_ivr.sip.offer import NoCommonCodec
from realtime_ivr.sip.reading import ALLOW, Address, Request, Response, StreamAddress, Unreadable, answer, read, reply_address
from realtime_ivr.sip.session_clock import EXTENSION, MIN_S, too_short
from realtime_ivr.sip.streams import Streams
from realtime_ivr.sip.transactions import ClientKey, Transactions, Unacknowledged, Unanswered

from realtime.errors import BadOption

log = logging.getLogger("realtime_ivr")

PORT_TRIES = 8  # for a port that is free for UDP and TCP, where any will do
KNOWN_EXTENSIONS = frozenset({EXTENSION})


@dataclass(frozen=True, slots=True)
class SipSettings:
    """Where we are and what we let in. `advertised_host`: our address as others reach it, behind NAT; None finds it by itself.
    `tcp`: listen for connections as well, at the same port."""

    host: str = "127.0.0.1"
    port: int = 5090
    user: str = "ivr"
    advertised_host: str | None = None
    max_calls: int = 200
    invites_per_s: float = 50.0
    retry_after_s: int = 5
    allowed: tuple[IPv4Network | IPv6Network, ...] = ()
    tcp: bool = False


class Bucket:
    """Tokens that come back with time; burst of one second's worth."""

    def __init__(self, per_s: float) -> None:
        self._per_s, self._tokens, self._at = per_s, per_s, 0.0

    def take(self, now: float) -> bool:
        """Whether there was one."""
        self._tokens = min(max(1.0, self._per_s), self._tokens + (now - self._at) * self._per_s)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class SipAgent(asyncio.DatagramProtocol):
    """`start`, then `on_call` is told of each acceptable INVITE; `dial` makes calls. `counts`: what was refused, and why."""

    def __init__(self, settings: SipSettings, on_call: Callable[[Leg], None]) -> None:
        self.settings, self.counts = settings, Counter[str]()
        self.legs: dict[tuple[str, str], Leg] = {}
        self.on_response: Callable[[Response], bool] = lambda response: False  # registrations
        self.on_unanswered: Callable[[Unanswered], bool] = lambda unanswered: False
        self._on_call = on_call
        self._transactions = Transactions()
        self._owners: dict[ClientKey, Leg] = {}
        self._invites: dict[tuple[str, str, str], Leg] = {}
        self._cancels: dict[ClientKey, SipRequest] = {}
        self._bucket = Bucket(settings.invites_per_s)
        self._socket: asyncio.DatagramTransport | None = None
        self._streams = Streams(self._received)
        self._timer: asyncio.TimerHandle | None = None
        self._port = settings.port
        self.patience_s = 1.0

    def __repr__(self) -> str:
        return f"<SipAgent {self.settings.host}:{self._port} {len(self.legs)} calls, {len(self._transactions)} transactions>"

    @property
    def port(self) -> int:
        """The port that is bound."""
        return self._port

    @property
    def open_transactions(self) -> int:
        """How many are remembered."""
        return len(self._transactions)

    async def start(self) -> None:
        """Bind. Raises `BadOption` when the address is taken or not ours."""
        for tries_left in reversed(range(PORT_TRIES)):
            await self._bind()
            try:
                if self.settings.tcp:
                    await self._streams.listen(self.settings.host, self._port)
                return
            except BadOption:
                if self._socket is not None:
                    self._socket.close()
                if self.settings.port or not tries_left:
                    raise  # else any port will do, and this one is taken for TCP only

    async def _bind(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._socket, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(self.settings.host, self.settings.port))
        except OSError as error:
            raise BadOption(f"can't listen for SIP at {self.settings.host}:{self.settings.port}: {error.strerror or error}") from None
        self._port = self._socket.get_extra_info("sockname")[1]

    async def aclose(self) -> None:
        """Hang up every call, give the BYEs a moment (`patience_s`) to be answered, close."""
        for leg in list(self.legs.values()):
            leg.hang_up("the service is closing")
        end = self._now() + self.patience_s
        while self._owners and self._now() < end:  # noqa: ASYNC110  # for a second at most, at the very end
            await asyncio.sleep(0.02)
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._streams.close()

    async def resolve(self, host: str, port: int | None) -> Address:
        """Address of a SIP host. Raises `CallFailed`. No NAPTR or SRV: name the port."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                host.strip("[]"), port or 5060, type=socket.SOCK_DGRAM, family=socket.AF_INET
            )
        except OSError as error:
            raise CallFailed(f"no address for {host}: {error.strerror or error}") from None
        return (str(found[0][4][0]), int(found[0][4][1]))

    async def reach(self, uri: SipUri) -> Address:
        """Where requests to `uri` go; with `transport=tcp`, a connection to there. Raises `CallFailed`."""
        there = await self.resolve(uri.host, uri.port)
        return await self._streams.reach(there) if (uri.params.get("transport") or "").lower() == "tcp" else there

    def local_address(self, peer: Address) -> Address:
        """Where `peer` reaches us."""
        here = (self.settings.advertised_host or local_host(self.settings.host, peer[0]), self._port)
        return StreamAddress(here) if isinstance(peer, StreamAddress) else here

    async def prepare(self, uri: str, proxy: Address | None = None, us: str | None = None) -> tuple[Leg, SipRequest]:
        """An outgoing leg that has not called yet, and its INVITE. Raises `CallFailed`, `BadOption`."""
        try:
            target = parse_uri(uri)
        except (ValueError, IndexError) as error:
            raise BadOption(f"{uri!r} is no SIP URI ({error}); write sip:USER@HOST:PORT") from None
        if target.scheme != "sip" or not target.host:
            raise BadOption(f"{uri!r} is no SIP URI that we can call; write sip:USER@HOST:PORT")
        peer = proxy or await self.reach(target)
        local = self.local_address(peer)
        invite, dialog = first_request("INVITE", uri, us or f"sip:{self.settings.user}@{local[0]}", uri, local)
        leg = Leg(self, dialog, peer, local, Stage.CALLING, self.settings.user)
        self.legs[dialog.call_id, dialog.local_tag] = leg
        return leg, invite

    def call(self, leg: Leg, invite: SipRequest, auth: SipDigestAuth | None = None) -> None:
        """Send the INVITE of a prepared leg."""
        leg.call(invite, auth)

    # ---- for legs ----

    def send_request(self, request: SipRequest, to: Address, leg: Leg | None) -> None:
        """Send, again and again until answered."""
        key = self._transactions.request(request, to, self._now())
        if leg is not None:
            self._owners[key] = leg
        self._flush()

    def send_once(self, request: SipRequest, to: Address) -> None:
        """Send an ACK."""
        self._send(bytes(request), to)

    def send_response(self, request: Request, response: SipResponse) -> None:
        """Answer a request, again if it comes again."""
        self._transactions.respond(request, response, self._now())
        self._flush()

    def cancel_invite(self, leg: Leg) -> None:
        """CANCEL what was not answered yet (RFC 3261, 9.1: only after a provisional answer; here at once or when one comes)."""
        for key, owner in list(self._owners.items()):
            if owner is leg and key[1] == "INVITE":
                client = self._transactions.pending_request(key)
                if client is None:
                    continue
                cancel = cancel_of(client)
                if self._transactions.has_provisional(key):
                    self.send_request(cancel, leg.peer, None)
                else:
                    self._cancels[key] = cancel

    def released(self, leg: Leg) -> None:
        """A leg is over."""
        self.legs.pop((leg.dialog.call_id, leg.dialog.local_tag), None)
        if leg.invite is not None:
            self._invites.pop(leg.invite.key, None)
            self._transactions.acknowledge_call(leg.dialog.call_id, leg.invite.sequence, self._now())  # no more 200s after a BYE

    # ---- the socket ----

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Of UDP."""
        self._received(data, (addr[0], addr[1]))

    def error_received(self, exc: Exception) -> None:
        """The kernel says that nobody listens at the other side; timers will find out."""
        log.debug("SIP socket: %s", exc)

    # ---- private ----

    def _received(self, data: bytes, source: Address) -> None:
        """Read, then act."""
        try:
            message = read(data, source)
        except Unreadable as unreadable:
            self.counts["unreadable"] += 1
            log.debug("from %s:%d: %s", *source, unreadable)
            if unreadable.answer is not None:
                self._send(bytes(unreadable.answer), reply_address(unreadable.answer, source))
            return
        if isinstance(message, Request):
            self._request(message)
        elif message is not None:
            self._response(message)
        self._flush()

    def _response(self, response: Response) -> None:
        now = self._now()
        request = self._transactions.pending_request(response.key)
        if request is None:
            self.counts["stray responses"] += 1
            return
        if not self._transactions.receive_response(response, now, lambda found: ack_error(request, found)):
            return
        if response.status < 200 and (cancel := self._cancels.pop(response.key, None)) is not None:
            leg = self._owners.get(response.key)
            self.send_request(cancel, leg.peer if leg else response.source, None)
        leg = self._owners.get(response.key)
        if response.status >= 300 or (response.status >= 200 and response.method != "INVITE"):
            self._owners.pop(response.key, None)
        if leg is not None:
            leg.responded(response)
        else:
            self.on_response(response)

    def _request(self, request: Request) -> None:
        if not self._transactions.receive_request(request, self._now()):
            return
        leg = self.legs.get((request.call_id, request.to_tag)) if request.to_tag else None
        if request.method == "ACK":
            self._acknowledge(leg, request)
        elif request.method == "CANCEL":
            self._cancel(request)
        elif leg is not None and leg.dialog.remote_tag == request.from_tag:
            leg.requested(request)
        elif request.to_tag:
            self._refuse(request, 481)
        elif request.method == "INVITE":
            self._invite(request)
        elif request.method == "OPTIONS":
            status = 200 if len(self.legs) < self.settings.max_calls else 503
            self.send_response(
                request, answer(request.message, status, headers={"Allow": ALLOW, "Accept": "application/sdp", "Supported": ""})
            )
        else:
            self._refuse(request, 405 if request.method != "BYE" else 481, {"Allow": ALLOW})

    def _invite(self, invite: Request) -> None:
        refusal = self._refusal(invite)
        if refusal is not None:
            self._refuse(invite, *refusal)
            return
        local = self.local_address(invite.source)
        dialog = create_dialog_from_request(invite.message, local_tag=generate_tag())
        leg = Leg(self, dialog, invite.source, local, Stage.RINGING, self.settings.user)
        try:
            leg.offered(invite)
        except NoCommonCodec as error:
            self._refuse(invite, 488, {"Warning": f'305 {local[0]} "{str(error).replace(chr(34), "")[:120]}"'})
            return
        self.send_response(invite, answer(invite.message, 100))
        self.legs[dialog.call_id, dialog.local_tag] = leg
        self._invites[invite.key] = leg
        self._on_call(leg)

    def _refusal(self, invite: Request) -> tuple[int, dict[str, str]] | None:
        """Why an INVITE is not taken, before anything is made for it."""
        allowed = self.settings.allowed
        if allowed and not any(ip_address(invite.source[0]) in network for network in allowed):
            return 403, {}
        required = [name.strip() for value in invite.message.headers.get("require") for name in value.split(",") if name.strip()]
        if unknown := [name for name in required if name not in KNOWN_EXTENSIONS]:
            return 420, {"Unsupported": ", ".join(unknown)}
        if not invite.message.headers.get("contact"):
            return 400, {}
        if too_short(invite.message):
            return 422, {"Min-SE": str(MIN_S)}
        if any(leg.dialog.call_id == invite.call_id and leg.dialog.remote_tag == invite.from_tag for leg in self.legs.values()):
            return 482, {}
        if len(self.legs) >= self.settings.max_calls or not self._bucket.take(self._now()):
            return 503, {"Retry-After": str(self.settings.retry_after_s + random.randrange(3))}
        return None

    def _refuse(self, request: Request, status: int, headers: dict[str, str] | None = None) -> None:
        self.counts[str(status)] += 1
        self.send_response(request, answer(request.message, status, "Loop Detected" if status == 482 else "", headers=headers))

    def _acknowledge(self, leg: Leg | None, ack: Request) -> None:
        if leg is not None and leg.dialog.remote_tag == ack.from_tag:
            self._transactions.acknowledge_call(ack.call_id, ack.sequence, self._now())
            leg.requested(ack)

    def _cancel(self, cancel: Request) -> None:
        key = (cancel.key[0], cancel.key[1], "INVITE")
        leg = self._invites.get(key)
        if leg is None and not self._transactions.knows(key):
            self._refuse(cancel, 481)
            return
        self.send_response(cancel, answer(cancel.message, 200))
        if leg is not None:
            leg.cancelled()

    def _flush(self) -> None:
        outbox = self._transactions.outbox
        while outbox:
            self._send(*outbox.pop(0))
        due = self._transactions.next_due
        if due is not None and (self._timer is None or self._timer.when() > due or self._timer.cancelled()):
            if self._timer is not None:
                self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_at(due, self._expire)

    def _expire(self) -> None:
        self._timer = None
        for over in self._transactions.expire(self._now()):
            if isinstance(over, Unacknowledged):
                self._never_acknowledged(over)
                continue
            leg = self._owners.pop(over.key, None)
            self._cancels.pop(over.key, None)
            if leg is not None:
                leg.unanswered(over.key[1])
            else:
                self.on_unanswered(over)
        self._flush()

    def _never_acknowledged(self, over: Unacknowledged) -> None:
        self.counts["no ACK"] += 1
        for leg in list(self.legs.values()):
            if leg.dialog.call_id == over.request.call_id:
                leg.unacknowledged()

    def _send(self, data: bytes, to: Address) -> None:
        if isinstance(to, StreamAddress):
            self._streams.send(data, to)
        elif self._socket is not None:
            self._socket.sendto(data, to)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

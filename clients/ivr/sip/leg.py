"""The signalling of one call, either way: what was asked, answered, agreed, and how it ended.

    incoming  RINGING -> ANSWERED (200 sent) -> UP (ACK came) -> OVER
    outgoing  CALLING -> UP (200 came, ACK sent) -> OVER

A leg never waits: its agent feeds it, its owner (the `Call`) is told by callbacks. Long because it is one state machine: what moves a
call's state is here and nowhere else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum, auto

from aiosipua.auth import SipDigestAuth
from aiosipua.message import SipRequest
from realtime_ivr.call import HangUpSide, HungUp
from realtime_ivr.errors import CallFailed
from realtime_ivr.sip.dialog import Dialog, ack_success, next_hop, request_in, take_answer
from realtime_ivr.sip.digest import Credentials
from realtime_ivr.sip.dtmf import key_in_info
from realtime_ivr.sip.offer import NoCommonCodec, Terms, agree, make_answer, make_offer, read_sdp
from realtime_ivr.sip.reading import ALLOW, Address, Request, Response, answer, contact, uri_of
from realtime_ivr.sip.session_clock import EXTENSION, SessionClock
from realtime_ivr.sip.wire import Wire

SDP = "application/sdp"
BUSY = {486: "busy", 600: "busy", 603: "declined", 480: "not available", 404: "no such number", 408: "no answer", 487: "cancelled"}


class Stage(Enum):
    """Of a call."""

    RINGING = auto()
    ANSWERED = auto()
    CALLING = auto()
    UP = auto()
    OVER = auto()


class Leg:
    """One call's signalling. `local`: where we are, as the peer sees it; `media_port` and `apply` come from the call's media."""

    def __init__(self, wire: Wire, dialog: Dialog, peer: Address, local: Address, stage: Stage, user: str = "ivr") -> None:
        self.dialog, self.peer, self.local, self.stage, self.user = dialog, peer, local, stage, user
        self.invite: Request | None = None
        self.terms: Terms | None = None
        self.media_port = 0
        self.answered = asyncio.Event()
        self.acknowledged = asyncio.Event()
        self.failure: CallFailed | None = None
        self.on_terms: Callable[[Terms], None] = lambda terms: None
        self.on_key: Callable[[str], None] = lambda key: None
        self.on_over: Callable[[HungUp], None] = lambda end: None
        self.refer_status: asyncio.Queue[int] = asyncio.Queue()
        self._wire = wire
        self._credentials = Credentials(None)
        self.clock = SessionClock(self._refresh, self._vanished)
        self._is_cancelled = False
        self._offered_late = False
        self._last_offer: SipRequest | None = None
        self._ack: SipRequest | None = None

    def __repr__(self) -> str:
        return f"<Leg {self.dialog.call_id} {self.stage.name} {self.peer[0]}:{self.peer[1]}>"

    @property
    def is_outgoing(self) -> bool:
        """Whether we called."""
        return self.invite is None

    @property
    def session(self) -> str:
        """The number of our SDP session."""
        return str(abs(hash(self.dialog.local_tag)) % 10**12)

    # ---- incoming ----

    def offered(self, invite: Request) -> None:
        """An INVITE came. Raises `NoCommonCodec` if we can't talk to each other."""
        self.invite = invite
        if invite.message.body:
            self.terms = self._read(invite)

    def ring(self) -> None:
        """Tell the caller that it rings."""
        self._respond(180)

    def accept(self) -> None:
        """Pick up. Raises `CallFailed` if the caller is gone."""
        if self.stage is not Stage.RINGING or self.invite is None:
            raise CallFailed("the caller hung up before the call was answered", status=487)
        self.stage = Stage.ANSWERED
        self.dialog.confirm()
        self._respond(200, self._answer_sdp(self.invite))
        if self.terms is not None:
            self.on_terms(self.terms)

    def refuse(self, status: int, reason: str = "", headers: dict[str, str] | None = None) -> None:
        """Do not take the call."""
        if self.stage is Stage.RINGING and self.invite is not None:
            self._wire.send_response(
                self.invite, answer(self.invite.message, status, reason, to_tag=self.dialog.local_tag, headers=headers)
            )
            self._over(HangUpSide.FLOW, f"refused with {status}")

    def cancelled(self) -> None:
        """A CANCEL came while it rang."""
        if self.stage is Stage.RINGING and self.invite is not None:
            self._wire.send_response(self.invite, answer(self.invite.message, 487, to_tag=self.dialog.local_tag))
            self._over(HangUpSide.CALLER, "cancelled before the answer")

    # ---- outgoing ----

    def call(self, invite: SipRequest, auth: SipDigestAuth | None) -> None:
        """Send the INVITE with our offer."""
        self._credentials = Credentials(auth)
        invite.headers.set_single("Contact", contact(self.user, self.local))
        invite.headers.set_single("Allow", ALLOW)
        invite.headers.set_single("Supported", EXTENSION)
        invite.text = make_offer((self.local[0], self.media_port), self.session)
        invite.content_type = SDP
        self._last_offer = invite
        self._wire.send_request(invite, self.peer, self)

    # ---- both ----

    def hang_up(self, reason: str = "") -> None:
        """End it from our side, at whatever stage."""
        if self.stage is Stage.RINGING:
            self.refuse(603)
        elif self.stage is Stage.CALLING:
            self._is_cancelled = True
            self._wire.cancel_invite(self)
            self._over(HangUpSide.FLOW, reason or "given up")
        elif self.stage is not Stage.OVER:
            self._wire.send_request(request_in(self.dialog, "BYE", self.local), self._hop, self)
            self._over(HangUpSide.FLOW, reason)

    def refer(self, target: str) -> None:
        """Ask the other side to call `target`; what becomes of it comes to `refer_status`."""
        request = request_in(self.dialog, "REFER", self.local, self.user)
        request.headers.set_single("Refer-To", f"<{target}>")
        request.headers.set_single("Referred-By", f"<{self.dialog.local_uri}>")
        self._wire.send_request(request, self._hop, self)

    # ---- fed by the agent ----

    def requested(self, request: Request) -> None:
        """A request within the dialog, its tags checked."""
        if request.method == "ACK":
            self._acknowledged(request)
            return
        if request.sequence <= self.dialog.remote_cseq:
            self._reply(request, 500)  # RFC 3261, 12.2.2: out of order
            return
        self.dialog.remote_cseq = request.sequence
        handlers = {"BYE": self._bye, "INVITE": self._reinvited, "UPDATE": self._reinvited, "INFO": self._info, "NOTIFY": self._notify}
        handler = handlers.get(request.method)
        if handler is None:
            self._reply(request, 405, {"Allow": ALLOW})
        else:
            handler(request)

    def responded(self, response: Response) -> None:
        """A response to a request of ours."""
        if response.method == "INVITE":
            self._invite_responded(response)
        elif response.method == "UPDATE" and response.status < 300:
            self.clock.answered(response.message)
        elif response.method == "UPDATE" and response.status in (408, 481):  # they know of no such call (RFC 4028, 10)
            self._vanished()
        elif response.method == "REFER" and response.status >= 200:
            self.refer_status.put_nowait(response.status if response.status >= 300 else 100)

    def unanswered(self, method: str) -> None:
        """Nobody answered a request of ours for 32 s."""
        if method == "INVITE":
            self._fail(CallFailed("no answer from there; is the address right, and UDP let through?", status=408))
        elif method == "REFER":
            self.refer_status.put_nowait(408)
        elif method == "UPDATE":
            self._vanished()

    def unacknowledged(self) -> None:
        """Our 200 was never acknowledged: RFC 3261, 13.3.1.4 wants a BYE."""
        if self.stage is Stage.ANSWERED:
            self._wire.send_request(request_in(self.dialog, "BYE", self.local), self._hop, self)
            self._over(HangUpSide.NETWORK, "no ACK came")

    # ---- private ----

    @property
    def _hop(self) -> Address:
        return next_hop(self.dialog, self.peer, trusts_contact=self.is_outgoing)

    def _read(self, request: Request) -> Terms:
        if request.body_type != SDP:
            raise NoCommonCodec(f"body is {request.body_type or 'of no type'}, not {SDP}")
        return agree(read_sdp(request.message.text))

    def _answer_sdp(self, request: Request) -> str:
        here = (self.local[0], self.media_port)
        if self.terms is None or not request.message.body:
            self._offered_late = True
            return make_offer(here, self.session)
        return make_answer(read_sdp(request.message.text), self.terms, here, self.session)

    def _respond(self, status: int, sdp: str = "") -> None:
        if self.invite is not None:
            self._answer(self.invite, status, sdp)

    def _answer(self, request: Request, status: int, sdp: str) -> None:
        headers = {"Contact": contact(self.user, self.local), "Allow": ALLOW}
        headers |= self.clock.agree(request.message) if status == 200 else {}
        response = answer(request.message, status, to_tag=self.dialog.local_tag, headers=headers)
        if sdp:
            response.text, response.content_type = sdp, SDP
        self._wire.send_response(request, response)

    def _reply(self, request: Request, status: int, headers: dict[str, str] | None = None) -> None:
        self._wire.send_response(request, answer(request.message, status, to_tag=self.dialog.local_tag, headers=headers))

    def _acknowledged(self, ack: Request) -> None:
        if self._offered_late and ack.message.body:
            self._offered_late = False
            try:
                self._agreed(self._read(ack))
            except NoCommonCodec as error:
                self.hang_up(str(error))
                return
        if self.stage is Stage.ANSWERED:
            self.stage = Stage.UP
        self.acknowledged.set()

    def _agreed(self, terms: Terms) -> None:
        self.terms = terms
        self.on_terms(terms)

    def _bye(self, request: Request) -> None:
        self._reply(request, 200)
        self._over(HangUpSide.CALLER, "")

    def _reinvited(self, request: Request) -> None:
        """Hold, resume, another address or law: a new offer within the call, or a refresh without one."""
        if request.message.headers.get("contact"):
            self.dialog.remote_target = uri_of(request.message.headers.get("contact")[0])
        if not request.message.body:
            if request.method == "UPDATE":
                self._answer(request, 200, "")
            else:
                self._answer(request, 200, self._answer_sdp(request))
            return
        try:
            terms = self._read(request)
        except NoCommonCodec as error:
            self._reply(request, 488, {"Warning": f'305 {self.local[0]} "{_plain(str(error))}"'})
            return
        if self.terms is not None and terms.encoding is not self.terms.encoding:
            self._reply(request, 488, {"Warning": f'305 {self.local[0]} "the law of a running call is kept"'})
            return
        self.terms = terms
        self._answer(request, 200, self._answer_sdp(request))
        self.on_terms(terms)

    def _info(self, request: Request) -> None:
        """A key by INFO: `application/dtmf-relay` (Signal=5) or `application/dtmf` (5)."""
        if request.body_type not in ("application/dtmf-relay", "application/dtmf"):
            self._reply(request, 200 if not request.message.body else 415)
            return
        self._reply(request, 200)
        key = key_in_info(request.message.text)
        if key is not None:
            self.on_key(key)

    def _notify(self, request: Request) -> None:
        """How our REFER goes on: a status line as the body (RFC 3515, 2.4.5)."""
        self._reply(request, 200)
        words = request.message.text.split(None, 2)
        if request.body_type == "message/sipfrag" and len(words) > 1 and words[1].isdigit():
            self.refer_status.put_nowait(int(words[1]))

    def _invite_responded(self, response: Response) -> None:
        if response.status < 200:
            return
        if response.status < 300:
            self._answered_by_them(response)
        elif self.stage is Stage.CALLING and not self._retry(response):
            words = BUSY.get(response.status, response.message.reason_phrase or "refused")
            self._fail(CallFailed(f"{self.dialog.remote_uri}: {response.status} {words}", status=response.status))

    def _answered_by_them(self, response: Response) -> None:
        if self._ack is not None and response.to_tag == self.dialog.remote_tag:
            self._wire.send_once(self._ack, self._hop)  # ours was lost
            return
        if self.stage is not Stage.CALLING:
            self._decline_late(response)
            return
        take_answer(self.dialog, response.message)
        self.dialog.confirm()
        self._ack = ack_success(self.dialog, response.sequence, self.local)
        self._wire.send_once(self._ack, self._hop)
        self.stage = Stage.UP
        self.clock.answered(response.message)
        try:
            self._agreed(agree(read_sdp(response.message.text)))
        except NoCommonCodec as error:
            self.failure = CallFailed(f"answered without a common codec: {error}", status=488)
            self.hang_up(str(error))
        self.acknowledged.set()
        self.answered.set()

    def _decline_late(self, response: Response) -> None:
        """Another phone picked up too, or one after our CANCEL: acknowledge and hang up there (RFC 3261, 13.2.2.4)."""
        other = Dialog(
            call_id=self.dialog.call_id, local_tag=self.dialog.local_tag, local_uri=self.dialog.local_uri, remote_uri=self.dialog.remote_uri
        )
        other.local_cseq = self.dialog.local_cseq
        take_answer(other, response.message)
        hop = next_hop(other, self.peer, trusts_contact=True)
        self._wire.send_once(ack_success(other, response.sequence, self.local), hop)
        if not (self._ack is not None and other.remote_tag == self.dialog.remote_tag):
            self._wire.send_request(request_in(other, "BYE", self.local), hop, self)

    def _retry(self, response: Response) -> bool:
        """Try again with an answer to a digest challenge."""
        assert self._last_offer is not None  # there was an INVITE
        if self._is_cancelled or not self._credentials.answer(response.message, response.status, "INVITE", self._last_offer.uri):
            return False
        again = request_in(self.dialog, "INVITE", self.local, self.user)
        again.headers.set_single("Allow", ALLOW)
        again.headers.set_single("Supported", EXTENSION)
        for name, value in self._credentials.headers.items():
            again.headers.set_single(name, value)
        again.body, again.content_type = self._last_offer.body, SDP
        self._last_offer = again
        self._wire.send_request(again, self.peer, self)
        return True

    def _refresh(self) -> None:
        """Say that the call is still up."""
        if self.stage in (Stage.ANSWERED, Stage.UP):
            update = request_in(self.dialog, "UPDATE", self.local, self.user)
            update.headers.set_single("Supported", EXTENSION)
            update.headers.set_single("Session-Expires", self.clock.header)
            self._wire.send_request(update, self._hop, self)

    def _vanished(self) -> None:
        """Nobody refreshed the call, or took our refreshment."""
        if self.stage in (Stage.ANSWERED, Stage.UP):
            self._wire.send_request(request_in(self.dialog, "BYE", self.local), self._hop, self)
            self._over(HangUpSide.NETWORK, "the other side is gone")

    def _fail(self, error: CallFailed) -> None:
        if self.stage is Stage.CALLING:
            self.failure = error
            self._over(HangUpSide.NETWORK, error.message)

    def _over(self, side: HangUpSide, reason: str) -> None:
        if self.stage is Stage.OVER:
            return
        self.stage = Stage.OVER
        self.clock.cancel()
        self.dialog.terminate()
        self.answered.set()
        self.acknowledged.set()
        self._wire.released(self)
        self.on_over(HungUp(side, reason))


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() and c not in '"\\' else " " for c in text)[:120]

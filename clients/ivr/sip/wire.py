"""What a call's signalling needs of the agent that owns the socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from aiosipua.message import SipRequest, SipResponse
from realtime_ivr.sip.reading import Address, Request

if TYPE_CHECKING:
    from realtime_ivr.sip.leg import Leg


class Wire(Protocol):
    """Of a leg, its agent."""

    def send_request(self, request: SipRequest, to: Address, leg: Leg) -> None:
        """Send, again and again until answered; responses come to `Leg.responded`."""
        ...

    def send_once(self, request: SipRequest, to: Address) -> None:
        """Send without waiting for an answer: an ACK."""
        ...

    def send_response(self, request: Request, response: SipResponse) -> None:
        """Answer a request."""
        ...

    def cancel_invite(self, leg: Leg) -> None:
        """CANCEL the INVITE of an outgoing leg."""
        ...

    def released(self, leg: Leg) -> None:
        """The leg is over."""
        ...

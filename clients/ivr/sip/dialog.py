"""Requests within a call, over the library's `Dialog` (tags, numbers, routes): headers it leaves out, where they go, our ACK."""

from __future__ import annotations

import socket
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from aiosipua.dialog import Dialog, DialogState
from aiosipua.headers import CSeq, Via, parse_address, stringify_cseq, stringify_uri, stringify_via
from aiosipua.message import SipRequest, SipResponse
from aiosipua.utils import generate_branch, generate_call_id, generate_tag
from realtime_ivr.sip.reading import PRODUCT, Address, StreamAddress, contact, via_transport

__all__ = [
    "Dialog",
    "DialogState",
    "ack_error",
    "ack_success",
    "cancel_of",
    "first_request",
    "local_host",
    "next_hop",
    "request_in",
    "take_answer",
]


def first_request(method: str, uri: str, us: str, them: str, local: Address) -> tuple[SipRequest, Dialog]:
    """A request outside a call and the dialog that may come of it. `us` and `them` are URIs."""
    dialog = Dialog(
        call_id=generate_call_id(local[0]),
        local_tag=generate_tag(),
        local_uri=us,
        remote_uri=them,
        remote_target=uri,
        state=DialogState.EARLY,
    )
    return request_in(dialog, method, local), dialog


def request_in(dialog: Dialog, method: str, local: Address, user: str = "") -> SipRequest:
    """A request within a dialog, its number the next one."""
    request = dialog.create_request(method, via_host=local[0], via_port=local[1], via_transport=via_transport(local))
    request.headers.set_single("User-Agent", PRODUCT)
    if method in ("INVITE", "REFER", "UPDATE"):
        request.headers.set_single("Contact", contact(user, local))
    return request


def take_answer(dialog: Dialog, response: SipResponse) -> None:
    """What a response to our INVITE says about the other side (RFC 3261, 12.1.2)."""
    target = response.to_addr
    if target is not None and target.tag:
        dialog.remote_tag = target.tag
    contacts = response.contact
    if contacts:
        dialog.remote_target = stringify_uri(contacts[0].uri)
    dialog.route_set = list(reversed(response.headers.get("record-route")))


def ack_error(invite: SipRequest, response: SipResponse) -> SipRequest:
    """The ACK of an error: same branch, the response's To (RFC 3261, 17.1.1.3)."""
    return _of_invite("ACK", invite, response.headers.get_first("to"))


def ack_success(dialog: Dialog, sequence: int, local: Address) -> SipRequest:
    """The ACK of a 200: a transaction of its own with the INVITE's number (RFC 3261, 13.2.2.4)."""
    number = dialog.local_cseq
    ack = dialog.create_request("ACK", via_host=local[0], via_port=local[1])  # its Via is written below
    dialog.local_cseq = number
    ack.headers.set_single("CSeq", stringify_cseq(CSeq(sequence, "ACK")))
    params = {"branch": generate_branch(), "rport": None}
    ack.headers.set_single("Via", stringify_via(Via(transport=via_transport(local), host=local[0], port=local[1], params=params)))
    return ack


def cancel_of(invite: SipRequest) -> SipRequest:
    """The CANCEL of an INVITE: same branch, same numbers (RFC 3261, 9.1)."""
    return _of_invite("CANCEL", invite, invite.headers.get_first("to"))


def _of_invite(method: str, invite: SipRequest, to: str | None) -> SipRequest:
    """A request that belongs to an INVITE's own transaction."""
    request = SipRequest(method=method, uri=invite.uri)
    request.headers.append("Via", invite.headers.get("via")[0])
    for name in ("From", "Call-ID"):
        request.headers.set_single(name, invite.headers.get_first(name) or "")
    request.headers.set_single("To", to or "")
    number = invite.cseq
    assert number is not None  # we wrote it
    request.headers.set_single("CSeq", stringify_cseq(CSeq(number.seq, method)))
    request.headers.set_single("Max-Forwards", "70")
    for route in invite.headers.get("route"):
        request.headers.append("Route", route)
    return request


def next_hop(dialog: Dialog, peer: Address, *, trusts_contact: bool) -> Address:
    """Where a request within the call goes: the first route, else the contact if it is within reach, else where the signalling came
    from. Over TCP it is the connection that there is."""
    if isinstance(peer, StreamAddress):
        return peer
    if dialog.route_set:
        uri = parse_address(dialog.route_set[0]).uri
    elif trusts_contact:
        uri = parse_address(f"<{dialog.remote_target}>").uri
    else:
        return peer
    host, there = _ip(uri.host), _ip(peer[0])
    if host is None or there is None or (host.is_private and not there.is_private) or (there.is_loopback and not host.is_loopback):
        return peer
    return (uri.host, uri.port or 5060)


def _ip(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host.strip("[]"))
    except ValueError:
        return None


@lru_cache(maxsize=1024)
def local_host(bound: str, peer: str) -> str:
    """Our address as `peer` sees it: the one bound, or for 0.0.0.0 the one that the kernel would send from."""
    if bound not in ("0.0.0.0", "::", ""):
        return bound
    with socket.socket(socket.AF_INET6 if ":" in peer else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((peer, 9))  # UDP: nothing is sent
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"

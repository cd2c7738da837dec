"""Datagrams to checked messages. The library parses; here everything that later code relies on is looked at once, so that it can't fail
there."""

from __future__ import annotations

from dataclasses import dataclass

from aiosipua.headers import CSeq, parse_address, parse_cseq, parse_uri, parse_via, stringify_uri, stringify_via
from aiosipua.message import SipMessage, SipRequest, SipResponse
from aiosipua.utils import format_addr, generate_tag

Address = tuple[str, int]


class StreamAddress(tuple[str, int]):
    """An address that is reached over its TCP connection; a plain one is reached by UDP."""

    __slots__ = ()


MAX_MESSAGE_BYTES = 16 * 1024
"""A softphone's INVITE has 1 to 3 kB. Precedent: PJSIP reads 4 kB, Asterisk 20 kB."""
ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, NOTIFY"
PRODUCT = "realtime-ivr"
REASONS = {
    100: "Trying",
    180: "Ringing",
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    415: "Unsupported Media Type",
    420: "Bad Extension",
    422: "Session Interval Too Small",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    491: "Request Pending",
    500: "Server Internal Error",
    503: "Service Unavailable",
    505: "Version Not Supported",
    513: "Message Too Large",
    603: "Decline",
}


@dataclass(frozen=True, slots=True)
class Request:
    """A request with what routing and matching need, and where it came from."""

    message: SipRequest
    source: Address
    method: str
    call_id: str
    sequence: int
    from_tag: str
    to_tag: str
    key: tuple[str, str, str]

    @property
    def body_type(self) -> str:
        """Media type of the body, without parameters."""
        return (self.message.content_type or "").split(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class Response:
    """A response, the client transaction it belongs to, and where it came from."""

    message: SipResponse
    source: Address
    status: int
    method: str
    sequence: int
    call_id: str
    to_tag: str
    key: tuple[str, str]


class Unreadable(Exception):
    """Raised when a datagram is no SIP message that can be acted upon. `answer`, if any, goes back to where it came from."""

    def __init__(self, reason: str, answer: SipResponse | None = None) -> None:
        super().__init__(reason)
        self.answer = answer


def read(data: bytes, source: Address) -> Request | Response | None:
    """The message in a datagram; None for a keepalive (RFC 5626, 3.5.1). Raises `Unreadable`."""
    if not data.strip(b"\r\n\0 "):
        return None
    try:
        message = SipMessage.parse(data[:MAX_MESSAGE_BYTES])
    except (ValueError, IndexError) as error:
        raise Unreadable(f"no SIP message: {error}") from None
    if isinstance(message, SipResponse):
        return _response(message, source)
    problem = 513 if len(data) > MAX_MESSAGE_BYTES else None
    try:
        request = _request(message, source)
    except (ValueError, IndexError, KeyError, AttributeError, TypeError) as error:
        raise Unreadable(f"malformed {message.method[:20]}: {error}", _refusal_or_none(message, source, problem or 400)) from None
    if problem is not None:
        raise Unreadable(f"{len(data)} bytes", _refusal_or_none(message, source, problem))
    return request


def _request(message: SipRequest, source: Address) -> Request:
    via = parse_via(message.headers.get("via")[0])
    sender, target = parse_address(_one(message, "from")), parse_address(_one(message, "to"))
    sequence = parse_cseq(_one(message, "cseq"))
    call_id = _one(message, "call-id")
    _check(sequence, message)
    parse_uri(message.uri)
    for name in ("contact", "record-route"):
        for value in message.headers.get(name):
            if value.strip() != "*":
                parse_address(value)
    stamp_source(message, source)
    # Without the magic cookie a branch is not unique (RFC 3261, 17.2.3): the call's own numbers stand in.
    branch = via.branch or ""
    if not branch.startswith("z9hG4bK"):
        branch = f"{call_id} {sequence.seq} {sender.tag}"
    method = message.method.upper()
    key = (branch, f"{via.host}:{via.port}", "INVITE" if method == "ACK" else method)
    return Request(message, source, method, call_id, sequence.seq, sender.tag or "", target.tag or "", key)


def _check(sequence: CSeq, message: SipRequest) -> None:
    if sequence.method.upper() != message.method.upper():
        raise ValueError("CSeq names another method")
    if not 0 <= sequence.seq < 2**31:  # RFC 3261, 8.1.1.5
        raise ValueError("CSeq out of range")


def _one(message: SipMessage, name: str) -> str:
    value = message.headers.get_first(name)
    if not value:
        raise ValueError(f"no {name}")
    return value


def _response(message: SipResponse, source: Address) -> Response:
    try:
        via = parse_via(message.headers.get("via")[0])
        sequence = parse_cseq(_one(message, "cseq"))
        target = parse_address(_one(message, "to"))
        for value in message.headers.get("contact"):
            parse_address(value)
        if not 100 <= message.status_code <= 699:
            raise ValueError(f"status {message.status_code}")
        key = (via.branch or "", sequence.method.upper())
        call_id = _one(message, "call-id")
    except (ValueError, IndexError, KeyError, AttributeError, TypeError) as error:
        raise Unreadable(f"malformed response: {error}") from None
    return Response(message, source, message.status_code, key[1], sequence.seq, call_id, target.tag or "", key)


def stamp_source(message: SipRequest, source: Address) -> None:
    """Write into the topmost Via where the request really came from, whatever it claims: the answer goes there (RFC 3581, RFC 3261,
    18.2.1)."""
    vias = message.headers.get("via")
    via, rest = parse_via(vias[0]), vias[1:]
    via.params["received"] = source[0]
    if "rport" in via.params:
        via.params["rport"] = str(source[1])
    message.headers.set_single("Via", stringify_via(via))
    for value in rest:
        message.headers.append("Via", value)


def reply_address(response: SipResponse, source: Address) -> Address:
    """Where an answer goes: never to another host than the one that asked, or we would be a reflector."""
    if isinstance(source, StreamAddress):
        return source
    via = parse_via(response.headers.get("via")[0])
    return (source[0], source[1] if "rport" in via.params else via.port or 5060)


def answer(
    request: SipRequest, status: int, reason: str = "", *, to_tag: str | None = None, headers: dict[str, str] | None = None
) -> SipResponse:
    """A response with what RFC 3261, 8.2.6.2 copies from the request, and our tag if it has none."""
    response = SipResponse(status_code=status, reason_phrase=reason or REASONS.get(status, "Error"))
    for value in request.headers.get("via"):
        response.headers.append("Via", value)
    for name in ("From", "To", "Call-ID", "CSeq"):
        response.headers.set_single(name, request.headers.get_first(name) or "")
    target = response.headers.get_first("to") or ""
    if status > 100 and ";tag=" not in target:
        response.headers.set_single("To", f"{target};tag={to_tag or generate_tag()}")
    if 101 <= status < 300:
        for value in request.headers.get("record-route"):
            response.headers.append("Record-Route", value)
    response.headers.set_single("Server", PRODUCT)
    for name, value in (headers or {}).items():
        response.headers.set_single(name, value)
    return response


def _refusal_or_none(message: SipRequest, source: Address, status: int) -> SipResponse | None:
    """An error answer to a request that is hardly one; None where even that would be a guess. An ACK is never answered."""
    try:
        if message.method.upper() == "ACK" or not message.headers.get("call-id"):
            return None
        stamp_source(message, source)
        return answer(message, status)
    except (ValueError, IndexError, KeyError, AttributeError, TypeError):
        return None


def uri_of(value: str) -> str:
    """The bare URI in a header like From. Raises `ValueError`."""
    return stringify_uri(parse_address(value).uri)


def contact(user: str, address: Address) -> str:
    """Our Contact header."""
    transport = ";transport=tcp" if isinstance(address, StreamAddress) else ""
    return f"<sip:{user + '@' if user else ''}{format_addr(*address)}{transport}>"


def via_transport(local: Address) -> str:
    """What Via calls the way that a request from `local` goes."""
    return "TCP" if isinstance(local, StreamAddress) else "UDP"

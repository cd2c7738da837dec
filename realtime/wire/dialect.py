"""What a wire dialect is: messages to neutral events and back, for either side; and how an error closes a WebSocket.

A dialect object belongs to one connection and may keep state (names of contexts, what was said before). It knows no legality: that
is the session's. To add one: a file in `dialects/`, a line in `dialects/__init__.py`, a transcript in `tests/transcripts/`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from realtime.errors import ClientError, Draining, Overloaded, ProtocolViolation, RealtimeError
from realtime.wire.events import Event, Limits
from realtime.wire.reading import quoted

Message = str | bytes
"""One WebSocket message: text frames are `str`, binary frames `bytes`."""

# RFC 6455 section 7.4.1 and the IANA registry of close codes.
POLICY_VIOLATION = 1008
INTERNAL_ERROR = 1011
SERVICE_RESTART = 1012
TRY_AGAIN_LATER = 1013
MAX_REASON_BYTES = 123
"""RFC 6455 section 5.5: a control frame carries at most 125 bytes, two of which are the code."""


@dataclass(frozen=True, slots=True)
class Close:
    """How to close the socket: an RFC 6455 code and a reason."""

    code: int
    reason: str = ""


class Dialect(Protocol):
    """Both directions of one connection."""

    @property
    def closing(self) -> Close | None:
        """Set once the conversation is over by this dialect's rules: send what `encode` gave, then close like this."""
        ...

    def decode(self, message: Message) -> Sequence[Event]:
        """What a peer's message means: usually one event; none for what this dialect lets pass.

        Raises `ProtocolViolation`, `BadText` or `BadOption`, with `utterance` set where the message names one; nothing else,
        whatever the message holds.
        """
        ...

    def encode(self, event: Event) -> Message | None:
        """The message that says `event`; None where this dialect has no word for it."""
        ...


def json_map(message: Message, what: str = "message") -> dict[str, Any]:
    """A JSON object of another service's protocol, whose `what` it is. Raises `ProtocolViolation` for anything else, or too much of it."""
    limit = Limits().max_message_bytes
    if len(message) > limit:
        raise ProtocolViolation(f"a {what} of {len(message)} {'characters' if isinstance(message, str) else 'bytes'}, the limit is {limit}")
    try:
        data = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise ProtocolViolation(f"malformed {what}: {str(error)[:200]}") from None
    if type(data) is not dict:
        raise ProtocolViolation(f"the {what} must be a map, not {quoted(data)}")
    return data


def close_code(error: RealtimeError) -> int:
    """The WebSocket close code when an error ends a connection."""
    if isinstance(error, ClientError):
        return POLICY_VIOLATION
    if isinstance(error, Draining):
        return SERVICE_RESTART
    return TRY_AGAIN_LATER if isinstance(error, Overloaded) else INTERNAL_ERROR


def close_reason(error: RealtimeError) -> str:
    """`code: message`, as far as a close frame holds it."""
    return cut_reason(f"{error.code}: {error.message}")


def cut_reason(text: str) -> str:
    """Text cut to what a close frame holds, never inside a character."""
    return text.encode("utf-8", "replace")[:MAX_REASON_BYTES].decode("utf-8", "ignore")

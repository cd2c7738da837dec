"""Errors that a client sees: the service's own tree (`realtime.errors`), and what happens between here and there."""

from __future__ import annotations

from collections.abc import Mapping

import realtime.errors
from realtime.errors import RealtimeError, ServiceError
from realtime.wire.events import Error


class ConnectionLost(ServiceError):
    """Raised when the service can't be reached, or was lost and did not come back in time.

    `heard_characters` and `heard_ms` tell how far the listener was.
    """

    code = "connection_lost"

    def __init__(self, message: str, *, heard_characters: int = 0, heard_ms: float = 0.0) -> None:
        super().__init__(message)
        self.heard_characters = heard_characters
        self.heard_ms = heard_ms


def _kinds(root: type[RealtimeError]) -> Mapping[str, type[RealtimeError]]:
    found = [kind for kind in vars(realtime.errors).values() if isinstance(kind, type) and issubclass(kind, root)]
    return {kind.code: kind for kind in found}


KINDS = _kinds(RealtimeError)


def error_from(event: Error) -> RealtimeError:
    """The exception that says what an `error` message said; of the nearest kind we know when its code is newer than we are."""
    kind = KINDS.get(event.code) or (ServiceError if event.retryable else RealtimeError)
    return kind(event.message, retry_after_ms=event.retry_after_ms, utterance=event.utterance)

"""What can go wrong with a call or a flow, in the project's error tree."""

from __future__ import annotations

from realtime.errors import ClientError, ServiceError


class CallFailed(ServiceError):
    """Raised when a call can't be set up, answered, transferred, or was lost. `status` is the SIP status where there was one."""

    code = "call_failed"

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class CallEnded(ServiceError):
    """Raised inside a flow when the call is over: nothing more can be said or asked."""

    code = "call_ended"
    retryable = False


class FlowError(ClientError):
    """Raised when a flow file can't be read; the message names file, step and field, one problem per line."""

    code = "bad_flow"

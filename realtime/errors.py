"""Every error that crosses a layer, in one tree.

RealtimeError
├── ClientError          the caller's fault; the same request will fail again
│   ├── ProtocolViolation
│   ├── BadText
│   ├── BadOption
│   ├── UnknownVoice
│   ├── Unauthorized
│   └── SlowClient
└── ServiceError         ours; trying again may help
    ├── Overloaded
    ├── EngineFailed
    ├── WorkerLost
    ├── DeadlineMissed
    ├── ModelMissing
    └── Draining

`code` is the machine-readable name on the wire, `retryable` says whether the same request may succeed later, `utterance` is the id
of the one utterance that it concerns, None when it concerns the connection (or when whoever catches it knows).
"""

from __future__ import annotations

from typing import ClassVar


def how_to_install(extra: str) -> str:
    """What to run for a part that the base install leaves out; for the messages of errors. The package is on no index."""
    return f"run `pip install -c ops/constraints.txt '.[{extra}]'` in a clone of this service's repository"


EXTRA_OF = {"torch": "convert", "onnx": "convert", "huggingface_hub": "convert", "aiosipua": "ivr", "aiortp": "ivr", "httpx": "ivr"}
"""Modules that a command may find missing -> the extra that brings them."""


def not_installed(error: ModuleNotFoundError) -> str:
    """What to do about a missing module. Raises the error itself where no extra would bring it."""
    name = (error.name or "").split(".")[0]
    if name not in EXTRA_OF:
        raise error
    return f"this needs {name}; {how_to_install(EXTRA_OF[name])}"


class RealtimeError(Exception):
    """Root of all errors that the service raises on purpose."""

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, retry_after_ms: int | None = None, utterance: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_ms = retry_after_ms
        self.utterance = utterance


class ClientError(RealtimeError):
    """Raised when the caller did something that can't succeed."""

    code = "bad_request"


class ProtocolViolation(ClientError):
    """Raised when a message is malformed, unknown, or not allowed in the session's present state."""

    code = "protocol_violation"


class BadText(ClientError):
    """Raised when text is empty, too long, or holds lone surrogates."""

    code = "bad_text"


class BadOption(ClientError):
    """Raised when a setting of a request (format, rate, speed, language, emotion) is not one the service has."""

    code = "bad_option"


class UnknownVoice(ClientError):
    """Raised when no engine in service has the voice."""

    code = "unknown_voice"


class Unauthorized(ClientError):
    """Raised when a key or token is missing, wrong, expired or revoked."""

    code = "unauthorized"


class SlowClient(ClientError):
    """Raised when a reader leaves its audio unread past the outbox's bound and the grace period."""

    code = "slow_client"


class ServiceError(RealtimeError):
    """Raised when the service can't do what it should; the request itself was fine."""

    code = "service_error"
    retryable = True


class Overloaded(ServiceError):
    """Raised when admitting the work would break a promise to somebody already admitted."""

    code = "overloaded"


class EngineFailed(ServiceError):
    """Raised when an engine reports an exception, garbage audio, or can't speak a job it took."""

    code = "engine_failed"


class WorkerLost(ServiceError):
    """Raised when a worker process died, hung or was replaced with work on it."""

    code = "worker_lost"


class DeadlineMissed(ServiceError):
    """Raised when work could no longer be useful by the time it would be done."""

    code = "deadline_missed"


class ModelMissing(ServiceError):
    """Raised when model files are absent, truncated or of another version; the message says which and what to run."""

    code = "model_missing"
    retryable = False


class Draining(ServiceError):
    """Raised when the service is shutting down and takes no new utterances."""

    code = "draining"

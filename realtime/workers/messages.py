"""What a worker process is told and what it answers, as typed values and as bytes. Pure; no pickle.

On the wire: `<header length u32><payload length u32><header: msgpack list [type, fields...]><payload: raw PCM or features>`,
little endian. A chunk is one header of some 60 bytes and its samples as they lie in memory: one gathered write, no copy on the
way out. Limits are stated below; a header or payload beyond them means that the peer is garbled.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np

from realtime.engines.base import (
    Chunk,
    Done,
    EngineEvent,
    EngineInfo,
    Failed,
    Job,
    PlanReply,
    PlanRequest,
)
from realtime.errors import ServiceError
from realtime.types import JobId, Span, SpeechPlan, WordTime
from realtime.workers.interface import Fault, LevelRate, Sentence
from realtime.workers.tables import from_table, to_table

MAX_HEADER = 4 << 20  # bytes; a plan of 100,000 characters is under 2 MB
MAX_PAYLOAD = 64 << 20  # bytes; five minutes of float32 at 48 kHz
PREFIX = struct.Struct("<II")


class Garbled(ServiceError):
    """Raised when bytes from the other process are no message of this protocol."""

    code = "worker_lost"


# ---- parent to child


@dataclass(frozen=True, slots=True)
class Init:
    """The first message: what to run (`factory`), as what (`name`), and how."""

    name: str
    factory: str
    options: Mapping[str, Any]
    pcm: str = "f32"
    is_measured: bool = True
    warm_up_s: float = 30.0
    allow_faults: bool = False


@dataclass(frozen=True, slots=True)
class StartJob:
    """Take a job."""

    job: Job


@dataclass(frozen=True, slots=True)
class CancelJob:
    """Forget a job."""

    job_id: JobId


@dataclass(frozen=True, slots=True)
class AdjustJob:
    """Change a job's quality level."""

    job_id: JobId
    level: str


@dataclass(frozen=True, slots=True)
class AskPlan:
    """Answer with a PlanAnswer of the same number."""

    number: int
    request: PlanRequest


@dataclass(frozen=True, slots=True)
class AskReload:
    """Look for new voices, answer with a Reloaded of the same number; 0 if nobody waits for it."""

    number: int = 0


@dataclass(frozen=True, slots=True)
class Ping:
    """Answer with a Pong of the same number as soon as the step under way is over."""

    number: int


@dataclass(frozen=True, slots=True)
class DoFault:
    """Break on purpose."""

    fault: Fault


@dataclass(frozen=True, slots=True)
class Leave:
    """Forget everything and exit."""


# ---- child to parent


@dataclass(frozen=True, slots=True)
class Progress:
    """What the child is doing while it starts."""

    what: str


@dataclass(frozen=True, slots=True)
class Ready:
    """Loaded, warmed up and measured. `sampled` is what was said in the chunks before this, if there were any."""

    info: EngineInfo
    rates: Mapping[str, LevelRate]
    load_s: float
    sampled: Sentence | None = None


@dataclass(frozen=True, slots=True)
class StartFailed:
    """The engine can't be loaded; `code` and `retryable` as of the error."""

    code: str
    retryable: bool
    message: str


@dataclass(frozen=True, slots=True)
class Spoken:
    """An event of a job."""

    event: EngineEvent


@dataclass(frozen=True, slots=True)
class PlanAnswer:
    """A plan, or the code and message of the error that asking for it raised."""

    number: int
    reply: PlanReply | None = None
    code: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The engine's info after a reload, or the code and message of the error that it raised; then all is as before."""

    number: int
    info: EngineInfo | None = None
    code: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Pong:
    """Alive: so many steps done since the start."""

    number: int
    steps: int


@dataclass(frozen=True, slots=True)
class Leaving:
    """The child exits of its own will, because it can't be trusted any more."""

    message: str


ToChild = Init | StartJob | CancelJob | AdjustJob | AskPlan | AskReload | Ping | DoFault | Leave
ToParent = Progress | Ready | StartFailed | Spoken | PlanAnswer | Reloaded | Pong | Leaving
Message = ToChild | ToParent

Payload = bytes | memoryview


# ---- bytes out


def encode(message: Message, pcm: str = "f32") -> tuple[bytes, Payload]:
    """Head (prefix and header) and payload of a message; `pcm` is `f32` or `s16` for the samples of chunks."""
    fields, payload = _to_fields(message, pcm)
    header = msgpack.packb(fields, unicode_errors="surrogatepass")
    if len(header) > MAX_HEADER or len(payload) > MAX_PAYLOAD:
        raise Garbled(f"a {type(message).__name__} of {len(header)} + {len(payload)} bytes is too large to send")
    return PREFIX.pack(len(header), len(payload)) + header, payload


def _to_fields(message: Message, pcm: str) -> tuple[list[Any], Payload]:
    match message:
        case Spoken(Chunk() as chunk):
            return _chunk_fields(chunk, pcm)
        case Spoken(Done(job_id, samples, unspoken)):
            return ["done", job_id, samples, unspoken], b""
        case Spoken(Failed(job_id, code, text)):
            return ["failed", job_id, code, text], b""
        case PlanAnswer(reply=PlanReply() as reply):
            return _plan_fields(message.number, reply)
        case _:
            return [_NAMES[type(message)], to_table(message)], b""


def _chunk_fields(chunk: Chunk, pcm: str) -> tuple[list[Any], Payload]:
    if pcm == "s16" and np.isfinite(chunk.samples).all():
        samples: np.ndarray[Any, Any] = np.rint(np.clip(chunk.samples, -1.0, 1.0) * 32767.0).astype("<i2")
    else:  # what is no number stays none, for the watchdog to find
        pcm, samples = "f32", np.ascontiguousarray(chunk.samples, dtype="<f4")
    span = None if chunk.span is None else [chunk.span.start, chunk.span.end]
    words = [[w.span.start, w.span.end, w.start, w.end] for w in chunk.words]
    return ["chunk", chunk.job_id, chunk.sample_rate, pcm, span, words, chunk.at], samples.view(np.uint8).data if len(samples) else b""


def _plan_fields(number: int, reply: PlanReply) -> tuple[list[Any], Payload]:
    times = np.asarray(reply.plan.times_s, dtype="<f8").tobytes()
    words = [[w.start, w.end] for w in reply.plan.words]
    features = reply.features
    if features is None:
        return ["plan", number, times, words, reply.plan.source, reply.hop_s, None], b""
    body = np.ascontiguousarray(features, dtype="<f4").reshape(-1).view(np.uint8).data if features.size else b""
    return ["plan", number, times, words, reply.plan.source, reply.hop_s, list(features.shape)], body


# ---- bytes in


@dataclass(slots=True)
class MessageReader:
    """Bytes cut anywhere in, messages out. Samples come as arrays of their own, writable."""

    _held: bytearray = field(default_factory=bytearray)

    def push(self, data: bytes | memoryview) -> Iterator[Message]:
        """The messages that `data` completes. Raises `Garbled`; the reader is of no use after that."""
        held = self._held
        held += data
        at = 0
        try:
            while len(held) - at >= PREFIX.size:
                header, payload = PREFIX.unpack_from(held, at)
                if header > MAX_HEADER or payload > MAX_PAYLOAD:
                    raise Garbled(f"a message of {header} + {payload} bytes")
                end = at + PREFIX.size + header + payload
                if len(held) < end:
                    break
                middle = at + PREFIX.size + header
                message = _decode(bytes(held[at + PREFIX.size : middle]), held[middle:end])
                at = end
                yield message
        finally:
            del held[:at]


def _decode(header: bytes, payload: bytearray) -> Message:
    try:
        kind, *rest = msgpack.unpackb(header, unicode_errors="surrogatepass")
        if (plain := _PLAIN.get(kind)) is not None:
            (table,) = rest
            return from_table(plain, table)
        message: Message = _ROWS[kind](rest, payload)
        return message
    except (LookupError, TypeError, ValueError, AttributeError, msgpack.UnpackException) as error:
        raise Garbled(f"not a message: {header[:60]!r} ({error})") from error


def _read_chunk(rest: list[Any], payload: bytearray) -> Spoken:
    job_id, rate, pcm, span, words, at = rest
    if pcm == "s16":
        samples = np.frombuffer(payload, dtype="<i2").astype(np.float32) / np.float32(32767.0)
    else:
        samples = np.frombuffer(payload, dtype="<f4")
    times = tuple(WordTime(Span(a, b), start, end) for a, b, start, end in words)
    return Spoken(Chunk(job_id, samples, rate, None if span is None else Span(*span), times, at))


def _read_plan(rest: list[Any], payload: bytearray) -> PlanAnswer:
    number, times, words, source, hop_s, shape = rest
    plan = SpeechPlan(tuple(np.frombuffer(times, dtype="<f8").tolist()), tuple(Span(*w) for w in words), source)
    features = None if shape is None else np.frombuffer(payload, dtype="<f4").reshape(shape)
    return PlanAnswer(number, PlanReply(plan, features, hop_s))


# What is said often, or carries bytes, has a short row of its own; everything else is its dataclass as a table.
_ROWS: dict[str, Callable[[list[Any], bytearray], Message]] = {
    "chunk": _read_chunk,
    "done": lambda rest, _: Spoken(Done(*rest)),
    "failed": lambda rest, _: Spoken(Failed(*rest)),
    "plan": _read_plan,
}
_PLAIN: dict[str, type[Message]] = {
    "init": Init,
    "start_job": StartJob,
    "cancel_job": CancelJob,
    "adjust_job": AdjustJob,
    "ask_plan": AskPlan,
    "ask_reload": AskReload,
    "ping": Ping,
    "do_fault": DoFault,
    "leave": Leave,
    "progress": Progress,
    "ready": Ready,
    "start_failed": StartFailed,
    "plan_refused": PlanAnswer,
    "reloaded": Reloaded,
    "pong": Pong,
    "leaving": Leaving,
}
_NAMES: dict[type, str] = {kind: name for name, kind in _PLAIN.items()}

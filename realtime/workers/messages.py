"""What a worker process is told and what it answers, as typed values and as bytes. Pure; no pickle.

On the wire: `<header length u32><payload length u32><header: msgpack list [type, fields...]><payload: raw PCM or features>`,
little endian. A chunk is one header of some 60 bytes and its samples as they lie in memory: one gathered write, no copy on the
way out. Limits are stated below; a header or payload beyond them means that the peer is garbled.
Long because both directions and their bytes belong on one page.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
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
    QualityLevel,
    VoiceInfo,
)
from realtime.errors import ServiceError
from realtime.types import Emotion, JobId, Span, SpeechPlan, WordTime
from realtime.workers.interface import Fault, FaultKind, LevelRate

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
    """Look for new voices, answer with Reloaded."""


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
    """Loaded, warmed up and measured."""

    info: EngineInfo
    rates: Mapping[str, LevelRate]
    load_s: float


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
    """The engine's info after a reload."""

    info: EngineInfo


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
            return [_NAMES[type(message)], asdict(message)], b""


def _chunk_fields(chunk: Chunk, pcm: str) -> tuple[list[Any], Payload]:
    if pcm == "s16":
        samples: np.ndarray[Any, Any] = np.rint(np.clip(np.nan_to_num(chunk.samples), -1.0, 1.0) * 32767.0).astype("<i2")
    else:
        samples = np.ascontiguousarray(chunk.samples, dtype="<f4")
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

    def push(self, data: bytes | bytearray | memoryview) -> Iterator[Message]:
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
        message: Message = _READERS[kind](rest, payload)
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


def _job(table: dict[str, Any]) -> Job:
    emotion = table["emotion"]
    if emotion is not None:
        vector = emotion["vector"]
        emotion = Emotion(emotion["name"], None if vector is None else tuple(vector), emotion["strength"])
    return Job(**{**table, "emotion": emotion})


def _info(table: dict[str, Any]) -> EngineInfo:
    voices = tuple(VoiceInfo(**{**v, "languages": tuple(v["languages"]), "emotions": tuple(v["emotions"])}) for v in table["voices"])
    levels = tuple(QualityLevel(**level) for level in table["levels"])
    return EngineInfo(**{**table, "languages": tuple(table["languages"]), "voices": voices, "levels": levels})


def _ready(table: dict[str, Any]) -> Ready:
    rates = {name: LevelRate(**rate) for name, rate in table["rates"].items()}
    return Ready(_info(table["info"]), rates, table["load_s"])


def _fault(table: dict[str, Any]) -> DoFault:
    fault = table["fault"]
    return DoFault(Fault(FaultKind(fault["kind"]), fault["job_id"], fault["at_ms"], fault["value"]))


# A plan refused is written as a table, a plan made as `plan`; job events have their own short rows.
_NAMES: dict[type, str] = {
    Init: "init",
    StartJob: "start_job",
    CancelJob: "cancel_job",
    AdjustJob: "adjust_job",
    AskPlan: "ask_plan",
    AskReload: "ask_reload",
    Ping: "ping",
    DoFault: "do_fault",
    Leave: "leave",
    Progress: "progress",
    Ready: "ready",
    StartFailed: "start_failed",
    PlanAnswer: "plan_refused",
    Reloaded: "reloaded",
    Pong: "pong",
    Leaving: "leaving",
}
_READERS: dict[str, Any] = {
    "chunk": _read_chunk,
    "done": lambda rest, _: Spoken(Done(*rest)),
    "failed": lambda rest, _: Spoken(Failed(*rest)),
    "plan": _read_plan,
    "init": lambda rest, _: Init(**rest[0]),
    "start_job": lambda rest, _: StartJob(_job(rest[0]["job"])),
    "cancel_job": lambda rest, _: CancelJob(**rest[0]),
    "adjust_job": lambda rest, _: AdjustJob(**rest[0]),
    "ask_plan": lambda rest, _: AskPlan(rest[0]["number"], PlanRequest(**rest[0]["request"])),
    "ask_reload": lambda rest, _: AskReload(),
    "ping": lambda rest, _: Ping(**rest[0]),
    "do_fault": lambda rest, _: _fault(rest[0]),
    "leave": lambda rest, _: Leave(),
    "progress": lambda rest, _: Progress(**rest[0]),
    "ready": lambda rest, _: _ready(rest[0]),
    "start_failed": lambda rest, _: StartFailed(**rest[0]),
    "plan_refused": lambda rest, _: PlanAnswer(**rest[0]),
    "reloaded": lambda rest, _: Reloaded(_info(rest[0]["info"])),
    "pong": lambda rest, _: Pong(**rest[0]),
    "leaving": lambda rest, _: Leaving(**rest[0]),
}

"""One text in, one audio stream out, over plain HTTP: `POST /api/tts`, and the response that other services' endpoints share.

The response starts with the first audio; what goes wrong before that is a JSON error with a fitting status, what goes wrong after
it breaks the stream off (chunked coding has no other way to say so, RFC 9112 section 8).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import anyio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from realtime import metrics
from realtime.errors import BadOption, RealtimeError, ServiceError
from realtime.pipeline import outputs as out
from realtime.pipeline.requests import Request as SpeechRequest
from realtime.pipeline.utterance import Utterance
from realtime.server.auth import Gatekeeper
from realtime.server.gateway import Gateway
from realtime.types import SPEEDS, AudioFormat, Budget, Codec, Emotion, Priority

STATUS = {
    "bad_text": 400,
    "bad_option": 422,
    "unknown_voice": 422,
    "unauthorized": 401,
    "overloaded": 503,
    "draining": 503,
    "deadline_missed": 504,
    "engine_failed": 503,
    "worker_lost": 503,
}
RATE_LIMITED = ("rate_limited", "too_many_streams")
FIELDS = {"text", "voice", "speaker_id", "speed", "format", "sample_rate", "language", "emotion"}
# Nobody waits at a file that was asked for: as much as an hour of sound goes out as fast as it is made and read, what is beyond only as
# fast as it sounds.
MAX_LEAD_MS = 3_600_000
# What `format` may say besides a codec's own name.
ALIASES = {"pcm": Codec.PCM_S16LE, "ulaw": Codec.MULAW, "ogg": Codec.OGG_OPUS}


class Refusal(Exception):
    """Raised for a body that is refused before any text is looked at."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def error_response(error: RealtimeError) -> JSONResponse:
    """The JSON error of any endpoint."""
    status = 429 if error.code == "overloaded" and any(word in error.message for word in RATE_LIMITED) else STATUS.get(error.code, 400)
    return refusal_response(status, error.code, error.message, error.retryable, error.retry_after_ms)


def refusal_response(status: int, code: str, message: str, retryable: bool = False, retry_after_ms: int | None = None) -> JSONResponse:
    """`{"error": {...}}`, with Retry-After in whole seconds where there is one (RFC 9110 section 10.2.3)."""
    metrics.errors.labels(code).inc()
    headers = {} if retry_after_ms is None else {"retry-after": str(math.ceil(retry_after_ms / 1000))}
    return JSONResponse({"error": _error_table(code, message, retryable, retry_after_ms)}, status, headers)


def partial_response(body: dict[str, Any], failures: Sequence[RealtimeError]) -> JSONResponse:
    """A body with the `error` of the first failure beside it, if there was any. What fails behind a request that asks for nothing in
    particular is the service's fault, whatever its kind."""
    for error in failures:
        metrics.errors.labels(error.code).inc()
    if not failures:
        return JSONResponse(body)
    first = failures[0]
    return JSONResponse({"error": error_table(first), **body}, STATUS.get(first.code, 500) if isinstance(first, ServiceError) else 500)


def error_table(error: RealtimeError) -> dict[str, Any]:
    """An error as a JSON object."""
    return _error_table(error.code, error.message, error.retryable, error.retry_after_ms)


def _error_table(code: str, message: str, retryable: bool, retry_after_ms: int | None) -> dict[str, Any]:
    table = {"code": code, "message": message, "retryable": retryable, "retry_after_ms": retry_after_ms}
    return {key: value for key, value in table.items() if value is not None}


def endpoint(gateway: Gateway, keeper: Gatekeeper) -> Callable[[Request], Any]:
    """The handler of POST /api/tts."""

    async def speak(request: Request) -> Response:
        try:
            key_id = keeper.identify(request.headers, request.query_params)
            body = await _read_body(request, gateway.settings.limits.rest_chars)
            speech, audio_format = _parse(body, gateway, key_id)
            utterance = gateway.open(speech, audio_format)
            return SpeechResponse(gateway, utterance, body["text"], Form(gateway.back.content_type(audio_format), _payload, _refuse))
        except Refusal as refusal:
            return refusal_response(refusal.status, refusal.code, refusal.message)
        except ClientDisconnect:
            return Response(status_code=400)
        except RealtimeError as error:
            return error_response(error)

    return speak


async def _read_body(request: Request, max_chars: int) -> dict[str, Any]:
    raw = bytearray()
    async for piece in request.stream():
        raw += piece
        if len(raw) > max_chars * 12 + 4096:
            raise Refusal(413, "too_large", f"the text may have {max_chars} characters")
    try:
        body = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        raise Refusal(400, "bad_json", "the body must be a JSON object in UTF-8") from None
    if not isinstance(body, dict):
        raise Refusal(400, "bad_json", "the body must be a JSON object")
    text = body.get("text")
    if not isinstance(text, str):
        raise Refusal(422, "bad_text", "`text` must be a string")
    if len(text) > max_chars:
        raise Refusal(413, "too_large", f"the text has {len(text)} characters, the limit is {max_chars}")
    if not text.strip():
        raise Refusal(400, "bad_text", "`text` is empty")
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise Refusal(400, "bad_text", "`text` holds a lone surrogate")
    unknown = sorted(set(body) - FIELDS)
    if unknown:
        raise Refusal(422, "bad_option", f"unknown field {unknown[0]!r}; there are: {', '.join(sorted(FIELDS))}")
    return body


def _parse(body: dict[str, Any], gateway: Gateway, key_id: str) -> tuple[SpeechRequest, AudioFormat]:
    speed = body.get("speed", 1.0)
    if isinstance(speed, bool) or not isinstance(speed, int | float) or not SPEEDS[0] <= speed <= SPEEDS[1]:
        raise BadOption(f"`speed` must be a number from {SPEEDS[0]:g} to {SPEEDS[1]:g}")
    voice = body.get("voice", body.get("speaker_id"))
    for name, value in (("voice", voice), ("language", body.get("language")), ("emotion", body.get("emotion"))):
        if value is not None and not isinstance(value, str):
            raise BadOption(f"`{name}` must be a string")
    emotion = Emotion(body["emotion"]) if body.get("emotion") else None
    request = SpeechRequest(
        voice, body.get("language"), float(speed), emotion, Priority.NORMAL, _budget(gateway), is_never_silent=True, api_key=key_id
    )
    return request, _parse_format(body, gateway)


def _budget(gateway: Gateway) -> Budget:
    """As patient as a batch until it begins; but a stream over HTTP may be played as it comes, so nobody is made to wait within it."""
    buffer_ms = gateway.back.profiles["browser"].start_buffer_ms
    return replace(gateway.back.profiles["batch"], start_buffer_ms=buffer_ms, max_lead_ms=MAX_LEAD_MS)


def _parse_format(body: dict[str, Any], gateway: Gateway) -> AudioFormat:
    name, rate = body.get("format", "wav"), body.get("sample_rate")
    formats = gateway.back.formats
    codec = ALIASES.get(name, name) if isinstance(name, str) else name
    if codec not in formats:
        raise BadOption(f"`format` must be one of {', '.join(formats)}")
    rates = formats[codec]
    if rate is None:
        rate = 24000 if 24000 in rates else max(rates)
    if isinstance(rate, bool) or rate not in rates:
        raise BadOption(f"{codec} is offered at {', '.join(map(str, rates))} Hz")
    return AudioFormat(Codec(codec), rate)


@dataclass(frozen=True, slots=True)
class Form:
    """How a response looks: its type, the bytes for an output (None: none), the response for a failure before the first byte."""

    content_type: str
    encode: Callable[[out.Output], bytes | None]
    refuse: Callable[[out.FailedOut], Response]


def _payload(output: out.Output) -> bytes | None:
    return output.payload if isinstance(output, out.AudioOut) else None


def _refuse(failed: out.FailedOut) -> Response:
    return refusal_response(STATUS.get(failed.code, 500), failed.code, failed.message, failed.retryable, failed.retry_after_ms)


class SpeechResponse(Response):
    """Runs an admitted utterance and writes its audio as it comes. A client that leaves ends it."""

    def __init__(self, gateway: Gateway, utterance: Utterance, text: str, form: Form) -> None:
        self._gateway = gateway
        self._utterance = utterance
        self._text = text
        self._form = form
        self._has_begun = False
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        failed: out.FailedOut | None = None

        async def sink(output: out.Output) -> None:
            nonlocal failed
            if isinstance(output, out.FailedOut):
                failed = output
            elif (body := self._form.encode(output)) is not None:
                await self._begin(send)
                await send({"type": "http.response.body", "body": body, "more_body": True})

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._listen, receive)
            self._utterance.feed(self._text)
            self._utterance.end()
            await self._gateway.run(self._utterance, sink, "http")
            tasks.cancel_scope.cancel()
        if failed is not None:
            await self._fail(failed, scope, receive, send)
        else:
            await self._begin(send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _listen(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._utterance.cancel()

    async def _begin(self, send: Send) -> None:
        if not self._has_begun:
            self._has_begun = True
            headers = [
                (b"content-type", self._form.content_type.encode()),
                (b"x-request-id", self._utterance.id.encode()),
                (b"cache-control", b"no-store"),
            ]
            await send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _fail(self, failed: out.FailedOut, scope: Scope, receive: Receive, send: Send) -> None:
        if self._has_begun:
            raise ConnectionError(f"{failed.code}: {failed.message}")
        await self._form.refuse(failed)(scope, receive, send)

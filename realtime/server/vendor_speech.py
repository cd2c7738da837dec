"""Speech over HTTP for other services' clients: OpenAI's `/v1/audio/speech`, ElevenLabs' `/v1/text-to-speech/{voice}` and variants.

The dialect reads the body and writes the response; the utterance between them is one as any other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from realtime import metrics
from realtime.errors import BadText, RealtimeError, ServiceError
from realtime.pipeline import outputs as out
from realtime.server.auth import Gatekeeper
from realtime.server.gateway import Gateway
from realtime.server.offers import check_format
from realtime.server.speech import MAX_LEAD_MS, Form, SpeechResponse
from realtime.server.translate import to_events, to_request
from realtime.server.vendor_sockets import vendor_budget, voice_ids
from realtime.wire import events as wire
from realtime.wire.dialects import elevenlabs_http, openai_speech
from realtime.wire.dialects.elevenlabs_http import ElevenLabsSpeech, Timestamps
from realtime.wire.dialects.openai_speech import OpenAISpeech

Speech = OpenAISpeech | ElevenLabsSpeech
Refuse = Callable[[RealtimeError], tuple[int, dict[str, Any]]]

VARIANTS = {
    "": Timestamps.NONE,
    "/stream": Timestamps.NONE,
    "/with-timestamps": Timestamps.WHOLE,
    "/stream/with-timestamps": Timestamps.LINES,
}
"""What follows ElevenLabs' `/v1/text-to-speech/{voice_id}` -> what the response is."""


def speech_routes(gateway: Gateway, keeper: Gatekeeper) -> list[BaseRoute]:
    """One POST route per address."""
    openai = _Endpoint(gateway, keeper, lambda request: OpenAISpeech(voice_ids(gateway)), openai_speech.error_response)
    listed: list[BaseRoute] = [Route("/v1/audio/speech", openai.answer, methods=["POST"])]
    for suffix, timestamps in VARIANTS.items():
        elevenlabs = _Endpoint(gateway, keeper, _elevenlabs(gateway, timestamps), elevenlabs_http.error_response)
        listed.append(Route("/v1/text-to-speech/{voice_id}" + suffix, elevenlabs.answer, methods=["POST"]))
    return listed


def vendor_error(refuse: Refuse, error: RealtimeError) -> JSONResponse:
    """An error in a vendor's form, with Retry-After in whole seconds where there is one."""
    metrics.errors.labels(error.code).inc()
    status, body = refuse(error)
    headers = {} if error.retry_after_ms is None else {"retry-after": str(math.ceil(error.retry_after_ms / 1000))}
    return JSONResponse(body, status, headers)


def _elevenlabs(gateway: Gateway, timestamps: Timestamps) -> Callable[[Request], Speech]:
    def make(request: Request) -> Speech:
        return ElevenLabsSpeech(request.path_params["voice_id"], request.query_params, timestamps, voice_ids(gateway))

    return make


class _Endpoint:
    """One address: how to make its dialect for a request, and how its errors look."""

    def __init__(self, gateway: Gateway, keeper: Gatekeeper, make: Callable[[Request], Speech], refuse: Refuse) -> None:
        self._gateway = gateway
        self._keeper = keeper
        self._make = make
        self._refuse = refuse

    async def answer(self, request: Request) -> Response:
        """The handler."""
        try:
            key_id = self._keeper.identify(request.headers, request.query_params)
            dialect = self._make(request)
            return self._speak(dialect, await _body(request), key_id)
        except ClientDisconnect:
            return Response(status_code=400)
        except RealtimeError as error:
            return vendor_error(self._refuse, error)

    def _speak(self, dialect: Speech, body: bytes, key_id: str) -> Response:
        """Admit what the body asks for. Raises what the dialect or the gateway says no with."""
        events = dialect.decode(body)
        first = next(event for event in events if isinstance(event, wire.Open))
        text = "".join(event.text for event in events if isinstance(event, wire.AppendText))
        limit = self._gateway.settings.limits.rest_chars
        if len(text) > limit:
            raise BadText(f"the text has {len(text)} characters, the limit is {limit}")
        check_format(self._gateway, first.format)
        budget = replace(vendor_budget(self._gateway), max_lead_ms=MAX_LEAD_MS)
        request = to_request(first, budget, key_id, is_never_silent=True)
        utterance = self._gateway.open(request, first.format)
        return SpeechResponse(
            self._gateway,
            utterance,
            text,
            Form(
                dialect.content_type,
                lambda output: _joined(dialect.encode(event) for event in to_events(first.utterance, output)),
                lambda failed: vendor_error(self._refuse, _error_of(failed)),
            ),
        )


def _joined(parts: Iterable[bytes | None]) -> bytes | None:
    """The bytes that an output's events amount to; None if there are none."""
    return b"".join(part for part in parts if part) or None


async def _body(request: Request) -> bytes:
    """The body, cut just past the size that the dialect refuses."""
    limit = wire.Limits().max_message_bytes
    raw = bytearray()
    async for piece in request.stream():
        raw += piece
        if len(raw) > limit:
            break
    return bytes(raw)


def _error_of(failed: out.FailedOut) -> RealtimeError:
    """The error that an utterance failed of, by its code."""
    kind = next((kind for kind in _errors(RealtimeError) if kind.code == failed.code), ServiceError)
    return kind(failed.message, retry_after_ms=failed.retry_after_ms)


def _errors(root: type[RealtimeError]) -> Iterator[type[RealtimeError]]:
    yield root
    for kind in root.__subclasses__():
        yield from _errors(kind)

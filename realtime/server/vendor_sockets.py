"""WebSockets of other services' clients: who may connect, in each service's own words; then a `Connection` as any other.

ElevenLabs' clients may bring the key in the first message, and learn of errors from a message and close code 1008; so their sockets
are accepted before the key is looked at. DashScope's client brings it with the request and expects a refusal by HTTP status.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from starlette.datastructures import Headers, QueryParams
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from realtime import metrics
from realtime.errors import BadOption, Overloaded, RealtimeError, Unauthorized
from realtime.server.auth import Gatekeeper
from realtime.server.connection import Connection, Terms
from realtime.server.gateway import Gateway
from realtime.types import Budget
from realtime.wire.dialect import Message, close_code, cut_reason
from realtime.wire.dialects import SOCKET_PATHS, Factory
from realtime.wire.dialects.elevenlabs import ERROR_NAMES

# ElevenLabs' documentation: 20 s, 180 s at most.
INPUT_TIMEOUT_S, MAX_INPUT_TIMEOUT_S = 20.0, 180.0
# These clients send no playout marks and take sound as fast as it is made (as from the originals), so its lead has no bound but the
# reader's own pace.
MAX_LEAD_MS = 600_000
# A conversation's next turn begins while the sound of an interrupted one is still being made: these clients have no word for "stop". On
# a host with room for one stream the turn then waits. LiveKit gives up after 10 s without sound.
PATIENCE_S = 8.0


def socket_routes(gateway: Gateway, keeper: Gatekeeper) -> list[BaseRoute]:
    """A route for each of `SOCKET_PATHS`; DashScope's address is also written with a slash at its end."""
    listed: list[BaseRoute] = []
    for path, factory in SOCKET_PATHS.items():
        if path.startswith("/api-ws/"):
            endpoint: _DashScope | _ElevenLabs = _DashScope(gateway, keeper, factory)
            listed.append(WebSocketRoute(path + "/", endpoint))
        else:
            endpoint = _ElevenLabs(gateway, keeper, factory)
        listed.append(WebSocketRoute(path, endpoint))
    return listed


def vendor_budget(gateway: Gateway) -> Budget:
    """The budget of utterances whose protocol can't name one: a conversation's, with nothing held back."""
    return replace(gateway.back.profiles["chatbot"], max_lead_ms=MAX_LEAD_MS)


def voice_ids(gateway: Gateway) -> frozenset[str]:
    """The voices that may be asked for by name; any other name means the default one."""
    return frozenset(voice.id for _, voice in gateway.voices.voices())


class _Endpoint:
    """What all share: a bare ASGI application, so that frames go straight to the server."""

    def __init__(self, gateway: Gateway, keeper: Gatekeeper, factory: Factory) -> None:
        self._gateway = gateway
        self._keeper = keeper
        self._factory = factory

    def _check_room(self, headers: Headers) -> None:
        """Raises `Unauthorized` for another site's page, `Overloaded` when no connection is taken."""
        gateway = self._gateway
        self._keeper.check_origin(headers)
        if gateway.is_draining or gateway.connections >= gateway.settings.limits.connections:
            raise Overloaded("no more connections are taken at present", retry_after_ms=1000)

    async def _serve(self, websocket: WebSocket, send: Send, terms: Terms) -> None:
        """Serve an accepted socket. Raises `BadOption` for an address that asks for what there is not."""
        dialect = self._factory(websocket.path_params, websocket.query_params, voice_ids(self._gateway))
        await Connection(websocket, send, dialect, self._gateway, terms).serve()


class _DashScope(_Endpoint):
    """`/api-ws/v1/inference`: the key must come with the request."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        websocket = WebSocket(scope, receive, send)
        try:
            self._check_room(websocket.headers)
            key_id = self._keeper.identify(websocket.headers, websocket.query_params)
        except RealtimeError as error:
            name = "InvalidApiKey" if isinstance(error, Unauthorized) else "Throttling"
            await _deny(websocket, error, {"code": name, "message": error.message})
            return
        await websocket.accept()
        await self._serve(websocket, send, Terms(key_id, budget=vendor_budget(self._gateway), patience_s=PATIENCE_S, is_never_silent=True))


class _ElevenLabs(_Endpoint):
    """`stream-input` and `multi-stream-input`: a key in a header, the query, or the first message."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        websocket = WebSocket(scope, receive, send)
        try:
            self._check_room(websocket.headers)
        except RealtimeError as error:
            name = "origin_not_allowed" if isinstance(error, Unauthorized) else "system_busy"
            await _deny(websocket, error, {"detail": {"status": name, "message": error.message}})
            return
        await websocket.accept()
        try:
            await self._serve(websocket, send, self._terms(websocket))
        except (BadOption, Unauthorized) as error:
            await _dismiss(websocket, error)

    def _terms(self, websocket: WebSocket) -> Terms:
        query = websocket.query_params
        terms = Terms(
            budget=vendor_budget(self._gateway), input_timeout_s=_input_timeout_s(query), patience_s=PATIENCE_S, is_never_silent=True
        )
        headers = websocket.headers
        if "authorization" in query:
            headers = Headers({"authorization": _bearer(query["authorization"])})
        try:
            return replace(terms, api_key=self._keeper.identify(headers, query))
        except Unauthorized:
            if any(name in headers for name in ("xi-api-key", "x-api-key", "authorization")) or "token" in query:
                raise
            return replace(terms, identify=self._identify)

    def _identify(self, message: Message) -> str:
        """The id of the key in the first message. Raises `Unauthorized`."""
        try:
            first = json.loads(message)
        except (ValueError, RecursionError):
            first = None
        given = first if isinstance(first, dict) else {}
        found: dict[str, str] = {}
        for field in ("xi-api-key", "xi_api_key", "authorization"):
            value = given.get(field)
            if isinstance(value, str) and value.isascii() and value.isprintable():
                found = {"authorization": _bearer(value)}
                break
        return self._keeper.identify(Headers(found), QueryParams())


def _bearer(key: str) -> str:
    return key if key[:7].lower() == "bearer " else f"Bearer {key}"


def _input_timeout_s(query: Mapping[str, str]) -> float:
    given = query.get("inactivity_timeout", "")
    if not given:
        return INPUT_TIMEOUT_S
    if not given.isdecimal() or len(given) > 6 or not int(given):
        raise BadOption(f"inactivity_timeout must be 1..{MAX_INPUT_TIMEOUT_S:g} whole seconds")
    return min(MAX_INPUT_TIMEOUT_S, float(given))


async def _deny(websocket: WebSocket, error: RealtimeError, body: dict[str, object]) -> None:
    """Refuse the upgrade by an HTTP response."""
    metrics.errors.labels(error.code).inc()
    is_busy = isinstance(error, Overloaded)
    status = 503 if is_busy else 403 if "pages" in error.message else 401
    await websocket.send_denial_response(JSONResponse(body, status, {"retry-after": "1"} if is_busy else None))


async def _dismiss(websocket: WebSocket, error: RealtimeError) -> None:
    """Say an error as ElevenLabs does on an accepted socket: a message, then a close that repeats it."""
    metrics.errors.labels(error.code).inc()
    is_format = isinstance(error, BadOption) and error.message.startswith("output_format")
    name = "invalid_output_format" if is_format else ERROR_NAMES.get(error.code, error.code)
    code = close_code(error)
    await websocket.send_text(json.dumps({"message": error.message, "error": name, "code": code}, ensure_ascii=False))
    await websocket.close(code, cut_reason(error.message))

"""The route list. Endpoints are small and are given what they need; nothing here knows an engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from realtime import metrics
from realtime.errors import RealtimeError
from realtime.server import offers, speech
from realtime.server.auth import Gatekeeper
from realtime.server.connection import Connection, Terms
from realtime.server.gateway import Gateway
from realtime.server.vendor_catalog import catalog_routes, voices
from realtime.server.vendor_sockets import socket_routes
from realtime.server.vendor_speech import speech_routes
from realtime.wire.dialects import DIALECTS

Handler = Callable[[Request], Any]


def routes(gateway: Gateway, keeper: Gatekeeper, web_player: Path | None) -> list[BaseRoute]:
    """Everything the service answers to."""
    guarded = _Guard(keeper)
    listed: list[BaseRoute] = [
        WebSocketRoute("/v1/stream", _Stream(gateway, keeper)),
        Route("/api/tts", speech.endpoint(gateway, keeper), methods=["POST"]),
        Route("/health", _health),
        Route("/ready", _ready(gateway)),
        Route("/metrics", _metrics),
        Route("/v1/capabilities", guarded(lambda request: offers.capabilities(gateway))),
        Route("/v1/voices", guarded(lambda request: {"voices": voices(gateway)})),
        Route("/v1/voices/reload", _reload(gateway, keeper), methods=["POST"]),
        Route("/v1/workers", guarded(lambda request: {"workers": gateway.back.workers()})),
        Route("/v1/tokens", _tokens(keeper), methods=["POST"]),
        Route("/v1/faults", _faults(gateway, keeper), methods=["POST"]),
        *socket_routes(gateway, keeper),
        *speech_routes(gateway, keeper),
        *catalog_routes(gateway, keeper),
    ]
    if web_player is not None:
        listed.append(Mount("/", _Page(directory=web_player, html=True)))
    return listed


class _Page(StaticFiles):
    """The web player. Its modules belong together: a browser asks whether each is still the same (304) before it uses an old one."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "no-cache"
        return response


class _Guard:
    """Turns a function that returns JSON data into a handler behind the gate."""

    def __init__(self, keeper: Gatekeeper) -> None:
        self._keeper = keeper

    def __call__(self, answer: Callable[[Request], dict[str, Any]]) -> Handler:
        async def handler(request: Request) -> Response:
            try:
                self._keeper.identify(request.headers, request.query_params)
                return JSONResponse(answer(request))
            except RealtimeError as error:
                return speech.error_response(error)

        return handler


class _Stream:
    """`/v1/stream` as a bare ASGI application, so that its frames go straight to the server."""

    def __init__(self, gateway: Gateway, keeper: Gatekeeper) -> None:
        self._gateway = gateway
        self._keeper = keeper

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        websocket, gateway = WebSocket(scope, receive, send), self._gateway
        try:
            self._keeper.check_origin(websocket.headers)
            key_id = self._keeper.identify(websocket.headers, websocket.query_params)
        except RealtimeError as error:
            await _deny(websocket, 401 if "key" in error.message or "token" in error.message else 403, error.code, error.message)
            return
        offered = scope.get("subprotocols", [])
        chosen = next((name for name in DIALECTS if name in offered), None)
        if chosen is None:
            await _deny(websocket, 400, "protocol_violation", f"offer a subprotocol: {', '.join(DIALECTS)}")
            return
        if gateway.is_draining or gateway.connections >= gateway.settings.limits.connections:
            await _deny(websocket, 503, "overloaded", "no more connections are taken at present")
            return
        await websocket.accept(subprotocol=chosen)
        dialect = DIALECTS[chosen](max_message_bytes=gateway.settings.limits.message_bytes)
        await Connection(websocket, send, dialect, gateway, Terms(key_id)).serve()


async def _deny(websocket: WebSocket, status: int, code: str, message: str) -> None:
    response = speech.refusal_response(status, code, message, retryable=status == 503, retry_after_ms=1000 if status == 503 else None)
    await websocket.send_denial_response(response)


async def _health(request: Request) -> Response:
    return JSONResponse({"status": "live", "version": offers.VERSION})


def _ready(gateway: Gateway) -> Handler:
    async def ready(request: Request) -> Response:
        body = {"status": "ready" if gateway.is_ready else "draining" if gateway.is_draining else "warming up"}
        return JSONResponse(body, 200 if gateway.is_ready else 503)

    return ready


async def _metrics(request: Request) -> Response:
    return Response(metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _tokens(keeper: Gatekeeper) -> Handler:
    async def tokens(request: Request) -> Response:
        try:
            token, seconds = keeper.keys.issue_token(keeper.identify(request.headers, request.query_params))
        except RealtimeError as error:
            return speech.error_response(error)
        return JSONResponse({"token": token, "expires_in_s": seconds})

    return tokens


def _faults(gateway: Gateway, keeper: Gatekeeper) -> Handler:
    async def faults(request: Request) -> Response:
        if not gateway.settings.server.allow_faults:
            return speech.refusal_response(403, "unauthorized", "faults are off; start with --allow-faults on loopback")
        try:
            keeper.identify(request.headers, request.query_params)
            body = json.loads(await request.body())
            if not isinstance(body, dict):
                raise ValueError("the body must be an object")
            return JSONResponse(gateway.back.inject(body))
        except (ValueError, KeyError, TypeError) as error:
            return speech.refusal_response(422, "bad_option", f"not a fault: {error}")
        except RealtimeError as error:
            return speech.error_response(error)

    return faults


def _reload(gateway: Gateway, keeper: Gatekeeper) -> Handler:
    async def reload(request: Request) -> Response:
        try:
            keeper.identify(request.headers, request.query_params)
            answers = await gateway.back.reload()
        except RealtimeError as error:
            return speech.error_response(error)
        rows = [row if error is None else {**row, "error": speech.error_table(error)} for row, error in answers]
        return speech.partial_response({"voices": voices(gateway), "workers": rows}, [error for _, error in answers if error is not None])

    return reload

"""One WebSocket to the service: dial, session and dialect on top of `websockets`. A link is used until it breaks; a new one is dialled."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol

from realtime.errors import BadOption, Overloaded, RealtimeError, Unauthorized
from realtime.wire.dialects import DIALECTS
from realtime.wire.dialects.native import MAX_SERVER_MESSAGE_BYTES
from realtime.wire.events import ClientEvent, Error, Ready, ServerEvent
from realtime.wire.session import LocalProtocolError, Session
from realtime.wire.transitions import Role
from realtime_client.errors import KINDS, ConnectionLost, error_from

STREAM_PATH = "/v1/stream"
OPEN_S = 10.0
"""Precedent: `websockets` and most HTTP clients give a handshake 10 s."""
CLOSE_S = 2.0
"""How long a goodbye may take. Guess: a service that hangs must not hold up whoever leaves it; nothing is lost by not waiting."""
PING_S, PONG_S = 2.5, 5.0
"""A hung peer is noticed within 7.5 s: before the 8 s of sound are played that a service sends ahead by default. A busy one has 5 s to
answer, as long as Pipecat gives a send."""


def stream_url(url: str) -> str:
    """The WebSocket of a service named by `ws://`, `wss://`, `http://`, `https://` or bare `host:port`. Raises `BadOption`."""
    parts = urlsplit(url if "://" in url else f"ws://{url}")
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    if scheme not in ("ws", "wss") or not parts.hostname:
        raise BadOption(f"{url!r} names no service; write ws://HOST:PORT")
    path = parts.path if parts.path.strip("/") else STREAM_PATH
    return urlunsplit((scheme, parts.netloc, path, parts.query, ""))


class Link:
    """An open connection. `ready` is what the service offered."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._session = Session(Role.CLIENT)
        self._dialect = DIALECTS[str(socket.subprotocol)](Role.CLIENT)
        self._sending = asyncio.Lock()
        self.ready = Ready("")

    @classmethod
    async def dial(cls, url: str, *, api_key: str | None, subprotocol: str, open_s: float = OPEN_S) -> Link:
        """Connect and wait for `ready`. Raises `Unauthorized`, `Overloaded`, `BadOption` or `ConnectionLost`, each saying what to do."""
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else None
        try:
            async with asyncio.timeout(open_s):
                socket = await connect(
                    url,
                    subprotocols=[Subprotocol(subprotocol)],
                    additional_headers=headers,
                    max_size=MAX_SERVER_MESSAGE_BYTES,
                    compression=None,  # sound does not deflate
                    open_timeout=None,
                    close_timeout=CLOSE_S,
                    ping_interval=PING_S,
                    ping_timeout=PONG_S,
                )
                return await cls._greeted(socket)
        except InvalidStatus as error:
            raise _refusal(url, error) from None
        except (InvalidHandshake, InvalidURI, EOFError) as error:
            raise ConnectionLost(f"{url} does not speak this protocol: {error}") from None
        except TimeoutError:
            raise ConnectionLost(f"{url} did not answer within {open_s:g} s") from None
        except OSError as error:
            raise ConnectionLost(f"nothing answers at {url} ({error.strerror or error}); is `realtime serve` running?") from None

    @classmethod
    async def _greeted(cls, socket: ClientConnection) -> Link:
        try:
            if socket.subprotocol is None:
                raise ConnectionLost("the server took none of our subprotocols; is it this service?")
            link = cls(socket)
            event = await link.receive()
            if isinstance(event, Error):
                raise error_from(event)
            assert isinstance(event, Ready)  # the session takes nothing else first
            link.ready = event
            return link
        except BaseException:
            await socket.close()
            raise

    async def receive(self) -> ServerEvent:
        """The next thing that the service says and that is to be acted upon. Raises `ConnectionLost`, or `ProtocolViolation` if the
        service broke the protocol."""
        try:
            while True:
                for event in self._dialect.decode(await self._socket.recv()):  # a native message is one event at most
                    if self._session.receive(event):
                        return event  # type: ignore[return-value]  # a client session receives server events only
        except ConnectionClosed as closed:
            raise ConnectionLost(_farewell(closed)) from None

    async def send(self, event: ClientEvent) -> bool:
        """Send what is legal now; False if it no longer is (the utterance ended meanwhile). Raises `ConnectionLost`, and what the
        service would answer to something beyond its limits (`BadText`, `Overloaded`)."""
        async with self._sending:  # the order in which the session saw events is the order on the wire
            if not self._session.can_send(event):
                return False
            try:
                self._session.send(event)
            except LocalProtocolError as refused:
                raise (refused.__cause__ or refused) from None
            try:
                await self._socket.send(self._dialect.encode(event))
            except ConnectionClosed as closed:
                raise ConnectionLost(_farewell(closed)) from None
            return True

    async def aclose(self) -> None:
        """Say goodbye."""
        self._session.close()
        await self._socket.close()


def _farewell(closed: ConnectionClosed) -> str:
    frame = closed.rcvd
    if frame is None:
        return "the connection to the service broke"
    return f"the service closed the connection ({frame.code}{': ' + frame.reason if frame.reason else ''})"


def _refusal(url: str, error: InvalidStatus) -> RealtimeError:
    """The exception for an upgrade that was answered by plain HTTP."""
    status, body = error.response.status_code, _json(error.response.body)
    message = str(body.get("message") or f"{url} answered HTTP {status}")
    retry_after_ms = body.get("retry_after_ms")
    hint = retry_after_ms if type(retry_after_ms) is int else None
    kind = KINDS.get(str(body.get("code")))
    if kind is not None:
        return kind(message, retry_after_ms=hint)
    if status in (401, 403):
        return Unauthorized(message)
    if status in (429, 503):
        return Overloaded(message, retry_after_ms=hint)
    return ConnectionLost(f"{message}: no service of ours")


def _json(body: bytes | bytearray | None) -> dict[str, Any]:
    try:
        data = json.loads(body or b"{}")
    except ValueError:
        return {}
    inner = data.get("error", data) if isinstance(data, dict) else {}
    return inner if isinstance(inner, dict) else {}

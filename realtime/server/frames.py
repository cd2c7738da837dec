"""Several WebSocket messages in one write: the server's side of an ASGI extension, and the way to it from an application.

A message through ASGI costs a dict, two coroutines, a frame object and a write of its own: 25 us, most of it the write
(`python ops/bench/wire.py`). A stream that is ahead of its listener sends half a second of sound at a time, five messages or more.
Servers other than ours don't offer the extension; messages then go one by one.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, Sequence

from starlette.types import Scope, Send
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.protocol import State

EXTENSION = "realtime.websocket.messages"
"""Key in `scope["extensions"]`; the value is a `WriteMessages`."""

WriteMessages = Callable[[Sequence[str | bytes]], Awaitable[None]]
"""Sends messages in order; waits while the peer's window is full. Raises `OSError` once it is gone."""

# RFC 6455 section 5.2: FIN and the opcode; a payload length of 126 or 127 announces one of 16 or 64 bits. A server does not mask.
_TEXT, _BINARY = 0x81, 0x82
_SHORT, _MEDIUM, _LONG = struct.Struct("!BB").pack, struct.Struct("!BBH").pack, struct.Struct("!BBQ").pack


class MessagesProtocol(WebSocketsSansIOProtocol):
    """uvicorn's protocol with the extension. Extensions of the WebSocket protocol itself (deflate) must be off."""

    async def run_asgi(self) -> None:
        if not self.config.ws_per_message_deflate:
            extensions: dict[str, object] = self.scope.setdefault("extensions", {})  # type: ignore[assignment]
            extensions[EXTENSION] = self.write_messages
        await super().run_asgi()

    async def write_messages(self, messages: Sequence[str | bytes]) -> None:
        """See `WriteMessages`. Only once the socket was accepted."""
        if not self.writable.is_set():
            await self.writable.wait()
        if self.disconnected or self.close_sent or self.conn.state is not State.OPEN:
            raise ClientDisconnected()
        self.transport.write(b"".join(_framed(messages)))


def message_writer(scope: Scope, send: Send) -> WriteMessages:
    """How an application writes messages here: the extension where the server has it, else `send` for each."""
    offered: WriteMessages | None = scope.get("extensions", {}).get(EXTENSION)
    if offered is not None:
        return offered

    async def write(messages: Sequence[str | bytes]) -> None:
        for message in messages:
            await send({"type": "websocket.send", "bytes" if isinstance(message, bytes) else "text": message})

    return write


def _framed(messages: Sequence[str | bytes]) -> list[bytes]:
    parts: list[bytes] = []
    for message in messages:
        opcode, payload = (_BINARY, message) if isinstance(message, bytes) else (_TEXT, message.encode())
        size = len(payload)
        if size < 126:
            head = _SHORT(opcode, size)
        elif size < 65536:
            head = _MEDIUM(opcode, 126, size)
        else:
            head = _LONG(opcode, 127, size)
        parts += (head, payload)
    return parts

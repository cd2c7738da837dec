"""SIP over TCP (RFC 3261, 18): connections by the address of their other side, bytes cut into messages by Content-Length.

A `StreamAddress` says that something came, or is to go, over such a connection. Answers and requests within a call go over the one that
is there, whatever Contact or Via say: it reaches who is behind NAT, too. More than `MAX_STREAMS`, and one that sends no message within
`HELLO_S`, are closed.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable

from realtime_ivr.errors import CallFailed
from realtime_ivr.sip.reading import MAX_MESSAGE_BYTES, Address, StreamAddress

from realtime.errors import BadOption

log = logging.getLogger("realtime_ivr")

MAX_STREAMS = 500
HELLO_S = 30.0
CONNECT_S = 5.0
MAX_UNSENT_BYTES = 1 << 18
"""Of a connection; one that takes no more is cut. Some 200 answers."""
LENGTH = re.compile(rb"^(?:content-length|l)\s*:\s*(\d{1,7})\s*$", re.IGNORECASE | re.MULTILINE)


class Unframed(Exception):
    """Raised for bytes in which no message can begin or end."""


class Framer:
    """Bytes in, messages out. Pure."""

    def __init__(self) -> None:
        self._held = bytearray()

    def push(self, data: bytes) -> list[bytes]:
        """The messages that are whole now; empty lines between them are keepalives (RFC 5626, 3.5.1). Raises `Unframed`."""
        self._held += data
        found: list[bytes] = []
        while True:
            del self._held[: len(self._held) - len(self._held.lstrip(b"\r\n"))]
            head = self._held.find(b"\r\n\r\n")
            if head < 0:
                if len(self._held) > MAX_MESSAGE_BYTES:
                    raise Unframed("headers without an end")
                return found
            length = LENGTH.search(bytes(self._held[: head + 2]).replace(b"\r\n", b"\n"))
            if length is None:
                raise Unframed("no Content-Length, which TCP needs (RFC 3261, 18.3)")
            end = head + 4 + int(length.group(1))
            if end > 4 * MAX_MESSAGE_BYTES:
                raise Unframed(f"a message of {end} bytes")
            if len(self._held) < end:
                return found
            found.append(bytes(self._held[:end]))
            del self._held[:end]


class _Stream(asyncio.Protocol):
    """One connection."""

    def __init__(self, owner: Streams) -> None:
        self._owner, self._framer = owner, Framer()
        self._hello: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport | None = None
        self.address = StreamAddress(("", 0))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # of a stream
        peer = transport.get_extra_info("peername")
        self.transport, self.address = transport, StreamAddress((str(peer[0]), int(peer[1])))
        self._hello = asyncio.get_running_loop().call_later(HELLO_S, transport.abort)
        self._owner.opened(self)

    def data_received(self, data: bytes) -> None:
        try:
            messages = self._framer.push(data)
        except Unframed as error:
            log.info("%s:%d is hung up on: %s", *self.address, error)
            self.cut()
            return
        if messages and self._hello is not None:
            self._hello.cancel()
        for message in messages:
            self._owner.on_message(message, self.address)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._hello is not None:
            self._hello.cancel()
        self._owner.closed(self)

    def cut(self) -> None:
        """Close without a word."""
        if self.transport is not None:
            self.transport.abort()


class Streams:
    """All connections of an agent. `on_message` gets a message and where it came from."""

    def __init__(self, on_message: Callable[[bytes, Address], None]) -> None:
        self.on_message = on_message
        self._open: dict[Address, _Stream] = {}
        self._server: asyncio.Server | None = None

    def __len__(self) -> int:
        return len(self._open)

    async def listen(self, host: str, port: int) -> None:
        """Take connections. Raises `BadOption`."""
        try:
            self._server = await asyncio.get_running_loop().create_server(lambda: _Stream(self), host, port)
        except OSError as error:
            raise BadOption(f"can't listen for SIP over TCP at {host}:{port}: {error.strerror or error}") from None

    async def reach(self, there: Address) -> StreamAddress:
        """The connection to `there`, made if there is none. Raises `CallFailed`."""
        if there not in self._open:
            try:
                async with asyncio.timeout(CONNECT_S):
                    await asyncio.get_running_loop().create_connection(lambda: _Stream(self), *there)
            except (OSError, TimeoutError) as error:
                raise CallFailed(f"no TCP connection to {there[0]}:{there[1]}: {error or 'too slow'}", status=503) from None
        return StreamAddress(there)

    def send(self, data: bytes, to: Address) -> None:
        """Write a message. Without a connection it is lost: the transaction's timer finds out."""
        stream = self._open.get(to)
        if stream is None or stream.transport is None:
            log.debug("no connection to %s:%d any more", *to)
            return
        stream.transport.write(data)
        if stream.transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            stream.cut()

    def close(self) -> None:
        """Close every connection and the port."""
        if self._server is not None:
            self._server.close()
        for stream in list(self._open.values()):
            if stream.transport is not None:
                stream.transport.close()

    def opened(self, stream: _Stream) -> None:
        """A connection was made, by either side."""
        if len(self._open) >= MAX_STREAMS:
            stream.cut()
        else:
            self._open[stream.address] = stream

    def closed(self, stream: _Stream) -> None:
        """A connection is gone."""
        if self._open.get(stream.address) is stream:
            del self._open[stream.address]

"""What the transports over one connection per call share: a queue of sound, the pacer's ticks, and a listener that makes calls of
connections."""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from realtime_ivr.call import Call, CallInfo, HangUpSide, HungUp, MarkHeard
from realtime_ivr.pacer import Pacer
from realtime_ivr.sounds import from_call
from realtime_ivr.theirs import LEAD_S, TheirPlayout
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from realtime.errors import BadOption
from realtime.types import Codec

log = logging.getLogger("realtime_ivr")

HELLO_S = 10.0
"""Time for a connection to say which call it is. Guess; all of them do at once."""
MAX_MESSAGE = 1 << 16
MAX_CALLS = 500
"""Connections beyond it are refused with 503."""
MAX_UNSENT_BYTES = 1 << 16
"""Unsent bytes of a connection: 8 s of G.711. A network that takes nothing for so long has lost the call."""
OnCall = Callable[[Call], Awaitable[object]]


class TheirClockCall(Call):
    """A call over a WebSocket whose network owns the clock. Subclasses say how a frame, a mark and a clear are written."""

    def __init__(
        self, info: CallInfo, encoding: Codec, socket: ServerConnection, pacer: Pacer, *, has_marks: bool, lead_s: float = LEAD_S
    ) -> None:
        super().__init__(info, encoding)
        self.socket = socket
        self._theirs = TheirPlayout(encoding, has_marks=has_marks, lead_s=lead_s)
        self._pacer = pacer
        pacer.add(self)

    @abstractmethod
    def write_frames(self, frames: list[bytes]) -> None:
        """Send these."""

    def write_mark(self, name: str) -> None:  # not every network has marks
        """Have `name` come back when all sent before was heard."""

    def write_clear(self) -> None:  # nor can every one forget
        """Have what was sent and not heard forgotten."""

    def can_send(self) -> bool:
        """Whether the network takes more at the moment."""
        return True

    async def hang_up(self, reason: str = "") -> None:
        """Close the connection: that ends the call."""
        self.over(HangUpSide.FLOW, reason)
        await self.socket.close()

    def over(self, side: HangUpSide, reason: str = "") -> None:
        """The call is over, whoever did it."""
        self._pacer.remove(self)
        self.emit(HungUp(side, reason))

    def tick(self, skipped: int) -> None:
        """The pacer's: send what keeps the lead."""
        now = time.monotonic()
        if self.hung_up is not None or not self.can_send():
            return
        if self.socket.transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self.over(HangUpSide.NETWORK, "the connection takes nothing")
            return
        frames = self._theirs.due(now)
        if frames:
            self.write_frames(frames)
            self.quality.packets_sent += len(frames)
            for frame in frames:
                for listener in self.on_sent:
                    listener(frame)
        if (name := self._theirs.mark_due()) is not None:
            self.write_mark(name)
        self._report(now)

    def play(self, payload: bytes) -> None:
        """Queue sound."""
        self._theirs.queue.push(payload)

    def mark(self, name: str) -> None:
        """Report when all queued so far was heard."""
        self._theirs.name(name)
        self._theirs.queue.mark("")

    def clear(self) -> int:
        """Take back what was not heard, over there too."""
        now = time.monotonic()
        was_there = self._theirs.sent > self._theirs.heard(now)
        forgotten = self._theirs.clear(now)
        if was_there and self.hung_up is None:
            self.write_clear()
        self._report(now)
        return forgotten

    def cut(self, position: int) -> None:
        """Take back what is still here behind `position`."""
        self._theirs.cut(position)

    @property
    def played(self) -> int:
        """Samples heard, by their marks."""
        return self._theirs.heard(time.monotonic())

    @property
    def queued(self) -> int:
        """Samples not heard."""
        return self._theirs.queued(time.monotonic())

    def marked(self, name: str) -> None:
        """A mark of ours came back."""
        self._theirs.marked(name, time.monotonic())
        self._report(time.monotonic())

    def heard_payload(self, payload: bytes) -> None:
        """The caller's sound, in the call's encoding."""
        self.quality.packets_received += 1
        self.heard_from_caller(from_call(payload, self.encoding))

    def send(self, message: str | bytes) -> None:
        """Write a message without waiting: ticks must not. The write buffer is watched by `tick`."""
        try:
            self.socket.protocol.send_text(message.encode()) if isinstance(message, str) else self.socket.protocol.send_binary(message)
            self.socket.send_data()
        except (ConnectionClosed, RuntimeError) as error:
            log.debug("call %s: %s", self.info.id, error)

    def _report(self, now: float) -> None:
        for name in self._theirs.passed(now):
            if name:
                self.emit(MarkHeard(name))


Talk = Callable[[ServerConnection], Awaitable[None]]


class WebSocketListener:
    """A WebSocket server whose connections are calls. `check` may refuse a handshake."""

    def __init__(self, host: str, port: int, talk: Talk, check: Callable[[Request], str | None] = lambda request: None) -> None:
        self.host, self.port = host, port
        self._talk, self._check = talk, check
        self._server: Server | None = None
        self._calls = 0

    async def start(self, subprotocols: list[str] | None = None) -> None:
        """Listen. Raises `BadOption`."""
        try:
            self._server = await serve(
                self._handle,
                self.host,
                self.port,
                process_request=self._greet,
                max_size=MAX_MESSAGE,
                subprotocols=subprotocols,  # type: ignore[arg-type]  # NewType of str
                ping_interval=20,
                ping_timeout=20,
            )
        except OSError as error:
            raise BadOption(f"can't listen at {self.host}:{self.port}: {error.strerror or error}") from None
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def aclose(self) -> None:
        """Close every call and the port."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def _greet(self, connection: ServerConnection, request: Request) -> Response | None:
        if self._calls >= MAX_CALLS:
            response = connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "too many calls\n")
            response.headers["Retry-After"] = "5"
            return response
        reason = self._check(request)
        return None if reason is None else connection.respond(HTTPStatus.FORBIDDEN, reason + "\n")

    async def _handle(self, connection: ServerConnection) -> None:
        self._calls += 1
        try:
            await self._talk(connection)
        except ConnectionClosed:
            return
        finally:
            self._calls -= 1


async def run_call(call: TheirClockCall, on_call: OnCall, reading: Awaitable[None]) -> None:
    """A call's flow and its connection's reader together: whichever ends first ends the other."""
    reader = asyncio.ensure_future(_read(call, reading))
    try:
        await on_call(call)
    finally:
        await call.hang_up()
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)


async def _read(call: TheirClockCall, reading: Awaitable[None]) -> None:
    try:
        await reading
        call.over(HangUpSide.CALLER)
    except ConnectionClosed as closed:
        call.over(HangUpSide.NETWORK, f"the connection was closed ({closed.rcvd.code if closed.rcvd else 'broken'})")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("call %s: malformed message: %s", call.info.id, error)
        call.over(HangUpSide.NETWORK, f"malformed message: {error}")


def b64(data: bytes) -> str:
    """Base64 as text."""
    return base64.b64encode(data).decode("ascii")

"""Asterisk's WebSocket channel driver (chan_websocket, and ARI externalMedia over it): Asterisk connects to us and owns the clock.

Binary frames are media in the channel's codec; text frames are commands and events, plain words or JSON, whichever the channel was
configured for. Only whole frames are sent, since Asterisk drops the rest of any other silently. Wanted: `ulaw`, `alaw` or `slin` (8 kHz).
Written from Asterisk's source; it met a simulator, no real Asterisk."""

from __future__ import annotations

import asyncio
import json
import logging

from realtime_ivr.call import CallInfo, Digit, Direction
from realtime_ivr.errors import CallFailed
from realtime_ivr.linked import HELLO_S, OnCall, TheirClockCall, WebSocketListener, run_call
from realtime_ivr.pacer import Pacer
from websockets.asyncio.server import ServerConnection

from realtime.types import Codec

log = logging.getLogger("realtime_ivr")

FORMATS = {"ulaw": Codec.MULAW, "alaw": Codec.ALAW, "slin": Codec.PCM_S16LE, "slin8": Codec.PCM_S16LE}


def read_event(message: str) -> dict[str, str]:
    """An event as a table with `event` and its fields, from either way of writing. Raises `ValueError`."""
    if message.startswith("{"):
        data = json.loads(message)
        return {str(name): str(value) for name, value in data.items()}
    name, *words = message.split()
    fields = {key: value for key, colon, value in (word.partition(":") for word in words) if colon}
    if words and not fields:
        fields["id"] = words[0]
    return {"event": name, **fields}


class ChanWebSocketCall(TheirClockCall):
    """One channel."""

    def __init__(self, info: CallInfo, encoding: Codec, socket: ServerConnection, pacer: Pacer, *, is_json: bool) -> None:
        super().__init__(info, encoding, socket, pacer, has_marks=True)
        self._is_json = is_json
        self._is_full = False

    async def answer(self) -> None:
        """Tell Asterisk to answer the channel."""
        self.command("ANSWER")

    async def hang_up(self, reason: str = "") -> None:
        """HANGUP, then close."""
        if self.hung_up is None:
            self.command("HANGUP")
        await super().hang_up(reason)

    def can_send(self) -> bool:
        """Not between MEDIA_XOFF and MEDIA_XON."""
        return not self._is_full

    def write_frames(self, frames: list[bytes]) -> None:
        """One binary message of whole frames."""
        self.send(b"".join(frames))

    def write_mark(self, name: str) -> None:
        """MARK_MEDIA."""
        self.command("MARK_MEDIA", name)

    def write_clear(self) -> None:
        """FLUSH_MEDIA."""
        self.command("FLUSH_MEDIA")

    def command(self, name: str, argument: str = "") -> None:
        """A command as text, or as JSON where the channel speaks it."""
        if self._is_json:
            self.send(json.dumps({"command": name, **({"correlation_id": argument} if argument else {})}))
        else:
            self.send(f"{name} {argument}".strip())

    async def read(self) -> None:
        """Until the socket closes, which is the hang-up. Raises what a malformed event raises."""
        async for message in self.socket:
            if isinstance(message, bytes):
                self.heard_payload(message)
            else:
                self._happened(read_event(message))

    def _happened(self, event: dict[str, str]) -> None:
        match event.get("event"):
            case "DTMF_END":
                self.emit(Digit(event["digit"][:1]))
            case "MEDIA_XOFF" | "MEDIA_XON":
                self._is_full = event["event"] == "MEDIA_XOFF"
            case "MEDIA_MARK_PROCESSED":
                self.marked(event.get("id") or event.get("correlation_id") or "")
            case "ERROR":
                log.warning("call %s: Asterisk says %s", self.info.id, event)


class ChanWebSocketTransport:
    """The server that Asterisk connects to."""

    def __init__(self, host: str, port: int, on_call: OnCall, pacer: Pacer) -> None:
        self._listener = WebSocketListener(host, port, self._talk)
        self._on_call, self._pacer = on_call, pacer

    def __repr__(self) -> str:
        return f"<ChanWebSocketTransport {self._listener.host}:{self.port}>"

    @property
    def port(self) -> int:
        """The port that is bound."""
        return self._listener.port

    async def start(self) -> None:
        """Listen. Raises `BadOption`."""
        await self._listener.start(["media"])

    async def aclose(self) -> None:
        """End every call."""
        await self._listener.aclose()

    async def _talk(self, socket: ServerConnection) -> None:
        try:
            async with asyncio.timeout(HELLO_S):
                message = await socket.recv()
            start = read_event(message if isinstance(message, str) else "")
            if start.get("event") != "MEDIA_START":
                raise ValueError(f"began with {start.get('event')}")
            encoding = _encoding(start.get("format", ""))
        except (TimeoutError, ValueError, IndexError, CallFailed) as error:
            log.warning("a connection at the chan_websocket port is refused: %s", error or "silent")
            await socket.close(1008, str(error)[:100])
            return
        info = CallInfo(
            start.get("channel_id") or start.get("connection_id") or "?",
            "chan_websocket",
            Direction.INCOMING,
            start.get("channel", ""),
            "",
            start,
        )
        call = ChanWebSocketCall(info, encoding, socket, self._pacer, is_json=isinstance(message, str) and message.startswith("{"))
        await run_call(call, self._on_call, call.read())


def _encoding(format: str) -> Codec:
    if format not in FORMATS:
        raise CallFailed(f"format {format!r}; dial WebSocket/<connection>/c(ulaw), we speak {', '.join(FORMATS)}")
    return FORMATS[format]

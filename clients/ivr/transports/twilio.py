"""Twilio Media Streams (`<Connect><Stream url="wss://...">`): Twilio connects to us, sends and takes base64 mu-law in JSON, owns the clock.

Marks drive the playout clock, `clear` is the barge-in. Twilio wants TLS: put a proxy in front, and give its address as `public_url`,
which the signature covers (HMAC-SHA1 over the URL with the account's token, in `X-Twilio-Signature`). Without a token nothing is checked,
and that is said when starting. Written from Twilio's documentation; it met a simulator, no real Twilio."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from realtime_ivr.call import CallInfo, Digit, Direction
from realtime_ivr.linked import HELLO_S, OnCall, TheirClockCall, WebSocketListener, b64, run_call
from realtime_ivr.pacer import Pacer
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request

from realtime.types import Codec

log = logging.getLogger("realtime_ivr")


def signature(token: str, url: str) -> str:
    """What Twilio sends for a WebSocket URL: there are no POST parameters to add."""
    return b64(hmac.new(token.encode(), url.encode(), hashlib.sha1).digest())


def is_signed(token: str, url: str, given: str) -> bool:
    """Whether a signature is right for the URL; with and without the default port and a final slash, as Twilio's own validators allow
    for."""
    parts = urlsplit(url)
    hosts = {parts.netloc, parts.netloc.removesuffix(":443"), f"{parts.netloc}:443" if parts.port is None else parts.netloc}
    paths = {parts.path, parts.path.rstrip("/"), parts.path.rstrip("/") + "/"}
    urls = [urlunsplit(("wss", host, path, parts.query, "")) for host in hosts for path in paths]
    return any([hmac.compare_digest(signature(token, one), given) for one in urls])  # a list: every one is compared


class TwilioCall(TheirClockCall):
    """One stream."""

    def __init__(self, info: CallInfo, stream: str, socket: ServerConnection, pacer: Pacer) -> None:
        super().__init__(info, Codec.MULAW, socket, pacer, has_marks=True)
        self._stream = stream

    def write_frames(self, frames: list[bytes]) -> None:
        """One `media` message."""
        self._write("media", {"media": {"payload": b64(b"".join(frames))}})

    def write_mark(self, name: str) -> None:
        """A `mark`."""
        self._write("mark", {"mark": {"name": name}})

    def write_clear(self) -> None:
        """A `clear`."""
        self._write("clear", {})

    async def read(self) -> None:
        """Until `stop`. Raises what a malformed message raises."""
        async for message in self.socket:
            data: dict[str, Any] = json.loads(message)
            match data.get("event"):
                case "media" if data["media"].get("track", "inbound") == "inbound":
                    self.heard_payload(base64.b64decode(data["media"]["payload"], validate=True))
                case "dtmf":
                    self.emit(Digit(str(data["dtmf"]["digit"])[:1]))
                case "mark":
                    self.marked(str(data["mark"]["name"]))
                case "stop":
                    return

    def _write(self, event: str, rest: dict[str, Any]) -> None:
        self.send(json.dumps({"event": event, "streamSid": self._stream, **rest}))


class TwilioTransport:
    """The server that Twilio connects to."""

    def __init__(
        self, host: str, port: int, on_call: OnCall, pacer: Pacer, *, auth_token: str | None = None, public_url: str | None = None
    ) -> None:
        self._listener = WebSocketListener(host, port, self._talk, self._check)
        self._on_call, self._pacer, self._token, self._public_url = on_call, pacer, auth_token, public_url

    def __repr__(self) -> str:
        return f"<TwilioTransport {self._listener.host}:{self.port}{'' if self._token else ', signatures are not checked'}>"

    @property
    def port(self) -> int:
        """The port that is bound."""
        return self._listener.port

    async def start(self) -> None:
        """Listen. Raises `BadOption`."""
        await self._listener.start()
        if self._token is None:
            log.warning("Twilio's signatures are not checked: anybody who reaches this port can make calls; see --twilio-token-file")

    async def aclose(self) -> None:
        """End every call."""
        await self._listener.aclose()

    def _check(self, request: Request) -> str | None:
        if self._token is None:
            return None
        url = self._public_url or f"wss://{request.headers.get('Host', '')}{request.path}"
        given = request.headers.get("X-Twilio-Signature", "")
        return None if is_signed(self._token, url, given) else "X-Twilio-Signature is missing or wrong"

    async def _talk(self, socket: ServerConnection) -> None:
        try:
            async with asyncio.timeout(HELLO_S):
                start = await self._started(socket)
        except (TimeoutError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("a connection at the Twilio port is none of Twilio's: %s", error or "silent")
            await socket.close(1008, "no Media Streams start message")
            return
        details = start["start"]
        custom = {str(name): str(value) for name, value in (details.get("customParameters") or {}).items()}
        info = CallInfo(
            str(details.get("callSid") or start["streamSid"]),
            "twilio",
            Direction.INCOMING,
            custom.get("caller", ""),
            custom.get("callee", ""),
            custom,
        )
        call = TwilioCall(info, str(start["streamSid"]), socket, self._pacer)
        await run_call(call, self._on_call, call.read())

    async def _started(self, socket: ServerConnection) -> dict[str, Any]:
        """The `start` message. Raises `ValueError` for a format that is not mu-law at 8 kHz."""
        while True:
            data: dict[str, Any] = json.loads(await socket.recv())
            if data.get("event") == "start":
                format = data["start"].get("mediaFormat") or {}
                if format.get("encoding", "audio/x-mulaw") != "audio/x-mulaw" or int(format.get("sampleRate", 8000)) != 8000:
                    raise ValueError(f"media format {format}")
                return data
            if data.get("event") != "connected":
                raise ValueError(f"event {data.get('event')!r} before start")

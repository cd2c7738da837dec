"""A small service in this process: the real session and dialect in the server's role, a voice whose samples spell the text."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus

import numpy as np
import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, ConnectionClosedError
from websockets.http11 import Request, Response

from realtime.errors import RealtimeError
from realtime.types import Budget, Usage
from realtime.wire.dialects import DIALECTS
from realtime.wire.events import (
    AppendText,
    Audio,
    Cancel,
    Cancelled,
    ClientEvent,
    Done,
    End,
    Error,
    Event,
    Flush,
    Flushed,
    Limits,
    Open,
    Opened,
    Ping,
    Played,
    Pong,
    Ready,
    SegmentStarted,
    TextPaused,
    Word,
)
from realtime.wire.session import Session

CHAR_SAMPLES = 240
"""Ten milliseconds per character at 24 kHz; every sample of it is the character's code."""
CHUNK_CHARS = 3
"""An audio message spans this many characters, so that cuts fall inside words."""


def spell(text: str) -> bytes:
    return np.repeat(np.array([ord(c) for c in text], "<i2"), CHAR_SAMPLES).tobytes()


class FakeService:
    """Speaks everything at once. The knobs below are for tests to turn."""

    def __init__(self) -> None:
        self.received: list[ClientEvent] = []
        self.connections = 0
        self.port = 0
        self.deny: Response | None = None
        self.on_open: Callable[[Talk, Open], Awaitable[RealtimeError | None]] | None = None
        self.cut_at: list[int] = []  # break the connection after so many samples of it; one number per connection
        self.has_words = True
        self.is_mute = False  # take text, say nothing
        self.drops_done = False  # break the first connection instead of saying `done`
        self.pauses = False  # ask for no more text after `opened`
        self.is_deaf = False  # take messages, answer none
        self.greeting: Error | None = None  # instead of `ready`
        self.limits = Limits()
        self.talks: list[Talk] = []
        self._server: Server | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await serve(
            self._talk, "127.0.0.1", self.port, subprotocols=list(DIALECTS), process_request=self._greet, compression=None
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            for connection in list(self._server.connections):
                connection.transport.abort()
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    def _greet(self, connection: ServerConnection, request: Request) -> Response | None:
        return self.deny

    async def _talk(self, socket: ServerConnection) -> None:
        self.connections += 1
        talk = Talk(self, socket)
        self.talks.append(talk)
        try:
            await talk.run()
        except ConnectionClosed:
            return

    @staticmethod
    def read_back(pcm: bytes) -> str:
        """The text in a sound made by `spell`. Fails if a character sounds for anything but its whole time."""
        samples = np.frombuffer(pcm, "<i2")
        assert len(samples) % CHAR_SAMPLES == 0
        rows = samples.reshape(-1, CHAR_SAMPLES)
        assert (rows == rows[:, :1]).all()
        return "".join(map(chr, rows[:, 0]))

    @staticmethod
    def denial(status: HTTPStatus, body: dict[str, object] | str) -> Response:
        """A plain HTTP answer to an upgrade."""
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        return Response(status, status.phrase, Headers({"Content-Length": str(len(data)), "Connection": "close"}), data)

    def of(self, kind: type[Event]) -> list[Event]:
        """What clients sent, of one kind."""
        return [event for event in self.received if isinstance(event, kind)]


class Talk:
    """One connection of the fake."""

    def __init__(self, service: FakeService, socket: ServerConnection) -> None:
        self.service, self.socket = service, socket
        self.session = Session(limits=service.limits)
        self.dialect = DIALECTS[str(socket.subprotocol)]()
        self.texts: dict[str, str] = {}
        self.spoken: dict[str, int] = {}
        self.sequence: dict[str, int] = {}
        self.segments: dict[str, int] = {}
        self.total = 0

    async def send(self, event: Event) -> None:
        self.session.send(event)
        await self.socket.send(self.dialect.encode(event))

    async def run(self) -> None:
        if self.service.greeting is not None:
            await self.send(self.service.greeting)
            return
        await self.send(Ready("fake", self.service.limits))
        async for message in self.socket:
            for event in self.dialect.decode(message):
                self.service.received.append(event)
                try:
                    if self.session.receive(event) and not self.service.is_deaf:
                        await self.handle(event)
                except RealtimeError as error:
                    refused = self.session.refuse(error)
                    if refused is not None:
                        await self.socket.send(self.dialect.encode(refused))

    async def handle(self, event: Event) -> None:
        name = getattr(event, "utterance", "")
        match event:
            case Open():
                error = await self.service.on_open(self, event) if self.service.on_open else None
                if error is not None:
                    error.utterance = name
                    raise error
                self.texts[name], self.spoken[name], self.sequence[name], self.segments[name] = "", 0, 0, 0
                await self.send(Opened(name, "voice", event.format, Budget()))
                if self.service.pauses:
                    await self.send(TextPaused(name))
            case AppendText():
                self.texts[name] += event.text
                await self.speak_words(name, keep=1)
            case Flush():
                await self.speak_words(name, keep=0)
                at = self.spoken[name]
                await self.send(Flushed(name, event.flush_id, at, at * CHAR_SAMPLES))
            case End():
                await self.speak_words(name, keep=0)
                if self.service.drops_done and self.service.connections == 1:
                    self.socket.transport.close()
                elif not self.service.is_mute:
                    await self.send(Done(name, Usage(self.spoken[name]), ttfa_ms=1.0))
            case Cancel():
                await self.send(Cancelled(name, 1, 10.0))
            case Ping():
                await self.send(Pong(event.data))
            case Played():
                pass

    async def speak_words(self, name: str, keep: int) -> None:
        """Say what is whole: all but the last `keep` words."""
        text = self.texts[name]
        words = [match.span() for match in re.finditer(r"\S+\s*", text)]
        whole = words[: len(words) - keep] if keep else words
        end = len(text) if not keep else (whole[-1][1] if whole else 0)
        start = self.spoken[name]
        if end <= start or self.service.is_mute:
            return
        spans = [match.span() for match in re.finditer(r"\S+", text) if start <= match.start() < end] if self.service.has_words else []
        times = tuple(Word(a, b, a * 10.0, b * 10.0) for a, b in spans)
        index = self.segments[name]
        self.segments[name] += 1
        await self.send(SegmentStarted(name, index, start, end, start * CHAR_SAMPLES, "fake", "en", times))
        for at in range(start, end, CHUNK_CHARS):
            await self.send_audio(name, at * CHAR_SAMPLES, text[at : min(end, at + CHUNK_CHARS)])
        self.spoken[name] = end

    async def send_audio(self, name: str, offset: int, piece: str) -> None:
        samples, payload = len(piece) * CHAR_SAMPLES, spell(piece)
        limit = self.service.cut_at[0] if self.service.cut_at else None
        if limit is not None and self.total + samples > limit:
            samples = limit - self.total
            self.service.cut_at.pop(0)
            await self.send(Audio(name, self.sequence[name], offset, samples, "fake", payload[: samples * 2]))
            self.socket.transport.close()
            raise ConnectionClosedError(None, None)
        self.total += samples
        await self.send(Audio(name, self.sequence[name], offset, samples, "fake", payload))
        self.sequence[name] += 1


@pytest.fixture
async def service() -> AsyncIterator[FakeService]:
    fake = FakeService()
    await fake.start()
    yield fake
    await fake.stop()

"""Text from elsewhere as it is written: an HTTP or WebSocket endpoint asked once per turn, its answer streamed.

We POST (or send as the first message) one JSON object: `call`, `caller`, `callee`, `language`, `step`, `variables`, `said`, `heard`,
`interrupted_by`, and whatever the flow adds. The answer may be plain text in pieces, JSON lines, or server-sent events; of JSON, `text`,
or the content of an OpenAI chat chunk, is spoken. `[DONE]`, the end of the body or the socket's close ends it."""

from __future__ import annotations

import asyncio
import codecs
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
from realtime_ivr.errors import CallFailed
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidHandshake

CONNECT_S = 5.0
MAX_LINE = 1 << 20
"""Characters of one line of an answer. Guess; a chunk of a language model has under 1000."""
DONE = "[DONE]"


async def stream(url: str, question: Mapping[str, Any], *, headers: Mapping[str, str], timeout_s: float) -> AsyncIterator[str]:
    """Pieces of the answer. Raises `CallFailed` when the endpoint can't be reached, refuses, or is silent for `timeout_s`."""
    pieces = _by_websocket(url, question, headers, timeout_s) if url.startswith("ws") else _by_http(url, question, headers, timeout_s)
    try:
        async for piece in pieces:
            yield piece
    except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError, ConnectionClosedError, InvalidHandshake, ValueError) as error:
        raise CallFailed(f"{url} failed: {error or type(error).__name__}") from None


async def with_filler(pieces: AsyncIterator[str], filler: str, after_s: float) -> AsyncIterator[str]:
    """The same pieces, `filler` before the first one if that takes longer than `after_s`: who waits for an answer hears something."""
    first = asyncio.ensure_future(anext(pieces, None))
    try:
        await asyncio.wait([first], timeout=after_s)
        if not first.done() and filler:
            yield filler + " "
        piece = await first
        while piece is not None:
            yield piece
            piece = await anext(pieces, None)
    finally:
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


async def _by_http(url: str, question: Mapping[str, Any], headers: Mapping[str, str], timeout_s: float) -> AsyncIterator[str]:
    limits = httpx.Timeout(timeout_s, connect=CONNECT_S)
    async with httpx.AsyncClient(timeout=limits) as client, client.stream("POST", url, json=question, headers=dict(headers)) as response:
        if response.status_code != 200:
            raise CallFailed(f"{url} answered {response.status_code}")
        reader = reader_of(response.headers.get("content-type", ""))
        async for data in response.aiter_bytes():
            for piece in reader.push(data):
                yield piece
            if reader.is_done:
                return
        for piece in reader.flush():
            yield piece


async def _by_websocket(url: str, question: Mapping[str, Any], headers: Mapping[str, str], timeout_s: float) -> AsyncIterator[str]:
    async with connect(url, additional_headers=dict(headers), open_timeout=CONNECT_S, max_size=MAX_LINE) as socket:
        await socket.send(json.dumps(question, ensure_ascii=False))
        while True:
            try:
                async with asyncio.timeout(timeout_s):
                    message = await socket.recv(decode=True)
            except ConnectionClosedOK:
                return
            if message == DONE:
                return
            yield spoken(message) if message.startswith("{") else message


class PlainReader:
    """Text as it is."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.is_done = False

    def push(self, data: bytes) -> list[str]:
        """What the bytes say."""
        text = self._decoder.decode(data)
        return [text] if text else []

    def flush(self) -> list[str]:
        """The rest."""
        text = self._decoder.decode(b"", final=True)
        return [text] if text else []


class LineReader:
    """JSON lines and server-sent events: one object per line, `data:` before it or not."""

    def __init__(self) -> None:
        self._plain = PlainReader()
        self._rest = ""
        self.is_done = False

    def push(self, data: bytes) -> list[str]:
        """What the whole lines say. Raises `ValueError` for what is no JSON."""
        self._rest += "".join(self._plain.push(data))
        if len(self._rest) > MAX_LINE:
            raise ValueError("a line without end")
        *lines, self._rest = self._rest.split("\n")
        return [text for line in lines if (text := self._line(line.strip()))]

    def flush(self) -> list[str]:
        """A last line without its end."""
        rest, self._rest = self._rest + "".join(self._plain.flush()), ""
        text = self._line(rest.strip())
        return [text] if text else []

    def _line(self, line: str) -> str:
        if line.startswith("data:"):
            line = line[5:].strip()
        if line == DONE:
            self.is_done = True
        if self.is_done or not line.startswith("{"):  # empty lines, comments, `event:` and `id:` fields
            return ""
        return spoken(line)


def reader_of(content_type: str) -> PlainReader | LineReader:
    """By the media type."""
    kind = content_type.split(";")[0].strip().lower()
    return LineReader() if kind in ("text/event-stream", "application/x-ndjson", "application/jsonl", "application/json") else PlainReader()


def spoken(line: str) -> str:
    """The text in a JSON object: `text`, or an OpenAI chat chunk's content. Raises `ValueError` for what is no JSON."""
    data = json.loads(line)
    if not isinstance(data, dict):
        return ""
    if isinstance(data.get("text"), str):
        return str(data["text"])
    choices = data.get("choices")
    first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    delta = first.get("delta") or first.get("message") or {}
    content = delta.get("content") if isinstance(delta, dict) else None
    return content if isinstance(content, str) else ""

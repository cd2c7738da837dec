"""Messages written together are, byte for byte, what the WebSocket library would have written one by one."""

from __future__ import annotations

from typing import Any

import pytest
from websockets.frames import Frame, Opcode

from realtime.server.frames import EXTENSION, _framed, message_writer


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 70_001])
def test_frames_are_those_of_the_library(size: int) -> None:
    binary, text = bytes(range(256)) * (size // 256) + bytes(size % 256), "a" * size
    expected = [Frame(Opcode.BINARY, binary), Frame(Opcode.TEXT, text.encode()), Frame(Opcode.BINARY, b"end")]
    assert b"".join(_framed([binary, text, b"end"])) == b"".join(frame.serialize(mask=False) for frame in expected)


def test_text_is_counted_in_bytes() -> None:
    assert b"".join(_framed(["你好"])) == Frame(Opcode.TEXT, "你好".encode()).serialize(mask=False)


async def test_a_server_without_the_extension_gets_messages_one_by_one() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await message_writer({"type": "websocket"}, send)([b"\x01", "two"])
    assert sent == [{"type": "websocket.send", "bytes": b"\x01"}, {"type": "websocket.send", "text": "two"}]


async def test_a_server_with_the_extension_gets_them_all_at_once() -> None:
    written: list[list[str | bytes]] = []

    async def write(messages: list[str | bytes]) -> None:
        written.append(messages)

    async def send(message: Any) -> None:
        raise AssertionError("not this way")

    await message_writer({"type": "websocket", "extensions": {EXTENSION: write}}, send)([b"\x01", "two"])
    assert written == [[b"\x01", "two"]]

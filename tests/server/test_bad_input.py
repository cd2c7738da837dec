"""Bad input through a real socket: one clear error, the neighbour unharmed, nothing left behind."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import httpx
import msgpack
import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from realtime.app import DEFAULT_PROFILE
from realtime.audio.codecs import make_decoder
from realtime.config import LimitSettings
from realtime.engines.beacon.decoder import decode
from realtime.scheduling.budget import PROFILES
from realtime.server.offers import limits_of
from realtime.types import AudioFormat, Budget
from realtime.wire.events import Limits

JSON = ["realtime.v1.json"]
GOOD = "邻居说的话一个字也不能少。The neighbour loses nothing!"
OPEN = {"type": "open", "utterance": "x", "voice": "beacon-a", "budget": {"profile": "batch"}}


def dump(**fields: Any) -> str:
    return json.dumps(fields, ensure_ascii=False)


def opened(**fields: Any) -> str:
    return dump(**{**OPEN, **fields})


TEXT = dump(type="text", utterance="x", text="好")

# name -> messages after the neighbour has begun, and the code that must come back
BAD: dict[str, tuple[list[str | bytes], str]] = {
    "not json": (["{nonsense"], "protocol_violation"),
    "json, not an object": (["[1, 2]"], "protocol_violation"),
    "no type": (["{}"], "protocol_violation"),
    "unknown type": ([dump(type="sing", utterance="x")], "protocol_violation"),
    "unknown field": ([opened(loudness=11)], "protocol_violation"),
    "text before open": ([TEXT], "protocol_violation"),
    "end before open": ([dump(type="end", utterance="x")], "protocol_violation"),
    "double open": ([opened(), opened()], "protocol_violation"),
    "text after end": ([opened(), dump(type="end", utterance="x"), TEXT], "protocol_violation"),
    "unknown voice": ([opened(voice="nobody")], "unknown_voice"),
    "unknown codec": ([opened(format={"codec": "vinyl", "sample_rate": 24000})], "bad_option"),
    "unknown rate": ([opened(format={"codec": "pcm_s16le", "sample_rate": 12345})], "bad_option"),
    "unknown language": ([opened(language="tlh")], "bad_option"),
    "speed NaN": (['{"type":"open","utterance":"x","speed":NaN}'], "bad_option"),
    "speed negative": ([opened(speed=-1)], "bad_option"),
    "speed huge": ([opened(speed=1e300)], "bad_option"),
    "speed a string": ([opened(speed="fast")], "bad_option"),
    "empty text": ([opened(), dump(type="text", utterance="x", text="")], "bad_text"),
    "lone surrogate": ([opened(), '{"type":"text","utterance":"x","text":"\\ud800"}'], "bad_text"),
    "control characters": ([opened(), '{"type":"text","utterance":"x","text":"a\\u0000b\\u001b"}'], "bad_text"),
    "1 MB text": ([opened(), dump(type="text", utterance="x", text="好" * 300_000)], "bad_text"),
    "binary in json mode": ([b"\x81\xa4type\xa4open"], "protocol_violation"),
    "nesting bomb": (["[" * 100_000], "protocol_violation"),
    "id with a line break": ([opened(utterance="a\nb")], "protocol_violation"),
    "server's own message": ([dump(type="done", utterance="x")], "protocol_violation"),
}


@pytest.mark.parametrize("name", BAD)
async def test_one_error_and_the_neighbour_is_whole(serve: Any, name: str) -> None:
    messages, code = BAD[name]
    async with serve() as running, connect(running.ws, subprotocols=JSON) as socket:
        await socket.send(opened(utterance="good"))
        await socket.send(dump(type="text", utterance="good", text=GOOD[:7]))
        for message in messages:
            await socket.send(message)
        await socket.send(dump(type="text", utterance="good", text=GOOD[7:]))
        await socket.send(dump(type="end", utterance="good"))
        seen = await collect(socket, "good")
        errors = [m for m in seen if m["type"] == "error"]
        assert [m["code"] for m in errors] == [code], errors
        assert errors[0]["message"] and not errors[0].get("retryable")
        assert heard(seen, "good") == GOOD
        await nothing_is_left(running)


async def collect(socket: ClientConnection, utterance: str) -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = []
    with anyio.fail_after(30):
        while not seen or not (seen[-1]["type"] in ("done", "cancelled") and seen[-1]["utterance"] == utterance):
            seen.append(json.loads(await socket.recv()))
    return seen


def heard(seen: list[dict[str, Any]], utterance: str) -> str:
    decoder = make_decoder(AudioFormat())
    pieces = [decoder.push(b64decode(m["payload"])) for m in seen if m["type"] == "audio" and m["utterance"] == utterance]
    return decode(np.concatenate([*pieces, decoder.flush()]), 24000)


async def nothing_is_left(running: Any) -> None:
    service = running.service
    with anyio.fail_after(5):
        while service.dispatcher.load or any(worker.jobs for worker in service.pool.workers()):
            await anyio.sleep(0.01)
    assert service.scheduler.snapshot(0.0).streams == 0


async def test_a_message_over_the_limit_closes_with_1009(serve: Any) -> None:
    async with serve() as running, connect(running.ws, subprotocols=JSON) as socket:
        with pytest.raises(ConnectionClosed) as closed:
            await socket.send("x" * (1 << 20) + "x")
            while True:
                await socket.recv()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009
        await nothing_is_left(running)


async def test_a_message_over_a_limit_of_the_settings_is_refused_and_the_limit_is_the_one_told(serve: Any) -> None:
    async with serve(limits={"message_bytes": 2048}) as running, connect(running.ws, subprotocols=JSON) as socket:
        assert json.loads(await socket.recv())["limits"]["max_message_bytes"] == 2048
        await socket.send("x" * 2049)
        refused = json.loads(await socket.recv())
        assert refused["type"] == "error" and "the limit is 2048" in refused["message"]


def test_what_the_reference_calls_defaults_is_what_a_service_without_settings_tells() -> None:
    assert limits_of(LimitSettings()) == Limits()
    assert PROFILES[DEFAULT_PROFILE].budget == Budget()


async def test_endless_nonsense_closes_with_1008(serve: Any) -> None:
    async with serve() as running, connect(running.ws, subprotocols=JSON) as socket:
        with pytest.raises(ConnectionClosed) as closed:
            for _ in range(200):
                await socket.send("nonsense")
            while True:
                await socket.recv()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008


async def test_msgpack_garbage_and_text_frames_are_refused(serve: Any) -> None:
    async with serve() as running, connect(running.ws, subprotocols=["realtime.v1.msgpack"]) as socket:
        await socket.recv()
        for message in (b"\xc1", b"\xdb\xff\xff\xff\xff", msgpack.packb([1]), "text"):
            await socket.send(message)
            reply = msgpack.unpackb(await socket.recv())
            assert (reply["type"], reply["code"]) == ("error", "protocol_violation")


async def test_without_a_known_subprotocol_the_upgrade_is_denied(serve: Any) -> None:
    async with serve() as running:
        from websockets.exceptions import InvalidStatus

        with pytest.raises(InvalidStatus) as denied:
            await connect(running.ws, subprotocols=["realtime.v9"])
        assert denied.value.response.status_code == 400
        with pytest.raises(InvalidStatus) as stranger:
            await connect(running.ws, subprotocols=JSON, origin="http://evil.example")  # type: ignore[arg-type]
        assert stranger.value.response.status_code == 403


async def test_too_many_open_utterances_are_told_and_the_others_go_on(serve: Any) -> None:
    async with serve(limits={"open_utterances": 2}) as running, connect(running.ws, subprotocols=JSON) as socket:
        for name in ("a", "b", "c"):
            await socket.send(opened(utterance=name))
        await socket.send(dump(type="text", utterance="a", text=GOOD))
        await socket.send(dump(type="end", utterance="a"))
        seen = await collect(socket, "a")
        assert [(m["code"], m["utterance"]) for m in seen if m["type"] == "error"] == [("overloaded", "c")]
        assert heard(seen, "a") == GOOD


Leave = Callable[[ClientConnection], Awaitable[None]]


async def _after_greeting(socket: ClientConnection) -> None:
    await socket.recv()


async def _after_open(socket: ClientConnection) -> None:
    await socket.send(opened())


async def _in_mid_text(socket: ClientConnection) -> None:
    await socket.send(opened())
    await socket.send(dump(type="text", utterance="x", text=GOOD * 20))


async def _in_mid_audio(socket: ClientConnection) -> None:
    await _in_mid_text(socket)
    while json.loads(await socket.recv())["type"] != "audio":
        pass


async def _after_end(socket: ClientConnection) -> None:
    await _in_mid_audio(socket)
    await socket.send(dump(type="end", utterance="x"))


@pytest.mark.parametrize("leave", [_after_greeting, _after_open, _in_mid_text, _in_mid_audio, _after_end])
@pytest.mark.parametrize("is_polite", [True, False])
async def test_a_client_that_leaves_frees_its_jobs_at_once(serve: Any, leave: Leave, is_polite: bool) -> None:
    async with serve() as running:
        socket = await connect(running.ws, subprotocols=JSON)
        await leave(socket)
        if is_polite:
            await socket.close()
        else:
            socket.transport.abort()
        await nothing_is_left(running)
        with anyio.fail_after(5):
            while running.service.gateway.connections:
                await anyio.sleep(0.01)


async def test_a_reader_that_does_not_read_is_closed_and_costs_bounded_memory(serve: Any) -> None:
    limits = {"slow_client_s": 1.0, "outbox_kb": 64}
    async with serve(limits=limits) as running:
        socket = await connect(running.ws, subprotocols=JSON, max_queue=1)
        for i in range(4):
            await socket.send(opened(utterance=str(i), format={"codec": "pcm_f32le", "sample_rate": 48000}))
            await socket.send(dump(type="text", utterance=str(i), text=GOOD * 100))
        with anyio.fail_after(40):
            while running.service.gateway.connections:
                await anyio.sleep(0.05)
        await nothing_is_left(running)
        socket.transport.abort()


async def test_many_utterances_on_one_connection_leave_nothing_behind(serve: Any) -> None:
    count = 300
    async with serve() as running, connect(running.ws, subprotocols=JSON) as socket:
        for i in range(count):
            name = f"n{i % 7}"
            await socket.send(opened(utterance=name))
            await socket.send(dump(type="text", utterance=name, text="好。"))
            await socket.send(dump(type="end" if i % 3 else "cancel", utterance=name))
            await collect(socket, name)
        await nothing_is_left(running)
        assert len(running.service.gateway.dispatcher._attempts) == 0


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"not json", 400, "bad_json"),
        (b"[]", 400, "bad_json"),
        (b'{"text": 5}', 422, "bad_text"),
        (b'{"text": "  "}', 400, "bad_text"),
        (b'{"text": "\\ud800"}', 400, "bad_text"),
        (b'{"text": "hi", "voice": "nobody"}', 422, "unknown_voice"),
        (b'{"text": "hi", "format": "vinyl"}', 422, "bad_option"),
        (b'{"text": "hi", "sample_rate": 1}', 422, "bad_option"),
        (b'{"text": "hi", "speed": NaN}', 422, "bad_option"),
        (b'{"text": "hi", "speed": 9}', 422, "bad_option"),
        (b'{"text": "hi", "colour": "red"}', 422, "bad_option"),
        (json.dumps({"text": "好" * 30_000}).encode(), 413, "too_large"),
    ],
)
async def test_http_errors_are_json_with_a_fitting_status(serve: Any, body: bytes, status: int, code: str) -> None:
    async with serve() as running, httpx.AsyncClient(base_url=running.url) as client:
        response = await client.post("/api/tts", content=body)
        assert (response.status_code, response.json()["error"]["code"]) == (status, code)
        good = await client.post("/api/tts", json={"text": GOOD, "voice": "beacon-a", "format": "pcm"})
        assert good.status_code == 200
        assert decode(np.frombuffer(good.content, "<i2").astype(np.float32) / 32768, 24000) == GOOD

"""Faults under listeners who came another way than our own protocol: every one of them hears the whole text, too."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import httpx
import numpy as np
import pytest
from websockets.asyncio.client import connect

from realtime.audio.codecs import make_decoder
from realtime.engines.beacon.decoder import decode
from realtime.types import AudioFormat, Budget, Codec

TEXT = "这句话说到一半，机器就坏了。The caller hears all of it, 一个字也不会少。"
ENGINES = {
    "beacon": {"options": {"rate_factor": 0.4, "first_chunk_ms": 50, "chunk_ms": 100, "capacity": 8}, "step_timeout_s": 1.0},
    "beacon2": {"factory": "beacon", "options": {"name": "beacon2", "chunk_ms": 80, "capacity": 8, "voices": ["beacon-b"]}},
}
FAULTY: dict[str, Any] = {"engines": ENGINES, "server": {"allow_faults": True}, "cache": {"max_mb": 0}}
VOICE = "/v1/text-to-speech/21m00Tcm4TlvDq8ikWAM"


async def rest(running: Any, client: httpx.AsyncClient) -> bytes:
    return (await client.post("/api/tts", json={"text": TEXT, "format": "pcm", "sample_rate": 24000})).content


async def openai(running: Any, client: httpx.AsyncClient) -> bytes:
    body = {"model": "tts-1", "voice": "alloy", "input": TEXT, "response_format": "pcm"}
    return (await client.post("/v1/audio/speech", json=body)).content


async def elevenlabs(running: Any, client: httpx.AsyncClient) -> bytes:
    answer = await client.post(VOICE + "/stream/with-timestamps?output_format=pcm_24000", json={"text": TEXT})
    parts = [json.loads(line) for line in answer.text.splitlines() if line]
    assert "".join(c for part in parts if part["alignment"] for c in part["alignment"]["characters"]) == TEXT
    times = [at for part in parts if part["alignment"] for at in part["alignment"]["character_start_times_seconds"]]
    assert times == sorted(times), "the clock of the characters went back at the change of voice"
    return b"".join(b64decode(part["audio_base64"]) for part in parts if part["audio_base64"])


async def elevenlabs_socket(running: Any, client: httpx.AsyncClient) -> bytes:
    sound, told = b"", ""
    address = f"ws://127.0.0.1:{running.port}{VOICE}/stream-input?output_format=pcm_24000"
    async with connect(address) as socket:
        for text in (" ", TEXT[:11], TEXT[11:], ""):
            await socket.send(json.dumps({"text": text}))
        async for message in socket:
            said = json.loads(message)
            assert "error" not in said
            sound += b64decode(said["audio"] or "")
            told += "".join(said["alignment"]["chars"]) if said["alignment"] else ""
    assert told == TEXT
    return sound


async def dashscope(running: Any, client: httpx.AsyncClient) -> bytes:
    def task(action: str, **payload: Any) -> str:
        return json.dumps({"header": {"action": action, "task_id": "t", "streaming": "duplex"}, "payload": {"input": {}, **payload}})

    wish = {"task_group": "audio", "task": "tts", "function": "SpeechSynthesizer", "model": "cosyvoice-v2"}
    settings = {"text_type": "PlainText", "voice": "longxiaochun_v2", "format": "pcm", "sample_rate": 24000}
    sound = b""
    async with connect(f"ws://127.0.0.1:{running.port}/api-ws/v1/inference/") as socket:
        await socket.send(task("run-task", **wish, parameters=settings))
        async for message in socket:
            if isinstance(message, bytes):
                sound += message
                continue
            event = json.loads(message)["header"]["event"]
            assert event != "task-failed", message
            if event == "task-started":
                await socket.send(task("continue-task", input={"text": TEXT}))
                await socket.send(task("finish-task"))
            elif event == "task-finished":
                break
    return sound


WAYS: tuple[Callable[[Any, httpx.AsyncClient], Awaitable[bytes]], ...] = (rest, openai, elevenlabs, elevenlabs_socket, dashscope)


@pytest.mark.parametrize("kind", ["kill", "stop", "stall", "exception", "garbage", "nan", "drop_chunk"])
async def test_whichever_way_the_text_came_none_of_it_is_lost_or_said_twice(serve: Any, kind: str) -> None:
    heard: dict[str, str] = {}
    async with serve(**FAULTY) as running, httpx.AsyncClient(base_url=running.url, timeout=60) as client:
        plan = [{"kind": kind, "engine": "beacon", "at_ms": at, "value": 3000 if kind == "stall" else 0} for at in (300, 500)]
        assert (await client.post("/v1/faults", json={"plan": plan})).status_code == 200

        async def listen(way: Callable[[Any, httpx.AsyncClient], Awaitable[bytes]]) -> None:
            decoder = make_decoder(AudioFormat(Codec.PCM_S16LE, 24000))
            pieces = [decoder.push(await way(running, client)), decoder.flush()]
            heard[way.__name__] = decode(np.concatenate(pieces), 24000)

        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                for way in WAYS:
                    tasks.start_soon(listen, way)
        assert running.service.dispatcher.load == 0
    assert heard == {way.__name__: TEXT for way in WAYS}


async def test_a_stream_over_http_may_be_played_as_it_comes(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve() as running, httpx.AsyncClient(base_url=running.url, timeout=30) as client:
        budgets: list[Budget] = []
        opened = running.service.gateway.open

        def note(request: Any, audio_format: AudioFormat) -> Any:
            budgets.append(request.budget)
            return opened(request, audio_format)

        monkeypatch.setattr(type(running.service.gateway), "open", lambda self, *wish: note(*wish))
        await rest(running, client)
    assert [(budget.start_buffer_ms, budget.first_audio_ms) for budget in budgets] == [(100, 60_000)]

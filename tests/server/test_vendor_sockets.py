"""Other services' clients over WebSocket: what their packages send, replayed by hand; the sound must carry the text."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin

from realtime.audio.codecs import make_decoder
from realtime.engines.beacon.decoder import decode
from realtime.server.auth import KeyStore
from realtime.types import AudioFormat, Codec

TEXT = "你好，世界。今天是2024年5月3日！Dr. Smith paid $3.50… OK?"
UNKNOWN_VOICE = "hpp4J3VqNfWAUOO0d1Us"
PCM = AudioFormat(Codec.PCM_S16LE, 24000)


def address(running: Any, kind: str, **query: str) -> str:
    asked = "&".join(f"{name}={value}" for name, value in query.items())
    return f"ws://127.0.0.1:{running.port}/v1/text-to-speech/{UNKNOWN_VOICE}/{kind}?{asked}"


def heard(pieces: list[bytes], audio_format: AudioFormat = PCM) -> str:
    decoder = make_decoder(audio_format)
    sound = np.concatenate([*(decoder.push(piece) for piece in pieces), decoder.flush()])
    return decode(sound, audio_format.sample_rate)


async def say(socket: ClientConnection, *messages: dict[str, Any]) -> None:
    """Send; that the service has closed already shows in what it said before."""
    with suppress(ConnectionClosed):
        for message in messages:
            await socket.send(json.dumps(message))


async def until_close(socket: ClientConnection) -> AsyncIterator[dict[str, Any]]:
    with anyio.fail_after(30):
        try:
            while True:
                yield json.loads(await socket.recv())
        except ConnectionClosed:
            return


async def until_finals(socket: ClientConnection, count: int) -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = []
    with anyio.fail_after(30):
        while sum(message.get("isFinal") is True for message in seen) < count:
            seen.append(json.loads(await socket.recv()))
    return seen


def sound_of(messages: list[dict[str, Any]], context: str | None = None) -> list[bytes]:
    return [b64decode(m["audio"]) for m in messages if m.get("audio") and m.get("contextId") == context]


async def test_stream_input_speaks_one_text_and_closes(serve: Any) -> None:
    async with serve() as running, connect(address(running, "stream-input", output_format="mp3_44100_128")) as socket:
        opening = {
            "text": " ",
            "try_trigger_generation": True,
            "voice_settings": None,
            "generation_config": {"chunk_length_schedule": [50]},
        }
        await say(socket, opening)
        for word in TEXT.split(" "):
            await say(socket, {"text": word + " ", "try_trigger_generation": True})
        await say(socket, {"text": ""})
        seen = [message async for message in until_close(socket)]
        assert (socket.close_code, socket.close_reason) == (1000, "")
        assert heard(sound_of(seen), AudioFormat(Codec.MP3, 44100, 128000)) == TEXT + " "
        assert [message["isFinal"] for message in seen].count(True) == 1 and seen[-1]["isFinal"] is True
        assert "".join(c for m in seen if m["alignment"] for c in m["alignment"]["chars"]) == TEXT + " "
        assert running.service.dispatcher.load == 0


async def test_contexts_run_side_by_side_and_their_names_may_come_again(serve: Any) -> None:
    query = {"output_format": "pcm_24000", "auto_mode": "true", "sync_alignment": "true", "inactivity_timeout": "180"}
    async with serve() as running, connect(address(running, "multi-stream-input", **query)) as socket:
        for name in "AB":
            await say(socket, {"text": " ", "voice_settings": {}, "context_id": name})
        # LiveKit's way and Pipecat's
        await say(socket, {"text": "First sentence. ", "context_id": "A", "flush": True}, {"text": TEXT, "context_id": "B"})
        await say(socket, {"text": ""}, {"text": "", "context_id": "A"}, {"text": "Second. ", "context_id": "A", "flush": True})
        for name in "AB":
            await say(socket, {"text": "", "context_id": name, "flush": True}, {"context_id": name, "close_context": True})
        seen = await until_finals(socket, 2)
        assert heard(sound_of(seen, "A")) == "First sentence. Second. "
        assert heard(sound_of(seen, "B")) == TEXT
        assert sorted(message["contextId"] for message in seen if message["isFinal"]) == ["A", "B"]
        await say(socket, {"text": "Again. ", "context_id": "A", "flush": True}, {"close_socket": True})
        again = [message async for message in until_close(socket)]
        assert heard(sound_of(again, "A")) == "Again. "
        assert again[-1]["isFinal"] is True and socket.close_code == 1000


async def test_what_an_elevenlabs_client_gets_wrong_is_said_in_a_message_and_a_close(serve: Any) -> None:
    async with serve() as running:
        for query, name in (
            ({"output_format": "vinyl_33"}, "invalid_output_format"),
            ({"inactivity_timeout": "soon"}, "invalid_request"),
            ({"output_format": "pcm_12345"}, "invalid_request"),
        ):
            async with connect(address(running, "stream-input", **query)) as socket:
                await say(socket, {"text": "Words. "})
                (said,) = [message async for message in until_close(socket)]
                assert (said["error"], said["code"], socket.close_code) == (name, 1008, 1008)
                assert said["message"].startswith(socket.close_reason or "?")
        async with connect(address(running, "multi-stream-input", output_format="pcm_12345")) as socket:
            await say(socket, {"text": "Words. ", "context_id": "A"})
            (failed,) = await until_finals(socket, 1)
            assert (failed["contextId"], failed["error"]) == ("A", "invalid_request")
            await socket.send("not json")
            (said,) = [message async for message in until_close(socket)]
            assert (said["error"], socket.close_code) == ("invalid_request", 1008)


async def test_who_says_nothing_for_too_long_is_told_so(serve: Any) -> None:
    async with serve() as running:
        query = {"output_format": "pcm_24000", "inactivity_timeout": "1"}
        async with connect(address(running, "stream-input", **query)) as socket:
            await say(socket, {"text": " "}, {"text": "Nothing follows this. ", "flush": True})
            seen = [message async for message in until_close(socket)]
            assert heard(sound_of(seen)) == "Nothing follows this. "
            assert (seen[-1]["error"], socket.close_code) == ("input_timeout_exceeded", 1008)
        async with connect(address(running, "multi-stream-input", **query)) as socket:
            await say(socket, {"text": "Left open. ", "context_id": "A", "flush": True})
            seen = [message async for message in until_close(socket)]
            assert heard(sound_of(seen, "A")) == "Left open. "
            ended, closed = seen[-2:]
            assert (ended["contextId"], ended["isFinal"], ended["error"]) == ("A", True, "input_timeout_exceeded")
            assert (closed["error"], socket.close_code) == ("input_timeout_exceeded", 1008)
        assert running.service.dispatcher.load == 0


async def test_a_key_may_come_in_every_way_of_theirs(serve: Any, tmp_path: Path) -> None:
    key = KeyStore(tmp_path / "data").add("desk")
    words, end = {"text": "Let me in. ", "flush": True}, {"text": ""}
    async with serve() as running:
        url = address(running, "stream-input", output_format="pcm_24000")
        good: list[tuple[str, dict[str, str], dict[str, str]]] = [
            (url, {"xi-api-key": key}, {}),
            (url, {"authorization": f"Bearer {key}"}, {}),
            (url + f"&authorization={key}", {}, {}),
            (url, {}, {"xi-api-key": key}),
            (url, {}, {"xi_api_key": key}),
        ]
        for where, headers, fields in good:
            async with connect(where, additional_headers=headers) as socket:
                await say(socket, {"text": " ", **fields}, words, end)
                assert heard(sound_of([message async for message in until_close(socket)])) == "Let me in. "
        bad = [
            (url, {"xi-api-key": "wrong"}, {}),
            (url + "&authorization=wrong", {}, {}),
            (url, {}, {}),
            (url, {}, {"xi-api-key": "Ünfug"}),
        ]
        for where, headers, fields in bad:
            async with connect(where, additional_headers=headers) as socket:
                with anyio.fail_after(10):
                    await say(socket, {"text": " ", **fields}, words, end)
                    (said,) = [message async for message in until_close(socket)]
                assert (said["error"], socket.close_code) == ("invalid_api_key", 1008)
        tasks = f"ws://127.0.0.1:{running.port}/api-ws/v1/inference"
        for header, status in ((f"Bearer {key}x", 401), ("", 401)):
            with pytest.raises(InvalidStatus) as refused:
                await connect(tasks, additional_headers={"authorization": header})
            assert refused.value.response.status_code == status
        async with connect(tasks + "/", additional_headers={"authorization": f"bearer {key}"}) as socket:
            assert await done(socket, "t", Task("t", "duplex").whole("Hello. ")) == "Hello. "


class Task:
    """One DashScope task's messages, as the package writes them."""

    def __init__(self, task_id: str, streaming: str, **parameters: Any) -> None:
        self._header = {"task_id": task_id, "streaming": streaming}
        self._parameters = {"voice": "longxiaochun", "format": "pcm", "sample_rate": 24000, "rate": 1.0, "seed": 0, **parameters}

    def run(self, **given: Any) -> dict[str, Any]:
        payload = {"model": "cosyvoice-v2", "task_group": "audio", "task": "tts", "function": "SpeechSynthesizer"}
        return self._message("run-task", {**payload, "parameters": self._parameters, "input": given})

    def go_on(self, **given: Any) -> dict[str, Any]:
        return self._message("continue-task", {"input": given})

    def finish(self, **given: Any) -> dict[str, Any]:
        return self._message("finish-task", {"input": given})

    def whole(self, text: str) -> list[dict[str, Any]]:
        return [self.run(), self.go_on(text=text), self.finish()]

    def _message(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        return {"header": {**self._header, "action": action}, "payload": payload}


async def done(socket: ClientConnection, task_id: str, messages: list[dict[str, Any]]) -> str:
    """Send the messages and take what comes until the task is finished; returns what was heard, or the error's code."""
    await say(socket, *messages)
    pieces: list[bytes] = []
    events: list[str] = []
    with anyio.fail_after(30):
        while True:
            message = await socket.recv()
            if isinstance(message, bytes):
                assert events[:1] == ["task-started"]
                pieces.append(message)
                continue
            said = json.loads(message)
            assert said["header"]["task_id"] == task_id
            events.append(said["header"]["event"])
            if events[-1] == "task-failed":
                return str(said["header"]["error_code"])
            if events[-1] == "task-finished":
                assert said["payload"]["output"] is None
                return heard(pieces)


async def test_dashscope_tasks_follow_one_another_on_a_socket(serve: Any) -> None:
    async with serve() as running:
        own = Origin(f"http://127.0.0.1:{running.port}")
        async with connect(f"ws://127.0.0.1:{running.port}/api-ws/v1/inference", origin=own) as socket:
            first = Task("a1", "duplex")
            messages = [
                first.run(),
                *(first.go_on(text=char) for char in TEXT),
                first.go_on(flush=True),
                first.go_on(text="完。"),
                first.finish(),
            ]
            assert await done(socket, "a1", messages) == TEXT + "完。"
            assert await done(socket, "b2", [Task("b2", "out").run(text=TEXT)]) == TEXT
            assert await done(socket, "c3", [Task("c3", "duplex", format="vinyl").run()]) == "bad_option"
            assert await done(socket, "d4", [Task("d4", "duplex", sample_rate=11025).run()]) == "bad_option"
            stopped = Task("e5", "duplex")
            await done(socket, "e5", [stopped.run(), stopped.go_on(text=TEXT * 50), stopped.finish(directive="cancel")])
            assert await done(socket, "f6", Task("f6", "duplex").whole("Good bye.")) == "Good bye."
            assert running.service.dispatcher.load == 0


async def test_strangers_pages_and_late_comers_are_turned_away(serve: Any) -> None:
    async with serve() as running:
        urls = [address(running, "stream-input"), f"ws://127.0.0.1:{running.port}/api-ws/v1/inference"]
        for url in urls:
            with pytest.raises(InvalidStatus) as refused:
                await connect(url, origin=Origin("http://evil.example"))
            assert refused.value.response.status_code == 403
        running.service.gateway.drain()
        for url in urls:
            with pytest.raises(InvalidStatus) as refused:
                await connect(url)
            assert refused.value.response.status_code == 503


async def test_a_client_that_vanishes_leaves_nothing_behind(serve: Any) -> None:
    slow = {"beacon": {"options": {"rate_factor": 0.2}}}
    async with serve(engines=slow) as running:
        socket = await connect(address(running, "multi-stream-input", output_format="pcm_24000"))
        for name in "ABC":
            await say(socket, {"text": TEXT * 5, "context_id": name, "flush": True})
        await socket.recv()
        assert running.service.dispatcher.load
        socket.transport.abort()
        with anyio.fail_after(10):
            while running.service.dispatcher.load or running.service.gateway.connections:
                await anyio.sleep(0.05)


async def test_on_a_host_with_room_for_one_the_next_turn_waits_for_the_last(serve: Any) -> None:
    one = {"beacon": {"options": {"rate_factor": 0.7}}}
    async with serve(engines=one) as running, connect(address(running, "multi-stream-input", output_format="pcm_24000")) as socket:
        for name, text in (("A", TEXT), ("B", "The next turn.")):
            await say(socket, {"text": text, "context_id": name, "flush": True}, {"context_id": name, "close_context": True})
        seen = await until_finals(socket, 2)
        assert heard(sound_of(seen, "A")) == TEXT and heard(sound_of(seen, "B")) == "The next turn."
        assert not any("error" in message for message in seen)
        first_of_b = next(i for i, message in enumerate(seen) if message["contextId"] == "B")
        assert any(message["contextId"] == "A" and message["isFinal"] for message in seen[:first_of_b])
        tasks = f"ws://127.0.0.1:{running.port}/api-ws/v1/inference"
        async with connect(tasks) as other:
            await say(socket, {"text": TEXT * 20, "context_id": "A", "flush": True})
            await socket.recv()
            waits = Task("w", "duplex")
            await say(other, waits.run(), waits.go_on(text="Never heard."), waits.finish(directive="cancel"))
            with anyio.fail_after(5):
                said = json.loads(await other.recv())
            assert said["header"]["event"] == "task-finished"
    with anyio.fail_after(10):
        while running.service.dispatcher.load:
            await anyio.sleep(0.05)


async def test_a_pipeline_at_32_khz_is_served(serve: Any) -> None:
    async with serve() as running, connect(address(running, "stream-input", output_format="pcm_32000")) as socket:
        await say(socket, {"text": " "}, {"text": TEXT}, {"text": ""})
        pieces = [b64decode(message["audio"]) async for message in until_close(socket) if message["audio"]]
        assert heard(pieces, AudioFormat(Codec.PCM_S16LE, 32000)) == TEXT

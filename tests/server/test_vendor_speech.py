"""Other services' clients over HTTP: speech in their forms, lists in their forms, errors in their forms."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import anyio
import httpx
import numpy as np

from realtime.audio.codecs import make_decoder
from realtime.engines.beacon.decoder import decode
from realtime.server.auth import KeyStore
from realtime.types import AudioFormat, Codec

TEXT = "你好，世界。今天是2024年5月3日！Dr. Smith paid $3.50… OK?"
VOICE = "/v1/text-to-speech/21m00Tcm4TlvDq8ikWAM"
OPENAI = {"model": "gpt-4o-mini-tts", "voice": "ash", "input": TEXT}


def heard(data: bytes, codec: Codec, rate: int) -> str:
    decoder = make_decoder(AudioFormat(codec, rate))
    return decode(np.concatenate([decoder.push(data), decoder.flush()]), rate)


async def test_openai_speech_as_sound_and_as_events(serve: Any) -> None:
    codecs = {"mp3": Codec.MP3, "opus": Codec.OGG_OPUS, "aac": Codec.AAC, "flac": Codec.FLAC, "wav": Codec.WAV, "pcm": Codec.PCM_S16LE}
    async with serve() as running, httpx.AsyncClient(base_url=running.url, timeout=30) as client:
        for name, codec in codecs.items():
            answer = await client.post("/v1/audio/speech", json={**OPENAI, "response_format": name})
            assert answer.status_code == 200 and answer.headers["content-type"].startswith("audio/") and answer.headers["x-request-id"]
            assert heard(answer.content, codec, 24000) == TEXT, name
        answer = await client.post("/v1/audio/speech", json={**OPENAI, "response_format": "wav", "stream_format": "sse"})
        assert answer.headers["content-type"] == "text/event-stream"
        events = [json.loads(line[6:]) for line in answer.text.split("\n\n") if line]
        assert [event["type"] for event in events[:-1]] == ["speech.audio.delta"] * (len(events) - 1)
        assert events[-1]["type"] == "speech.audio.done"
        assert heard(b"".join(b64decode(event["audio"]) for event in events[:-1]), Codec.WAV, 24000) == TEXT
        for wrong in ({"input": ""}, {"speed": 9}, {"response_format": "vinyl"}, {"input": "x" * 5000}):
            answer = await client.post("/v1/audio/speech", json={**OPENAI, **wrong})
            assert answer.status_code == 400 and answer.json()["error"]["type"] == "invalid_request_error"
        assert (await client.post("/v1/audio/speech", content=b" " * (3 << 20))).status_code == 400
        assert running.service.dispatcher.load == 0


async def test_elevenlabs_speech_with_and_without_times(serve: Any) -> None:
    async with serve() as running, httpx.AsyncClient(base_url=running.url, timeout=30) as client:
        body = {"text": TEXT, "model_id": "eleven_turbo_v2_5", "voice_settings": None, "previous_text": "Before."}
        for path, asked, codec, rate in (
            (VOICE, "", Codec.MP3, 44100),
            (VOICE + "/stream", "?output_format=mp3_22050_32", Codec.MP3, 22050),
            (VOICE, "?output_format=opus_48000_64", Codec.OGG_OPUS, 48000),
            (VOICE, "?output_format=ulaw_8000", Codec.MULAW, 8000),
        ):
            answer = await client.post(path + asked, json=body)
            assert answer.status_code == 200 and answer.headers["content-type"].startswith("audio/")
            assert heard(answer.content, codec, rate) == TEXT
        for suffix in ("/with-timestamps", "/stream/with-timestamps"):
            answer = await client.post(VOICE + suffix + "?output_format=pcm_24000", json=body)
            parts = [json.loads(line) for line in answer.text.splitlines()]
            assert (len(parts) == 1) is (suffix == "/with-timestamps")
            assert heard(b"".join(b64decode(part["audio_base64"]) for part in parts), Codec.PCM_S16LE, 24000) == TEXT
            assert "".join(c for part in parts if part["alignment"] for c in part["alignment"]["characters"]) == TEXT
        for path, wrong in ((VOICE, {"text": ""}), (VOICE, {"text": 5}), (VOICE + "?output_format=pcm_12345", body)):
            answer = await client.post(path, json=wrong)
            assert answer.status_code == 422 and {"loc", "msg", "type"} <= set(answer.json()["detail"][0])


async def test_lists_serve_our_clients_and_theirs(serve: Any) -> None:
    async with serve() as running, httpx.AsyncClient(base_url=running.url) as client:
        voices = (await client.get("/v1/voices")).json()["voices"]
        assert all({"id", "engine", "voice_id", "name", "category"} <= set(voice) and voice["id"] == voice["voice_id"] for voice in voices)
        assert (await client.get(f"/v1/voices/{voices[0]['id']}")).json() == voices[0]
        missing = await client.get("/v1/voices/nobody")
        assert (missing.status_code, missing.json()["detail"]["status"]) == (404, "voice_not_found")
        seen, token = [], ""
        while token is not None:
            page = (await client.get("/v2/voices", params={"page_size": 1, "next_page_token": token})).json()
            assert page["total_count"] == len(voices) and page["has_more"] is (page["next_page_token"] is not None)
            seen += page["voices"]
            token = page["next_page_token"]
        assert seen == voices
        assert [v["id"] for v in (await client.get("/v2/voices?search=BEACON-B")).json()["voices"]] == ["beacon-b"]
        assert (await client.get("/v2/voices?page_size=many")).status_code == 422
        models = (await client.get("/v1/models")).json()
        assert models[0]["model_id"] == "beacon" and models[0]["can_do_text_to_speech"] is True and models[0]["languages"]
        assert (await client.get("/v1/models", headers={"authorization": "Bearer x"})).json()["data"][0]["id"] == "beacon"


async def test_without_a_key_each_is_refused_in_its_own_form(serve: Any, tmp_path: Path) -> None:
    key = KeyStore(tmp_path / "data").add("desk")
    async with serve() as running, httpx.AsyncClient(base_url=running.url, timeout=30) as client:
        refused = await client.post("/v1/audio/speech", json=OPENAI, headers={"authorization": "Bearer wrong"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "unauthorized")
        for path in (VOICE, VOICE + "/stream"):
            refused = await client.post(path, json={"text": TEXT}, headers={"xi-api-key": "wrong"})
            assert (refused.status_code, refused.json()["detail"]["status"]) == (401, "invalid_api_key")
        assert (await client.get("/v2/voices")).status_code == 401
        good = await client.post("/v1/audio/speech", json={**OPENAI, "response_format": "pcm"}, headers={"authorization": f"Bearer {key}"})
        assert heard(good.content, Codec.PCM_S16LE, 24000) == TEXT
        running.service.gateway.drain()
        late = await client.post("/v1/audio/speech", json=OPENAI, headers={"authorization": f"Bearer {key}"})
        assert (late.status_code, late.json()["error"]["type"], late.headers["retry-after"]) == (503, "server_error", "2")


async def test_a_reader_that_leaves_ends_its_speech(serve: Any) -> None:
    slow = {"beacon": {"options": {"rate_factor": 0.2}}}
    async with serve(engines=slow) as running, httpx.AsyncClient(base_url=running.url, timeout=30) as client:
        async with client.stream("POST", VOICE + "/stream", json={"text": TEXT * 10}) as answer:
            async for _ in answer.aiter_raw():
                break
            assert running.service.dispatcher.load
        with anyio.fail_after(10):
            while running.service.dispatcher.load:
                await anyio.sleep(0.05)


async def test_a_long_text_is_not_kept_to_the_pace_at_which_it_sounds(serve: Any) -> None:
    text = "很长的一段话，要一次拿走。" * 600
    async with serve() as running, httpx.AsyncClient(base_url=running.url, timeout=30) as client:
        with anyio.fail_after(60):
            whole = await client.post(VOICE + "/stream?output_format=ulaw_8000", json={"text": text})
            assert len(whole.content) / 8000 > 600, "longer than the lead that a conversation may have"
            whole = await client.post("/api/tts", json={"text": text, "format": "mulaw", "sample_rate": 8000})
            assert len(whole.content) / 8000 > 600

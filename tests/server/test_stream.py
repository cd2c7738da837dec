"""The native protocol through a real socket, real processes and the whole pipeline; the beacon proves that no character is lost."""

from __future__ import annotations

import itertools
import json
import random
from base64 import b64decode
from typing import Any

import anyio
import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection, connect

from realtime.audio.codecs import make_decoder
from realtime.engines.beacon.decoder import decode
from realtime.types import AudioFormat, Codec

JSON = ["realtime.v1.json"]
ZH_EN = "你好，世界。今天是2024年5月3日，气温35℃！Dr. Smith paid $3.50 for v2.0… OK?"


class Client:
    """A few words of the protocol, spoken by hand so that the tests don't share the service's own code."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.seen: list[dict[str, Any]] = []

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}, ensure_ascii=False))

    async def receive(self) -> dict[str, Any]:
        with anyio.fail_after(30):
            message: dict[str, Any] = json.loads(await self.socket.recv())
        self.seen.append(message)
        return message

    async def until(self, *kinds: str, utterance: str | None = None) -> dict[str, Any]:
        """The next message of a kind; of one that ends an utterance, also if it was seen already."""
        for message in self.seen if "done" in kinds else ():
            if message["type"] in kinds and utterance in (None, message.get("utterance")):
                return message
        while True:
            message = await self.receive()
            if message["type"] in kinds and utterance in (None, message.get("utterance")):
                return message

    def payloads(self, utterance: str) -> list[bytes]:
        return [b64decode(m["payload"]) for m in self.seen if m["type"] == "audio" and m["utterance"] == utterance]

    def heard(self, utterance: str, audio_format: AudioFormat) -> str:
        decoder = make_decoder(audio_format)
        sound = np.concatenate([*(decoder.push(payload) for payload in self.payloads(utterance)), decoder.flush()])
        return decode(sound, audio_format.sample_rate)


def opened(utterance: str, **fields: Any) -> dict[str, Any]:
    return {"utterance": utterance, "voice": "beacon-a", "budget": {"profile": "batch"}, **fields}


async def test_text_in_pieces_comes_back_whole_and_in_order(serve: Any) -> None:
    async with serve() as running, connect(running.ws, subprotocols=JSON) as socket:
        client = Client(socket)
        assert (await client.receive())["type"] == "ready"
        await client.send("open", **opened("a"))
        for char in ZH_EN:
            await client.send("text", utterance="a", text=char)
        await client.send("end", utterance="a")
        done = await client.until("done", "error")
        assert done["type"] == "done", done
        assert client.heard("a", AudioFormat(Codec.PCM_S16LE, 24000)) == ZH_EN
        segments = {m["index"]: m for m in client.seen if m["type"] == "segment"}
        spans = [(segments[i]["span_start"], segments[i]["span_end"]) for i in sorted(segments)]
        assert spans[0][0] == 0 and spans[-1][1] == len(ZH_EN)
        assert all(a[1] == b[0] for a, b in itertools.pairwise(spans))
        audio = [m for m in client.seen if m["type"] == "audio"]
        assert [m["seq"] for m in audio] == list(range(len(audio)))
        assert done["usage"]["characters"] == len(ZH_EN)
        assert sum(m["samples"] for m in audio) / 24 == pytest.approx(done["usage"]["audio_ms_by_engine"]["beacon"], abs=1)


async def test_sound_starts_while_text_is_still_open(serve: Any) -> None:
    async with serve() as running, connect(running.ws, subprotocols=JSON) as socket:
        client = Client(socket)
        await client.send("open", **opened("a"))
        await client.send("text", utterance="a", text="第一句话。")
        await client.until("audio")
        await client.send("text", utterance="a", text="第二句话。")
        await client.send("end", utterance="a")
        await client.until("done")
        assert client.heard("a", AudioFormat(Codec.PCM_S16LE, 24000)) == "第一句话。第二句话。"


async def test_flush_speaks_what_is_held_and_is_answered_after_its_sound(serve: Any) -> None:
    async with serve() as running, connect(running.ws, subprotocols=JSON) as socket:
        client = Client(socket)
        await client.send("open", **opened("a"))
        await client.send("text", utterance="a", text="no full stop here")
        await client.send("flush", utterance="a", flush_id="f1")
        flushed = await client.until("flushed")
        assert client.heard("a", AudioFormat(Codec.PCM_S16LE, 24000)) == "no full stop here"
        assert flushed["text_offset"] == 17
        assert flushed["sample_offset"] == sum(m["samples"] for m in client.seen if m["type"] == "audio")


async def test_cancel_stops_one_utterance_and_leaves_its_neighbour_whole(serve: Any) -> None:
    slow = {"beacon": {"options": {"rate_factor": 0.1}}}
    async with serve(engines=slow) as running, connect(running.ws, subprotocols=JSON) as socket:
        client = Client(socket)
        await client.send("open", **opened("stays", cache=False))
        await client.send("open", **opened("goes", cache=False))
        for utterance in ("stays", "goes"):
            await client.send("text", utterance=utterance, text=ZH_EN * 4)
            await client.send("end", utterance=utterance)
        await client.until("audio", utterance="goes")
        await client.send("cancel", utterance="goes")
        cancelled = await client.until("cancelled", utterance="goes")
        count = len([m for m in client.seen if m["type"] == "audio" and m["utterance"] == "goes"])
        await client.until("done", utterance="stays")
        assert len([m for m in client.seen if m["type"] == "audio" and m["utterance"] == "goes"]) == count
        assert client.heard("stays", AudioFormat(Codec.PCM_S16LE, 24000)) == ZH_EN * 4
        assert 0 <= cancelled["heard_characters"] < len(ZH_EN * 4)
        assert running.service.dispatcher.load == 0


@pytest.mark.parametrize("codec", list(Codec))
async def test_every_format_carries_the_text(serve: Any, codec: Codec) -> None:
    rate = 8000 if codec in (Codec.MULAW, Codec.ALAW) else 24000
    async with serve() as running, connect(running.ws, subprotocols=JSON) as socket:
        client = Client(socket)
        await client.send("open", **opened("a", format={"codec": codec.value, "sample_rate": rate}))
        await client.send("text", utterance="a", text=ZH_EN)
        await client.send("end", utterance="a")
        await client.until("done")
        assert client.heard("a", AudioFormat(codec, rate)) == ZH_EN


@pytest.mark.parametrize("kind", ["kill", "stop", "stall", "exception", "nan", "garbage"])
async def test_a_fault_in_mid_sentence_costs_no_character(serve: Any, kind: str) -> None:
    text = "床前明月光疑是地上霜，举头望明月低头思故乡。" * 3
    slow = {"beacon": {"options": {"chunk_ms": 100, "rate_factor": 0.3}, "step_timeout_s": 1.0}}
    engines = {**slow, "beacon2": {"factory": "beacon", "options": {"name": "beacon2", "voices": ["beacon-b"]}}}
    async with serve(engines=engines, server={"allow_faults": True}) as running, connect(running.ws, subprotocols=JSON) as socket:
        client = Client(socket)
        await client.send("open", **opened("a", budget={"profile": "browser"}))
        await client.send("text", utterance="a", text=text)
        await client.send("end", utterance="a")
        await client.until("audio")
        running.service.gateway.back.inject({"kind": kind, "engine": "beacon", "at_ms": random.randint(50, 600), "value": 5000})
        done = await client.until("done", "error")
        assert done["type"] == "done", done
        assert client.heard("a", AudioFormat(Codec.PCM_S16LE, 24000)) == text
        assert done["switches"] >= 1
        assert any(m["type"] == "switch" for m in client.seen)

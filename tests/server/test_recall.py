"""Cached and shared segments through the whole service: exact, quick, and followed by many."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from websockets.asyncio.client import connect

from realtime.audio.codecs import make_decoder
from realtime.engines.beacon.decoder import decode
from realtime.errors import BadOption
from realtime.types import AudioFormat, Codec

JSON = ["realtime.v1.json"]
TEXT = "您好，请问有什么可以帮您？For English, press two."
GREETING = "您好，欢迎您致电我们的客户服务中心，很高兴为您服务，请您稍候。"
SLOW = {"beacon": {"options": {"rate_factor": 0.2, "first_chunk_ms": 100}}}


async def speak(running: Any, text: str = TEXT, rate: int = 24000, **fields: Any) -> tuple[str, list[dict[str, Any]]]:
    audio_format = AudioFormat(Codec.PCM_S16LE, rate)
    decoder, sound, seen = make_decoder(audio_format), [], []
    async with connect(running.ws, subprotocols=JSON) as socket:
        form = {"codec": "pcm_s16le", "sample_rate": rate}
        await socket.send(json.dumps({"type": "open", "utterance": "u", "voice": "beacon-a", "format": form, **fields}))
        await socket.send(json.dumps({"type": "text", "utterance": "u", "text": text}))
        await socket.send(json.dumps({"type": "end", "utterance": "u"}))
        with anyio.fail_after(30):
            while not seen or seen[-1]["type"] not in ("done", "error"):
                seen.append(json.loads(await socket.recv()))
                if seen[-1]["type"] == "audio":
                    sound.append(decoder.push(b64decode(seen[-1]["payload"])))
    return decode(np.concatenate([*sound, decoder.flush()]), rate), seen


def jobs(running: Any) -> int:
    return int(running.service.pool.statistics().jobs_started)


async def test_a_text_spoken_before_needs_no_engine_at_any_rate(serve: Any) -> None:
    async with serve(engines=SLOW) as running:
        first, before = await speak(running)
        started = jobs(running)
        for rate in (24000, 16000, 8000):
            again, after = await speak(running, rate=rate)
            assert again == first == TEXT
            words = [[m["words"] for m in seen if m["type"] == "segment" and m["index"] == 0][-1] for seen in (before, after)]
            assert words[0] and np.allclose(words[0], words[1], atol=0.2)
        assert jobs(running) == started


async def test_a_request_may_opt_out_and_other_settings_are_other_sounds(serve: Any) -> None:
    async with serve(engines=SLOW) as running:
        await speak(running)
        started = jobs(running)
        await speak(running, cache=False)
        assert jobs(running) > started
        started = jobs(running)
        await speak(running, speed=1.2)
        assert jobs(running) > started


async def test_many_listeners_of_one_text_are_served_by_one_engine_run(serve: Any) -> None:
    async with serve(engines={"beacon": {"options": {"rate_factor": 0.1, "first_chunk_ms": 100, "capacity": 16}}}) as running:
        heard: list[str] = []

        async def listen(delay_s: float) -> None:
            await anyio.sleep(delay_s)
            text, seen = await speak(running)
            heard.append(text or str(seen[-1]))

        async with anyio.create_task_group() as tasks:
            for i in range(6):
                tasks.start_soon(listen, 0.08 * i)
        assert heard == [TEXT] * 6
        assert jobs(running) <= 4


async def test_followers_go_on_alone_when_their_leader_dies(serve: Any) -> None:
    engines = {**SLOW, "beacon2": {"factory": "beacon", "options": {"name": "beacon2", "voices": ["beacon-b"]}}}
    async with serve(engines=engines, server={"allow_faults": True}) as running:
        heard: list[str] = []

        async def listen() -> None:
            heard.append((await speak(running, TEXT * 3))[0])

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(listen)
            await anyio.sleep(0.35)
            running.service.gateway.back.inject({"kind": "kill", "engine": "beacon"})
        assert heard == [TEXT * 3] * 4


async def test_followers_of_the_first_words_go_on_in_order_when_their_leader_dies(serve: Any) -> None:
    """Only the greeting is the same: what comes after it is being spoken already when the greeting has to be taken over."""
    engines = {
        "beacon": {"options": {"rate_factor": 0.2, "first_chunk_ms": 100, "capacity": 16}},
        "beacon2": {"factory": "beacon", "options": {"name": "beacon2", "voices": ["beacon-b"]}},
    }
    async with serve(engines=engines, server={"allow_faults": True}) as running:
        heard: list[tuple[str, dict[str, Any]]] = []
        wanted = [f"{GREETING}这是第{k}位客人听到的话，" + "说得很长很长很长，" * 6 for k in "一二三"]

        async def listen(text: str) -> None:
            got, seen = await speak(running, text, budget={"profile": "ivr"})
            heard.append((got, seen[-1]))

        async with anyio.create_task_group() as tasks:
            for text in wanted:
                tasks.start_soon(listen, text)
            await anyio.sleep(0.5)
            running.service.gateway.back.inject({"kind": "kill", "engine": "beacon"})
        assert sorted(text for text, _ in heard) == sorted(wanted)
        assert max(done["underruns"]["worst_ms"] for _, done in heard) < 500


async def test_hits_serve_while_the_only_worker_is_dead(serve: Any) -> None:
    async with serve(engines=SLOW, server={"allow_faults": True}) as running:
        await speak(running)
        started, pool = jobs(running), running.service.pool
        for _ in range(3):
            running.service.gateway.back.inject({"kind": "kill"})
            with anyio.fail_after(10):
                while any(worker.is_ready for worker in pool.workers()):
                    await anyio.sleep(0.001)
            assert (await speak(running))[0] == TEXT and jobs(running) == started
            await pool.wait_ready(["beacon"], 20)


async def test_hits_serve_when_every_engine_is_down(serve: Any) -> None:
    async with serve(engines=SLOW, server={"allow_faults": True}) as running:
        await speak(running)
        worker = running.service.pool.workers()[0]
        running.service.dispatcher._scheduler.worker_lost(worker.id, 0.0)
        text, seen = await speak(running)
        assert text == TEXT and seen[-1]["type"] == "done"
        _, refused = await speak(running, "这句没有说过。")
        assert (refused[-1]["type"], refused[-1]["code"]) == ("error", "overloaded")


async def test_prompts_are_spoken_ahead_and_a_bad_file_is_refused(serve: Any, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.tsv"
    prompts.write_text(f"# greetings\nbeacon-a\t\t{TEXT}\nnobody\tzh\t你好\n", encoding="utf-8")
    async with serve(engines=SLOW, cache={"prewarm": prompts}) as running:
        with anyio.fail_after(20):
            while len(running.service.dispatcher._recall.cache) < 2:
                await anyio.sleep(0.02)
        started = jobs(running)
        assert (await speak(running))[0] == TEXT
        assert jobs(running) == started
    prompts.write_text("only text", encoding="utf-8")
    with pytest.raises(BadOption, match="line 1"):
        async with serve(engines=SLOW, cache={"prewarm": prompts}):
            pass


async def test_many_who_ask_at_once_are_served_by_one_engine_run(serve: Any) -> None:
    async with serve(engines={"beacon": {"options": {"rate_factor": 0.1, "first_chunk_ms": 50}}}) as running:
        heard: list[str] = []

        async def listen(text: str) -> None:
            heard.append((await speak(running, text))[0])

        before = jobs(running)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen, "这句别人在听，先说完它。")
            for _ in range(6):
                tasks.start_soon(listen, TEXT)
        assert sorted(heard) == sorted(["这句别人在听，先说完它。", *[TEXT] * 6])
        assert jobs(running) - before <= 2 + 2, "each segment of the two texts once"


async def test_a_listener_who_leaves_takes_nobody_else_along(serve: Any) -> None:
    async with serve(engines={"beacon": {"options": {"rate_factor": 0.1, "first_chunk_ms": 100, "capacity": 8}}}) as running:
        heard: list[str] = []

        async def listen() -> None:
            text, seen = await speak(running, TEXT * 2)
            heard.append(text or str(seen[-1]))

        async with anyio.create_task_group() as tasks:
            with anyio.move_on_after(0.2):  # leads, and hangs up
                await speak(running, TEXT * 2)
            for _ in range(3):
                tasks.start_soon(listen)
            with anyio.move_on_after(0.2):  # follows, and hangs up
                await speak(running, TEXT * 2)
        assert heard == [TEXT * 2] * 3
        recall = running.service.dispatcher._recall
        assert not recall._leaders and not recall._followed and not recall._candidates and not recall._by_run


async def test_what_one_gateway_spoke_another_serves_without_an_engine(serve: Any, redis_server: Any) -> None:
    shared = {"redis_url": redis_server.url, "redis_wait_ms": 1000}
    async with serve(engines=SLOW, cache=shared) as one:
        first, before = await speak(one)
        writes = one.service.dispatcher._recall._shared
        with anyio.fail_after(10):
            while writes._unwritten:
                await anyio.sleep(0.01)
    async with serve(engines=SLOW, cache=shared) as two:
        worker = two.service.pool.workers()[0]
        with anyio.fail_after(10):
            while not two.service.dispatcher._recall._shared.is_up:
                await anyio.sleep(0.01)
        two.service.dispatcher._scheduler.worker_lost(worker.id, 0.0)
        again, after = await speak(two, rate=16000)
        assert again == first == TEXT and jobs(two) == 0
        words = [[m["words"] for m in seen if m["type"] == "segment" and m["index"] == 0][-1] for seen in (before, after)]
        assert words[0] and np.allclose(words[0], words[1], atol=0.2)


async def test_a_redis_that_hangs_stops_no_speech(serve: Any, redis_server: Any) -> None:
    async with serve(engines=SLOW, cache={"redis_url": redis_server.url, "redis_wait_ms": 5}) as running:
        shared = running.service.dispatcher._recall._shared
        with anyio.fail_after(10):
            while not shared.is_up:
                await anyio.sleep(0.01)
        with redis_server.frozen():
            for k in range(4):
                assert (await speak(running, f"{TEXT}{k}"))[0] == f"{TEXT}{k}"
            assert not shared.is_up


async def test_segments_keep_their_order_while_one_is_looked_up(serve: Any, redis_server: Any) -> None:
    """The second segment is in memory, the first must be asked for: the listener hears them in the order of the text."""
    async with serve(engines=SLOW, cache={"redis_url": redis_server.url, "redis_wait_ms": 200}) as running:
        await speak(running, "第二句在这里说过了。")
        text = "第一句没有说过，要先问一问。第二句在这里说过了。"
        assert (await speak(running, text))[0] == text

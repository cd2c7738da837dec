"""An exported model and an enrolled voice through the whole service: worker process, scheduler, wire, client."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from realtime_client import Client, Utterance, connect

from realtime.engines.indextts2 import voice_pack
from realtime.types import Emotion
from realtime.wire.events import Cancelled, Done

TEXT = "今天天气很好，我们去公园玩。"
LONG = TEXT * 6


def tables(home: Path, **options: Any) -> dict[str, Any]:
    """Settings for a worker of one thread on the tiny model, which speaks some 2 s a segment."""
    own = {"models_dir": str(home / "models" / "indextts2"), "voices_dir": str(home / "voices"), "cache_dir": str(home / "cache")}
    own |= {"threads": 1, "max_codes_base": 52, "max_codes_per_piece": 0.001}
    return {"engines": {"indextts2": {"options": own | options}}, "chain": ("indextts2",)}


async def heard(utterance: Utterance) -> np.ndarray[Any, Any]:
    """All of its sound."""
    return np.concatenate([piece.pcm async for piece in utterance])


async def spoken(client: Client, **options: Any) -> np.ndarray[Any, Any]:
    """A text's sound; every sample is the engine's."""
    utterance = client.speak(TEXT, voice="lin", language="zh", cache=False, **options)
    pieces = [piece async for piece in utterance]
    assert isinstance(utterance.result, Done)
    assert {piece.engine for piece in pieces if piece.samples} == {"indextts2"}
    return np.concatenate([piece.pcm for piece in pieces])


async def test_text_comes_out_as_the_voice_says_it(serve: Any, home: Path) -> None:
    async with serve(**tables(home)) as running, connect(running.ws) as client:
        (worker,) = running.service.pool.workers()
        assert list(worker.rates) == [level.name for level in worker.info.levels]
        plain, again = await spoken(client, seed=3), await spoken(client, seed=3)
        assert len(plain) > 24000 and plain.std() > 1e-4
        np.testing.assert_array_equal(plain, again)
        for changed in ({"seed": 4}, {"seed": 3, "emotion": Emotion("glad")}, {"seed": 3, "speed": 1.5}):
            other = await spoken(client, **changed)
            count = min(len(other), len(plain))
            assert not np.array_equal(other[:count], plain[:count]), changed


async def test_a_barge_in_empties_the_worker_for_who_comes_next(serve: Any, home: Path) -> None:
    async with serve(**tables(home)) as running, connect(running.ws) as client:
        async with client.speak(LONG, voice="lin", language="zh") as utterance:
            async for _ in utterance:
                break
            assert isinstance(await utterance.cancel(), Cancelled)
        for _ in range(500):
            if not any(worker.jobs for worker in running.service.pool.workers()):
                break
            await asyncio.sleep(0.01)
        assert not any(worker.jobs for worker in running.service.pool.workers())
        assert len(await spoken(client)) > 24000


async def test_a_voice_is_served_once_it_is_enrolled(serve: Any, home: Path, tmp_path: Path) -> None:
    voices = tmp_path / "voices"
    shutil.copytree(home / "voices", voices)
    async with serve(**tables(home, voices_dir=str(voices))) as running, httpx.AsyncClient(base_url=running.url) as http:
        shutil.copyfile(voice_pack.path_in(voices, "lin"), voice_pack.path_in(voices, "second"))
        answer = await http.post("/v1/voices/reload")
        assert answer.status_code == 200
        assert [worker["voices"] for worker in answer.json()["workers"]] == [["lin", "second"]]
        for listed in (answer, await http.get("/v1/voices")):
            assert [voice["id"] for voice in listed.json()["voices"]] == ["lin", "second"]
        async with connect(running.ws) as client:
            assert len(await heard(client.speak(TEXT, voice="second", language="zh"))) > 24000

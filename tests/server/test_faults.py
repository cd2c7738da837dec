"""Faults over the admin call, on real processes: each kind at a given moment of a given job, and the listener misses nothing."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import anyio
import httpx
import numpy as np
import pytest
from websockets.asyncio.client import connect

from realtime.audio.codecs import make_decoder
from realtime.engines.beacon.decoder import decode
from realtime.types import AudioFormat, Codec
from realtime.workers.interface import FaultKind

TEXT = "这句话说到一半，机器就坏了；可是听的人一个字也不会少。"
# Half as fast as it sounds: a fault in the first second strikes while much is still to come.
ENGINES = {
    "beacon": {"options": {"rate_factor": 0.5, "first_chunk_ms": 50, "chunk_ms": 100}, "step_timeout_s": 2.0},
    "beacon2": {"factory": "beacon", "options": {"name": "beacon2", "chunk_ms": 80, "voices": ["beacon-b"]}},
}
FAULTY: dict[str, Any] = {"engines": ENGINES, "server": {"allow_faults": True}, "cache": {"max_mb": 0}}


async def speak(running: Any) -> tuple[str, list[dict[str, Any]]]:
    decoder, sound, seen = make_decoder(AudioFormat(Codec.PCM_S16LE, 24000)), [], []
    async with connect(running.ws, subprotocols=["realtime.v1.json"]) as socket:
        form = {"codec": "pcm_s16le", "sample_rate": 24000}
        for message in ({"type": "open", "voice": "beacon-a", "format": form}, {"type": "text", "text": TEXT}, {"type": "end"}):
            await socket.send(json.dumps({"utterance": "u", **message}))
        with anyio.fail_after(40):
            while not seen or seen[-1]["type"] not in ("done", "error"):
                seen.append(json.loads(await socket.recv()))
                if seen[-1]["type"] == "audio":
                    sound.append(decoder.push(b64decode(seen[-1]["payload"])))
    return decode(np.concatenate([*sound, decoder.flush()]), 24000), seen


async def first_job(client: httpx.AsyncClient) -> str:
    """The id of a job that the first engine has, as the admin sees it."""
    with anyio.fail_after(10):
        while True:
            workers = (await client.get("/v1/workers")).json()["workers"]
            if jobs := [job for worker in workers if worker["engine"] == "beacon" for job in worker["job_ids"]]:
                return str(jobs[0])
            await anyio.sleep(0.005)


@pytest.mark.parametrize("kind", list(FaultKind))
async def test_a_fault_at_a_moment_of_a_job_costs_no_character(serve: Any, kind: FaultKind) -> None:
    heard: list[tuple[str, list[dict[str, Any]]]] = []
    value = {FaultKind.STALL: 4000.0, FaultKind.SLOW: 20.0}.get(kind, 0.0)
    async with serve(**FAULTY) as running, httpx.AsyncClient(base_url=running.url) as client:

        async def listen() -> None:
            heard.append(await speak(running))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            body = {"kind": kind.value, "job": await first_job(client), "at_ms": 600, "value": value}
            answer = (await client.post("/v1/faults", json=body)).json()
            assert (answer["job"], answer["kind"], answer["at_ms"]) == (body["job"], kind.value, 600)
        text, seen = heard[0]
        assert (text, seen[-1]["type"]) == (TEXT, "done")
        assert [message["type"] for message in seen].count("switch") >= 1


async def test_random_faults_from_a_seed_while_many_listen(serve: Any) -> None:
    heard: list[str] = []
    async with serve(**FAULTY) as running, httpx.AsyncClient(base_url=running.url) as client:

        async def listen() -> None:
            text, seen = await speak(running)
            heard.append(text if seen[-1]["type"] == "done" else seen[-1]["code"])

        wish = {"seed": 5, "per_minute": 120, "engine": "beacon", "kinds": ["exception", "garbage", "nan", "drop_chunk", "kill"]}
        assert (await client.post("/v1/faults", json={"random": wish})).json() == {"random": {"seed": 5, "per_minute": 120}}
        for _ in range(3):
            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(listen)
        assert (await client.post("/v1/faults", json={"random": {"per_minute": 0}})).json() == {"random": None}
        assert set(heard) <= {TEXT, "overloaded"} and heard.count(TEXT) >= 5, "refused, perhaps, but never robbed of a character"


async def test_faults_are_refused_unless_they_are_allowed_and_make_sense(serve: Any) -> None:
    async with serve() as running, httpx.AsyncClient(base_url=running.url) as client:
        assert (await client.post("/v1/faults", json={"kind": "kill"})).status_code == 403
    async with serve(server={"allow_faults": True}) as running, httpx.AsyncClient(base_url=running.url) as client:
        for body in ({"kind": "explode"}, {"kind": "stall"}, {"kind": "kill", "job": "u99"}, {"kind": "kill", "at_ms": "now"}, {}):
            answer = await client.post("/v1/faults", json=body)
            assert answer.status_code in (400, 422) and answer.json()["error"]["code"] == "bad_option", answer.text


async def test_every_state_of_a_breaker_is_seen_in_metrics_and_capabilities(serve: Any) -> None:
    breaker = {"least_results": 2, "cool_down_s": 0.5, "good_canaries": 2, "window_s": 30.0}
    states: list[str] = []
    async with serve(**FAULTY, breaker=breaker) as running:
        async with httpx.AsyncClient(base_url=running.url) as client:
            for _ in range(3):
                await client.post("/v1/faults", json={"kind": "exception", "engine": "beacon", "at_ms": 0})
                await speak(running)
                states.append(await state_of(client))
            with anyio.fail_after(20):
                while states[-1] != "closed" or "open" not in states:
                    states.append(await state_of(client))
                    await anyio.sleep(0.01)
    assert set(states) == {"closed", "open", "half_open"}


async def state_of(client: httpx.AsyncClient) -> str:
    """The breaker of the first engine, as both places have it (asked again when it moved in between)."""
    while True:
        engines = (await client.get("/v1/capabilities")).json()["engines"]
        shown = next(engine["breaker"] for engine in engines if engine["name"] == "beacon")
        lines = (await client.get("/metrics")).text.splitlines()
        values = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line.startswith("realtime_breaker")}
        by_state = {
            state: values[f'realtime_breaker_state{{engine="beacon",state="{state}"}}'] for state in ("closed", "open", "half_open")
        }
        assert sum(by_state.values()) == 1
        assert values['realtime_breaker_open{engine="beacon"}'] == 1 - by_state["closed"]
        if by_state[shown] == 1:
            return str(shown)

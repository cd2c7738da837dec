"""The service as a process: probes, drain on SIGTERM, exit codes, and what it says about itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from websockets.asyncio.client import connect

CONFIG = """
chain = ["beacon"]
[server]
data_dir = "{data}"
drain_s = 20
[log]
dir = "{data}/logs"
[engines.beacon]
options = {{ rate_factor = 0.4, first_chunk_ms = 50 }}
"""


@asynccontextmanager
async def process(tmp_path: Path) -> AsyncIterator[tuple[subprocess.Popen[str], str]]:
    config = tmp_path / "service.toml"
    config.write_text(CONFIG.format(data=tmp_path), encoding="utf-8")
    command = [sys.executable, "-m", "realtime", "serve", "--port", "0", "--config", str(config)]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)  # noqa: ASYNC220 - one fork, before anything runs
    try:
        assert child.stderr is not None
        first = await anyio.to_thread.run_sync(child.stderr.readline)
        url = first.split()[-1].rstrip("/")
        with anyio.fail_after(60):
            async with httpx.AsyncClient() as client:
                while True:
                    try:
                        if (await client.get(url + "/ready")).status_code == 200:
                            break
                    except httpx.ConnectError:
                        pass
                    await anyio.sleep(0.05)
        yield child, url
    finally:
        if child.poll() is None:
            child.kill()
        await anyio.to_thread.run_sync(child.communicate)


async def wait(child: subprocess.Popen[str]) -> int:
    with anyio.fail_after(30):
        while child.poll() is None:
            await anyio.sleep(0.05)
    return child.returncode


async def test_sigterm_lets_the_running_utterance_finish_and_refuses_new_ones(tmp_path: Path) -> None:
    async with (
        process(tmp_path) as (child, url),
        connect(url.replace("http", "ws") + "/v1/stream", subprotocols=["realtime.v1.json"]) as ws,
    ):
        await ws.send(json.dumps({"type": "open", "utterance": "a", "voice": "beacon-a"}))
        await ws.send(json.dumps({"type": "text", "utterance": "a", "text": "排空期间这句话仍然要说完。" * 3}))
        await ws.send(json.dumps({"type": "end", "utterance": "a"}))
        kinds: list[str] = []
        while "audio" not in kinds:
            kinds.append(json.loads(await ws.recv())["type"])
        child.send_signal(signal.SIGTERM)
        await anyio.sleep(0.3)
        await ws.send(json.dumps({"type": "open", "utterance": "b", "voice": "beacon-a"}))
        messages: list[dict[str, Any]] = []
        async with httpx.AsyncClient() as client:
            assert (await client.get(url + "/ready")).json()["status"] == "draining"
            refused = await client.post(url + "/api/tts", json={"text": "hi"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
            assert "retry-after" in refused.headers
        while not messages or messages[-1]["type"] != "done":
            messages.append(json.loads(await ws.recv()))
        assert [(m["code"], m["utterance"]) for m in messages if m["type"] == "error"] == [("draining", "b")]
        assert messages[-1]["usage"]["characters"] == 39
        assert await wait(child) == 0


async def test_an_idle_service_leaves_at_once_and_takes_its_workers_along(tmp_path: Path) -> None:
    async with process(tmp_path) as (child, url):
        async with httpx.AsyncClient() as client:
            workers = (await client.get(url + "/v1/workers")).json()["workers"]
        child.send_signal(signal.SIGTERM)
        assert await wait(child) == 0
        for worker in workers:
            with pytest.raises(ProcessLookupError):
                os.kill(worker["pid"], 0)


async def test_what_the_service_says_about_itself(tmp_path: Path) -> None:
    async with process(tmp_path) as (_, url), httpx.AsyncClient(base_url=url) as client:
        assert (await client.get("/health")).json()["status"] == "live"
        worker = (await client.get("/v1/workers")).json()["workers"][0]
        assert (worker["state"], worker["doing"]) == ("ready", "serving") and worker["pid"] > 0
        rate = worker["rates"]["standard"]
        assert rate["rtf"] > 0 and set(rate) == {"rtf", "first_chunk_s", "lag_s"}
        capabilities = (await client.get("/v1/capabilities")).json()
        assert capabilities["engines"][0]["name"] == "beacon" and capabilities["engines"][0]["breaker"] == "closed"
        assert {"ivr", "browser", "chatbot", "batch"} == set(capabilities["budgets"])
        assert "beacon-a" in [voice["id"] for voice in (await client.get("/v1/voices")).json()["voices"]]
        assert (await client.post("/api/tts", json={"text": "好。", "voice": "beacon-a"})).status_code == 200
        metrics = (await client.get("/metrics")).text
        assert 'realtime_utterances_ended_total{end="done"} 1.0' in metrics
        assert 'realtime_workers_ready{engine="beacon"} 1.0' in metrics
        faults = await client.post("/v1/faults", json={"kind": "kill"})
        assert faults.status_code == 403
        page = await client.get("/")
        assert page.status_code == 200 and "<html" in page.text
        line = (tmp_path / "logs" / "access.log").read_text(encoding="utf-8")
        assert '"end":"done"' in line and "好" not in line


def test_a_taken_port_and_a_stranger_s_address_are_told_in_words(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "REALTIME_SERVER__DATA_DIR": str(tmp_path)}
        command = [sys.executable, "-m", "realtime", "serve", "--engines", "beacon", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)

    exposed = run("--host", "0.0.0.0")
    assert exposed.returncode == 1 and "keys add" in exposed.stderr and "Traceback" not in exposed.stderr
    unknown = run("--engines", "nonsense")
    assert unknown.returncode == 1 and "nonsense" in unknown.stderr and "Traceback" not in unknown.stderr

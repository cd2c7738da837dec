"""`POST /v1/voices/reload` answers when the workers have looked, and says which have not."""

from __future__ import annotations

from typing import Any

import httpx

TALKER = "tests.workers.engines_for_tests:talker"


async def reloaded(running: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=running.url) as client:
        return await client.post("/v1/voices/reload")


async def test_the_answer_has_the_new_voices_and_those_of_each_worker(serve: Any) -> None:
    async with serve(engines={"talker": {"factory": TALKER}, "beacon": {}}) as running:
        ids = [worker.id for worker in running.service.pool.workers()]
        answer = await reloaded(running)
    body = answer.json()
    assert answer.status_code == 200 and "error" not in body
    assert {"v", "w", "beacon-a"} <= {voice["id"] for voice in body["voices"]}
    talker, beacon = body["workers"]
    assert talker == {"id": ids[0], "engine": "talker", "state": "ready", "voices": ["v", "w"]}
    assert beacon["id"] == ids[1] and "beacon-a" in beacon["voices"]


async def test_workers_that_could_not_look_are_named_beside_those_that_did(serve: Any) -> None:
    engines = {"talker": {"factory": TALKER, "options": {"reload": "raise"}}, "beacon": {}}
    async with serve(engines=engines) as running:
        answer = await reloaded(running)
    body = answer.json()
    failed, well = body["workers"]
    assert answer.status_code == 500 and body["error"]["code"] == "bad_option"
    assert failed["engine"] == "talker" and failed["error"] == body["error"] and "voices" not in failed
    assert "error" not in well and "beacon-a" in well["voices"]
    assert {"v", "beacon-a"} <= {voice["id"] for voice in body["voices"]}

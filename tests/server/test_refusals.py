"""Who is turned away, through a real socket: rate and concurrency per key, too much asked of the engines, and nobody else harmed."""

from __future__ import annotations

import json
from typing import Any

import anyio
from websockets.asyncio.client import ClientConnection, connect

from realtime import metrics

JSON = ["realtime.v1.json"]
SENTENCE = "今天天气很好，我们去公园里走一走，看看花。"
SLOW: dict[str, Any] = {"beacon": {"options": {"rate_factor": 0.7, "first_chunk_ms": 100.0, "capacity": 1}}}


async def send(socket: ClientConnection, kind: str, utterance: str, **fields: Any) -> None:
    await socket.send(json.dumps({"type": kind, "utterance": utterance, **fields}, ensure_ascii=False))


async def ask(socket: ClientConnection, utterance: str, text: str = SENTENCE, profile: str = "ivr") -> dict[str, Any]:
    """Open an utterance, say all of it, and return what the service answers to the opening."""
    await send(socket, "open", utterance, voice="beacon-a", language="zh", budget={"profile": profile}, cache=False)
    await send(socket, "text", utterance, text=text)
    await send(socket, "end", utterance)
    return await until(socket, utterance, "opened", "error")


async def until(socket: ClientConnection, utterance: str, *kinds: str) -> dict[str, Any]:
    with anyio.fail_after(30):
        while True:
            message: dict[str, Any] = json.loads(await socket.recv())
            if message["type"] in kinds and message.get("utterance") == utterance:
                return message


def assert_refused(answer: dict[str, Any], why: str) -> None:
    assert (answer["type"], answer["code"], answer["retryable"]) == ("error", "overloaded", True)
    assert why in answer["message"]
    assert 50 <= answer["retry_after_ms"] <= 60_000


def shed(reason: str) -> float:
    return metrics.REGISTRY.get_sample_value("realtime_shed_total", {"reason": reason}) or 0.0


async def test_a_key_that_asks_too_often_is_told_when_the_next_token_is_there(serve: Any) -> None:
    async with serve(admission={"per_second": 0.2, "burst": 2}) as running, connect(running.ws, subprotocols=JSON) as socket:
        for name in "ab":
            assert (await ask(socket, name, profile="batch"))["type"] == "opened"
        refused = await ask(socket, "c")
        assert_refused(refused, "rate_limited")
        assert 3_000 < refused["retry_after_ms"] <= 5_000  # a token takes five seconds
        assert (await until(socket, "b", "done"))["usage"]["characters"] == len(SENTENCE)


async def test_a_key_has_so_many_utterances_at_once_and_one_more_when_one_is_over(serve: Any) -> None:
    async with serve(admission={"streams_per_key": 1}) as running, connect(running.ws, subprotocols=JSON) as socket:
        assert (await ask(socket, "a", profile="batch"))["type"] == "opened"
        assert_refused(await ask(socket, "b"), "too_many_streams")
        await send(socket, "cancel", "a")
        await until(socket, "a", "cancelled", "done")
        assert (await ask(socket, "c"))["type"] == "opened"


async def test_the_service_has_so_many_utterances_at_once_and_counts_who_came_too_many(serve: Any) -> None:
    async with serve(limits={"utterances": 1}) as running, connect(running.ws, subprotocols=JSON) as socket:
        before = shed("too_many_utterances")
        assert (await ask(socket, "a", profile="batch"))["type"] == "opened"
        assert_refused(await ask(socket, "b"), "1 utterances are in progress")
        assert shed("too_many_utterances") == before + 1
        await send(socket, "cancel", "a")
        await until(socket, "a", "cancelled", "done")
        assert (await ask(socket, "c"))["type"] == "opened"


async def test_segments_that_wait_are_bounded(serve: Any) -> None:
    async with serve(engines=SLOW, admission={"waiting_jobs": 1}) as running, connect(running.ws, subprotocols=JSON) as socket:
        assert (await ask(socket, "a", SENTENCE * 5))["type"] == "opened"
        await until(socket, "a", "audio")
        assert_refused(await ask(socket, "b"), "queue_full")


async def test_what_would_make_an_admitted_listener_wait_is_refused_and_fits_when_it_is_over(serve: Any) -> None:
    """One slot, an engine a little faster than speech: two calls at once can't be in time, one after the other can."""
    async with serve(engines=SLOW) as running, connect(running.ws, subprotocols=JSON) as socket:
        assert (await ask(socket, "a"))["type"] == "opened"
        await until(socket, "a", "audio")
        assert_refused(await ask(socket, "b"), "overloaded")
        done = await until(socket, "a", "done")
        assert done["usage"]["characters"] == len(SENTENCE)
        assert (await ask(socket, "c"))["type"] == "opened"


async def test_without_a_fallback_for_the_first_word_the_first_engine_alone_decides(serve: Any) -> None:
    spare = {"beacon2": {"factory": "beacon", "options": {"name": "beacon2", "voices": ["beacon-b"]}}}
    for is_allowed in (True, False):
        tables = {"engines": SLOW | spare, "admission": {"first_word_from_fallback": is_allowed}}
        async with serve(**tables) as running, connect(running.ws, subprotocols=JSON) as socket:
            assert (await ask(socket, "a"))["type"] == "opened"
            await until(socket, "a", "audio")
            assert (await ask(socket, "b"))["type"] == ("opened" if is_allowed else "error")


async def test_the_profile_says_the_class_unless_the_client_does(serve: Any) -> None:
    async with serve() as running, connect(running.ws, subprotocols=JSON) as socket:
        seen: list[Any] = []
        scheduler = running.service.scheduler
        open_stream = scheduler.open_stream
        scheduler.open_stream = lambda spec, now: (seen.append(spec.priority), open_stream(spec, now))[1]
        for profile in ("ivr", "browser", "chatbot", "batch"):
            assert (await ask(socket, profile, profile=profile))["type"] == "opened"
        await send(socket, "open", "x", voice="beacon-a", budget={"profile": "batch"}, priority="interactive")
        await until(socket, "x", "opened")
        assert seen == ["interactive", "normal", "interactive", "batch", "interactive"]

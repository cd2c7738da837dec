"""Engines that are too slow for what a profile promises: found from what was measured, told at the start and to whoever asks."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import httpx
import pytest

from realtime.scheduling.budget import PROFILES
from realtime.server.fitness import shortfalls
from realtime.types import Budget

PROFILE_BUDGETS = {name: profile.budget for name, profile in PROFILES.items()}
CHAIN = ("main", "spare")


@pytest.mark.parametrize(
    ("first_chunk_s", "too_slow_for"),
    [
        (0.0, []),
        (0.74, []),
        (0.76, ["ivr"]),
        (1.14, ["ivr"]),
        (1.2, ["ivr", "chatbot"]),
        (5.0, ["ivr", "browser", "chatbot"]),  # nobody waits for a batch
    ],
)
def test_an_engine_fits_a_profile_when_its_first_chunk_is_there_before_another_one_would_be_taken(
    first_chunk_s: float, too_slow_for: list[str]
) -> None:
    found = shortfalls(CHAIN, {"main": first_chunk_s, "spare": 0.02}, PROFILE_BUDGETS)
    assert [(s.engine, s.profile) for s in found] == [("main", profile) for profile in too_slow_for]


def test_what_it_costs_and_what_helps_is_said_for_this_profile_and_chain() -> None:
    sticky, free = Budget(first_audio_ms=800, sticky=True), Budget(first_audio_ms=900)
    (calls, chats) = shortfalls(CHAIN, {"main": 1.0}, {"calls": sticky, "chats": free})
    assert "main is too slow for profile calls" in str(calls) and "within 1000 ms" in str(calls) and "due within 800 ms" in str(calls)
    assert "spare speaks the whole utterance" in str(calls) and "budget.sticky = false" in str(calls)
    assert "spare speaks its first words" in str(chats) and "sticky" not in str(chats)
    assert all("cache.prewarm" in str(s) and "engines.main.workers, .cores" in str(s) and "over 1050" in str(s) for s in (calls, chats))
    (alone,) = shortfalls(("main",), {"main": 1.0}, {"calls": sticky})
    assert "no engine could take over" in str(alone) and "sticky" not in str(alone)


def test_an_engine_without_a_worker_is_not_judged() -> None:
    assert shortfalls(CHAIN, {}, PROFILE_BUDGETS) == []


async def test_a_service_says_so_in_its_log_and_its_capabilities(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    slow = {
        "beacon": {"options": {"rate_factor": 0.2, "first_chunk_ms": 700}},
        "beacon2": {"factory": "beacon", "options": {"name": "beacon2", "voices": ["beacon-b"]}},
    }
    with caplog.at_level(logging.WARNING, logger="realtime.app"):
        async with serve(engines=slow) as running, httpx.AsyncClient(base_url=running.url) as client:
            first, second = (await client.get("/v1/capabilities")).json()["engines"]
            with anyio.fail_after(20):
                while not caplog.records:
                    await anyio.sleep(0.05)
    assert first["first_chunk_p99_ms"] > 750 > second["first_chunk_p99_ms"]
    assert {row["profile"] for row in first["too_slow_for"]} >= {"ivr"} and second["too_slow_for"] == []
    row = first["too_slow_for"][0]
    assert row["first_audio_ms"] == 800 and row["hint"].startswith("beacon is too slow for profile ivr")
    assert row["hint"] in [record.getMessage() for record in caplog.records]

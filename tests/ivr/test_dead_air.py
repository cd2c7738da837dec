"""A caller hears no dead air: whatever becomes of the service, somebody speaks to him within the budget. Real calls, judged by their
packets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from realtime.errors import how_to_install

MakePhone = Callable[..., Awaitable[Any]]
OpenOffice = Callable[..., AbstractAsyncContextManager[Any]]
TEXT = "One two three. Thank you."
BUDGET_S = 0.6
SLACK_S = 0.5
"""For espeak-ng on a loaded machine, which takes 20 ms on an idle one."""
FLOW = {
    "name": "f",
    "start": "a",
    "budget_ms": round(BUDGET_S * 1000),
    "voices": {"en": {"speed": 2.0}},
    "steps": {"a": {"say": TEXT, "next": "b"}, "b": {"hang_up": "Bye."}},
}


def silences(sent: list[tuple[float, bytes]], since: float = 0.0) -> list[float]:
    """Seconds of each silence before and between sound. Beacons fill the pauses between words, and espeak's are short."""
    loud = [at for at, frame in sent if set(frame) - {0xFF, 0x7F} and at >= since]
    assert loud, "not a sound"
    return [b - a for a, b in zip([sent[0][0], *loud], loud, strict=False)]


@pytest.fixture(autouse=True)
def _needs_espeak() -> None:
    pytest.importorskip("espeakng_loader", reason=f"espeak-ng is not installed; {how_to_install('espeak')}")


@pytest.mark.parametrize(
    "fault",
    [
        "gone before the call",
        pytest.param("accepts and says nothing", marks=pytest.mark.slow),
        pytest.param("killed in mid-sentence", marks=pytest.mark.slow),
        pytest.param("stalls in mid-sentence", marks=pytest.mark.slow),
    ],
)
async def test_somebody_speaks_within_the_budget(
    service_url: str, make_phone: MakePhone, office: OpenOffice, wire_to: Callable[[str], Any], fault: str
) -> None:
    wire = wire_to(service_url)
    await wire.mend()
    async with office(FLOW, f"ws://127.0.0.1:{wire.port}") as ivr:
        await ivr.desk.voices.local.warm_up()
        if fault == "gone before the call":
            await wire.cut()
        elif fault == "accepts and says nothing":
            wire.stall()
        phone = await make_phone()
        await phone.dial(ivr.uri)
        if fault.endswith("in mid-sentence"):
            await phone.wait_for("CALL_ESTABLISHED")
            async with asyncio.timeout(10):
                while sum(set(frame) != {0xFF} for _, frame in ivr.sent) < 25:
                    await asyncio.sleep(0.01)
            if fault.startswith("killed"):
                await wire.cut()
            else:
                wire.stall()
        record = (await ivr.over(seconds=40))[0]
        await phone.wait_for("CALL_CLOSED")
        if fault != "gone before the call":
            await wire.cut()
    assert max(silences(ivr.sent)) <= BUDGET_S + SLACK_S, silences(ivr.sent)
    prompts = record["prompts"]
    assert [one["heard_characters"] for one in prompts] == [len(TEXT), len("Bye.")]
    assert sum(one.get("takeovers", 0) for one in prompts) >= 1 and "local" in prompts[-1]["source"]
    assert record["ended_by"] == "flow" and "errors" not in record

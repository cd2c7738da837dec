"""Hung up on, and hanging up, at every stage of a call: nothing is left of it, neither leg nor socket nor task."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from realtime_ivr.call import Call, HungUp
from realtime_ivr.errors import CallFailed
from realtime_ivr.prompts import Manners
from realtime_ivr.session import Session
from realtime_ivr.transports.sip import SipCall

MakePhone = Callable[..., Awaitable[Any]]
OpenOffice = Callable[..., AbstractAsyncContextManager[Any]]
FAST = Manners(speed=2.0)
TEXT = "Your balance is twelve thousand yuan. Thank you for calling. Your balance is twelve thousand yuan."


async def until(condition: Callable[[], bool], seconds: float = 8) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


class Leftovers:
    """What there was before a call, to be compared with what there is after it."""

    def __init__(self, ivr: Any) -> None:
        self._ivr, self._tasks, self._files = ivr, self._now(), _open_files()

    @staticmethod
    def _now() -> int:
        return sum(not task.done() for task in asyncio.all_tasks())

    async def none(self) -> None:
        """Everything is as it was, within a moment."""
        await until(lambda: not self._ivr.desk.calls and not self._ivr.sip.agent.legs and not len(self._ivr.sip.pacer))
        await until(lambda: self._now() <= self._tasks and _open_files() <= self._files)


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def is_loud(frame: bytes) -> bool:
    return set(frame) != {0xFF}


async def flow(session: Session) -> None:
    """Say, then wait for a key."""
    session.set_voice(FAST)
    await session.say(TEXT)
    await session.menu("One?", "1")


class Stages:
    """Brings a call of a phone to a stage; it stays there for some seconds."""

    def __init__(self, ivr: Any, phone: Any) -> None:
        self._ivr, self._phone = ivr, phone

    async def reach(self, stage: str) -> None:
        self._phone.events.clear()
        self._ivr.sent.clear()
        serve = self._ivr.sip._on_call
        if stage == "ringing":
            self._ivr.sip._on_call = self._ring
        await self._phone.dial(self._ivr.uri)
        await self._phone.wait_for("CALL_RINGING" if stage == "ringing" else "CALL_ESTABLISHED")
        self._ivr.sip._on_call = serve
        if stage in ("first sound", "in mid-sentence", "on hold"):
            await until(lambda: sum(is_loud(frame) for _, frame in self._ivr.sent) >= (1 if stage == "first sound" else 25))
        if stage == "on hold":
            await self._phone.command("hold")
            await until(lambda: self._ivr.calls[-1]._is_held)
        if stage == "in a menu":
            await self._phone.press("5")  # cuts the text short; the menu refuses it and asks again
            await until(lambda: len(next(iter(self._ivr.desk.calls.values())).record.prompts) >= 2)

    async def _ring(self, call: Call) -> None:
        assert isinstance(call, SipCall)
        self._ivr.calls.append(call)
        call.ring()
        while not isinstance(await call.next_event(), HungUp):
            pass


STAGES = ("ringing", "just answered", "first sound", "in mid-sentence", "in a menu", "on hold")


@pytest.mark.parametrize("who", ["the phone", "we"])
async def test_a_hang_up_at_any_stage_leaves_nothing(service_url: str, make_phone: MakePhone, office: OpenOffice, who: str) -> None:
    async with office(flow, service_url) as ivr:
        phone = await make_phone()
        stages = Stages(ivr, phone)
        await stages.reach("just answered")  # connections to the service and the like are made once
        await phone.hang_up()
        await until(lambda: not ivr.desk.calls)
        await phone.wait_for("CALL_CLOSED")
        for stage in STAGES:
            left = Leftovers(ivr)
            await stages.reach(stage)
            call = ivr.calls[-1]
            await (phone.hang_up() if who == "the phone" else call.hang_up("enough"))
            await phone.wait_for("CALL_CLOSED")
            await left.none()
            assert call.hung_up is not None and call.hung_up.side == ("caller" if who == "the phone" else "flow"), stage


@pytest.mark.parametrize("who", ["the phone", pytest.param("we", marks=pytest.mark.slow)])
async def test_a_hang_up_while_the_service_restarts_leaves_nothing(
    service_url: str, make_phone: MakePhone, office: OpenOffice, wire_to: Callable[[str], Any], who: str
) -> None:
    wire = wire_to(service_url)
    await wire.mend()
    async with office(flow, f"ws://127.0.0.1:{wire.port}") as ivr:
        phone = await make_phone()
        left: Leftovers | None = None
        for _ in range(2):  # what a restart costs is there after the first one
            await Stages(ivr, phone).reach("in mid-sentence")
            await wire.cut()
            await asyncio.sleep(0.1)
            await (phone.hang_up() if who == "the phone" else ivr.calls[-1].hang_up())
            await phone.wait_for("CALL_CLOSED")
            await until(lambda: not ivr.desk.calls and not ivr.sip.agent.legs)
            await wire.mend()
            await until(lambda: ivr.desk.voices.service.is_there)
            await Stages(ivr, phone).reach("in mid-sentence")  # the next caller is served by it
            await phone.hang_up()
            await phone.wait_for("CALL_CLOSED")
            await until(lambda: not ivr.desk.calls and not ivr.sip.agent.legs)
            if left is not None:
                await left.none()
            left = Leftovers(ivr)
    await wire.cut()


async def test_a_phone_that_we_call_declines_rings_out_or_is_given_up(service_url: str, make_phone: MakePhone, office: OpenOffice) -> None:
    async with office(flow, service_url) as ivr:
        phone = await make_phone(answers=False)
        for end in ("declined", "given up", "cancelled"):
            left = Leftovers(ivr)
            async with dialling(ivr, phone, ring_s=0.4 if end == "given up" else 20) as dialled:
                if end == "declined":
                    await phone.hang_up()
                elif end == "cancelled":
                    dialled.cancel()
                with pytest.raises(asyncio.CancelledError if end == "cancelled" else CallFailed) as failed:
                    await dialled
            if end != "cancelled":
                assert isinstance(failed.value, CallFailed) and failed.value.status == (486 if end == "declined" else 408)
            await phone.wait_for("CALL_CLOSED")
            await left.none()


@pytest.mark.parametrize("who", ["the phone", "we", "both at once"])
async def test_a_call_out_is_ended_by_either_side(service_url: str, make_phone: MakePhone, office: OpenOffice, who: str) -> None:
    async with office(flow, service_url) as ivr:
        phone = await make_phone()
        left = Leftovers(ivr)
        call = await ivr.sip.dial(phone.uri)
        serving = asyncio.create_task(ivr.desk.serve(call))
        await until(lambda: call.played > 2000)
        if who != "we":
            await phone.hang_up()
        if who != "the phone":
            await call.hang_up()
        record = await serving
        await phone.wait_for("CALL_CLOSED")
        assert record["ended_by"] in {"the phone": ["caller"], "we": ["flow"], "both at once": ["caller", "flow"]}[who]
        await left.none()


@asynccontextmanager
async def dialling(ivr: Any, phone: Any, ring_s: float) -> AsyncIterator[asyncio.Task[Any]]:
    phone.events.clear()
    dialled = asyncio.create_task(ivr.sip.dial(phone.uri, ring_s=ring_s))
    await phone.wait_for("CALL_INCOMING")
    yield dialled

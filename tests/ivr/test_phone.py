"""Real calls: baresip on one side, our flows on the other, a beacon voice between them, so that every character heard can be told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from realtime_ivr.call import Call, Digit, HungUp
from realtime_ivr.errors import CallFailed
from realtime_ivr.prompts import Manners
from realtime_ivr.session import Session
from realtime_ivr.transports.sip import SipCall

from realtime.engines.beacon.decoder import decode

Pcm = npt.NDArray[np.int16]


MakePhone = Callable[..., Awaitable[Any]]
OpenOffice = Callable[..., AbstractAsyncContextManager[Any]]


def best_match(sent: Pcm, heard: Pcm) -> tuple[float, int]:
    """Correlation of the speech in `sent` with `heard` where they fit best, and the shift."""
    voiced = np.flatnonzero(np.abs(sent) > 100)
    speech = sent[voiced[0] : voiced[-1] + 1].astype(np.float64)
    padded = np.concatenate([heard, np.zeros(len(speech), np.int16)]).astype(np.float64)
    size = 1 << (len(padded) + len(speech)).bit_length()
    cross = np.fft.irfft(np.fft.rfft(padded, size) * np.conj(np.fft.rfft(speech, size)), size)[: len(heard)]
    shift = int(np.argmax(cross))
    part = padded[shift : shift + len(speech)]
    return float(speech @ part / np.sqrt((speech @ speech) * (part @ part) + 1e-9)), shift


FAST = Manners(speed=2.0)
TEXT = "Your balance is twelve thousand yuan. Thank you for calling."


async def test_the_phone_hears_what_the_service_said_whole_and_in_one_piece(
    service_url: str, make_phone: MakePhone, office: OpenOffice
) -> None:
    async def program(session: Session) -> None:
        await session.say(TEXT, manners=FAST)
        await session.pause(0.3)

    async with office(program, service_url) as ivr:
        phone = await make_phone()
        await phone.dial(ivr.uri)
        await phone.wait_for("CALL_CLOSED", 30)
        record = (await ivr.over())[0]
        heard = phone.heard()
    correlation, _ = best_match(ivr.sent_pcm(), heard)
    assert correlation >= 0.99  # one alignment for all of it: a frame inserted or lost inside would break it
    assert decode(heard / 32768, 8000) == TEXT
    assert record["ended_by"] == "flow" and record["prompts"][0]["source"] == "service"
    assert record["prompts"][0]["heard_characters"] == len(TEXT)
    assert record["media"]["packets_lost"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["pcma/8000/1"])
async def test_a_phone_that_speaks_a_law_only_is_served_in_a_law(
    service_url: str, make_phone: MakePhone, office: OpenOffice, codec: str
) -> None:
    async def program(session: Session) -> None:
        await session.say("Good morning to you.", manners=FAST)
        await session.pause(0.3)

    async with office(program, service_url) as ivr:
        phone = await make_phone(codecs=codec)
        await phone.dial(ivr.uri)
        await phone.wait_for("CALL_CLOSED", 30)
        await ivr.over()
        assert decode(phone.heard() / 32768, 8000) == "Good morning to you."


MENU = {
    "name": "menu",
    "start": "main",
    "voices": {"en": {"speed": 2.0}},
    "steps": {
        "main": {
            "menu": "For your balance press one, for other things press two.",
            "keys": {"1": "balance", "2": "code"},
        },
        "balance": {"pause": 0.4, "next": "tell"},  # so that the end of the interrupted sound can be seen
        "tell": {"say": "It is ten.", "next": "bye"},
        "code": {"collect": "Your code.", "into": "code", "least": 4, "most": 4, "next": "echo"},
        "echo": {"say": "You said {code:digits}.", "next": "bye"},
        "bye": {"hang_up": "Bye."},
    },
}


async def test_a_key_in_mid_sentence_stops_it_within_60_ms_and_is_served(
    service_url: str, make_phone: MakePhone, office: OpenOffice
) -> None:
    async with office(MENU, service_url) as ivr:
        phone = await make_phone()
        await phone.dial(ivr.uri)
        await phone.wait_for("CALL_ESTABLISHED")
        await asyncio.sleep(1.0)
        pressed: list[float] = []
        call = ivr.calls[0]
        emit = call.emit
        call.emit = lambda event: (pressed.append(time.monotonic()) if isinstance(event, Digit) else None, emit(event))[1]  # type: ignore[method-assign]
        await phone.press("1")
        await phone.wait_for("CALL_CLOSED", 30)
        record = (await ivr.over())[0]
        text = decode(phone.heard() / 32768, 8000)
    after = [(at - pressed[0], frame) for at, frame in ivr.sent if at > pressed[0]]
    first_silent = next(at for at, frame in after if set(frame) == {0xFF})
    assert first_silent <= 0.060
    assert "It is ten." in text and text.endswith("Bye.")
    menu = record["prompts"][0]
    assert menu["interrupted_by"] == "keys" and record["barge_ins"] == 1
    assert text.startswith(str(MENU["steps"]["main"]["menu"])[: menu["heard_characters"] - 2])  # type: ignore[index]
    assert 0 < menu["heard_characters"] < menu["characters"]
    assert [one["step"] for one in record["path"]] == ["main", "balance", "tell", "bye"]


@pytest.mark.slow
async def test_digits_keyed_in_come_back_as_they_were(service_url: str, make_phone: MakePhone, office: OpenOffice) -> None:
    async with office(MENU, service_url) as ivr:
        phone = await make_phone()
        await phone.dial(ivr.uri)
        await phone.wait_for("CALL_ESTABLISHED")
        await asyncio.sleep(0.3)
        for key in "24711":  # the code is typed ahead
            await phone.press(key)
            await asyncio.sleep(0.35)
        await phone.wait_for("CALL_CLOSED", 30)
        await ivr.over()
        assert "You said 4 7 1 1." in decode(phone.heard() / 32768, 8000)


async def test_the_phone_is_called_and_hears_the_reminder(service_url: str, make_phone: MakePhone, office: OpenOffice) -> None:
    flow = {"name": "reminder", "start": "a", "voices": {"en": {"speed": 2.0}}, "steps": {"a": {"hang_up": "Your appointment is at nine."}}}
    async with office(flow, service_url) as ivr:
        phone = await make_phone()
        call = await ivr.sip.dial(phone.uri)
        record = await ivr.desk.serve(call)
        await phone.wait_for("CALL_CLOSED")
        assert decode(phone.heard() / 32768, 8000) == "Your appointment is at nine."
        assert record["direction"] == "outgoing"


@pytest.mark.slow
async def test_a_caller_whose_transfer_is_declined_stays_and_is_handed_on_to_another_phone(
    service_url: str, make_phone: MakePhone, office: OpenOffice
) -> None:
    async def program(session: Session) -> None:
        with pytest.raises(CallFailed, match="refused with 486"):
            await session.transfer(busy.uri)
        await session.say("Another.", manners=FAST)
        await session.transfer(colleague.uri)

    async with office(program, service_url) as ivr:
        phone, busy, colleague = await make_phone(), await make_phone(answers=False), await make_phone()
        await phone.dial(ivr.uri)
        await busy.wait_for("CALL_INCOMING")
        await busy.hang_up()
        await colleague.wait_for("CALL_ESTABLISHED")
        record = (await ivr.over())[0]
        assert record["ended_by"] == "flow" and record["prompts"][0]["heard_characters"] == len("Another.")
        await phone.hang_up()
        await colleague.wait_for("CALL_CLOSED")


@pytest.mark.slow
async def test_keys_go_out_as_telephone_events(service_url: str, make_phone: MakePhone, office: OpenOffice) -> None:
    async def silent(session: Session) -> None:
        await session.pause(30)

    async with office(silent, service_url) as ivr:
        phone = await make_phone()
        call = await ivr.sip.dial(phone.uri)
        await call.send_digits("15#")
        await asyncio.sleep(0.2)
        received = [event["param"] for event in phone.events if event["type"] == "CALL_DTMF_START"]
        assert received == ["1", "5", "#"]
        await call.hang_up()
        await phone.wait_for("CALL_CLOSED")


async def quiet(session: Session) -> None:
    await session.say(TEXT * 3)


@pytest.mark.parametrize(
    "stage",
    ["ringing", pytest.param("at once", marks=pytest.mark.slow), pytest.param("first words", marks=pytest.mark.slow), "in mid-sentence"],
)
async def test_the_phone_hangs_up_at_any_stage_and_nothing_is_left(
    service_url: str, make_phone: MakePhone, office: OpenOffice, stage: str
) -> None:
    async def slow(session: Session) -> None:
        await quiet(session)

    async with office(slow, service_url) as ivr:
        if stage == "ringing":
            ivr.sip._on_call = _ring_only(ivr)
        phone = await make_phone()
        await phone.dial(ivr.uri)
        if stage == "ringing":
            await phone.wait_for("CALL_RINGING")
        else:
            await phone.wait_for("CALL_ESTABLISHED")
            await asyncio.sleep({"at once": 0, "first words": 0.2, "in mid-sentence": 1.5}[stage])
        await phone.hang_up()
        if stage == "ringing":
            await _until(lambda: not ivr.sip.agent.legs)
            return
        record = (await ivr.over())[0]
        assert record["ended_by"] == "caller"


def _ring_only(ivr: Any) -> Callable[[Call], Awaitable[object]]:
    async def ring(call: Call) -> None:
        assert isinstance(call, SipCall)
        call.ring()
        while not isinstance(await call.next_event(), HungUp):
            pass

    return ring


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.mark.slow
async def test_we_hang_up_while_it_rings_and_after_the_answer(service_url: str, make_phone: MakePhone, office: OpenOffice) -> None:
    async with office(quiet, service_url) as ivr:
        phone = await make_phone(answers=False)
        with pytest.raises(CallFailed, match="nobody answered"):
            await ivr.sip.dial(phone.uri, ring_s=0.5)
        await phone.wait_for("CALL_INCOMING")
        await phone.wait_for("CALL_CLOSED")
        patient = asyncio.create_task(ivr.sip.dial(phone.uri, ring_s=10))
        await phone.wait_for("CALL_INCOMING")
        await phone.command("accept")
        call = await patient
        await call.hang_up()
        await phone.wait_for("CALL_CLOSED")


@pytest.mark.slow
async def test_a_held_phone_misses_nothing(service_url: str, make_phone: MakePhone, office: OpenOffice) -> None:
    async def program(session: Session) -> None:
        await session.say(TEXT, manners=FAST)
        await session.pause(0.3)

    async with office(program, service_url) as ivr:
        phone = await make_phone()
        await phone.dial(ivr.uri)
        await phone.wait_for("CALL_ESTABLISHED")
        await asyncio.sleep(0.8)
        await phone.command("hold")
        await asyncio.sleep(0.7)
        before = len(ivr.sent)
        await asyncio.sleep(0.3)
        assert len(ivr.sent) == before
        await phone.command("resume")
        await phone.wait_for("CALL_CLOSED", 30)
        await ivr.over()
    assert decode(ivr.sent_pcm() / 32768, 8000) == TEXT


@pytest.mark.slow
async def test_both_legs_are_recorded(service_url: str, make_phone: MakePhone, office: OpenOffice, tmp_path: Path) -> None:
    import soundfile

    async def program(session: Session) -> None:
        await session.say("Recorded.")
        await session.pause(0.5)

    tone = (6000 * np.sin(2 * np.pi * 440 * np.arange(8000 * 30) / 8000)).astype(np.int16)
    async with office(program, service_url, recordings=tmp_path / "wav") as ivr:
        phone = await make_phone(says=tone)
        await phone.dial(ivr.uri)
        await phone.wait_for("CALL_CLOSED", 30)
        record = (await ivr.over())[0]
    both, rate = soundfile.read(record["recordings"][0])
    assert rate == 8000 and both.shape[1] == 2
    assert decode(both[:, 1], 8000) == "Recorded."
    spectrum = np.abs(np.fft.rfft(both[4000:8000, 0]))
    assert abs(np.argmax(spectrum) * 8000 / 4000 - 440) < 3


@pytest.mark.slow
async def test_the_callers_voice_stops_it_too(service_url: str, make_phone: MakePhone, office: OpenOffice) -> None:
    async def program(session: Session) -> None:
        session.listen_for_voice()
        said = await session.say(TEXT, interrupt=("voice",))
        assert session.interrupted_by == "voice" and not said.is_complete
        await session.pause(0.3)

    time_s = np.arange(8000 * 20) / 8000
    vowel = sum(np.sin(2 * np.pi * 140 * n * time_s) / n for n in range(1, 20)) * 3000 * (1 + np.sin(2 * np.pi * 4 * time_s))
    vowel[: 8000 * 2] = 0  # he listens for two seconds
    async with office(program, service_url) as ivr:
        phone = await make_phone(says=vowel.astype(np.int16))
        await phone.dial(ivr.uri)
        await phone.wait_for("CALL_CLOSED", 30)
        record = (await ivr.over())[0]
    assert record["barge_ins"] == 1 and "errors" not in record
    assert 1000 < record["prompts"][0]["heard_ms"] < 3500
    assert decode(phone.heard() / 32768, 8000) != TEXT

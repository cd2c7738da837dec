"""Every character of many utterances, decoded from the packets that callers got, while the processors are kept busy by others.

A few utterances in the ordinary run; `REALTIME_STRESS_UTTERANCES=2000 pytest -s tests/ivr/test_words.py` for many (a minute per thousand on
one core). A machine that stops the phone side for longer than it makes up for (100 ms) leaves silence in a word, which is counted and told,
and taken out before the comparison: nothing may be lost by it."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from realtime_ivr.call import Call
from realtime_ivr.collector import postpone
from realtime_ivr.desk import Desk
from realtime_ivr.local_voice import LocalVoice
from realtime_ivr.prompts import Manners, PromptStore
from realtime_ivr.saying import Voices
from realtime_ivr.service import Service
from realtime_ivr.session import Session
from realtime_ivr.sip.agent import SipSettings
from realtime_ivr.transports.sip import SipTransport

from realtime.audio.g711 import MULAW_DECODE, expand
from realtime.engines.beacon.decoder import decode

UTTERANCES = int(os.environ.get("REALTIME_STRESS_UTTERANCES", "24"))
PER_CALL, AT_ONCE = 4, 24
WORDS = "one two three four five six seven eight nine ten red green blue tea account balance yuan 您好 余额 谢谢 请按一".split()


@dataclass
class SaidInACall:
    """All texts of a call, and how it went."""

    text: str
    takeovers: int = 0
    skipped: int = 0


def sentence(random_: random.Random, number: int) -> str:
    """Some words that no other utterance has in this order, as the number is among them."""
    words = [random_.choice(WORDS) for _ in range(random_.randrange(2, 7))]
    words.insert(random_.randrange(len(words)), str(number))
    return " ".join(words) + "."


@contextmanager
def garbage_postponed() -> Iterator[None]:
    """As `realtime-ivr serve` does; a full collection of all that a test run has loaded takes 200 ms on a busy core."""
    before = gc.get_threshold()
    postpone()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that compute all the time."""
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_no_character_is_lost_or_said_twice_on_a_busy_machine(service_url: str, tmp_path: Path) -> None:
    random_ = random.Random(6)
    said: list[SaidInACall] = []

    async def program(session: Session) -> None:
        session.set_voice(Manners(speed=2.0))
        session.options = replace(session.options, budget_s=60.0)  # a local voice's words could not be decoded
        texts = [sentence(random_, len(said) * PER_CALL + at) for at in range(PER_CALL)]
        mine = SaidInACall("".join(texts))
        said.append(mine)
        for text in texts:
            await session.say(text)
        mine.takeovers = sum(one.takeovers for one in session.record.prompts)
        mine.skipped = session.call.quality.late_ticks
        await session.pause(0.1)

    voices = Voices(Service(service_url), PromptStore(), LocalVoice())
    await voices.service.start()
    desk = Desk(voices, program)

    async def serve(call: Call) -> None:
        await desk.serve(call)

    sip = SipTransport(SipSettings(port=0, invites_per_s=1000), serve, rtp_ports=(45000, 49999))
    await sip.start()
    total = max(1, UTTERANCES // PER_CALL)
    command = [
        sys.executable,
        "-m",
        "realtime_ivr.load",
        f"sip:ivr@127.0.0.1:{sip.agent.port}",
        "--seconds",
        "120",
        "--keep",
        str(tmp_path),
    ]
    with busy(1), garbage_postponed():
        callers = await asyncio.create_subprocess_exec(
            *command, "--calls", str(min(AT_ONCE, total)), "--total", str(total), stdout=asyncio.subprocess.PIPE
        )
        result = json.loads((await callers.communicate())[0])
    await sip.aclose()
    await voices.service.aclose()
    await voices.local.aclose()
    assert result["failures"] == [] and result["calls"] == total and result["packets_lost"] == 0
    kept = [_frames(data) for data in _kept(tmp_path)]
    gaps = sum(_gaps(frames) for frames in kept)
    heard = [decode(expand(b"".join(frame for frame in frames if is_sound(frame)), MULAW_DECODE) / 32768, 8000) for frames in kept]
    wrong = list((Counter(heard) - Counter(one.text for one in said)).elements())
    missing = [one for one in said if one.text not in heard]
    characters, skipped = sum(len(one.text) for one in said), sum(one.skipped for one in said)
    print(f"{total * PER_CALL} utterances, {characters} characters, {len(wrong)} of {total} calls differ")
    print(f"{gaps} gaps in words, {skipped} frames skipped, {sum(one.takeovers for one in said)} takeovers")
    assert wrong == [], missing


def is_sound(frame: bytes) -> bool:
    """A beacon fills even its pauses, so a silent frame is none of its."""
    return set(frame) != {0xFF}


def _gaps(frames: list[bytes]) -> int:
    """Silences of more than the pause between two utterances, which lasts until the service has answered."""
    text = "".join("#" if is_sound(frame) else "." for frame in frames).strip(".")
    return text.count("#....")


def _frames(data: bytes) -> list[bytes]:
    return [data[at : at + 160] for at in range(0, len(data), 160)]


def _kept(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("*.ulaw"))]

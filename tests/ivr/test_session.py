"""Saying and asking, against a real service with a beacon voice, a service that breaks, and none at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from realtime_ivr.call import Voice
from realtime_ivr.errors import CallEnded
from realtime_ivr.local_voice import LocalVoice
from realtime_ivr.prompts import Manners, Prompt, PromptStore
from realtime_ivr.record import CallRecord
from realtime_ivr.saying import SayOptions, Voices
from realtime_ivr.service import Service
from realtime_ivr.session import Question, Session

from realtime.engines.beacon.decoder import decode
from realtime.errors import Overloaded, how_to_install
from realtime.wire.events import Word

FAST = Manners(speed=2.0)
SLOW = Manners("beacon-b")
TEXT = "One two three four five six seven eight nine ten."


@asynccontextmanager
async def session_on(call: Any, url: str, **options: Any) -> AsyncIterator[Session]:
    voices = Voices(Service(url), PromptStore(), LocalVoice())
    await voices.service.start()
    record = CallRecord(call.info, "test")
    try:
        yield Session(call, voices, record, SayOptions(**{"manners": FAST, **options}))
    finally:
        call.gone()
        await voices.service.aclose()
        await voices.local.aclose()


NOWHERE = "ws://127.0.0.1:9"


async def test_text_is_said_whole_and_its_figures_are_recorded(service_url: str, fake_call: Callable[..., Any]) -> None:
    async with session_on(fake_call(), service_url) as session:
        said = await session.say(TEXT)
        assert decode(session.call.heard / 32768, 8000) == TEXT  # type: ignore[attr-defined]
        assert said.is_complete and said.heard == TEXT and said.unheard == ""
        prompt = session.record.prompts[0]
        assert prompt.source == "service" and prompt.ttfa_ms is not None and prompt.underruns == 0


async def test_text_from_a_slow_writer_is_said_as_it_comes(service_url: str, fake_call: Callable[..., Any]) -> None:
    async def tokens() -> AsyncIterator[str]:
        for word, pause_s in (("Tea ", 0.05), ("is ", 0.05), ("green. ", 0.05), ("Or ", 1.4), ("black.", 0)):
            yield word
            await asyncio.sleep(pause_s)  # longer than the budget: the writer's silence is not the service's

    async with session_on(fake_call(), service_url, budget_s=1.0) as session:
        said = await session.say(tokens())
        assert decode(session.call.heard / 32768, 8000) == said.text == "Tea is green. Or black."  # type: ignore[attr-defined]
        assert session.record.prompts[0].takeovers == 0


async def test_a_key_stops_it_and_what_was_heard_is_known(service_url: str, fake_call: Callable[..., Any]) -> None:
    async with session_on(fake_call(tick_s=0.02), service_url) as session:
        asyncio.get_running_loop().call_later(1.0, session.call.press, "4")  # type: ignore[attr-defined]
        said = await session.say(TEXT)
        heard = decode(session.call.heard / 32768, 8000)  # type: ignore[attr-defined]
        assert not said.is_complete and session.interrupted_by == "keys" and session.call.queued == 0
        assert heard.startswith(said.heard) and len(heard) - len(said.heard) <= 6  # words count when they are over
        assert 5 < len(said.heard) < len(TEXT)
        assert await session.key(0.1) == "4"


async def test_a_voice_stops_it_only_where_it_may(service_url: str, fake_call: Callable[..., Any]) -> None:
    async with session_on(fake_call(), service_url) as session:
        session.call.emit(Voice())  # long ago: means nothing now
        assert (await session.say("One two.", interrupt=("voice",))).is_complete
        asyncio.get_running_loop().call_later(0.05, session.call.emit, Voice())
        assert (await session.say("One two.", interrupt=())).is_complete
        asyncio.get_running_loop().call_later(0.05, session.call.emit, Voice())
        assert not (await session.say(TEXT, interrupt=("voice",))).is_complete and session.interrupted_by == "voice"


async def test_a_lost_service_goes_on_behind_the_last_word_and_the_call_stays_up(
    service_url: str, fake_call: Callable[..., Any], wire_to: Callable[[str], Any]
) -> None:
    text = "One two three four five. Six seven eight nine. Ten."
    proxy = wire_to(service_url)
    await proxy.mend()
    async with session_on(fake_call(tick_s=0.01), f"ws://127.0.0.1:{proxy.port}", manners=SLOW, budget_s=5) as session:
        saying = asyncio.create_task(session.say(text))
        await asyncio.sleep(0.8)
        await proxy.cut()
        await asyncio.sleep(0.1)
        await proxy.mend()
        said = await saying
        assert decode(session.call.heard / 32768, 8000) == text  # type: ignore[attr-defined]
        assert said.is_complete and session.record.prompts[0].source == "service"
    await proxy.cut()


@pytest.mark.parametrize(("refusals", "source"), [(2, "service"), (99, "kept")])
async def test_a_service_that_refuses_for_now_is_asked_again_within_the_budget(
    service_url: str, fake_call: Callable[..., Any], refusals: int, source: str
) -> None:
    async with session_on(fake_call(), service_url, budget_s=0.5) as session:
        service, asked = session._voices.service, [0]
        speak = service.speak

        async def busy(*arguments: Any, **options: Any) -> Any:
            asked[0] += 1
            if asked[0] <= refusals:
                raise Overloaded("full", retry_after_ms=100)
            return await speak(*arguments, **options)

        service.speak = busy  # type: ignore[method-assign]
        session._voices.prompts.put("One two.", FAST, Prompt(np.zeros(3200, np.int16), (Word(0, 8, 0.0, 400.0),)))
        said = await session.say("One two.")
        assert said.is_complete and said.source == source and 2 < asked[0] <= 5


async def test_without_a_service_the_kept_prompt_is_played(fake_call: Callable[..., Any]) -> None:
    async with session_on(fake_call(), NOWHERE, budget_s=0.3) as session:
        sound = (np.sin(np.arange(3200)) * 8000).astype(np.int16)
        session._voices.prompts.put("Welcome.", FAST, Prompt(sound, (Word(0, 8, 0.0, 400.0),)))
        said = await session.say("Welcome.")
        assert said.source == "kept" and said.is_complete
        assert len(session.call.heard) == 3200 and np.abs(session.call.heard).max() > 7000  # type: ignore[attr-defined]


async def test_without_a_service_the_prompt_file_of_the_step_is_played(fake_call: Callable[..., Any], tmp_path: Path) -> None:
    from realtime.audio.wavfile import write_wav

    write_wav(tmp_path / "hello.wav", np.full(4800, 0.25, np.float32), 24000)
    async with session_on(fake_call(), NOWHERE) as session:
        said = await session.say("Hello.", prompt=tmp_path / "hello.wav")
        assert said.source == "prompt" and len(session.call.heard) == 1600  # type: ignore[attr-defined]


async def test_without_a_service_the_local_voice_speaks_sentence_by_sentence(fake_call: Callable[..., Any]) -> None:
    pytest.importorskip("espeakng_loader", reason=f"espeak-ng is not installed; {how_to_install('espeak')}")
    async with session_on(fake_call(tick_s=0.0005), NOWHERE) as session:
        await session._voices.local.warm_up()
        said = await session.say("Good morning. 您好。")
        heard = session.call.heard  # type: ignore[attr-defined]
        assert said.source == "local" and said.is_complete and said.heard == "Good morning. 您好。"
        assert len(heard) > 8000 and np.abs(heard).max() > 2000


async def test_a_service_that_stalls_in_mid_sentence_is_relieved_and_no_word_is_lost(
    service_url: str, fake_call: Callable[..., Any], wire_to: Callable[[str], Any]
) -> None:
    said_here: list[str] = []

    class Spy(LocalVoice):
        async def speak(self, text: str, language: str) -> Any:
            said_here.append(text)
            return np.zeros(800, np.int16)

    text = "One two three four five six. Seven eight nine ten eleven twelve."
    proxy = wire_to(service_url)
    await proxy.mend()
    async with session_on(fake_call(tick_s=0.015), f"ws://127.0.0.1:{proxy.port}", manners=SLOW, budget_s=0.3) as session:
        session._voices.local = Spy()
        saying = asyncio.create_task(session.say(text))
        await asyncio.sleep(1.2)
        proxy.stall()
        said = await saying
        before = decode(session.call.heard / 32768, 8000)  # type: ignore[attr-defined]
        assert said.is_complete and said.source == "service+local" and said_here
        await proxy.cut()
        rest = "".join(said_here)
        start = len(text) - len(rest)
        assert text.startswith(before) and text.endswith(rest) and before and start <= len(before) + 1  # nothing is lost
        assert (
            text[max(0, start - 1) : start + 1].strip(" ") != text[max(0, start - 1) : start + 1] or start == 0
        )  # begins with a whole word
        assert session.record.prompts[0].takeovers == 1


async def test_a_menu_takes_keys_typed_ahead_and_tries_again(service_url: str, fake_call: Callable[..., Any]) -> None:
    question = Question(timeout_s=0.2, retries=1, on_timeout="What?", on_invalid="No.")
    async with session_on(fake_call(), service_url) as session:
        session.call.press("1")  # type: ignore[attr-defined]
        assert await session.menu("One or two.", "12", question) == "1" and session.call.played == 0
        asyncio.get_running_loop().call_later(0.1, session.call.press, "9")  # type: ignore[attr-defined]
        assert await session.menu("One or two.", "12", question) is None
        assert "No. One or two." in decode(session.call.heard / 32768, 8000)  # type: ignore[attr-defined]


async def test_digits_end_with_the_key_the_number_or_a_pause(service_url: str, fake_call: Callable[..., Any]) -> None:
    question = Question(timeout_s=0.1, retries=0)
    async with session_on(fake_call(), service_url) as session:
        for keys, most, wanted in (
            ("12#", 8, "12"),
            ("1234", 4, "1234"),
            ("77", 8, "77"),
            ("9*12#", 8, "12"),
            ("#", 8, None),
            ("", 8, None),
        ):
            session.call.press(keys)  # type: ignore[attr-defined]
            assert await session.collect("x", most=most, question=question) == wanted


async def test_everything_ends_when_the_caller_hangs_up(service_url: str, fake_call: Callable[..., Any]) -> None:
    async with session_on(fake_call(tick_s=0.02), service_url) as session:
        asyncio.get_running_loop().call_later(0.2, session.call.gone)  # type: ignore[attr-defined]
        with pytest.raises(CallEnded, match="caller"):
            await session.say(TEXT)
        for again in (session.say("x"), session.key(1), session.menu("x", "1"), session.pause(1)):
            with pytest.raises(CallEnded):
                await again


async def test_an_error_of_the_texts_source_comes_after_what_was_written(service_url: str, fake_call: Callable[..., Any]) -> None:
    async def broken() -> AsyncIterator[str]:
        yield "Half a "
        raise RuntimeError("the model fell over")

    async with session_on(fake_call(), service_url) as session:
        with pytest.raises(RuntimeError, match="fell over"):
            await session.say(broken())
        assert decode(session.call.heard / 32768, 8000).strip() == "Half a"  # type: ignore[attr-defined]


async def test_a_saying_that_is_cancelled_leaves_no_task(service_url: str, fake_call: Callable[..., Any]) -> None:
    async with session_on(fake_call(tick_s=0.02), service_url) as session:
        before = asyncio.all_tasks()
        saying = asyncio.create_task(session.say(TEXT))
        await asyncio.sleep(0.2)
        saying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await saying
        await asyncio.sleep(0.3)
        left = {task for task in asyncio.all_tasks() - before if "realtime_ivr" in str(task.get_coro())}
        assert left == set()

"""A call as a flow handles it: say, ask for a key, collect digits, transfer, hang up. The Python API.

    async def run(session: Session) -> None:
        key = await session.menu("Press 1 for the weather, 2 for the time.", "12")
        await session.say(weather() if key == "1" else clock())

Keys pressed while something is said interrupt it (unless told otherwise) and count for the question that follows, so that who knows the
menu need not listen. When the call is over, every method raises `CallEnded`: a flow needs no look at the line."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from realtime_ivr.call import FRAME_SAMPLES, KEYS, Call, Digit, HungUp, Voice
from realtime_ivr.errors import CallEnded, CallFailed
from realtime_ivr.feed import TextFeed, TextSource
from realtime_ivr.prompts import Manners
from realtime_ivr.record import CallRecord
from realtime_ivr.saying import Said, Saying, SayOptions, Voices
from realtime_ivr.vad import VoiceGate, make_detector

from realtime.audio.samples import Int16

MAX_TYPED = 64
"""Keys pressed ahead; more are forgotten. Longer than any account number."""
BY_KEYS, BY_VOICE = "keys", "voice"


@dataclass(frozen=True, slots=True)
class Question:
    """How long to wait for an answer and what to say without one. `timeout_s` counts from the end of the question."""

    timeout_s: float = 5.0
    retries: int = 2
    on_timeout: str = ""
    on_invalid: str = ""


MENU, DIGITS = Question(), Question(timeout_s=8.0)


class Session:
    """Made by whoever serves calls; one flow uses it. `variables` are the flow's."""

    def __init__(self, call: Call, voices: Voices, record: CallRecord, options: SayOptions) -> None:
        self.call, self.record, self.options = call, record, options
        self.variables: dict[str, str] = {}
        self.interrupted_by = ""
        self.last_said: Said | None = None
        self._voices = voices
        self._typed: deque[str] = deque(maxlen=MAX_TYPED)
        self._saying: Saying | None = None
        self._interrupters: frozenset[str] = frozenset()
        self._gate: VoiceGate | None = None
        self._rest = np.zeros(0, np.int16)

    def __repr__(self) -> str:
        return f"<Session {self.call!r} at {self.record.step or 'the start'}, {len(self._typed)} keys typed ahead>"

    # ---- speaking ----

    async def say(
        self, text: TextSource, *, interrupt: Iterable[str] = (BY_KEYS,), manners: Manners | None = None, prompt: Path | None = None
    ) -> Said:
        """Say a text, or the pieces of one as they are written. Returns when it was heard or interrupted.

        `interrupt`: what stops it ("keys", "voice"). `prompt`: a sound file for when the service does not answer. Raises `CallEnded`;
        raises what the text's source raised, after the caller heard what came before.
        """
        self._look()
        self._interrupters, self.interrupted_by = frozenset(interrupt), ""
        options = replace(self.options, manners=manners or self.options.manners, prompt=prompt)
        prompt_record = self.record.said(self.record.step)
        feed = TextFeed(text)
        self._saying = Saying(self.call, self._voices, feed, options, prompt_record)
        listening = asyncio.create_task(self._listen())
        try:
            said = self.last_said = await self._saying.run()
        finally:
            self._saying = None
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        prompt_record.interrupted_by = self.interrupted_by
        self._look()
        if feed.error is not None:
            raise feed.error
        return said

    def set_voice(self, manners: Manners) -> None:
        """Voice and language of everything said from now on."""
        self.options = replace(self.options, manners=manners)
        self.record.language = manners.language or ""

    # ---- asking ----

    async def menu(
        self, text: str, keys: str, question: Question = MENU, *, interrupt: Iterable[str] = (BY_KEYS,), prompt: Path | None = None
    ) -> str | None:
        """Say a menu, return the key chosen, or None when none of `keys` was pressed in all tries."""
        said = text
        for _ in range(question.retries + 1):
            await self._ask(said, interrupt, prompt)
            key = await self.key(question.timeout_s)
            if key is not None and key in keys:
                return key
            remark = question.on_timeout if key is None else question.on_invalid
            self._typed.clear()
            said = f"{remark} {text}" if remark else text
        return None

    async def collect(
        self, text: str, *, least: int = 1, most: int = 32, end_key: str = "#", question: Question = DIGITS, prompt: Path | None = None
    ) -> str | None:
        """Say `text`, return the digits keyed in, ended by `end_key`, by `most` of them or by a pause; None after all tries."""
        said = text
        for _ in range(question.retries + 1):
            await self._ask(said, (BY_KEYS,), prompt)
            digits = await self._digits(most, end_key, question.timeout_s)
            if len(digits) >= least:
                return digits
            remark = question.on_invalid if digits else question.on_timeout
            said = f"{remark} {text}" if remark else text
        return None

    async def key(self, timeout_s: float) -> str | None:
        """The next key, typed ahead or now; None when none comes in time."""
        if not self._typed:
            await self._wait_for_key(timeout_s)
        return self._typed.popleft() if self._typed else None

    async def pause(self, seconds: float) -> None:
        """Be silent for a while; a key ends it (and stays for the next question)."""
        self._look()
        if not self._typed:
            await self._wait_for_key(seconds)

    # ---- leaving ----

    async def transfer(self, target: str) -> None:
        """Hand the caller on; afterwards the call is over for us. Raises `CallFailed` when it does not work: then it is not."""
        self._look()
        await self.call.transfer(target)

    async def hang_up(self, reason: str = "") -> None:
        """Say goodbye for good. Raises `CallEnded`, always: nothing comes after it."""
        await self.call.hang_up(reason)
        raise CallEnded(reason or "the flow hung up")

    def listen_for_voice(self, aggressiveness: int = 2) -> None:
        """Begin to watch the caller's sound, for flows that can be interrupted by voice."""
        if self._gate is None:
            self._gate = VoiceGate(make_detector(aggressiveness))
            self.call.listeners.append(self._hear)

    @property
    def is_caller_speaking(self) -> bool:
        """Whether the voice detector hears the caller now."""
        return self._gate is not None and self._gate.is_speaking

    # ---- private ----

    async def _ask(self, text: str, interrupt: Iterable[str], prompt: Path | None) -> None:
        """Say a question, unless it is answered already."""
        self._look()
        if not self._typed:
            await self.say(text, interrupt=interrupt, prompt=prompt)

    def _hear(self, pcm: Int16) -> None:
        """The caller's sound, any length: the detector wants frames of 20 ms."""
        assert self._gate is not None  # set before this was registered
        held = np.concatenate([self._rest, pcm]) if len(self._rest) else pcm
        whole = len(held) // FRAME_SAMPLES * FRAME_SAMPLES
        self._rest = held[whole:]
        for frame in held[:whole].reshape(-1, FRAME_SAMPLES):
            if self._gate.push(frame):
                self.call.emit(Voice())

    async def _listen(self) -> None:
        """While something is said: what the caller does."""
        while self.call.hung_up is None:
            self._take(await self.call.next_event())
        if self._saying is not None:
            self._saying.stop()

    def _take(self, event: object) -> None:
        if isinstance(event, Digit) and event.key in KEYS:
            self._typed.append(event.key)
            self._interrupt(BY_KEYS)
        elif isinstance(event, Voice):
            self._interrupt(BY_VOICE)

    def _interrupt(self, by: str) -> None:
        if self._saying is not None and by in self._interrupters and not self.interrupted_by:
            began = time.monotonic()
            self.interrupted_by = by
            self._saying.stop()
            if self.record.prompts:
                self.record.prompts[-1].stop_ms = (time.monotonic() - began) * 1000

    async def _wait_for_key(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                while not self._typed:
                    event = await self.call.next_event()
                    self._take(event)
                    if isinstance(event, HungUp):
                        break
        except TimeoutError:
            pass
        self._look()

    async def _digits(self, most: int, end_key: str, timeout_s: float) -> str:
        digits = ""
        while len(digits) < most:
            key = await self.key(timeout_s)
            if key is None or key == end_key:
                break
            if key == "*" and end_key != "*":  # the common way to start over
                digits = ""
            elif key.isdigit():
                digits += key
        return digits

    def _look(self) -> None:
        """Take what happened while nobody listened. Raises `CallEnded` if the call is over."""
        for event in self.call.pending_events():
            self._take(event)
        if self.call.hung_up is not None:
            end = self.call.hung_up
            raise CallEnded(f"the call is over: {end.side}{' (' + end.reason + ')' if end.reason else ''}")


__all__ = ["BY_KEYS", "BY_VOICE", "CallFailed", "Question", "Session"]

"""One thing said to one caller: by the service while it delivers, by what is at hand when it does not.

    SERVICE   the utterance's sound is queued on the call as it comes
    LOCAL     the service was too slow or is gone: a prompt file, the prompt as kept, or the local voice goes on behind the last word heard
    OVER      all heard, interrupted, or hung up

The caller hears no dead air: if nothing is queued for `budget_s` while there is text to be said, LOCAL takes over. Positions are samples of
this saying, from its first one.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from realtime_client import Manner, Utterance
from realtime_ivr.call import RATE, Call
from realtime_ivr.errors import CallFailed
from realtime_ivr.feed import TextFeed
from realtime_ivr.local_voice import LocalVoice
from realtime_ivr.playout import PREFETCH
from realtime_ivr.prompts import Manners, PromptStore
from realtime_ivr.record import PromptRecord
from realtime_ivr.service import Service
from realtime_ivr.sounds import attention_tone, read_prompt, to_call

from realtime.audio.samples import Int16
from realtime.errors import RealtimeError
from realtime.types import AudioFormat, Priority
from realtime.wire.events import BudgetChoice, BudgetProfile, Cancelled, SegmentStarted, ServerEvent, Switch

log = logging.getLogger("realtime_ivr")

WATCH_S = 0.02
MAX_LEAD_MS = 4000
"""What the service may be ahead of the caller. Longer leads survive longer restarts, shorter ones waste less at a barge-in. Guess."""
ANSWER_S = 0.25
"""After a barge-in: how long to wait for the service's word on what was heard. A healthy one answers within milliseconds."""
RETRY_S = 0.2
"""After a refusal that names no time: as the client's own redialling."""
SENTENCE_END = re.compile(r"[。！？；!?\n]|\.(?=\s|$)")


@dataclass(frozen=True, slots=True)
class SayOptions:
    """How to say something. `budget_s`: silence that a caller may hear for want of sound. `prompt`: a sound file to play instead if the
    service does not answer. `patience_s`: how long a lost service may take to come back while there still is sound."""

    manners: Manners = field(default_factory=Manners)
    budget_s: float = 1.5
    patience_s: float = 20.0
    prompt: Path | None = None
    priority: Priority = Priority.INTERACTIVE


@dataclass(slots=True)
class Voices:
    """Who can speak: shared by all calls."""

    service: Service
    prompts: PromptStore
    local: LocalVoice


@dataclass(frozen=True, slots=True)
class Said:
    """What became of it. `heard`: the characters of `text` whose sound was over; `interrupted_by`: a key, "voice", or nothing."""

    text: str
    heard_characters: int
    heard_ms: float
    is_complete: bool
    source: str

    @property
    def heard(self) -> str:
        """The text that was heard."""
        return self.text[: self.heard_characters]

    @property
    def unheard(self) -> str:
        """The text that was not."""
        return self.text[self.heard_characters :]


class Saying:
    """Run it once with `run`; `stop` from the side ends it early."""

    def __init__(self, call: Call, voices: Voices, feed: TextFeed, options: SayOptions, record: PromptRecord) -> None:
        self._call, self._voices, self._feed, self._options, self._record = call, voices, feed, options, record
        self._base = call.played + call.queued
        self._began = time.monotonic()
        self._idle_since = self._began
        self._utterance: Utterance | None = None
        self._is_stopped = asyncio.Event()
        self._announced = 0
        self._local_words: list[tuple[int, int]] = []  # (characters, sample at which they are over) of what was said locally
        self._service_end: int | None = None  # samples of this saying that came from the service, once LOCAL took over
        self._is_complete = False

    def __repr__(self) -> str:
        return f"<Saying {self._record.source or 'nothing yet'} {self._heard_samples} samples heard of {self._feed.text[:20]!r}>"

    async def run(self) -> Said:
        """Say it all, or until `stop`. Returns when the caller has heard it."""
        async with asyncio.TaskGroup() as tasks:
            helpers = [tasks.create_task(self._feed.run())]
            speaking = tasks.create_task(self._speak())
            stopping = tasks.create_task(self._is_stopped.wait())
            await asyncio.wait([speaking, stopping], return_when=asyncio.FIRST_COMPLETED)
            self._is_complete = not self._is_stopped.is_set()
            for task in (*helpers, speaking, stopping):
                task.cancel()
        return await self._finish()

    def stop(self) -> None:
        """Barge-in: nothing more of it goes to the caller from this moment on."""
        self._call.clear()
        self._is_stopped.set()

    # ---- private ----

    async def _speak(self) -> None:
        is_whole = False
        while not is_whole:
            try:
                await self._by_service()
                is_whole = True
            except (RealtimeError, TimeoutError) as error:
                pause_s = self._worth_another_try(error)
                log.info("the service fails a caller: %s%s", error, "" if pause_s is None else f"; again in {pause_s:.1f} s")
                if pause_s is None:
                    break
                await asyncio.sleep(pause_s)
        if not is_whole:
            await self._locally()
        await self._drained()

    def _worth_another_try(self, error: Exception) -> float | None:
        """Seconds to wait before asking again: where the service refused for now, nothing was heard and the budget allows it."""
        if not isinstance(error, RealtimeError) or not error.retryable or self._record.ttfa_ms is not None:
            return None
        pause_s = RETRY_S if error.retry_after_ms is None else error.retry_after_ms / 1000
        if time.monotonic() - self._began + pause_s >= self._options.budget_s:
            return None
        self._utterance = None
        return pause_s

    async def _by_service(self) -> None:
        """Raises what the service said, or `TimeoutError` when it delivers nothing in time."""
        manners = self._options.manners
        encoding = self._call.encoding
        async with asyncio.timeout(self._options.budget_s):
            utterance = self._utterance = await self._voices.service.speak(
                self._feed.read(),
                Manner(decode=False, position=self._position, patience_s=self._options.patience_s, on_event=self._on_event),
                voice=manners.voice,
                language=manners.language,
                speed=manners.speed,
                format=AudioFormat(encoding, RATE),
                priority=self._options.priority,
                budget=BudgetChoice(BudgetProfile.IVR, max_lead_ms=MAX_LEAD_MS),
            )
        pump = asyncio.create_task(self._pump(utterance))
        try:
            while not pump.done():
                await asyncio.wait([pump], timeout=WATCH_S)
                if not pump.done() and self._is_starving():
                    raise TimeoutError(f"nothing came for {self._options.budget_s:g} s")
            await pump
        finally:
            pump.cancel()

    async def _pump(self, utterance: Utterance) -> None:
        end = 0
        async for piece in utterance:
            if self._record.ttfa_ms is None and piece.samples:
                self._first_sound("service")
            if piece.offset < end:  # the service was lost and goes on at a word's beginning: what lies behind that is said again
                self._record.resumes += 1
                self._call.cut(self._base + piece.offset)
            end = piece.offset + piece.samples
            self._call.play(piece.payload)
        await utterance.wait()

    def _on_event(self, event: ServerEvent) -> None:
        if isinstance(event, SegmentStarted):
            self._announced = max(self._announced, event.span_end)
        elif isinstance(event, Switch):
            self._record.switches += 1

    def _is_starving(self) -> bool:
        """Whether the caller has heard nothing for too long though there is something to be said."""
        now = time.monotonic()
        if self._call.queued >= PREFETCH or not self._has_text_due():  # less than that may wait for its rest
            self._idle_since = now
        return now - self._idle_since > self._options.budget_s

    def _has_text_due(self) -> bool:
        pending = self._feed.text[self._announced :]
        if pending.strip() and (self._feed.has_ended or SENTENCE_END.search(pending)):
            return True
        utterance = self._utterance
        return utterance is not None and bool(utterance.words) and utterance.audio_s * 1000 < utterance.words[-1].end_ms

    def _first_sound(self, source: str) -> None:
        self._record.ttfa_ms = (time.monotonic() - self._began) * 1000
        self._record.source = source

    # ---- without the service ----

    async def _locally(self) -> None:
        """Say what is left by other means, sentence by sentence."""
        self._leave_service()
        self._record.takeovers += 1
        start = self._heard_by_service()
        if start == 0 and self._options.prompt is not None:
            self._play_local(read_prompt(self._options.prompt), len(self._feed.text), "prompt")
            return
        kept = self._voices.prompts.get(self._feed.text, self._options.manners) if self._feed.has_ended else None
        if kept is not None:
            words = [word for word in kept.words if word.start_char >= start]
            skip = round(words[0].start_ms * RATE / 1000) if start and words else 0
            self._play_local(kept.samples[skip:], len(self._feed.text), "kept")
            return
        async for at, sentence in self._sentences(start):
            self._play_local(await self._spoken_here(sentence), at + len(sentence), "local")

    def _leave_service(self) -> None:
        """Stop the utterance, keep what is queued of it: it ends at a word at best, and its words tell what was heard."""
        utterance = self._utterance
        if utterance is None:
            self._service_end = 0
            return
        words = utterance.words
        received = round(utterance.audio_s * RATE)
        whole = [round(word.end_ms * RATE / 1000) for word in words if round(word.end_ms * RATE / 1000) <= received]
        self._service_end = max([*whole, min(received, self._position())])
        self._call.cut(self._base + self._service_end)
        self._voices.service.leave(utterance, self._position())

    def _heard_by_service(self) -> int:
        """Characters that the service's sound, up to where it was cut, covers for sure. Words whose times it had not told yet when it
        fell silent may have sounded; they are said again, for a word twice is better than a word lost."""
        if self._utterance is None or self._service_end is None:
            return 0
        return self._characters_until(self._service_end)

    async def _sentences(self, start: int) -> AsyncIterator[tuple[int, str]]:
        """Sentences of the text from `start` on with their positions, as they come."""
        held, at = "", start
        async for piece in self._feed.read(start):
            held += piece
            while (match := SENTENCE_END.search(held)) is not None:
                sentence, held = held[: match.end()], held[match.end() :]
                yield at, sentence
                at += len(sentence)
        if held.strip():
            yield at, held

    async def _spoken_here(self, sentence: str) -> Int16:
        try:
            return await self._voices.local.speak(sentence, self._language(sentence))
        except CallFailed as error:
            log.error("nothing can speak to the caller: %s", error.message)
            return attention_tone()

    def _language(self, sentence: str) -> str:
        return "zh" if any("\u4e00" <= c <= "\u9fff" for c in sentence) else self._options.manners.language or "en"

    def _play_local(self, samples: Int16, characters: int, source: str) -> None:
        if self._record.ttfa_ms is None:
            self._first_sound(source)
        if source not in self._record.source.split("+"):
            self._record.source = f"{self._record.source}+{source}".lstrip("+")
        self._call.play(to_call(samples, self._call.encoding))
        self._local_words.append((characters, self._call.played + self._call.queued - self._base))

    # ---- the end ----

    async def _drained(self) -> None:
        """Until the caller has heard it: the mark comes back to the session, here its position is enough."""
        self._call.mark("")
        while self._call.queued and self._call.hung_up is None:  # noqa: ASYNC110  # asked rarely, and no network tells it better
            await asyncio.sleep(min(0.2, max(WATCH_S, self._call.queued / RATE)))

    async def _finish(self) -> Said:
        heard = self._heard_samples
        utterance = self._utterance
        if utterance is not None:
            if not utterance.is_over and self._service_end is None:
                leaving = self._voices.service.leave(utterance, self._position())
                await asyncio.wait([leaving], timeout=ANSWER_S)
            underruns = utterance.underruns
            self._record.underruns, self._record.underrun_ms = underruns.count, underruns.total_ms
            self._record.engines = {name: round(seconds, 2) for name, seconds in utterance.audio_s_by_engine.items()}
        is_complete = self._is_complete and self._call.hung_up is None
        characters = len(self._feed.text) if is_complete else self._heard_characters(heard)
        self._record.characters, self._record.heard_characters = len(self._feed.text), characters
        self._record.heard_ms = heard / RATE * 1000
        return Said(self._feed.text, characters, self._record.heard_ms, is_complete, self._record.source)

    def _position(self) -> int:
        """For the service: samples of this utterance heard. What was said locally is not its sound."""
        heard = self._heard_samples
        return heard if self._service_end is None else min(heard, self._service_end)

    @property
    def _heard_samples(self) -> int:
        return max(0, self._call.played - self._base)

    def _heard_characters(self, sample: int) -> int:
        if self._service_end is None or sample < self._service_end:
            return self._characters_until(sample)
        before, began = self._heard_by_service(), self._service_end
        for characters, end in self._local_words:
            if sample >= end:
                before, began = characters, end
                continue
            share = (sample - began) / max(1, end - began)  # within a sentence said locally: by time
            return before + int((characters - before) * share)
        return before

    def _characters_until(self, sample: int) -> int:
        if self._utterance is None:
            return 0
        result = self._utterance.result  # the service knows of words whose times it had not told when it was stopped
        told = result.heard_characters if isinstance(result, Cancelled) and self._service_end is None else 0
        ends = [word.end_char for word in self._utterance.words if round(word.end_ms * RATE / 1000) <= sample]
        return max([told, *ends])

"""Prompts as the service spoke them, kept here: what is played when the service is away, and what tells the service which to keep in its
cache.

Warming asks the service to speak each prompt once, at batch priority and with its cache on, so that the first caller meets a hit. The
sound is kept here as well, bounded in bytes, the least recently used going first; a restart begins anew."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from realtime_client import Client, Manner
from realtime_ivr.call import RATE
from realtime_ivr.sounds import from_call

from realtime.audio.samples import Int16
from realtime.errors import RealtimeError
from realtime.types import AudioFormat, Codec, Priority
from realtime.wire.events import BudgetChoice, Done, Word

log = logging.getLogger("realtime_ivr")

MAX_BYTES = 64 << 20
"""70 minutes of 16-bit sound at 8 kHz. Guess: a large bank's menus, every language."""
MAX_AT_ONCE = 2
"""Prompts warmed at a time, so that callers keep the engines. Guess."""
LEAD_MS = 600_000
"""Nobody listens while warming: the service need not wait for a listener."""


@dataclass(frozen=True, slots=True)
class Manners:
    """How something is said: voice and language (None: the service's), speed."""

    voice: str | None = None
    language: str | None = None
    speed: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """A prompt's sound at 8 kHz, and its words as the service timed them."""

    samples: Int16
    words: tuple[Word, ...]


class PromptStore:
    """By text and manners."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._kept: OrderedDict[tuple[str, Manners], Prompt] = OrderedDict()
        self._max, self.bytes = max_bytes, 0

    def __repr__(self) -> str:
        return f"<PromptStore {len(self._kept)} prompts, {self.bytes >> 10} KiB>"

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, text: str, manners: Manners) -> Prompt | None:
        """The prompt, if it was kept."""
        found = self._kept.get((text, manners))
        if found is not None:
            self._kept.move_to_end((text, manners))
        return found

    def put(self, text: str, manners: Manners, prompt: Prompt) -> None:
        """Keep it, forgetting others if there are too many."""
        old = self._kept.pop((text, manners), None)
        self.bytes += prompt.samples.nbytes - (0 if old is None else old.samples.nbytes)
        self._kept[text, manners] = prompt
        while self.bytes > self._max and len(self._kept) > 1:
            _, gone = self._kept.popitem(last=False)
            self.bytes -= gone.samples.nbytes

    async def warm(self, client: Client, wanted: Iterable[tuple[str, Manners]]) -> int:
        """Have these spoken and keep them; returns how many were. What the service refuses is logged and left out."""
        limit = asyncio.Semaphore(MAX_AT_ONCE)

        async def one(text: str, manners: Manners) -> bool:
            async with limit:
                return await self._fetch(client, text, manners)

        jobs = [one(text, manners) for text, manners in dict.fromkeys(wanted) if text.strip()]
        return sum(await asyncio.gather(*jobs))

    async def _fetch(self, client: Client, text: str, manners: Manners) -> bool:
        try:
            utterance = client.speak(
                text,
                Manner(decode=False, position=lambda: 0),
                voice=manners.voice,
                language=manners.language,
                speed=manners.speed,
                format=AudioFormat(Codec.MULAW, RATE),
                priority=Priority.BATCH,
                budget=BudgetChoice(max_lead_ms=LEAD_MS),
                cache=True,
            )
            payload = b"".join([piece.payload async for piece in utterance])
            if not isinstance(await utterance.wait(), Done):
                return False
        except RealtimeError as error:
            log.warning("prompt %r could not be prepared: %s", text[:40], error)
            return False
        self.put(text, manners, Prompt(from_call(payload, Codec.MULAW), tuple(utterance.words)))
        return True

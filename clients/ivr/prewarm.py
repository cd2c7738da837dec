"""A flow's prompts spoken ahead of the first call, whenever the service is (again) there."""

from __future__ import annotations

import asyncio
import logging

from realtime_ivr.flow import Flow
from realtime_ivr.saying import Voices
from rich.console import Console
from rich.progress import Progress

log = logging.getLogger("realtime_ivr")


class Prewarmer:
    """Starts by itself when the service is reached; never in the way of a call."""

    def __init__(self, voices: Voices, flow: Flow) -> None:
        self._voices, self._flow = voices, flow
        self._task: asyncio.Task[None] | None = None
        self.done = asyncio.Event()
        voices.service.on_connected.append(self.start)
        if voices.service.client is not None:
            self.start()

    def start(self) -> None:
        """Begin."""
        if self._task is None and self._flow.table.prewarm:
            self._task = asyncio.create_task(self._run())

    async def aclose(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        wanted = self._flow.constant_prompts()
        client = self._voices.service.client
        assert client is not None  # told when it is
        console = Console(stderr=True)
        warmed = 0
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            bar = progress.add_task("preparing prompts", total=len(wanted))
            for at in range(0, len(wanted), 4):
                warmed += await self._voices.prompts.warm(client, wanted[at : at + 4])
                progress.update(bar, completed=min(len(wanted), at + 4))
        log.info("%d of %d prompts prepared", warmed, len(wanted))
        self.done.set()

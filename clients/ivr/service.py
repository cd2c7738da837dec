"""The service as the phone side sees it: perhaps there. Connected when it can be, again when it comes back; nobody waits for it here."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from realtime_client import Client, Utterance, connect

from realtime.errors import RealtimeError

log = logging.getLogger("realtime_ivr")

FIRST_RETRY_S, MAX_RETRY_S = 0.2, 5.0
"""As the client's own redialling: a restarted service is found quickly, a dead one is not hammered."""


class Service:
    """Owns the client. `client` is None until the service was reached once; later losses are the client's affair."""

    def __init__(self, url: str = "ws://127.0.0.1:7860", api_key: str | None = None) -> None:
        self.url, self._api_key = url, api_key
        self.client: Client | None = None
        self.on_connected: list[Callable[[], None]] = []
        self.last_error = ""
        self._task: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()
        self._leaving: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Service {self.url} {'reached' if self.is_there else self.last_error or 'not tried'}>"

    @property
    def is_there(self) -> bool:
        """Whether it is connected at this moment."""
        return self.client is not None and self.client.link is not None

    async def start(self) -> None:
        """Begin to connect; returns after the first try, whatever came of it."""
        self._task = asyncio.create_task(self._keep())
        await self._tried.wait()

    def leave(self, utterance: Utterance, position: int) -> None:
        """Tell the service that an utterance is over for us and how far its listener was (samples). Nobody waits for the answer: a
        service that stalls takes seconds, and there is a caller on the line."""
        task = asyncio.create_task(_leave(utterance, position))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def aclose(self) -> None:
        """Hang up."""
        for task in self._leaving:
            task.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self.client is not None:
            await self.client.aclose()

    async def _keep(self) -> None:
        pause = FIRST_RETRY_S
        while True:
            client = connect(self.url, api_key=self._api_key)
            try:
                await client.start()
                break
            except RealtimeError as error:
                if str(error) != self.last_error:
                    log.warning("the service does not answer: %s; calls are served with local prompts meanwhile", error)
                self.last_error = str(error)
                self._tried.set()
                await asyncio.sleep(pause * random.uniform(0.5, 1))
                pause = min(MAX_RETRY_S, pause * 2)
        self.client, self.last_error = client, ""
        self._tried.set()
        for told in self.on_connected:
            told()


async def _leave(utterance: Utterance, position: int) -> None:
    await utterance.played(position)
    await utterance.cancel()

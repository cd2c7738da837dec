"""The service as the phone side sees it: perhaps there. Connected when it can be, again when it comes back; nobody waits for it here.

A connection carries a limited number of utterances at once (the service says how many), so there are as many connections as the calls need:
one more is dialled when the last place is taken, before somebody needs it. They stay, up to `MAX_CONNECTIONS`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from typing import Unpack

from realtime_client import Client, Manner, Utterance, connect
from realtime_client.client import Options
from realtime_client.writer import TextSource
from realtime_ivr.errors import CallFailed

from realtime.errors import Overloaded, RealtimeError

log = logging.getLogger("realtime_ivr")

FIRST_RETRY_S, MAX_RETRY_S = 0.2, 5.0
"""As the client's own redialling: a restarted service is found quickly, a dead one is not hammered."""
MAX_CONNECTIONS = 64
"""Guess: over 1000 calls at the service's limit of 16 utterances per connection."""


class Service:
    """Owns the clients. `client`, the first, is None until the service was reached once; later losses are the clients' affair."""

    def __init__(self, url: str = "ws://127.0.0.1:7860", api_key: str | None = None) -> None:
        self.url, self._api_key = url, api_key
        self.client: Client | None = None
        self.on_connected: list[Callable[[], None]] = []
        self.last_error = ""
        self._task: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()
        self._leaving: set[asyncio.Task[None]] = set()
        self._open: dict[Client, set[Utterance]] = {}
        self._dialling = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Service {self.url}, {len(self._open)} connections, {'reached' if self.is_there else self.last_error or 'not tried'}>"

    @property
    def is_there(self) -> bool:
        """Whether it is connected at this moment."""
        return self.client is not None and self.client.link is not None

    async def start(self) -> None:
        """Begin to connect; returns after the first try, whatever came of it."""
        self._task = asyncio.create_task(self._keep())
        await self._tried.wait()

    async def speak(self, text: TextSource, manner: Manner, **options: Unpack[Options]) -> Utterance:
        """Begin an utterance on a connection that has room. Raises `CallFailed` when the service was never reached, `Overloaded` when
        there are too many connections, and what dialling or the client raises."""
        if self.client is None:
            raise CallFailed("the service was not reached yet")
        client = self._with_room() or await self._another()
        utterance = client.speak(text, manner, **options)
        self._open[client].add(utterance)
        if self._with_room() is None and len(self._open) < MAX_CONNECTIONS:
            self._in_background(self._spare())
        return utterance

    def leave(self, utterance: Utterance, position: int) -> asyncio.Task[None]:
        """Tell the service that an utterance is over for us and how far its listener was (samples). Who waits for the task waits for the
        service's answer, which takes seconds from one that stalls."""
        return self._in_background(_leave(utterance, position))

    async def aclose(self) -> None:
        """Hang up."""
        for task in self._leaving:
            task.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.gather(*(client.aclose() for client in self._open))

    # ---- private ----

    def _with_room(self) -> Client | None:
        """The connection with the most room, those that are up first."""
        free: list[tuple[bool, int, Client]] = []
        for client, utterances in self._open.items():
            utterances -= {utterance for utterance in utterances if utterance.is_over}
            room = client.ready.limits.max_open_utterances - len(utterances)
            if room > 0:
                free.append((client.link is not None, room, client))
        return max(free, key=lambda found: found[:2])[2] if free else None

    async def _another(self) -> Client:
        async with self._dialling:
            client = self._with_room()  # somebody else may have dialled meanwhile
            if client is not None:
                return client
            if len(self._open) >= MAX_CONNECTIONS:
                raise Overloaded(f"all {MAX_CONNECTIONS} connections to the service are full")
            client = connect(self.url, api_key=self._api_key)
            await client.start()
            self._open[client] = set()
            return client

    async def _spare(self) -> None:
        try:
            await self._another()
        except RealtimeError as error:
            log.info("no further connection to the service: %s", error)

    def _in_background(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        return task

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
        self._open[client] = set()
        self._tried.set()
        for told in self.on_connected:
            told()


async def _leave(utterance: Utterance, position: int) -> None:
    await utterance.played(position)
    await utterance.cancel()

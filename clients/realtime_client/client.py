"""The connection as its owner sees it: speak, as many utterances at once as wanted, over a link that is dialled again when it breaks.

Two owned tasks: one reads and redials, one lets the listeners' clocks tick. An utterance that was being spoken when the link broke
goes on by itself on the next one.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import time
from collections.abc import Callable
from typing import Any, TypedDict, Unpack

from realtime.errors import BadOption, ClientError, ProtocolViolation, RealtimeError
from realtime.types import AudioFormat, Emotion, Priority
from realtime.wire.dialects.native import NativeMsgpack
from realtime.wire.events import BudgetChoice, BudgetProfile, Error, Open, Ping, Pong, Ready, ServerEvent
from realtime_client.errors import ConnectionLost
from realtime_client.link import Link, stream_url
from realtime_client.utterance import Manner, Utterance
from realtime_client.writer import TextSource

log = logging.getLogger("realtime_client")

TICK_S = 0.2
"""Five marks per second. Precedent: the browser player sends as many; the service interpolates between them."""
FIRST_BACKOFF_S, MAX_BACKOFF_S = 0.1, 5.0
"""A restarted service is found quickly, a dead one is not hammered. Guess; each wait is shortened by up to half at random."""


class Options(TypedDict, total=False):
    """What an utterance may ask for: the fields of `realtime.wire.events.Open`."""

    voice: str | None
    language: str | None
    format: AudioFormat
    speed: float
    emotion: Emotion | None
    priority: Priority
    budget: BudgetChoice | str
    seed: int
    cache: bool
    words: bool
    context: str


class Client:
    """Made by `connect`; an async context manager."""

    def __init__(self, url: str, api_key: str | None, subprotocol: str, now: Callable[[], float]) -> None:
        self._url, self._api_key, self._subprotocol, self._now = stream_url(url), api_key, subprotocol, now
        self._link: Link | None = None
        self._utterances: set[Utterance] = set()
        self._by_id: dict[str, Utterance] = {}
        self._numbers = itertools.count(1)
        self._pings: dict[str, asyncio.Future[None]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._broken: Exception | None = ConnectionLost("not connected yet: use `async with connect(...) as client`")
        self.ready = Ready("")

    def __repr__(self) -> str:
        state = "closed" if self._broken else "connected" if self._link else "reconnecting"
        return f"<Client {self._url} {state}, {len(self._utterances)} utterances>"

    async def __aenter__(self) -> Client:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def start(self) -> None:
        """Connect. Raises `ConnectionLost`, `Unauthorized` or `Overloaded`; nothing is retried here."""
        self._adopt(await Link.dial(self._url, api_key=self._api_key, subprotocol=self._subprotocol))
        self._broken = None
        self._tasks = [asyncio.create_task(self._run()), asyncio.create_task(self._tick())]

    async def aclose(self) -> None:
        """Cancel what is being spoken and hang up."""
        for utterance in list(self._utterances):
            await utterance.cancel()
        self._broken = self._broken or ConnectionLost("the client was closed")
        tasks = [*self._tasks, *(utterance.task for utterance in self._utterances)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._link is not None:
            await self._link.aclose()
            self._link = None

    def speak(self, text: TextSource, manner: Manner | None = None, **options: Unpack[Options]) -> Utterance:
        """Begin to speak: a string, or pieces of text as they are written. Raises the error that ended the connection for good, and
        `BadOption` for a budget that is not one."""
        if self._broken is not None:
            raise self._broken
        utterance = Utterance(self, _opening(options), text, manner or Manner(), self._now)
        self._utterances.add(utterance)
        utterance.task.add_done_callback(lambda _: self._release(utterance))
        return utterance

    async def ping(self) -> float:
        """Seconds to the service and back. Raises `ConnectionLost`."""
        if self._link is None:
            raise ConnectionLost("not connected at present")
        name, sent_at = str(next(self._numbers)), self._now()
        answer = self._pings[name] = asyncio.get_running_loop().create_future()
        try:
            await self._link.send(Ping(name))
            await answer
        finally:
            del self._pings[name]
        return self._now() - sent_at

    # ---- for utterances ----

    @property
    def link(self) -> Link | None:
        """The connection, while there is one."""
        return self._link

    def enrol(self, utterance: Utterance) -> str:
        """A fresh id under which the present connection speaks of an utterance."""
        name = f"u{next(self._numbers)}"
        self._by_id[name] = utterance
        return name

    # ---- private ----

    async def _run(self) -> None:
        while True:
            assert self._link is not None
            try:
                while True:
                    await self._dispatch(await self._link.receive())
            except ConnectionLost as error:
                log.info("%s; dialling again", error.message)
                self._drop(error)
            except ProtocolViolation as error:
                log.error("the service broke the protocol: %s", error.message)
                await self._link.aclose()
                for utterance in list(self._utterances):
                    utterance.fail(error)
                self._drop(ConnectionLost(error.message))
            if not await self._redial():
                return

    async def _dispatch(self, event: ServerEvent) -> None:
        if isinstance(event, Pong):
            answer = self._pings.get(event.data)
            if answer is not None and not answer.done():
                answer.set_result(None)
            return
        utterance = self._by_id.get(getattr(event, "utterance", None) or "")
        if utterance is not None:
            await utterance.take(event)
        elif isinstance(event, Error):
            log.warning("the service refused a message: %s: %s", event.code, event.message)

    def _drop(self, error: ConnectionLost) -> None:
        self._link = None
        self._by_id.clear()
        for answer in self._pings.values():
            if not answer.done():
                answer.set_exception(error)
        for utterance in list(self._utterances):
            utterance.lose()

    async def _redial(self) -> bool:
        """Dial until it answers. False if it never will: then everything ends in that error."""
        backoff_s = FIRST_BACKOFF_S
        while True:
            await asyncio.sleep(backoff_s * random.uniform(0.5, 1))
            backoff_s = min(MAX_BACKOFF_S, backoff_s * 2)
            try:
                self._adopt(await Link.dial(self._url, api_key=self._api_key, subprotocol=self._subprotocol))
                return True
            except ClientError as error:
                self._end(error)
                return False
            except RealtimeError as error:
                log.info("%s; dialling again within %.1f s", error.message, backoff_s)

    def _adopt(self, link: Link) -> None:
        self._link, self.ready = link, link.ready
        for utterance in self._utterances:
            utterance.wake()

    def _end(self, error: Exception) -> None:
        self._broken = error
        for utterance in list(self._utterances):
            utterance.fail(error)

    def _release(self, utterance: Utterance) -> None:
        self._utterances.discard(utterance)
        for name in [name for name, owner in self._by_id.items() if owner is utterance]:
            del self._by_id[name]

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            for utterance in list(self._utterances):
                await utterance.tick()


def _opening(options: Options) -> Open:
    """The message for some options, whose budget may be a profile's name."""
    rest: dict[str, Any] = {name: value for name, value in options.items() if name != "budget"}
    budget = options.get("budget", BudgetChoice())
    if isinstance(budget, str):
        if budget not in set(BudgetProfile):
            raise BadOption(f"no budget profile {budget!r}; there are: {', '.join(BudgetProfile)}")
        budget = BudgetChoice(BudgetProfile(budget))
    if not isinstance(budget, BudgetChoice):
        raise BadOption(f"a budget is a BudgetChoice or a profile's name, not {budget!r}")
    return Open("", budget=budget, **rest)


def connect(
    url: str = "ws://127.0.0.1:7860",
    *,
    api_key: str | None = None,
    subprotocol: str = NativeMsgpack.subprotocol,
    now: Callable[[], float] = time.monotonic,
) -> Client:
    """A client of the service at `url`: `async with connect() as client: ...`. Raises `BadOption` for what is no URL."""
    return Client(url, api_key, subprotocol, now)

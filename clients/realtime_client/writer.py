"""The sending half of an utterance: takes text from its source, opens the utterance on whatever connection there is, sends what may go.

Backpressure: after `text_paused`, or without a connection, text stays here, and beyond `MAX_UNSENT_CHARS` the source is not asked for
more. A connection that is lost is waited for as long as the patience lasts.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from realtime.errors import BadOption, RealtimeError, UnknownVoice
from realtime.wire.events import AppendText, ClientEvent, Open
from realtime_client.errors import ConnectionLost
from realtime_client.link import Link
from realtime_client.transcript import MAX_PIECE_CHARS, Transcript

if TYPE_CHECKING:
    from realtime_client.utterance import Utterance

TextSource = str | Iterable[str] | AsyncIterable[str]
Now = Callable[[], float]

MAX_UNSENT_CHARS = 4000
"""Guess: a page of text; far more than is spoken before the next round trip."""
RETRY_S = 0.5
"""Wait before asking again for the rest of an utterance, when the service is busy and does not say how long. Guess."""


class Home(Protocol):
    """What a writer needs of its client."""

    @property
    def link(self) -> Link | None:
        """The connection, while there is one."""
        ...

    def enrol(self, utterance: Utterance) -> str:
        """A fresh id on the present connection, under which events come back to the utterance."""
        ...

    async def ping(self) -> float:
        """Return when the service has taken everything sent before. Raises `ConnectionLost`."""
        ...


class Writer:
    """One utterance's text on its way. `id` is its present id on the wire, `link` the connection it is open on."""

    def __init__(self, home: Home, owner: Utterance, template: Open, transcript: Transcript, patience_s: float, now: Now) -> None:
        self.id = ""
        self.link: Link | None = None
        self.first_text_at: float | None = None
        self._home, self._owner, self._template, self._transcript = home, owner, template, transcript
        self._patience_s, self._now = patience_s, now
        self._is_paused = False
        self._is_resumed = False
        self._unanswered_chars = 0
        self._since: float | None = None  # when the wait for a connection or for admission began
        self._not_before = 0.0
        self._refusal: RealtimeError | None = None
        self._changed = asyncio.Event()

    async def run(self, source: TextSource) -> None:
        """Send until cancelled. Returns if a resumed utterance turns out to be spoken whole. Raises what the source raises, and
        `ConnectionLost` when patience ends."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._feed(source))
            tasks.create_task(self._send())

    async def send(self, event: ClientEvent) -> bool:
        """Send at once, past all queues: cancel and marks. False if that is no longer legal or there is no connection."""
        try:
            return self.link is not None and await self.link.send(event)
        except ConnectionLost:
            return False  # the client's reader sees the same loss and tells us by `lost`

    # ---- what happened ----

    def wake(self) -> None:
        """Something changed: a connection, more text, a flush."""
        self._changed.set()

    def opened(self) -> None:
        """The service admitted the utterance."""
        self._since = self._refusal = None

    def pause(self, is_paused: bool) -> None:
        """`text_paused` or `text_resumed` came."""
        self._is_paused = is_paused
        self.wake()

    def rested(self) -> None:
        """The service took our silence for the end; the transcript was rewound. More text opens a new utterance there."""
        self.link, self._is_resumed = None, True
        self.wake()

    def lost(self) -> None:
        """The connection is gone; the transcript was rewound."""
        self.link, self._is_resumed = None, True
        self.wake()

    def can_ask_again(self, refusal: RealtimeError) -> bool:
        """Whether to ask once more after a refusal; then it will. Only for the rest of an utterance that was being spoken: what the
        service had on offer then, it will have again when its engines are warm."""
        is_passing = refusal.retryable or isinstance(refusal, UnknownVoice | BadOption)
        if not (is_passing and self._is_resumed and self._since is not None):
            return False
        self.link, self._refusal = None, refusal
        self._not_before = self._now() + (RETRY_S if refusal.retry_after_ms is None else refusal.retry_after_ms / 1000)
        self.wake()
        return True

    # ---- private ----

    async def _feed(self, source: TextSource) -> None:
        async for chunk in chunks(source):
            if self.first_text_at is None:
                self.first_text_at = self._now()
            self._transcript.append(chunk)
            self.wake()
            while self._transcript.unsent_characters > MAX_UNSENT_CHARS:
                await self._wait(None)
        self._transcript.end()
        self.wake()

    async def _send(self) -> None:
        while True:
            link = self._home.link
            if self._is_resumed and self._transcript.is_all_spoken and self.link is None:
                return
            if self.link is None and not self._transcript.has_unsent:
                await self._wait(None)
            elif link is None or self._now() < self._not_before:
                await self._wait_for_service(link)
            elif self.link is not link:
                await self._open(link)
            elif not await self._send_next():
                await self._wait(None)

    async def _open(self, link: Link) -> None:
        self.id, self.link, self._is_paused = self._home.enrol(self._owner), link, False
        self._unanswered_chars = 0
        if self._since is None:
            self._since = self._now()
        before = self._template.context + self._transcript.text[: self._transcript.bases.char]
        await self.send(replace(self._template, utterance=self.id, context=before[-link.ready.limits.max_context_chars :]))

    async def _send_next(self) -> bool:
        message = None if self._is_paused else self._transcript.next_message(self.id)
        if message is None:
            return False
        is_sent = await self.send(message)
        self.wake()  # there may be room for more text
        if isinstance(message, AppendText):
            await self._pace(len(message.text))
        return is_sent

    async def _pace(self, sent_chars: int) -> None:
        """Give `text_paused` a chance to arrive before much more text is sent."""
        self._unanswered_chars += sent_chars
        if self._unanswered_chars >= MAX_PIECE_CHARS:
            self._unanswered_chars = 0
            with contextlib.suppress(ConnectionLost):  # the client's reader sees the same loss and tells us by `lost`
                await self._home.ping()

    async def _wait_for_service(self, link: Link | None) -> None:
        now = self._now()
        if self._since is None:
            self._since = now
        deadline = self._since + self._patience_s
        if now >= deadline:
            raise self._refusal or ConnectionLost(f"the service did not come back within {self._patience_s:g} s")
        await self._wait(min(deadline, deadline if link is None else self._not_before) - now)

    async def _wait(self, timeout_s: float | None) -> None:
        self._changed.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return


async def chunks(source: TextSource) -> AsyncIterator[str]:
    """Any source as an asynchronous one, empty pieces left out. A plain iterable must not block."""
    if isinstance(source, str):
        source = (source,)
    if isinstance(source, AsyncIterable):
        async for chunk in source:
            if chunk:
                yield chunk
        return
    for chunk in source:
        if chunk:
            yield chunk
            await asyncio.sleep(0)  # let what was produced be sent before more is

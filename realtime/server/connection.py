"""One WebSocket of any dialect: socket <-> dialect <-> session <-> utterances.

A task reads, one task per utterance sends, one watches for silence and for a reader that does not read. The connection's own
failure ends all of it; an utterance's failure ends that utterance only.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from math import ceil

import anyio
from anyio.abc import TaskGroup
from starlette.types import Send
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from realtime import metrics
from realtime.errors import Overloaded, ProtocolViolation, RealtimeError
from realtime.pipeline.outputs import AudioOut, Output
from realtime.pipeline.requests import Request
from realtime.pipeline.utterance import Utterance
from realtime.server.frames import message_writer
from realtime.server.gateway import Gateway
from realtime.server.inactivity import Inactivity
from realtime.server.offers import check_format, limits_of, ready_event
from realtime.server.outbox import Outbox
from realtime.server.translate import to_audio, to_event, to_request
from realtime.types import Budget, UtteranceId
from realtime.wire import events as wire
from realtime.wire.dialect import Dialect, Message
from realtime.wire.session import Session

log = logging.getLogger("realtime.connection")

# Close codes of RFC 6455 section 7.4.1.
GOING_AWAY, POLICY_VIOLATION, INTERNAL_ERROR, TRY_AGAIN_LATER = 1001, 1008, 1011, 1013
# How often silence and stalled writes are looked for; how often a place for an utterance that waits for one.
WATCH_S, RETRY_S = 1.0, 0.2
# Connections look at multiples of this, so that many share a wake-up of the process.
WATCH_STEP_S = 0.05


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a connection is served.

    `identify` gives the key's id from the first message, where none came with the request. `budget` holds for every utterance, for
    dialects whose `open` can't say one. `input_timeout_s` is how long an utterance may wait for text before that is an error;
    `patience_s` how long it waits for a place in a full service before that is one, for clients that would not ask again.
    `is_never_silent` is for clients to whom an utterance without sound is an error.
    """

    api_key: str = ""
    identify: Callable[[Message], str] | None = None
    budget: Budget | None = None
    input_timeout_s: float | None = None
    patience_s: float = 0.0
    is_never_silent: bool = False


class Connection:
    """Serve one accepted socket until either side closes it."""

    def __init__(self, websocket: WebSocket, send: Send, dialect: Dialect, gateway: Gateway, terms: Terms) -> None:
        """`send` is the server's own ASGI callable: what is sent skips the framework's wrappers."""
        self._socket = websocket
        self._gateway = gateway
        self._label = f"{websocket.client.host}:{websocket.client.port}" if websocket.client else "?"
        self._terms = terms
        self._api_key = terms.api_key
        self._identify = terms.identify
        self._dialect = dialect
        self._session = Session(limits=limits_of(gateway.settings.limits))
        limits = gateway.settings.limits
        self._outbox = Outbox(message_writer(websocket.scope, send), limits.outbox_kb * 1024, gateway.clock)
        self._utterances: dict[UtteranceId, Utterance] = {}
        self._waiting: dict[UtteranceId, list[wire.Event]] = {}  # without a place yet: what came for them meanwhile
        self._heard_at = gateway.clock.now()
        self._inactivity = Inactivity(terms.input_timeout_s, self._heard_at) if terms.input_timeout_s is not None else None
        self._close: tuple[int, str] | None = None

    def __repr__(self) -> str:
        return f"<Connection {self._label} {self._session!r}>"

    async def serve(self) -> None:
        """Greet, then read until the end. All utterances are stopped when this returns."""
        self._gateway.connections += 1
        metrics.connections.set(self._gateway.connections)
        try:
            await self._send(ready_event(self._gateway))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch, tasks)
                await self._read(tasks)
                tasks.cancel_scope.cancel()
        except* OSError:  # what `send` raises once the client is gone (ASGI, "Disconnected Client"); nobody is left to tell
            log.debug("%s left while it was being written to", self._label)
        finally:
            self._session.close()
            for utterance in list(self._utterances.values()):
                utterance.cancel()
            self._gateway.connections -= 1
            metrics.connections.set(self._gateway.connections)
            with anyio.CancelScope(shield=True), anyio.move_on_after(2):
                await self._hang_up()

    # ---- reading ----

    async def _read(self, tasks: TaskGroup) -> None:
        while self._close is None:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            self._heard_at = self._gateway.clock.now()
            raw: Message = message["bytes"] if message.get("bytes") is not None else message["text"]
            try:
                await self._take(raw, tasks)
            except RealtimeError as error:
                await self._refuse(error)
            if self._dialect.closing is not None:
                await self._leave(tasks)

    async def _take(self, raw: Message, tasks: TaskGroup) -> None:
        if self._identify is not None:
            self._api_key, self._identify = self._identify(raw), None
        events = self._dialect.decode(raw)
        if self._inactivity is not None:
            self._inactivity.heard(events, self._heard_at)
        for event in events:
            await self._handle(event, tasks)

    async def _handle(self, event: wire.Event, tasks: TaskGroup) -> None:
        if not self._session.receive(event):
            return
        try:
            if isinstance(event, wire.Open):
                await self._open(event, tasks)
            elif isinstance(event, wire.Ping):
                await self._send(wire.Pong(event.data))
            else:
                self._pass_on(event)
        except RealtimeError as error:
            error.utterance = getattr(event, "utterance", None)
            self._stop(error.utterance)
            await self._refuse(error)

    async def _open(self, event: wire.Open, tasks: TaskGroup) -> None:
        budget = self._terms.budget or event.budget.over(self._profile(event.budget.profile))
        if event.priority is None:
            event = replace(event, priority=self._gateway.back.priorities[event.budget.profile or self._gateway.back.default_profile])
        check_format(self._gateway, event.format)
        try:
            utterance = self._gateway.open(self._request(event, budget), event.format)
        except Overloaded:
            if not self._terms.patience_s:
                raise
            self._waiting[event.utterance] = []
            tasks.start_soon(self._open_later, event, budget, tasks)
            return
        await self._begin(event, utterance, budget, tasks)

    async def _begin(self, event: wire.Open, utterance: Utterance, budget: Budget, tasks: TaskGroup) -> None:
        """An admitted utterance must be run, whatever comes of the text that waited for it."""
        self._utterances[event.utterance] = utterance
        opened = wire.Opened(event.utterance, utterance.voice, event.format, budget)
        try:
            for late in self._waiting.pop(event.utterance, ()):
                self._pass_on(late)
        finally:
            await self._send(opened)
            tasks.start_soon(self._speak, event.utterance, utterance, tasks)

    async def _open_later(self, event: wire.Open, budget: Budget, tasks: TaskGroup) -> None:
        """Ask again until there is a place, then hand over what came meanwhile; when patience ends, say that the service is full."""
        clock = self._gateway.clock
        until = clock.now() + self._terms.patience_s
        try:
            while event.utterance in self._waiting:
                if any(isinstance(late, wire.Cancel) for late in self._waiting[event.utterance]):
                    del self._waiting[event.utterance]
                    await self._send(wire.Cancelled(event.utterance, 0, 0.0))
                    return
                utterance = self._try_to_open(event, budget, is_last=clock.now() >= until)
                if utterance is not None:
                    await self._begin(event, utterance, budget, tasks)
                    return
                await clock.sleep_until(clock.now() + RETRY_S)
        except RealtimeError as error:
            error.utterance = event.utterance
            await self._expire(error, tasks)

    def _try_to_open(self, event: wire.Open, budget: Budget, is_last: bool) -> Utterance | None:
        try:
            return self._gateway.open(self._request(event, budget), event.format)
        except Overloaded:
            if is_last:
                raise
            return None

    def _pass_on(self, event: wire.Event) -> None:
        name = getattr(event, "utterance", "")
        utterance = self._utterances.get(name)
        if utterance is None:
            if name in self._waiting:
                self._waiting[name].append(event)
            return
        match event:
            case wire.AppendText():
                utterance.feed(event.text)
            case wire.Flush():
                utterance.flush(event.flush_id)
            case wire.End():
                utterance.end()
            case wire.Played():
                utterance.played(event.sample)
            case wire.Cancel():
                self._outbox.discard(event.utterance)
                utterance.cancel()
            case _:
                raise ProtocolViolation(f"{type(event).__name__} is not for the service")

    def _request(self, event: wire.Open, budget: Budget) -> Request:
        return to_request(event, budget, self._api_key, is_never_silent=self._terms.is_never_silent)

    def _profile(self, name: str | None) -> Budget:
        return self._gateway.back.profiles[name or self._gateway.back.default_profile]

    # ---- sending ----

    async def _speak(self, client_id: UtteranceId, utterance: Utterance, tasks: TaskGroup) -> None:
        try:
            await self._gateway.run(utterance, partial(self._send_output, client_id, utterance), self._label)
        finally:
            if self._utterances.get(client_id) is utterance:
                del self._utterances[client_id]
        if self._dialect.closing is not None:
            await self._leave(tasks)

    async def _send_output(self, client_id: UtteranceId, utterance: Utterance, output: Output) -> None:
        if isinstance(output, AudioOut):
            await self._send_audio(client_id, output)
            return
        event = to_event(client_id, output)
        if not self._session.can_send(event):
            return
        self._session.send(event)
        message = self._dialect.encode(event)
        if message is None:
            return
        if utterance.has_more:
            self._outbox.add(message)
        else:
            await self._outbox.put(message)

    async def _send_audio(self, client_id: UtteranceId, output: AudioOut) -> None:
        pieces = to_audio(client_id, output)
        if not self._session.send_audio(pieces):
            return
        messages = [message for piece in pieces if (message := self._dialect.encode(piece)) is not None]
        await self._outbox.put(*messages, utterance=client_id)
        await self._gateway.clock.sleep_until(0.0)  # another stream's first words shall not wait for all of this one's lead

    async def _send(self, event: wire.ServerEvent) -> None:
        self._session.send(event)
        await self._put(event)

    async def _put(self, event: wire.Event) -> None:
        message = self._dialect.encode(event)
        if message is not None:
            await self._outbox.put(message)

    async def _refuse(self, error: RealtimeError) -> None:
        metrics.bad_input.labels(error.code).inc()
        self._stop(error.utterance)
        event = self._session.refuse(error)
        if event is not None:
            await self._put(event)
        if self._session.is_hopeless:
            self._close = (POLICY_VIOLATION, "too many errors in a row")

    # ---- ending ----

    def _stop(self, client_id: UtteranceId | None) -> None:
        self._waiting.pop(client_id or "", None)
        utterance = self._utterances.pop(client_id, None) if client_id is not None else None
        if utterance is not None and client_id is not None:
            self._outbox.discard(client_id)
            utterance.cancel()

    async def _leave(self, tasks: TaskGroup) -> None:
        """The dialect says that the conversation is over: what waits is sent, then the socket is closed as it says."""
        await self._outbox.emptied()
        if self._close is None and self._dialect.closing is not None:
            self._close = (self._dialect.closing.code, self._dialect.closing.reason)
        tasks.cancel_scope.cancel()

    async def _expire(self, error: RealtimeError, tasks: TaskGroup) -> None:
        await self._refuse(error)
        if self._dialect.closing is not None:
            await self._leave(tasks)

    async def _watch(self, tasks: TaskGroup) -> None:
        limits, clock = self._gateway.settings.limits, self._gateway.clock
        while True:
            await clock.wait(asyncio.Event(), ceil((clock.now() + WATCH_S) / WATCH_STEP_S) * WATCH_STEP_S)
            now, stalled = clock.now(), self._outbox.stalled_since
            if stalled is not None and now - stalled > limits.slow_client_s:
                metrics.slow_clients.inc()
                self._close = (POLICY_VIOLATION, f"slow_client: nothing was read for {limits.slow_client_s:g} s")
            elif not self._utterances and now - self._heard_at > limits.idle_s:
                self._close = (GOING_AWAY, f"idle for {limits.idle_s:g} s")
            elif not self._utterances and self._gateway.is_draining:
                self._close = (GOING_AWAY, "the service is shutting down")
            if self._close is not None:
                tasks.cancel_scope.cancel()
                return
            if self._inactivity is not None and self._dialect.closing is None:
                for error in self._inactivity.due(now, self._utterances):
                    tasks.start_soon(self._expire, error, tasks)

    async def _hang_up(self) -> None:
        if self._socket.client_state is WebSocketState.CONNECTED and self._socket.application_state is WebSocketState.CONNECTED:
            code, reason = self._close or (GOING_AWAY, "")
            with suppress(WebSocketDisconnect):
                await self._socket.close(code, reason)

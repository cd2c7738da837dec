"""What the endpoints share: the pipeline behind them, the limits in front of it, and whether the service still takes work."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio

from realtime import metrics
from realtime.clock import Clock
from realtime.config import Settings
from realtime.errors import Draining, Overloaded, RealtimeError
from realtime.pipeline.dispatcher import Dispatcher
from realtime.pipeline.outputs import CancelledOut, DoneOut, Ending, FailedOut
from realtime.pipeline.requests import Request
from realtime.pipeline.utterance import Utterance, UtteranceOptions
from realtime.pipeline.voices import VoiceBook
from realtime.server.fitness import Shortfall
from realtime.types import AudioFormat, Budget, Priority

log = logging.getLogger("realtime.utterance")


@dataclass(frozen=True, slots=True)
class Backstage:
    """Callables that app.py hands in, so that endpoints need not know the packages behind them."""

    options: Callable[[Request, AudioFormat], UtteranceOptions]
    profiles: Mapping[str, Budget]
    priorities: Mapping[str, Priority]
    default_profile: str
    formats: Mapping[str, Sequence[int]]
    content_type: Callable[[AudioFormat], str]
    workers: Callable[[], list[dict[str, Any]]]
    breakers: Callable[[], dict[str, str]]
    fitness: Callable[[], tuple[dict[str, float], Sequence[Shortfall]]]  # p99 of each engine's first chunk in s; where it is too long
    inject: Callable[[dict[str, Any]], dict[str, Any]]
    reload: Callable[[], Awaitable[list[tuple[dict[str, Any], RealtimeError | None]]]]  # a row for each worker, and why it has no voices


@dataclass(slots=True, eq=False)
class Gateway:
    """Counts and opens utterances. One per process."""

    settings: Settings
    dispatcher: Dispatcher
    voices: VoiceBook
    clock: Clock
    back: Backstage
    connections: int = 0
    is_draining: bool = False
    is_warm: bool = False  # grammars and dictionaries are loaded
    drained: anyio.Event = field(default_factory=anyio.Event)
    _opened: int = 0
    _running: int = 0

    def __repr__(self) -> str:
        state = "draining" if self.is_draining else "open"
        return f"<Gateway {state}, {self.connections} connections, {self._running} utterances>"

    @property
    def is_ready(self) -> bool:
        """Text can be prepared, somebody can speak, and every engine has a worker that takes jobs or has failed to get one: a stream
        that began earlier would have nobody to hand over to."""
        workers = self.back.workers()
        ready = {worker["engine"] for worker in workers if worker["state"] == "ready"}
        still_loading = {worker["engine"] for worker in workers if worker["state"] == "starting" and not worker["last_error"]} - ready
        return self.is_warm and bool(ready) and not still_loading and not self.is_draining

    def open(self, request: Request, audio_format: AudioFormat) -> Utterance:
        """Admit an utterance; run it with `run`. Raises `Draining`, `Overloaded`, `UnknownVoice`, `BadOption`."""
        if self.is_draining:
            raise Draining("the service is shutting down; connect again", retry_after_ms=2000)
        if self._running >= self.settings.limits.utterances:
            metrics.shed.labels("too_many_utterances").inc()
            raise Overloaded(f"{self._running} utterances are in progress, the limit", retry_after_ms=1000)
        options = self.back.options(request, audio_format)
        self._opened += 1
        utterance = Utterance(f"u{self._opened}", options, self.dispatcher, self.clock)
        utterance.open()
        self._running += 1
        return utterance

    async def run(self, utterance: Utterance, send: Callable[..., Awaitable[None]], label: str) -> Ending | None:
        """Run an admitted utterance to its end and log one line about it."""
        ending: Ending | None = None
        try:
            ending = await utterance.run(send)
            return ending
        finally:
            self._running -= 1
            self._record(utterance, ending, label)
            self._check_drained()

    def drain(self) -> None:
        """Take no new utterances; `drained` is set when the running ones are over."""
        self.is_draining = True
        self._check_drained()

    def _check_drained(self) -> None:
        if self.is_draining and self._running == 0:
            self.drained.set()

    def _record(self, utterance: Utterance, ending: Ending | None, label: str) -> None:
        usage, end = utterance.usage(), _end_name(ending)
        metrics.utterances_ended.labels(end).inc()
        for engine, audio_ms in usage.audio_ms_by_engine.items():
            metrics.audio_seconds.labels(engine).inc(audio_ms / 1000)
        if utterance.ttfa_ms is not None:
            metrics.ttfa_seconds.observe(utterance.ttfa_ms / 1000)
        lost = ending.underruns if isinstance(ending, DoneOut) else None
        if lost is not None and lost.count:
            metrics.underruns.inc(lost.count)
            metrics.underrun_seconds.inc(lost.total_ms / 1000)
        if isinstance(ending, FailedOut):
            metrics.errors.labels(ending.code).inc()
        fields = {
            "utterance": utterance.id,
            "connection": label,
            "end": end if not isinstance(ending, FailedOut) else f"{end}:{ending.code}",
            "chars": usage.characters,
            "audio_ms": {engine: round(ms) for engine, ms in usage.audio_ms_by_engine.items()},
            "ttfa_ms": None if utterance.ttfa_ms is None else round(utterance.ttfa_ms, 1),
            "underruns": None if lost is None else lost.count,
            "switches": ending.switches if isinstance(ending, DoneOut) else None,
        }
        log.info("utterance", extra={"fields": {key: value for key, value in fields.items() if value is not None}})


def _end_name(ending: Ending | None) -> str:
    if ending is None:
        return "abandoned"
    return {DoneOut: "done", CancelledOut: "cancelled", FailedOut: "error"}[type(ending)]

"""A worker process: load the engine, warm up and measure, READY, then serve jobs step by step.

One thread, one loop: obey what has arrived, let out what is due, do one step. So a cancel works within one step, and a ping that
stays unanswered means a step that hangs. Two nested limits bound what is held: the engine's capacity, and the backlog that the
parent keeps to.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

from realtime.clock import Clock, MonotonicClock
from realtime.engines.base import Chunk, Done, Engine, EngineEvent, EngineInfo, Failed, Job
from realtime.engines.registry import load as load_registered
from realtime.errors import EngineFailed, RealtimeError
from realtime.types import JobId
from realtime.workers import messages as m
from realtime.workers.faults import FaultPlan
from realtime.workers.interface import Fault, FaultKind, LevelRate, Sentence
from realtime.workers.link import Link, ParentGone
from realtime.workers.pacing import Pacer
from realtime.workers.warmup import SENTENCES, WARM_UP, measure, sentence_of, warm_up, with_rates

MAX_EXCEPTIONS_IN_A_ROW = 3  # guess: by then it is the process, not the job


class Unusable(Exception):
    """Raised when this process should be replaced; the message says why."""


class InjectedFault(Exception):
    """Raised by an `exception` fault; `job_id` is the job it was meant for."""

    def __init__(self, job_id: JobId | None) -> None:
        super().__init__("an injected exception")
        self.job_id = job_id


def serve(sock: socket.socket) -> None:
    """Serve the parent at the other end until it says `Leave` or is gone."""
    link = Link(sock)
    try:
        init = link.receive_init()
        assert isinstance(init, m.Init), "the first message is Init"
        link.pcm = init.pcm
        server = _start(link, init, MonotonicClock())
        if server is not None:
            server.run()
    except ParentGone:
        pass
    except Unusable as reason:
        link.send(m.Leaving(str(reason)))
        sys.exit(3)


def _start(link: Link, init: m.Init, clock: Clock) -> Server | None:
    """Load, warm up, say Ready; or say why not."""
    began = clock.now()
    try:
        link.send(m.Progress("loading"))
        engine = load_engine(init.factory, init.options)
        loaded = clock.now()
        heard: list[Chunk] = []
        rates = warm_up(engine, clock, init.is_measured, init.warm_up_s, lambda what: link.send(m.Progress(what)), heard)
        server = Server(engine, link, clock, init, rates)
        sampled = _send_sample(engine.info, link, init, heard)
        link.send(m.Ready(server.shown(engine.info), rates, loaded - began, sampled))
        return server
    except ParentGone:
        raise
    except RealtimeError as error:
        link.send(m.StartFailed(error.code, error.retryable, error.message))
    except Exception as error:  # whatever a library raises while it loads; the parent reports it
        link.send(m.StartFailed(EngineFailed.code, True, f"{type(error).__name__}: {error}"))
    return None


def _send_sample(info: EngineInfo, link: Link, init: m.Init, heard: list[Chunk]) -> Sentence | None:
    """The sound of the warm-up, for whoever must find places in the voice's later sound by ear: of an engine that tells them itself, none
    is needed."""
    if info.can_plan or not heard or any(chunk.words or chunk.span is not None for chunk in heard):
        return None
    for chunk in heard:
        link.send(m.Spoken(chunk))
    return sentence_of(info, SENTENCES if init.is_measured else WARM_UP)


def load_engine(factory: str, options: Mapping[str, Any]) -> Engine:
    """An engine by its name in the registry, or by `package.module:function`."""
    if ":" not in factory:
        return load_registered(factory, options)
    module, function = factory.split(":")
    return cast(Engine, getattr(importlib.import_module(module), function)(options))


class Server:
    """The loop after READY. Jobs are *waiting* (not yet in the engine), *running*, or over; events may be *held* until due."""

    def __init__(self, engine: Engine, link: Link, clock: Clock, init: m.Init, rates: dict[str, LevelRate]) -> None:
        self._engine = engine
        self._link = link
        self._clock = clock
        self._init = init
        self._rates = rates
        self._pacer = Pacer(engine.info)
        self._faults = FaultPlan()
        self._waiting: deque[Job] = deque()
        self._running: dict[JobId, Job] = {}
        self._held: deque[tuple[float, EngineEvent]] = deque()
        self._steps = 0
        self._exceptions = 0
        self._raise_next: InjectedFault | None = None

    def shown(self, info: EngineInfo) -> EngineInfo:
        """The engine's info with the rates measured here, under the name that the pool knows it by."""
        return replace(with_rates(info, self._rates), name=self._init.name)

    def run(self) -> None:
        """Until told to leave. Raises `ParentGone`, `Unusable`."""
        while True:
            for message in self._link.receive(self._patience()):
                if isinstance(message, m.Leave):
                    self._engine.close()
                    return
                self._obey(message)
            self._let_out()
            if not self._held:
                self._admit()
                if self._running:
                    self._step()

    # ---- commands

    def _obey(self, message: m.Message) -> None:
        match message:
            case m.StartJob(job):
                self._waiting.append(job)
            case m.CancelJob(job_id):
                self._forget(job_id)
            case m.AdjustJob(job_id, level):
                self._adjust(job_id, level)
            case m.Ping(number):
                self._link.send(m.Pong(number, self._steps))
            case m.AskPlan(number, request):
                self._answer(m.PlanAnswer, number, lambda: self._engine.plan(request))
            case m.AskReload(number):
                self._answer(m.Reloaded, number, lambda: self.shown(self._engine.reload()))
            case m.DoFault(fault) if self._init.allow_faults:
                self._arm(fault)
            case _:
                raise Unusable(f"got a {type(message).__name__}, which makes no sense here")

    def _adjust(self, job_id: JobId, level: str) -> None:
        if job_id in self._running:
            self._engine.adjust(job_id, level)
            self._pacer.adjusted(job_id, level)
        else:
            self._waiting = deque(replace(job, level=level) if job.id == job_id else job for job in self._waiting)

    def _forget(self, job_id: JobId) -> None:
        self._waiting = deque(job for job in self._waiting if job.id != job_id)
        self._held = deque((due, event) for due, event in self._held if event.job_id != job_id)
        if not self._held:
            self._pacer.idle(self._clock.now())
        if self._running.pop(job_id, None):
            self._engine.cancel(job_id)
        self._pacer.ended(job_id)
        self._faults.forget(job_id)

    def _answer(self, kind: type[m.PlanAnswer | m.Reloaded], number: int, find: Callable[[], Any]) -> None:
        try:
            answer = kind(number, find())
        except RealtimeError as error:
            answer = kind(number, code=error.code, message=error.message)
        except Exception as error:  # a question that fails costs nobody but the asker
            answer = kind(number, code=EngineFailed.code, message=f"{type(error).__name__}: {error}")
        self._link.send(answer)

    # ---- work

    def _patience(self) -> float | None:
        """How long to wait for commands: not at all with work to do, for ever with none."""
        if self._held:
            return max(0.0, self._held[0][0] - self._clock.now())
        return 0.0 if self._running or self._waiting else None

    def _admit(self) -> None:
        while self._waiting and len(self._running) < max(1, self._engine.info.capacity):
            job = self._waiting.popleft()
            try:
                self._engine.start(job)
            except RealtimeError as error:
                self._send(Failed(job.id, error.code, error.message))
            except Exception as error:  # the engine choked on the job before taking it
                self._send(Failed(job.id, EngineFailed.code, f"{type(error).__name__}: {error}"))
            else:
                self._running[job.id] = job
                self._pacer.began(job)

    def _step(self) -> None:
        began = self._clock.now()
        try:
            if fault := self._raise_next:
                self._raise_next = None
                raise fault
            events = self._engine.step()
        except Exception as error:  # the serve loop outlives its engine's exceptions
            self._recover(error)
            return
        self._steps += 1
        known = [event for event in events if event.job_id in self._running]
        self._held.extend(self._pacer.stepped(began, self._clock.now(), known))
        for event in known:
            if isinstance(event, Done | Failed):
                del self._running[event.job_id]
                self._exceptions = 0
        self._let_out()

    def _let_out(self) -> None:
        while self._held and self._held[0][0] <= self._clock.now():
            self._send(self._held.popleft()[1])

    def _send(self, event: EngineEvent) -> None:
        for item in self._faults.push(event):
            if isinstance(item, Fault):
                self._do(item)
            else:
                self._link.send(m.Spoken(item))
        if isinstance(event, Done | Failed):
            self._pacer.ended(event.job_id)

    def _recover(self, error: Exception) -> None:
        """Fail the jobs behind an exception; then either the engine still speaks, or this process is done for."""
        text = f"{type(error).__name__}: {error}"
        blamed = getattr(error, "job_id", None)
        failed = [blamed] if blamed in self._running else list(self._running)
        for job_id in failed:
            self._engine.cancel(job_id)
            del self._running[job_id]
            self._send(Failed(job_id, EngineFailed.code, text))
        self._exceptions += 1
        if isinstance(error, MemoryError) or self._exceptions >= MAX_EXCEPTIONS_IN_A_ROW:
            raise Unusable(text)
        if not self._running and self._engine.info.voices:
            try:
                measure(self._engine, self._clock, self._engine.info.levels[-1].name)
            except Exception as again:  # the proof that it is not usable
                raise Unusable(f"{text}; then {type(again).__name__}: {again}") from again

    # ---- faults

    def _arm(self, fault: Fault) -> None:
        spoils = fault.kind in (FaultKind.GARBAGE, FaultKind.NAN, FaultKind.DROP_CHUNK)
        if fault.at_ms is None and not spoils:
            self._do(fault)
        else:
            self._faults.add(fault)

    def _do(self, fault: Fault) -> None:
        match fault.kind:
            case FaultKind.KILL:
                os.kill(os.getpid(), signal.SIGKILL)
            case FaultKind.STOP:
                os.kill(os.getpid(), signal.SIGSTOP)
            case FaultKind.STALL:
                time.sleep(fault.value / 1000)
            case FaultKind.SLOW:
                self._pacer.slow = max(1.0, fault.value)
            case FaultKind.EXCEPTION:
                self._raise_next = InjectedFault(fault.job_id)

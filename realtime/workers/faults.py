"""Faults that wait for their moment in a job's sound. Pure: it says what to do, child.py does it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from realtime.engines.base import Chunk, EngineEvent
from realtime.types import JobId
from realtime.workers.interface import Fault, FaultKind

SPOILING = {FaultKind.GARBAGE, FaultKind.NAN}
GARBAGE_LEVEL = 0.9  # clips and drowns speech, as broken weights do


@dataclass(slots=True)
class FaultPlan:
    """Feed it every event before it leaves; it answers with events and, between them, the faults whose moment has come. Chunks get their
    place in the job's sound (`at`) before anything befalls them, so that a gap shows."""

    _waiting: list[Fault] = field(default_factory=list)
    _made: dict[JobId, int] = field(default_factory=dict)  # samples
    _spoilt: dict[JobId, tuple[FaultKind, float]] = field(default_factory=dict)  # until which ms

    def add(self, fault: Fault) -> None:
        """Wait for the fault's moment."""
        self._waiting.append(fault)

    @property
    def waiting(self) -> tuple[Fault, ...]:
        """Faults whose moment has not come."""
        return tuple(self._waiting)

    def forget(self, job_id: JobId) -> None:
        """A job was cancelled; its faults go with it."""
        self._made.pop(job_id, None)
        self._spoilt.pop(job_id, None)
        self._waiting = [f for f in self._waiting if f.job_id != job_id]

    def push(self, event: EngineEvent) -> list[EngineEvent | Fault]:
        """What leaves instead of `event`: itself, cut at the faults' moments, spoilt, or nothing."""
        if not isinstance(event, Chunk):
            self.forget(event.job_id)
            return [event]
        made = self._made.get(event.job_id, 0)
        self._made[event.job_id] = made + len(event.samples)
        # replace() takes three times as long
        event = Chunk(event.job_id, event.samples, event.sample_rate, event.span, event.words, made)
        if not self._waiting and not self._spoilt:
            return [event]
        begin = 1000 * made / event.sample_rate
        end = begin + 1000 * len(event.samples) / event.sample_rate
        due = [f for f in self._waiting if f.job_id in (None, event.job_id) and (f.at_ms or 0.0) < end]
        out: list[EngineEvent | Fault] = []
        rest = event
        for fault in sorted(due, key=lambda f: f.at_ms or 0.0):
            self._waiting.remove(fault)
            if fault.kind is FaultKind.DROP_CHUNK:
                return out
            at = min(len(rest.samples), max(0, round(((fault.at_ms or 0.0) - begin) * event.sample_rate / 1000)))
            first, rest = _cut(rest, at)
            begin += 1000 * at / event.sample_rate
            out += self._spoil(first, begin)
            if fault.kind in SPOILING:
                until = begin + fault.value if fault.value > 0 else float("inf")
                self._spoilt[event.job_id] = (fault.kind, until)
            else:
                out.append(fault)
        return out + self._spoil(rest, end)

    def _spoil(self, chunk: Chunk, end_ms: float) -> list[EngineEvent | Fault]:
        """The chunk, with what lies under a spoiling fault replaced; nothing for an empty one."""
        if not len(chunk.samples):
            return []
        kind, until = self._spoilt.get(chunk.job_id, (FaultKind.NAN, 0.0))
        begin_ms = end_ms - 1000 * len(chunk.samples) / chunk.sample_rate
        count = int(min(len(chunk.samples), max(0.0, (until - begin_ms) * chunk.sample_rate / 1000)))
        if count == 0:
            return [chunk]
        samples = chunk.samples.copy()
        if kind is FaultKind.NAN:
            samples[:count] = np.nan
        else:
            dice = np.random.default_rng((count, chunk.at or 0))  # the same noise in every chunk would be a tone
            samples[:count] = dice.uniform(-GARBAGE_LEVEL, GARBAGE_LEVEL, count)
        return [replace(chunk, samples=samples)]


def _cut(chunk: Chunk, at: int) -> tuple[Chunk, Chunk]:
    """The chunk's first `at` samples and the rest. Words go where they start; the span, whose inner times nobody knows, with the rest."""
    begin = (chunk.at or 0) + at
    return (
        Chunk(chunk.job_id, chunk.samples[:at], chunk.sample_rate, words=tuple(w for w in chunk.words if w.start < begin), at=chunk.at),
        replace(chunk, samples=chunk.samples[at:], words=tuple(w for w in chunk.words if w.start >= begin), at=begin),
    )

"""What happened to the engines while an utterance was being spoken: the account that a bench prints of one that came back wrong."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable

from realtime.clock import Clock
from realtime.engines.base import Chunk, Done
from realtime.scheduling.actions import Action, Fail
from realtime.scheduling.scheduler import Scheduler
from realtime.workers.interface import JobEvent, PoolEvent

KEPT = 20_000  # notes, the newest; a few minutes under fire


class Witness:
    """Notes what it is told, with the time; `account` tells again what concerns one utterance."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._notes: deque[tuple[float, str, str]] = deque(maxlen=KEPT)

    def note(self, about: str, what: str) -> None:
        """Something happened, to the utterance or job `about`; to everybody if that is empty."""
        self._notes.append((self._clock.now(), about, what))

    def saw(self, event: PoolEvent) -> None:
        """A report of the pool: workers come and go, jobs begin to sound and end."""
        if not isinstance(event, JobEvent):
            self.note("", f"{type(event).__name__} {event.worker_id} {_details(event)}")
        elif isinstance(event.event, Chunk):
            if not event.event.at:
                self.note(event.event.job_id, f"{event.event.job_id} sounds on {event.worker_id}")
        else:
            what = f"done, {event.event.samples} samples" if isinstance(event.event, Done) else f"failed, {event.event.message}"
            self.note(event.event.job_id, f"{event.event.job_id} on {event.worker_id}: {what}")

    def account(self, utterance: str, since: float) -> list[str]:
        """All that concerns the utterance from a time on, seconds first."""
        return [f"{at - since:7.3f}  {what}" for at, about, what in self._notes if at >= since and _concerns(about, utterance)]


class WitnessedScheduler(Scheduler):
    """The scheduler, whose decisions are noted."""

    witness: Witness | None = None

    def plan(self, now: float) -> list[Action]:
        """As the scheduler's own."""
        actions = super().plan(now)
        if self.witness is not None:
            for action in actions:
                self.witness.note(getattr(action, "job_id", getattr(action, "stream_id", "")), repr(action))
                if isinstance(action, Fail):
                    self.witness.note("", f"who was there: {self._who(now)}")
        return actions

    def _who(self, now: float) -> str:
        """Every worker, as the scheduler sees it."""
        return ", ".join(
            f"{worker.card.id} ({len(worker.runs)} of {worker.most} jobs"
            + ("" if worker.suspected_at is None else f", suspected for {now - worker.suspected_at:.1f} s")
            + ")"
            for worker in self._desk.fleet
        )


class WitnessedLog(logging.Handler):
    """What the service's log says, for the witness instead of the screen."""

    def __init__(self, witness: Witness) -> None:
        super().__init__()
        self._witness = witness

    def emit(self, record: logging.LogRecord) -> None:
        """One line of the log."""
        message = record.getMessage()
        self._witness.note(message.split(" ", 1)[0] if "/" in message.split(" ", 1)[0] else "", message)


def _concerns(about: str, utterance: str) -> bool:
    return not about or about == utterance or about.startswith(f"{utterance}/")


def _details(event: PoolEvent) -> str:
    names: Iterable[str] = ("reason", "detail", "job_ids", "is_silent")
    return ", ".join(str(getattr(event, name)) for name in names if hasattr(event, name))

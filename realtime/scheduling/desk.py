"""What the scheduler's parts share: the records, the timers, the actions to be handed out, and small questions about them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from realtime.scheduling.actions import Action
from realtime.scheduling.admission import AdmissionSettings
from realtime.scheduling.breaker import Breaker, BreakerSettings
from realtime.scheduling.cards import WorkerCard
from realtime.scheduling.fleet import Fleet
from realtime.scheduling.handover import HandoverSettings
from realtime.scheduling.queues import LazyHeap
from realtime.scheduling.rates import RateBook
from realtime.scheduling.streams import JobRecord, JobState, Run, Stream
from realtime.types import EngineName, JobId, UtteranceId


@dataclass(frozen=True, slots=True)
class SchedulerSettings:
    """Every value of the scheduler that may be tuned.

    `first_word_from_fallback`: an utterance for which the first choice has no room may be begun by the next engine (else it is
    refused). `begins_on_last_resort`: the last of three or more engines counts as room for new utterances; else it only rescues those
    admitted. `urgent_s`: segments with less time than this to their deadline may take the slots kept free for such; `reserve` is the
    share of an engine's slots that is. `fair_share`: every so manieth segment given out is the most overdue one of a lower
    priority class, if there is one.
    """

    first_word_from_fallback: bool = True
    begins_on_last_resort: bool = False
    urgent_s: float = 1.0
    reserve: float = 0.25
    fair_share: int = 8
    handover: HandoverSettings = field(default_factory=HandoverSettings)
    breaker: BreakerSettings = field(default_factory=BreakerSettings)
    admission: AdmissionSettings = field(default_factory=AdmissionSettings)


NOBODY = ""  # a worker that is gone
AT_ONCE = float("-inf")  # a timer that is due whatever the time


class Desk:
    """The scheduler's memory."""

    def __init__(self, settings: SchedulerSettings) -> None:
        self.settings = settings
        self.rates = RateBook()
        self.fleet = Fleet(self.rates)
        self.breakers: dict[EngineName, Breaker] = {}
        self.streams: dict[UtteranceId, Stream] = {}
        self.jobs: dict[JobId, JobRecord] = {}
        self.timers: LazyHeap[JobId] = LazyHeap()
        self.out: list[Action] = []
        self.counts: Counter[str] = Counter()
        self.assigned: Counter[EngineName] = Counter()  # streams by the engine that speaks them now

    def emit(self, action: Action, label: str = "") -> None:
        """Have something done; `label` tells the counter more than the action's name."""
        self.out.append(action)
        name = type(action).__name__
        self.counts[f"{name}:{label}" if label else name] += 1

    def breaker(self, engine: EngineName) -> Breaker:
        """The engine's breaker."""
        if engine not in self.breakers:
            self.breakers[engine] = Breaker(self.settings.breaker)
        return self.breakers[engine]

    def failed(self, engine: EngineName, now: float) -> None:
        """A run of the engine failed, or missed a deadline through the engine's own slowness."""
        self.breaker(engine).bad(now, self.fleet.used(engine))

    def welcome(self, card: WorkerCard) -> None:
        """A worker is ready. Where it has replaced one, what failed on that one may be tried on it."""
        self.fleet.add(card)
        for job in self.jobs.values():
            for engine in [engine for engine, failed_on in job.second_chance.items() if failed_on == card.id]:
                job.second_chance[engine] = NOBODY
        self.look_at_races()

    def look_at_races(self) -> None:
        """There is somebody more to ask: have the next plan look at every race, which may sleep until its decision. Rare; O(jobs)."""
        for job in self.jobs.values():
            if job.state is JobState.RACING:
                self.timers.put(job.spec.id, AT_ONCE)

    def is_open_to(self, job: JobRecord, engine: EngineName) -> bool:
        """True when the engine may be given the job: it has workers, and is in service for the job's chain."""
        if engine in job.barred or not self.fleet.has(engine):
            return False
        if job.lost.get(engine, 0) >= self.settings.handover.most_lost_runs:
            return False
        return self.is_in_service(engine, job.stream.spec.chain)

    def is_in_service(self, engine: EngineName, chain: tuple[EngineName, ...]) -> bool:
        """Its breaker is closed; or it is the last resort of the chain, the last engine with a worker that answers: a doubtful voice is
        better than none."""
        return self.breaker(engine).is_closed or engine == next((e for e in reversed(chain) if self.fleet.answers_for(e)), chain[-1])

    def jobs_on(self, run: Run) -> int:
        """How many jobs share the run's worker, itself included."""
        worker = self.fleet.get(run.worker_id)
        return max(1, len(worker.runs)) if worker else 1

    def move_to_place(self, stream: Stream, place: int) -> None:
        """Let the stream's next segments start at another engine of its chain."""
        chain = stream.spec.chain
        self.assigned[chain[stream.place]] -= 1
        stream.place = place
        self.assigned[chain[place]] += 1

    def switch_to(self, stream: Stream, engine: EngineName, now: float) -> None:
        """Note that the listener hears another engine from here on."""
        self.move_to_place(stream, stream.spec.chain.index(engine))
        stream.switches += 1
        stream.switched_at = now

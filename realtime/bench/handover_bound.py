"""Which silences of the storm could nobody have avoided? A bound, from what every worker really was at every moment, known afterwards.

A listener runs dry at some place of a segment. A clairvoyant knows all faults that strike, and may begin a run at that very place on any
worker, at any moment since the segment could be begun (`max_lead_ms` before it is due: to make sound further ahead is not this
service's trade). The silence was unavoidable for as long as no worker could have given a first sound so begun. That is less than
any real policy would leave, as it is relaxed in these points:

- a run begins at any place of the text, and voices change there at no cost;
- faults meant for this listener's own next runs strike none of the clairvoyant's, and neither do those that its runs caused;
- only a first sound is asked for, half of what is left of the segment or one chunk, whichever is shorter;
- nobody else needs the worker. That is hardly one here: simulated workers carry 16 jobs at no cost to each other.

And it is no bound in these: the weather is taken as it was, though other runs of other listeners would have met their faults on other
workers at other moments; and the listener begins to hear when they did (one kept waiting longer would have had more in hand).

Beside it the most that a policy without foresight can do (`online_at`): ask every worker of every engine the moment the sound is wanted,
ask each again whenever `PATIENCE` times what a first sound takes has passed in vain, and as soon as it is back; take what comes first. It
does not know when a spell ends, only that its workers are back. The relaxations are the same, so asking costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from realtime.bench.ear import Ear, Wait
from realtime.types import WorkerId

START_BUFFER_S = 0.1  # of the listeners of `bench handover`
NEVER = float("inf")
PATIENCE = 1.5  # times what a first sound takes: what the scheduler takes for the p99 before it has seen any (rates.py)
MOST_ASKED = 1000  # times, of one worker


class Trouble(Enum):
    """What a worker may have."""

    DEAD = auto()  # until it is replaced
    FROZEN = auto()  # what it does is put off
    SLOW = auto()  # what it begins takes longer


@dataclass(frozen=True, slots=True)
class Spell:
    """From `begin` to `end` a worker had trouble, through a fault in the run of utterance `caused_by`. `pace`: times slower."""

    worker_id: WorkerId
    trouble: Trouble
    begin: float
    end: float
    caused_by: str
    pace: float = 1.0


@dataclass(frozen=True, slots=True)
class Need:
    """Somebody ran dry: sound `chunk_s` long (at most) was wanted, and could be worked at since `since`."""

    utterance: str
    since: float
    chunk_s: float


@dataclass(frozen=True, slots=True)
class Speed:
    """What a first sound takes on a worker that is well: `first_s`, and `rtf` for each second of up to `chunk_s` of it."""

    first_s: float
    rtf: float
    chunk_s: float


def need_of(utterance: str, opened_at: float, max_lead_s: float, ear: Ear, wait: Wait) -> Need:
    """What was wanted in a wait of a listener who came at `opened_at`. A segment can be begun when it is due within `max_lead_s`; before
    the first sound, when it would be if that came at once."""
    index, start = max(((k, at) for k, at in ear.segments.items() if at <= wait.sample), default=(0, 0))
    if index == 0:
        since = opened_at
    else:
        waited_s = sum(w.end - w.begin for w in ear.waits(START_BUFFER_S) if w.sample < start)
        since = ear.begins_at(START_BUFFER_S) + start / ear.rate + waited_s - max_lead_s
        if since < ear.begins_at(0.0):
            since = opened_at + max(0.0, start / ear.rate - max_lead_s)
    end = min((at for at in ear.segments.values() if at > wait.sample), default=ear.samples)
    return Need(utterance, since, max(0.0, end - wait.sample) / ear.rate / 2)


class Weather:
    """Which worker was in which trouble, when. Fed by the pool as faults strike."""

    def __init__(self, speeds: Mapping[WorkerId, Speed]) -> None:
        self._speeds = speeds
        self._spells: dict[WorkerId, list[Spell]] = {worker_id: [] for worker_id in speeds}

    def note(self, spell: Spell) -> None:
        """A fault has struck a worker. In the order of time."""
        self._spells[spell.worker_id].append(spell)

    def first_sound_at(self, need: Need) -> float:
        """When the clairvoyant could have had the sound at the earliest."""
        return min(self._on(worker_id, speed, need) for worker_id, speed in self._speeds.items())

    def online_at(self, need: Need) -> float:
        """When one without foresight, who asks everybody, could have had it at the earliest."""
        return min(self._asked(worker_id, speed, need) for worker_id, speed in self._speeds.items())

    def _asked(self, worker_id: WorkerId, speed: Speed, need: Need) -> float:
        """The same of one worker: asked at once, again and again, and when it is back."""
        spells, work_s = self._spells_for(worker_id, need), _work_s(speed, need)
        back = [s.end for s in spells if s.trouble is not Trouble.SLOW and need.since < s.end < NEVER]
        last = max((s.end for s in spells if s.end < NEVER), default=need.since)
        again = min(MOST_ASKED, 1 + int(max(0.0, last - need.since) / (PATIENCE * work_s) + 1))
        asks = (*back, *(need.since + k * PATIENCE * work_s for k in range(again)))
        return min(_ready_at(spells, at, work_s) for at in asks)

    def _on(self, worker_id: WorkerId, speed: Speed, need: Need) -> float:
        """The same on one worker: begun at once, or when some trouble of it is over."""
        spells, work_s = self._spells_for(worker_id, need), _work_s(speed, need)
        begins = (need.since, *(spell.end for spell in spells if spell.end > need.since))
        return min(_ready_at(spells, begin, work_s) for begin in begins)

    def _spells_for(self, worker_id: WorkerId, need: Need) -> list[Spell]:
        """What counts: the listener's own runs caused none of it."""
        return [spell for spell in self._spells[worker_id] if spell.caused_by != need.utterance]


def _work_s(speed: Speed, need: Need) -> float:
    return speed.first_s + speed.rtf * min(speed.chunk_s, need.chunk_s)


def _ready_at(spells: list[Spell], begin: float, work_s: float) -> float:
    """When work begun at `begin` is done on a worker with such spells."""
    deaths = [spell for spell in spells if spell.trouble is Trouble.DEAD]
    if any(death.begin <= begin < death.end for death in deaths):
        return NEVER
    born = max((death.end for death in deaths if death.end <= begin), default=0.0)  # what its predecessor had is over
    dies = min((death.begin for death in deaths if death.begin > begin), default=NEVER)
    since = [spell for spell in spells if spell.begin >= born]
    done = max(begin, _free_at(since, begin)) + work_s * _pace(since, begin)
    while done <= dies and (free := _free_at(since, done)) > done:
        done = free
    return done if done <= dies else NEVER


def _free_at(spells: list[Spell], at: float) -> float:
    """Until when a worker is frozen at a moment, as the last fault of that kind said."""
    frozen = [spell.end for spell in spells if spell.trouble is Trouble.FROZEN and spell.begin <= at]
    return frozen[-1] if frozen else 0.0


def _pace(spells: list[Spell], at: float) -> float:
    """How many times slower it is at a moment; it is as before as soon as any spell of that kind ends."""
    slow = [spell for spell in spells if spell.trouble is Trouble.SLOW and spell.begin <= at]
    if not slow or any(slow[-1].begin < spell.end <= at for spell in slow):
        return 1.0
    return slow[-1].pace

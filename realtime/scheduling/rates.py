"""How fast workers really are: RTF and time to the first chunk per worker, level and number of jobs sharing the worker.

Starts from what the worker measured at warm-up and follows the progress reports (exponential average). Crowding, the price of
sharing, is learned per (engine, level): RTF(b) = RTF(1) * (1 + crowding * (b - 1)), and likewise for the first chunk, where the price
is lower in engines that take urgent jobs first.

Cost: every query is a few dictionary look-ups; a sample of the first-chunk quantile costs one bisect in at most `KEPT` values.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, deque
from dataclasses import dataclass, field

from realtime.scheduling.cards import WorkerCard
from realtime.types import EngineName, WorkerId

LATE = 2.5  # times the prediction: the averages follow a sample no further, so that single stalls leave them alone
LATEST = 3.0  # times the prediction: what is later is a stall, not a late chunk (6: where many are ill, patience grew with every stall)
FOLLOW = 0.15  # weight of a new sample; a step change is followed to 80 % in ten chunks (guess)
LABOURS = 1.5  # times slower than at its warm-up, from which on a worker is taken after the others (guess)
RECOVERY = 0.5  # weight of a sample of a worker that laboured and is that much faster again (guess)
KEPT = 256  # first-chunk times remembered per engine; p99 needs a hundred or more
PRIOR_SPREAD = 1.5  # p99 over warm-up measurement, before there are samples (guess; measured p99/median of local workers is 1.2-1.6)
ENOUGH = 20  # samples from which on the measured quantile is believed
KEEPS_UP = 0.8  # RTF up to which a run outpaces its listener although its chunks come unevenly (from `realtime bench schedule`)
CHUNK_S = 0.3  # length of a chunk before one was seen (guess)
LAGS_ENOUGH = 5  # runs from which on the lags of an engine at a level are believed: each is a maximum over a whole run
LAGS_KEPT = 64
SEGMENT_S, LEAST_SEGMENT_S = 3.0, 0.5  # length of a segment: until some were seen; the least reckoned with (guesses)
FOLLOW_SEGMENTS = 0.02  # weight of one segment in the mean
CROWDING_LIMIT = 2.0  # above this the samples say that the machine is ill, not that batching is dear


class Quantile:
    """A quantile over the last `KEPT` values."""

    def __init__(self, kept: int = KEPT) -> None:
        self._recent: deque[float] = deque(maxlen=kept)
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self._sorted)

    def add(self, value: float) -> None:
        """Take in one value; the oldest leaves when `kept` are there."""
        if len(self._recent) == self._recent.maxlen:
            del self._sorted[bisect_left(self._sorted, self._recent[0])]
        self._recent.append(value)
        insort(self._sorted, value)

    def at(self, share: float) -> float:
        """The smallest value that at least `share` of the values do not exceed. Raises `IndexError` when there are none."""
        return self._sorted[min(len(self._sorted) - 1, int(share * len(self._sorted)))]


@dataclass(slots=True)
class _Pace:
    """What is known of one worker at one level."""

    rtf: float  # alone
    first_chunk_s: float  # alone
    rtf_then: float = 1.0  # as measured at warm-up, as are the next two
    first_chunk_then_s: float = 1.0
    lag_s: float | None = None


@dataclass(slots=True)
class _Prices:
    """What each further job on a worker adds, as a share of the time alone: to the RTF, and to the first chunk."""

    crowding: float
    queueing: float


@dataclass(slots=True)
class _Habits:
    """What is known of an engine: how long chunks are, how long first ones took, how much later than predicted both came."""

    warm_up_s: float = 0.0
    chunk_s: float = CHUNK_S  # of those after the first
    first_sound_s: float = 0.0  # of the first, on average; 0 until one was seen
    firsts: Quantile = field(default_factory=Quantile)
    first_ratios: Quantile = field(default_factory=Quantile)
    ratios: Quantile = field(default_factory=Quantile)


class RateBook:
    """The measured rates of all workers. `jobs`, the number that share a worker, may be an average over time."""

    def __init__(self) -> None:
        self._paces: dict[tuple[WorkerId, str], _Pace] = {}
        self._prices: dict[tuple[EngineName, str], _Prices] = {}
        self._engines: dict[WorkerId, EngineName] = {}
        self._lags: dict[tuple[EngineName, str], Quantile] = {}
        self._habits: dict[EngineName, _Habits] = {}
        self._odd: dict[EngineName, set[WorkerId]] = {}  # workers whose last sample was far off, or that labour
        self._counts: Counter[EngineName] = Counter()
        self.segment_s = SEGMENT_S

    def add(self, card: WorkerCard) -> None:
        """Take over what a worker measured at warm-up."""
        self._counts[card.engine] += card.id not in self._engines
        self._engines[card.id] = card.engine
        for level, rate in card.rates.items():
            self._paces[card.id, level] = _Pace(rate.rtf, rate.first_chunk_s, rate.rtf, rate.first_chunk_s, rate.lag_s)
            # guess for `queueing`: urgent jobs go first, but not at once
            self._prices.setdefault((card.engine, level), _Prices(rate.crowding, rate.crowding / 2))
        habits = self._habits.setdefault(card.engine, _Habits())
        habits.warm_up_s = max(habits.warm_up_s, min(rate.first_chunk_s for rate in card.rates.values()))

    def remove(self, card: WorkerCard) -> None:
        """Forget a worker; what is known of its engine stays."""
        self._counts[card.engine] -= self._engines.pop(card.id, None) is not None
        self._odd.get(card.engine, set()).discard(card.id)
        for level in card.rates:
            self._paces.pop((card.id, level), None)

    # ask

    def rtf(self, worker_id: WorkerId, level: str, jobs: float = 1) -> float:
        """Seconds of work per second of sound for each of `jobs` jobs that share the worker."""
        return self._pace(worker_id, level).rtf * (1 + self._price(worker_id, level).crowding * (jobs - 1))

    def first_chunk_s(self, worker_id: WorkerId, level: str, jobs: float = 1) -> float:
        """Seconds from dispatch to the first sound, with `jobs` jobs on the worker."""
        return self._pace(worker_id, level).first_chunk_s * (1 + self._price(worker_id, level).queueing * (jobs - 1))

    def lag_s(self, worker_id: WorkerId, level: str, jobs: float = 1, share: float = 0.9) -> float:
        """By how much a run's sound falls behind a listener who begins with its first chunk, at the worst moment, in a share of the cases;
        below 0: so much is always in hand. It is chunks that come late or long, not the speed in all."""
        engine = self._engines.get(worker_id)
        if engine is None:
            return 0.0
        habits = self._habits[engine]
        late_s = habits.chunk_s * self.lateness(engine)
        lags = self._lags.get((engine, level))
        if lags is not None and len(lags) >= LAGS_ENOUGH:
            alone_s = lags.at(share)
        elif (known_s := self._pace(worker_id, level).lag_s) is not None:
            alone_s = known_s + (self.lateness(engine) - 1) * self.rtf(worker_id, level) * habits.chunk_s
        else:
            return late_s * self.rtf(worker_id, level, jobs) - self.first_sound_s(engine)
        return alone_s + late_s * (self.rtf(worker_id, level, jobs) - self.rtf(worker_id, level))

    def slowed(self, card: WorkerCard, level: str) -> float:
        """How many times slower than at its warm-up the worker is."""
        pace, then = self._pace(card.id, level), card.rates[level]
        return max(pace.rtf / max(then.rtf, 1e-6), pace.first_chunk_s / max(then.first_chunk_s, 1e-6))

    def first_lateness(self, engine: EngineName, share: float = 0.99) -> float:
        """How many times later than predicted a first chunk of the engine comes at most, in a share of the cases."""
        return _tail(self._habits[engine].first_ratios, share)

    def lateness(self, engine: EngineName, share: float = 0.99) -> float:
        """The same for later chunks."""
        return _tail(self._habits[engine].ratios, share)

    def first_chunk_p99_s(self, engine: EngineName) -> float:
        """The time that 99 % of the engine's first chunks took, whatever the load was; from the warm-up until `ENOUGH` were seen."""
        habits = self._habits.get(engine)
        if habits is None:
            return 0.0
        return habits.firsts.at(0.99) if len(habits.firsts) >= ENOUGH else habits.warm_up_s * PRIOR_SPREAD

    def chunk_s(self, engine: EngineName) -> float:
        """How long a chunk of the engine is after the first, on average."""
        return self._habits[engine].chunk_s

    def first_sound_s(self, engine: EngineName) -> float:
        """How long a first chunk of the engine is, on average, or else a later one: those that begin small grow with the lead."""
        return max(self._habits[engine].chunk_s, self._habits[engine].first_sound_s)

    # learn

    def saw_first_chunk(self, worker_id: WorkerId, level: str, jobs: float, audio_s: float, took_s: float) -> None:
        """A run's first sound, `audio_s` seconds of it, came `took_s` after its dispatch."""
        engine, pace = self._engines.get(worker_id), self._paces.get((worker_id, level))
        if engine is None or pace is None:
            return
        habits, prices = self._habits[engine], self._price(worker_id, level)
        habits.first_sound_s += (FOLLOW if habits.first_sound_s else 1.0) * (audio_s - habits.first_sound_s)
        predicted_s = max(self.first_chunk_s(worker_id, level, jobs), 1e-6)
        habits.firsts.add(min(took_s, LATEST * predicted_s))
        habits.first_ratios.add(min(LATEST, took_s / predicted_s))
        is_odd = took_s > LATE * predicted_s or _labours(pace.first_chunk_s, pace.first_chunk_then_s)
        took_s = min(took_s, LATE * predicted_s)
        if self._tells_price(engine, worker_id, is_odd):
            prices.queueing = _follow_price(prices.queueing, took_s / max(pace.first_chunk_s, 1e-6), jobs)
        alone_s = took_s / (1 + prices.queueing * (jobs - 1))
        pace.first_chunk_s = _follow(pace.first_chunk_s, alone_s, pace.first_chunk_then_s, jobs)

    def saw_chunk(self, worker_id: WorkerId, level: str, jobs: float, audio_s: float, took_s: float) -> None:
        """`audio_s` seconds of sound took `took_s` with `jobs` jobs on the worker."""
        engine, pace = self._engines.get(worker_id), self._paces.get((worker_id, level))
        if engine is None or pace is None or audio_s <= 0:
            return
        habits, prices = self._habits[engine], self._price(worker_id, level)
        habits.chunk_s += FOLLOW * (audio_s - habits.chunk_s)
        predicted_s = max(self.rtf(worker_id, level, jobs) * audio_s, 1e-6)
        habits.ratios.add(min(LATEST, took_s / predicted_s))
        is_odd = took_s > LATE * predicted_s or _labours(pace.rtf, pace.rtf_then)
        took_s = min(took_s, LATE * predicted_s)
        if self._tells_price(engine, worker_id, is_odd):
            prices.crowding = _follow_price(prices.crowding, took_s / audio_s / max(pace.rtf, 1e-6), jobs)
        alone = took_s / audio_s / (1 + prices.crowding * (jobs - 1))
        pace.rtf = _follow(pace.rtf, alone, pace.rtf_then, jobs)

    def saw_lag(self, engine: EngineName, level: str, lag_s: float) -> None:
        """A run that had its worker for itself fell behind its first sound by so much at most."""
        self._lags.setdefault((engine, level), Quantile(LAGS_KEPT)).add(lag_s)

    # totals

    def limit(self, engine: EngineName, is_stand_in: bool) -> float:
        """RTF up to which workers of the engine should be filled. Of one that others fall back on, a late chunk must keep up as well."""
        return min(KEEPS_UP, 1 / self.lateness(engine)) if is_stand_in else KEEPS_UP

    def saw_segment(self, expected_s: float) -> None:
        """A segment so long is to be spoken."""
        self.segment_s += FOLLOW_SEGMENTS * (max(LEAST_SEGMENT_S, expected_s) - self.segment_s)

    def whole_rtf(self, worker_id: WorkerId, level: str, jobs: float) -> float:
        """Seconds of work per second of sound over a segment of the usual length, its first chunk included: the shorter segments are,
        the more of the time goes into beginning them."""
        engine = self._engines.get(worker_id)
        first_sound_s = min(self.first_sound_s(engine), self.segment_s) if engine else 0.0
        rest_s = self.segment_s - first_sound_s
        return (self.first_chunk_s(worker_id, level, jobs) + rest_s * self.rtf(worker_id, level, jobs)) / self.segment_s

    def useful_jobs(self, card: WorkerCard, level: str, limit: float) -> int:
        """How many jobs the worker can carry at that level with each at an RTF of `limit` at most; 1 if none."""
        alone, together = self.whole_rtf(card.id, level, 1), self.whole_rtf(card.id, level, 2)  # it grows linearly
        return _most_jobs(alone, together, limit, card.capacity)

    def bearable_jobs(self, card: WorkerCard, level: str) -> int:
        """With how many jobs on the worker each, once begun, is as fast as speech; 1 if with none."""
        return _most_jobs(self.rtf(card.id, level, 1), self.rtf(card.id, level, 2), 1.0, card.capacity)

    def throughput(self, card: WorkerCard, level: str, jobs: int) -> float:
        """Seconds of sound per second that the worker yields at that level with so many jobs."""
        return jobs / max(self.whole_rtf(card.id, level, jobs), 1e-6)

    def _tells_price(self, engine: EngineName, worker_id: WorkerId, is_odd: bool) -> bool:
        """True for a sample that says what sharing costs. An odd one may be a sick worker's, and all would be charged for it: it counts
        where most of the engine's workers are as odd, so that it must be the price."""
        odd = self._odd.setdefault(engine, set())
        (odd.add if is_odd else odd.discard)(worker_id)
        return not is_odd or 2 * len(odd) > self._counts[engine]

    def _pace(self, worker_id: WorkerId, level: str) -> _Pace:
        """Of a worker that is gone (a run of it may still be judged): as fast as speech."""
        return self._paces.get((worker_id, level)) or _Pace(1.0, 1.0)

    def _price(self, worker_id: WorkerId, level: str) -> _Prices:
        engine = self._engines.get(worker_id, "")
        return self._prices.get((engine, level)) or _Prices(1.0, 0.5)


def _most_jobs(alone: float, together: float, limit: float, capacity: int) -> int:
    """How many jobs keep each within `limit`, of something that one job costs `alone`, each of two `together`, and so on; at least 1."""
    if alone <= 0 or together <= alone:
        return capacity
    return max(1, min(capacity, 1 + int((limit - alone) / (together - alone) + 1e-6)))


def _tail(ratios: Quantile, share: float) -> float:
    return max(1.0, ratios.at(share)) if len(ratios) >= ENOUGH else PRIOR_SPREAD


def _follow_price(price: float, relative: float, jobs: float) -> float:
    """One step of least mean squares towards relative = 1 + price * (jobs - 1); a sample with few jobs says little."""
    others = jobs - 1
    error = min(relative, CROWDING_LIMIT * jobs) - (1 + price * others)
    return min(CROWDING_LIMIT, max(0.0, price + FOLLOW * error * others / (1 + others * others)))


def _labours(pace: float, then: float) -> bool:
    """True for a worker much slower than at its warm-up."""
    return pace > LABOURS * then


def _follow(pace: float, seen: float, then: float, jobs: float) -> float:
    """One step of a worker's pace towards a sample; with many jobs it says little of the speed alone. Who laboured and does not any more
    is believed at once: few ask it meanwhile, so it could not show it otherwise."""
    weight = RECOVERY if _labours(pace, then) and seen < pace / LABOURS else FOLLOW / jobs
    return pace + weight * (seen - pace)

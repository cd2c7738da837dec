"""Who may begin an utterance: rate and concurrency per API key, a global bound, and a prediction of what one more would do.

The prediction is made by the scheduler and has two parts. With everything that is owed to those admitted, and what the newcomer will
be, in the order of deadlines: would a sample be late (`demand`)? Is a slot expected in time for its first sound (`waiting`)? The first
is asked of a share of the engines' throughput only, a smaller one for the lower classes: arrivals, rates and lengths are uneven.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from realtime.scheduling.actions import Reason
from realtime.scheduling.cards import Refused, StreamSpec
from realtime.types import Priority

HEADROOM: dict[Priority, float] = {Priority.INTERACTIVE: 0.9, Priority.NORMAL: 0.85, Priority.BATCH: 0.6}
"""Share of the engines' throughput that admitted utterances of a class may fill (from `realtime bench schedule`)."""


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What one API key may do (guess: one busy gateway behind one key). The bucket holds `burst` requests and refills at `per_second`."""

    per_second: float = 200.0
    burst: int = 1000
    streams: int = 2000


@dataclass(frozen=True, slots=True)
class AdmissionSettings:
    """Bounds of the whole service. `limits` by API key, `default_limits` for keys not named (and for no key at all)."""

    max_streams: int = 10_000
    max_waiting_jobs: int = 20_000
    max_keys: int = 10_000  # buckets remembered; the longest unused leaves first
    default_limits: KeyLimits = field(default_factory=KeyLimits)
    limits: dict[str, KeyLimits] = field(default_factory=dict)


class TokenBucket:
    """`burst` tokens at most, `per_second` new ones; taking one costs nothing but arithmetic."""

    def __init__(self, limits: KeyLimits, now: float) -> None:
        self.limits = limits
        self.streams = 0
        self._tokens = float(limits.burst)
        self._at = now

    def wait_s(self, now: float) -> float:
        """Seconds until a token is there; 0 when one is."""
        self._refill(now)
        return max(0.0, (1 - self._tokens) / self.limits.per_second)

    def take(self, now: float) -> None:
        """Use a token up."""
        self._refill(now)
        self._tokens -= 1

    def _refill(self, now: float) -> None:
        self._tokens = min(float(self.limits.burst), self._tokens + max(0.0, now - self._at) * self.limits.per_second)
        self._at = max(now, self._at)


@dataclass(frozen=True, slots=True)
class Load:
    """The service as a newcomer finds it. `supply`: seconds of sound per second of the engines that may speak it. `late_s`: how late the
    latest sample of anybody would be if it were admitted; `slot_late_s`: how late a slot would be for its own first sound."""

    streams: int
    waiting_jobs: int
    supply: float
    late_s: float = 0.0
    slot_late_s: float = 0.0
    mean_stream_s: float = 8.0


class Admission:
    """The gate. `refusal` answers without changing anything; `enter` and `leave` keep the counts."""

    def __init__(self, settings: AdmissionSettings | None = None) -> None:
        self.settings = settings or AdmissionSettings()
        self._buckets: dict[str, TokenBucket] = {}

    def refusal(self, spec: StreamSpec, load: Load, now: float) -> Refused | None:
        """Why the utterance may not begin, or None."""
        bucket = self._bucket(spec.api_key, now)
        if (wait_s := bucket.wait_s(now)) > 0:
            return Refused(spec.id, Reason.RATE_LIMITED, _ms(wait_s))
        if bucket.streams >= bucket.limits.streams:
            return Refused(spec.id, Reason.TOO_MANY_STREAMS, _ms(self._turnover_s(bucket.streams, load)))
        if load.streams >= self.settings.max_streams or load.waiting_jobs >= self.settings.max_waiting_jobs:
            return Refused(spec.id, Reason.QUEUE_FULL, _ms(self._turnover_s(load.streams, load)))
        if load.supply <= 0:
            return Refused(spec.id, Reason.NO_WORKER, 1000)
        if load.streams > 0 and max(load.late_s, load.slot_late_s) > 0:  # alone, better slow than never
            return Refused(spec.id, Reason.OVERLOADED, _ms(max(load.late_s, load.slot_late_s)))
        return None

    def enter(self, spec: StreamSpec, now: float) -> None:
        """The utterance begins."""
        bucket = self._bucket(spec.api_key, now)
        bucket.take(now)
        bucket.streams += 1

    def leave(self, spec: StreamSpec) -> None:
        """The utterance is over."""
        if bucket := self._buckets.get(spec.api_key):
            bucket.streams = max(0, bucket.streams - 1)

    def _bucket(self, key: str, now: float) -> TokenBucket:
        bucket = self._buckets.pop(key, None)
        if bucket is None:
            bucket = TokenBucket(self.settings.limits.get(key, self.settings.default_limits), now)
            self._make_room()
        self._buckets[key] = bucket  # last in line: dictionaries keep their order
        return bucket

    def _make_room(self) -> None:
        if len(self._buckets) >= self.settings.max_keys:
            idle = next((key for key, bucket in self._buckets.items() if bucket.streams == 0), None)
            if idle is not None:
                del self._buckets[idle]

    @staticmethod
    def _turnover_s(streams: int, load: Load) -> float:
        return load.mean_stream_s / max(1, streams)


def _ms(seconds: float) -> int:
    return min(60_000, max(50, round(seconds * 1000)))

"""The utterances of a simulation and their listeners: what was made, what may be sent, how it was heard. Shared by all policies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial

from realtime.bench.schedule_world import Offer, World
from realtime.scheduling.playout import PlayoutModel


class Fate(Enum):
    """What became of an utterance."""

    OPEN = auto()
    REFUSED = auto()  # turned away at once
    BROKEN = auto()  # admitted and then given up


@dataclass(slots=True, eq=False)
class Call:
    """One utterance as the simulation sees it. `made` per segment: seconds that may be sent; sent in order."""

    offer: Offer
    playout: PlayoutModel
    opened_at: float
    made: list[float] = field(default_factory=list)
    done: list[bool] = field(default_factory=list)
    by_engine: dict[str, float] = field(default_factory=dict)
    first_audio_at: float | None = None
    fate: Fate = Fate.OPEN

    @property
    def is_complete(self) -> bool:
        """Every segment was made to its end."""
        return len(self.done) == len(self.offer.segments) and all(self.done)

    def sendable_s(self) -> float:
        """Seconds of sound in order, without a hole."""
        total = 0.0
        for made, done in zip(self.made, self.done, strict=True):
            total += made
            if not done:
                break
        return total

    def is_whole(self, end: float) -> bool:
        """Spoken to its end, and never waited for."""
        return self.fate is Fate.OPEN and self.is_complete and self.playout.continuity(end).is_whole

    def is_good(self, end: float) -> bool:
        """Whole, and begun in time."""
        if self.first_audio_at is None or not self.is_whole(end):
            return False
        return self.first_audio_at - self.opened_at <= self.offer.budget.first_audio_ms / 1000 + 1e-9

    def credit(self, index: int, engine: str, audio_s: float) -> None:
        """So much more of a segment may be sent."""
        self.made[index] += audio_s
        self.by_engine[engine] = self.by_engine.get(engine, 0.0) + audio_s


class Calls:
    """All utterances."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._calls: dict[str, Call] = {}

    def __iter__(self) -> Iterator[Call]:
        return iter(self._calls.values())

    def __getitem__(self, stream_id: str) -> Call:
        return self._calls[stream_id]

    def begin(self, offer: Offer) -> Call:
        """Note an utterance."""
        playout = PlayoutModel(offer.budget.first_audio_ms / 1000, offer.budget.start_buffer_ms / 1000)
        call = self._calls[offer.id] = Call(offer, playout, self._world.now)
        return call

    def feed(self, call: Call, speak: Callable[[Call, int], None]) -> None:
        """Let the text of an admitted utterance arrive: `speak(call, index)` for each segment."""
        for index, after in enumerate(call.offer.text_at):
            self._world.at(self._world.now + after, partial(self._text, call, index, speak))

    def find(self, job_id: str) -> tuple[Call, int]:
        """The call and segment of a job."""
        name, index = job_id.rsplit("/", 1)
        return self._calls[name], int(index)

    def send(self, call: Call) -> None:
        """Send what may be sent."""
        now, total = self._world.now, call.sendable_s()
        if total > call.playout.total_s() + 1e-6:
            call.first_audio_at = call.first_audio_at if call.first_audio_at is not None else now
            call.playout.sent(total, now)
        if all(call.done):
            call.playout.rest(now)

    def _text(self, call: Call, index: int, speak: Callable[[Call, int], None]) -> None:
        if call.fate is not Fate.OPEN:
            return
        call.playout.expect(self._world.now)
        call.made.append(0.0)
        call.done.append(False)
        speak(call, index)

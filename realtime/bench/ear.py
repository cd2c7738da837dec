"""A listener for benches and tests: what came, when, and how long they had to wait for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from realtime.clock import Clock
from realtime.pipeline.outputs import AudioOut, Output, SegmentOut, SwitchOut

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Wait:
    """The listener ran dry before sample `sample` and waited from `begin` until `end` (s)."""

    sample: int
    begin: float
    end: float


class Ear:
    """The listener: keeps the sound and when it came."""

    def __init__(self, rate: int, clock: Clock) -> None:
        self.rate = rate
        self._clock = clock
        self._pieces: list[Samples] = []
        self._arrivals: list[tuple[float, int]] = []
        self.segments: dict[int, int] = {}  # index -> first sample
        self.switches: list[int] = []
        self.switched_at: list[float] = []

    async def take(self, output: Output) -> None:
        """One output of the utterance."""
        if isinstance(output, AudioOut):
            self._pieces.append(np.frombuffer(output.payload, np.float32))
            self._arrivals.append((self._clock.now(), len(self._pieces[-1])))
        elif isinstance(output, SegmentOut):
            self.segments[output.index] = output.start
        elif isinstance(output, SwitchOut):
            self.switches.append(output.sample)
            self.switched_at.append(self._clock.now())

    def sound(self) -> Samples:
        """Everything that came."""
        return np.concatenate(self._pieces) if self._pieces else np.zeros(0, np.float32)

    def silence_s(self, start_buffer_s: float) -> float:
        """The longest wait of a listener who begins `start_buffer_s` after the first sound came. All text was given at once, so every
        wait is one too many. Worked out from arrivals alone, not by the service's own model."""
        return max((wait.end - wait.begin for wait in self.waits(start_buffer_s)), default=0.0)

    def waits(self, start_buffer_s: float) -> list[Wait]:
        """Every wait of such a listener."""
        found, heard, until = [], 0, self.begins_at(start_buffer_s)
        for at, samples in self._arrivals:
            if at > until:
                found.append(Wait(heard, until, at))
                until = at
            until += samples / self.rate
            heard += samples
        return found

    @property
    def is_hearing(self) -> bool:
        """True once any sound came."""
        return bool(self._arrivals)

    @property
    def samples(self) -> int:
        """How many came."""
        return sum(samples for _, samples in self._arrivals)

    def begins_at(self, start_buffer_s: float) -> float:
        """When such a listener begins to hear; infinite while nothing came."""
        return self._arrivals[0][0] + start_buffer_s if self._arrivals else float("inf")

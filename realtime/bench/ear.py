"""A listener for benches and tests: what came, when, and how long they had to wait for it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from realtime.clock import Clock
from realtime.pipeline.outputs import AudioOut, Output, SwitchOut

Samples = npt.NDArray[np.float32]


class Ear:
    """The listener: keeps the sound and when it came."""

    def __init__(self, rate: int, clock: Clock) -> None:
        self.rate = rate
        self._clock = clock
        self._pieces: list[Samples] = []
        self._arrivals: list[tuple[float, int]] = []
        self.switches: list[int] = []
        self.switched_at: list[float] = []

    async def take(self, output: Output) -> None:
        """One output of the utterance."""
        if isinstance(output, AudioOut):
            self._pieces.append(np.frombuffer(output.payload, np.float32))
            self._arrivals.append((self._clock.now(), len(self._pieces[-1])))
        elif isinstance(output, SwitchOut):
            self.switches.append(output.sample)
            self.switched_at.append(self._clock.now())

    def sound(self) -> Samples:
        """Everything that came."""
        return np.concatenate(self._pieces) if self._pieces else np.zeros(0, np.float32)

    def silence_s(self, start_buffer_s: float) -> float:
        """The longest wait of a listener who begins `start_buffer_s` after the first sound came. All text was given at once, so every
        wait is one too many. Worked out from arrivals alone, not by the service's own model."""
        if not self._arrivals:
            return 0.0
        until = self._arrivals[0][0] + start_buffer_s
        worst = 0.0
        for at, samples in self._arrivals:
            if at > until:
                worst, until = max(worst, at - until), at
            until += samples / self.rate
        return worst

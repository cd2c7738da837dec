"""Codes of one segment to mel frames, whole or chunk by chunk. Specification sections 10, 11 and 17.3.

A chunk is integrated over [voice prompt | last generated frames | new frames | look-ahead]: the estimator treats any leading part
whose mel is given as prompt, so continuing from generated mel needs no new weights. The look-ahead frames are thrown away and made again
by the next chunk, because the estimator's right edge (reflected padding) is wrong for some frames. Noise is drawn once per frame of
the segment, so it does not depend on where chunks are cut. What chunking costs in sound: ops/LOG.md.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from realtime.engines.indextts2.frames import nearest_rows
from realtime.engines.indextts2.kernels.packing import Floats
from realtime.engines.indextts2.regulator import Norms, Regulator
from realtime.engines.indextts2.solve import Schedule, Solver

FRAMES_PER_100_CODES = 172
NOISE_STREAM = 0x6D656C
"""Keeps the noise's random numbers apart from the sampler's, which start from the same seed."""


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """The voice's share: mel [Tm, mels], condition [Tm, C], style [S]."""

    mel: Floats
    condition: Floats
    style: Floats

    def capped(self, frames: int) -> Prompt:
        """Its last `frames` frames, mel and condition alike."""
        if frames >= len(self.mel):
            return self
        first = len(self.mel) - frames
        return Prompt(self.mel[first:], self.condition[first:], self.style)


@dataclass(frozen=True, slots=True)
class Window:
    """How to cut: prompt frames at most, generated frames given as context, codes of look-ahead."""

    prompt_frames: int = 10**6
    context_frames: int = 43
    look_ahead_codes: int = 5


class Acoustic:
    """Stateless but for the weights' buffers: one chunk at a time may be in progress."""

    def __init__(self, regulator: Regulator, solver: Solver) -> None:
        self.regulator, self.solver = regulator, solver

    @property
    def mels(self) -> int:
        """Bands of a frame."""
        return self.solver.estimator.shape.mels


class AcousticStream:
    """One segment's state: content so far, noise and mel made."""

    def __init__(self, acoustic: Acoustic, prompt: Prompt, seed: int, speed: float = 1.0) -> None:
        self.acoustic, self.prompt, self.speed = acoustic, prompt, speed
        self._random = np.random.Generator(np.random.PCG64([seed & 0xFFFFFFFFFFFFFFFF, NOISE_STREAM]))
        width = acoustic.regulator.entry[1].shape[0]
        self._entered = np.zeros((0, width), dtype=np.float32)
        self._noise = np.zeros((0, acoustic.mels), dtype=np.float32)
        self.mel = np.zeros((0, acoustic.mels), dtype=np.float32)
        self.ahead = self.mel
        self.norms: Norms | None = None

    @property
    def codes(self) -> int:
        """Codes taken in."""
        return len(self._entered)

    def frames_at(self, codes: int) -> int:
        """Frames that the first `codes` codes become at this speed."""
        return int(FRAMES_PER_100_CODES * codes / (100 * self.speed))

    def push(self, codes: list[int], latents: Floats) -> None:
        """Take more codes with their latents [n, D]."""
        content = self.acoustic.regulator.content(codes, latents)
        entered = content @ self.acoustic.regulator.entry[0] + self.acoustic.regulator.entry[1]
        self._entered = np.concatenate([self._entered, entered.astype(np.float32)])

    def noise(self, frames: int) -> Floats:
        """Standard normal noise of the first `frames` frames; always the same for a seed."""
        missing = frames - len(self._noise)
        if missing > 0:
            self._noise = np.concatenate([self._noise, self._random.standard_normal((missing, self.acoustic.mels), dtype=np.float32)])
        return self._noise[:frames]

    def steps(self, until_code: int, schedule: Schedule, window: Window) -> Generator[bool, None, Floats]:
        """New frames up to code `until_code`, [n, mels]; the codes pushed beyond it serve as look-ahead; their frames are in `ahead`.

        Yields as `Solver.steps` does. Raises `FloatingPointError` when the result is not finite.
        """
        first, last = len(self.mel), self.frames_at(until_code)
        end = self.frames_at(min(self.codes, until_code + window.look_ahead_codes))
        context = min(first, window.context_frames)
        condition = self._conditions(end)[first - context : end]
        prompt = self.prompt.capped(window.prompt_frames)
        given = np.concatenate([prompt.mel, self.mel[first - context :]])
        total = len(given) + end - first
        mel = np.zeros((total, self.acoustic.mels), dtype=np.float32)
        mel[: len(given)] = given
        static = self.acoustic.solver.estimator.static(np.concatenate([prompt.condition, condition]), mel, prompt.style)
        noise = np.zeros((total, self.acoustic.mels), dtype=np.float32)
        noise[len(given) :] = self.noise(end)[first:]
        made = yield from self.acoustic.solver.steps(noise, static, len(given), schedule)
        new = made[: last - first]
        if not np.isfinite(new).all():
            raise FloatingPointError("the flow decoder's mel is not finite")
        self.mel = np.concatenate([self.mel, new])
        self.ahead = made[last - first :]
        return new

    def _conditions(self, frames: int) -> Floats:
        """Conditions of the first `frames` frames, from all codes pushed."""
        return self.acoustic.regulator.frames(self._entered, self._rows(frames), self.norms)

    def _rows(self, frames: int) -> npt.NDArray[np.int64]:
        if self.speed == 1.0 and frames == self.frames_at(self.codes):
            return nearest_rows(self.codes, frames)
        ratio = 100 * self.speed / FRAMES_PER_100_CODES
        return np.minimum((np.arange(frames) * ratio).astype(np.int64), self.codes - 1)


def drained(steps: Generator[bool, None, Floats]) -> Floats:
    """Run a stepwise computation to its end."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: Floats = stop.value
            return result

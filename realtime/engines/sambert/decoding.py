"""The decoder loop: one graph call per step for any number of jobs, with bounded windows as the only state.

Per job and layer the x-attention reads the last `x_band` own steps and the h-attention `h_band + 1` memory rows from the current one on.
Both live in rings: attention has no order, so a new entry overwrites the oldest slot and a mask tells which slots are filled. Cost of
a step at the official size: 4.3 M multiplications per job, and 17 MB of weights read once for all jobs of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from realtime.engines.sambert.sessions import Graph

Array = npt.NDArray[np.float32]

EMPTY = np.float32(-1e30)
"""Added to the score of an empty slot: far below any score, and still finite, so that a softmax over it stays a number."""


@dataclass(frozen=True, eq=False)
class Memory:
    """What the memory graph makes of a packed utterance: keys, values [M,L,H,d] and base [M,U]."""

    keys: Array
    values: Array
    base: Array

    @classmethod
    def of(cls, graph: Graph, packed: Array) -> Memory:
        """packed [M,D]."""
        return cls(*graph.run({"memory": packed}))

    @property
    def steps(self) -> int:
        """Decoder steps of the utterance."""
        return int(self.base.shape[0])


class DecoderState:
    """One job's place in its memory, and its windows. Layout [L,1,H,...], so that one job is a batch without copying."""

    def __init__(self, memory: Memory, x_band: int, h_band: int, mels: int, first: int = 0) -> None:
        """Decoding starts at memory row `first`, with an empty past (allowed anywhere: there is no position code)."""
        layers, heads, d = memory.keys.shape[1:]
        self.memory, self.x_band, self.h_band, self.step, self.first = memory, x_band, h_band, first, first
        # At least two slots, so that no tensor is ever empty.
        self.slots = max(x_band, h_band, 1) + 1
        self.frame = np.zeros((1, mels), np.float32)
        self.xk = np.zeros((layers, 1, heads, d, self.slots - 1), np.float32)
        self.xv = np.zeros((layers, 1, heads, self.slots - 1, d), np.float32)
        self.hk = np.zeros((layers, 1, heads, d, self.slots), np.float32)
        self.hv = np.zeros((layers, 1, heads, self.slots, d), np.float32)
        self.mask = np.full((1, 2, 1, 1, self.slots), EMPTY, np.float32)
        self.mask[0, 0, 0, 0, -1] = 0.0
        for row in range(first, min(first + h_band + 1, memory.steps)):
            self._show(row)

    @property
    def is_done(self) -> bool:
        """Whether every memory row was decoded."""
        return self.step >= self.memory.steps

    def advance(self, frame: Array, k: Array, v: Array) -> None:
        """Take a step's last frame [mels] and own keys and values [L,H,d], and move on to the next row."""
        self.frame[0] = frame
        if self.x_band:
            slot = (self.step - self.first) % self.x_band
            self.xk[:, 0, :, :, slot] = k
            self.xv[:, 0, :, slot] = v
            self.mask[0, 0, 0, 0, slot] = 0.0
        self.mask[0, 1, 0, 0, self.step % (self.h_band + 1)] = EMPTY
        self.step += 1
        if self.step + self.h_band < self.memory.steps:
            self._show(self.step + self.h_band)

    def _show(self, row: int) -> None:
        slot = row % (self.h_band + 1)
        self.hk[:, 0, :, :, slot] = self.memory.keys[row]
        self.hv[:, 0, :, slot] = self.memory.values[row]
        self.mask[0, 1, 0, 0, slot] = 0.0


class Decoder:
    """Runs steps; holds no state of its own."""

    def __init__(self, graph: Graph, mels: int) -> None:
        self._graph, self._mels = graph, mels

    def step(self, states: Sequence[DecoderState]) -> list[Array]:
        """One step for each state, in one call -> frames [r,mels] of each."""
        feeds = _feeds(states[0]) if len(states) == 1 else _batch(states)
        feeds["base"] = np.stack([s.memory.base[s.step] for s in states])
        frames, k, v = self._graph.run(feeds)
        out = []
        for i, state in enumerate(states):
            own = frames[i].reshape(-1, self._mels)
            state.advance(own[-1], k[:, i], v[:, i])
            out.append(own)
        return out


def _feeds(state: DecoderState) -> dict[str, Array]:
    return {"frame": state.frame, "xk": state.xk, "xv": state.xv, "hk": state.hk, "hv": state.hv, "mask": state.mask}


def _batch(states: Sequence[DecoderState]) -> dict[str, Array]:
    """Windows of different widths side by side; missing slots are empty ones. The last slot of the past half stays the current step."""
    count, slots = len(states), max(s.slots for s in states)
    layers, _, heads, d, _ = states[0].hk.shape
    out = {
        "frame": np.concatenate([s.frame for s in states]),
        "xk": np.zeros((layers, count, heads, d, slots - 1), np.float32),
        "xv": np.zeros((layers, count, heads, slots - 1, d), np.float32),
        "hk": np.zeros((layers, count, heads, d, slots), np.float32),
        "hv": np.zeros((layers, count, heads, slots, d), np.float32),
        "mask": np.full((count, 2, 1, 1, slots), EMPTY, np.float32),
    }
    for i, s in enumerate(states):
        w = s.slots
        out["xk"][:, i, :, :, : w - 1] = s.xk[:, 0]
        out["xv"][:, i, :, : w - 1] = s.xv[:, 0]
        out["hk"][:, i, :, :, :w] = s.hk[:, 0]
        out["hv"][:, i, :, :w] = s.hv[:, 0]
        out["mask"][i, 0, ..., : w - 1] = s.mask[0, 0, ..., :-1]
        out["mask"][i, 0, ..., -1] = 0.0
        out["mask"][i, 1, ..., :w] = s.mask[0, 1]
    return out

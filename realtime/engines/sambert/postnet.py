"""The postnet as a stream: frames in as they are decoded, mel out `delay` frames later, nothing computed twice."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from realtime.engines.sambert.sessions import Graph, Tensor

Array = npt.NDArray[np.float32]


class PostnetStream:
    """State of one utterance of `length` frames."""

    def __init__(self, graph: Graph, length: int, delay: int) -> None:
        """`delay`: sum of the memory blocks' look-aheads."""
        self._graph, self._length, self._delay = graph, length, delay
        fixed = {"frames", "start", "length", "drop"}
        self._state = {name: np.zeros([d or 1 for d in shape], np.float32) for name, shape in graph.inputs.items() if name not in fixed}
        self._waiting: list[Array] = []
        self._fed = 0
        self._held: Array | None = None

    def push(self, frames: Array) -> Array:
        """frames [n,mels] in order (what lies beyond `length` is cut) -> mel [m,mels]; m is 0 while the look-ahead is not filled.

        With the last frame the delayed rest comes too.
        """
        known = self._fed + sum(part.shape[0] for part in self._waiting)
        frames = frames[: max(0, self._length - known)]
        self._waiting.append(frames)
        ready = known + frames.shape[0]
        is_last = ready >= self._length
        if (not is_last and ready <= self._delay) or known >= self._length:
            return np.zeros((0, frames.shape[1]), np.float32)
        block = np.concatenate(self._waiting)
        self._waiting = []
        if is_last:
            block = np.pad(block, ((0, self._delay), (0, 0)))
        return self._run(block)

    def _run(self, block: Array) -> Array:
        drop = max(0, self._delay - self._fed)
        feeds: dict[str, Tensor] = {
            "frames": block[None],
            "start": np.array([self._fed], np.int64),
            "length": np.array([self._length], np.int64),
            "drop": np.array([drop], np.int64),
        }
        residual, *new = self._graph.run({**feeds, **self._state})
        self._state = dict(zip(self._state, new, strict=True))
        self._fed += block.shape[0]
        # The residual is `delay` frames behind, so the frames themselves wait as long.
        held = block if self._held is None else np.concatenate([self._held, block])
        count = residual.shape[1]
        self._held = held[count:]
        mel: Array = held[:count] + residual[0]
        return mel

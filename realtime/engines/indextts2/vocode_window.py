"""One window of frames through the vocoder, convolution by convolution, and the buffers that it works in. Specification section 12.

A window may be left after any pair of convolutions and another one begun: each has its own buffers.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import numpy as np

from realtime.engines.indextts2.kernels.native import ACCUMULATE, COPY
from realtime.engines.indextts2.kernels.operand import Operand, aligned
from realtime.engines.indextts2.kernels.packing import Floats, Weight

if TYPE_CHECKING:
    from realtime.engines.indextts2.vocode import Snake, Stage, Vocoder


def trimmed(x: Floats, left: int, right: int, need: int, per_frame: int) -> tuple[Floats, int, int]:
    """Rows of x without what lies beyond `need` frames of the margins `left` and `right`; and the margins left."""
    keep_left, keep_right = min(left, need), min(right, need)
    return x[(left - keep_left) * per_frame : len(x) - (right - keep_right) * per_frame], keep_left, keep_right


class VocoderWindow:
    """Buffers for one window at a time; they grow to the longest seen."""

    def __init__(self, vocoder: Vocoder) -> None:
        self.vocoder, self.kernels = vocoder, vocoder.kernels
        self._buffers: dict[tuple[Any, ...], Any] = {}

    def _operand(self, w: Weight, rows: int, pad: int) -> Operand:
        """A reused buffer with `pad` zero rows on both sides of `rows`."""
        key = ("operand", w.kind, w.k, pad)
        held: Operand | None = self._buffers.get(key)
        if held is None or held.rows < rows + 2 * pad:
            held = self._buffers[key] = self.kernels.operand(w, rows + 2 * pad)
        held.clear(pad + rows, pad)
        return held

    def _floats(self, name: str, rows: int, width: int) -> Floats:
        """A reused buffer, contents undefined."""
        held: Floats | None = self._buffers.get((name, width))
        if held is None or len(held) < rows:
            held = self._buffers[(name, width)] = aligned((rows, width), np.float32)
        return held[:rows]

    def _conv(
        self, w: Weight, snake: Snake | None, x: Floats, out: Floats, dilation: int, addend: Floats | None = None, flags: int = 0
    ) -> None:
        pad = (w.taps - 1) // 2 * dilation
        operand = self._operand(w, len(x), pad)
        if snake is None:
            self.kernels.put(COPY, x, operand, pad)
        else:
            self.kernels.snake(x, snake.alpha, snake.inverse_beta, snake.taps, operand, pad)
        self.kernels.gemm(w, operand, out, dilation=dilation, flags=flags, addend=addend)

    def _upsample(self, stage: Stage, x: Floats) -> Floats:
        taps = stage.up.taps
        operand = self._operand(stage.up, len(x), taps - 1)
        self.kernels.put(COPY, x, operand, taps - 1)
        full = self._floats("up", len(x) + taps - 1, stage.up.n)
        self.kernels.gemm(stage.up, operand, full)
        return full.reshape(-1, stage.channels)[stage.crop : stage.crop + len(x) * stage.rate]

    def _block(
        self, pairs: tuple[tuple[Snake, Weight, Snake, Weight, int], ...], u: Floats, total: Floats, flags: int
    ) -> Generator[bool, None, None]:
        """Add one block's output to (or put it in) `total`; `u` stays as it is. Yields after each pair."""
        x, middle = u, self._floats("middle", *u.shape)
        for m, (first_snake, first, second_snake, second, dilation) in enumerate(pairs):
            is_last = m == len(pairs) - 1
            self._conv(first, first_snake, x, middle, dilation)
            out = total if is_last else self._floats("residual", *u.shape)
            self._conv(
                second, second_snake, middle, out, 1, x if is_last or x is u else None, flags if is_last else 0 if x is u else ACCUMULATE
            )
            x = out
            yield False

    def steps(self, mel: Floats, left: int, right: int) -> Generator[bool, None, Floats]:
        """See `Vocoder.steps`."""
        v, shape = self.vocoder, self.vocoder.shape
        x = self._floats("pre", len(mel), v.pre.n)
        self._conv(v.pre, None, mel, x, 1)
        per_frame = 1
        for i, stage in enumerate(v.stages):
            x, left, right = trimmed(x, left, right, shape.contexts[i + 1], per_frame)
            u = self._upsample(stage, x)
            per_frame *= stage.rate
            x = self._floats(f"stage{i % 2}", len(u), stage.channels)
            for j, pairs in enumerate(stage.blocks):
                yield from self._block(pairs, u, x, ACCUMULATE if j else 0)
        x *= np.float32(1 / len(shape.resblock_kernel_sizes))
        wave = np.empty((len(x), 1), dtype=np.float32)
        self._conv(v.post, v.post_snake, x, wave, 1)
        samples = wave[left * per_frame : len(wave) - right * per_frame, 0]
        out: Floats = np.tanh(samples) if shape.use_tanh_at_final else np.clip(samples, -1, 1)
        return out

"""One call of the flow's estimator, layer by layer, and the buffers that it works in. Specification section 11.2.

A call may be left after any layer and another one begun: each has its own buffers.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import numpy as np

from realtime.engines.indextts2.kernels.native import ACCUMULATE, COPY, GATED_SILU, GATED_TANH, LAYER_NORM, RMS_NORM
from realtime.engines.indextts2.kernels.operand import Operand, aligned
from realtime.engines.indextts2.kernels.packing import Floats, Weight

if TYPE_CHECKING:
    from realtime.engines.indextts2.flow import Estimator, StepTable

RMS_EPS = 1e-5
FINAL_EPS = 1e-6


class EstimatorCall:
    """Buffers for one call at a time; they grow to the longest seen."""

    def __init__(self, estimator: Estimator) -> None:
        self.estimator, self.kernels, self.shape = estimator, estimator.kernels, estimator.shape
        self._buffers: dict[str, Any] = {}

    def _operand(self, name: str, w: Weight, rows: int) -> Operand:
        held: Operand | None = self._buffers.get(name)
        if held is None or held.rows < rows or held.k_pad != w.k_pad:
            held = self._buffers[name] = self.kernels.operand(w, rows)
        return held

    def _floats(self, name: str, rows: int, width: int) -> Floats:
        held: Floats | None = self._buffers.get(name)
        if held is None or len(held) < rows or held.shape[1] != width:
            held = self._buffers[name] = aligned((rows, width), np.float32)
        return held[:rows]

    def steps(self, x: Floats, static: Floats, table: StepTable, given: int) -> Generator[bool, None, Floats]:
        """See `Estimator.steps`."""
        e, frames = self.estimator, len(x)
        batch = len(static) // frames
        x_operand = self._operand("x", e.in_x, frames)
        self.kernels.put(COPY, np.ascontiguousarray(x), x_operand)
        h = self._floats("h", len(static), self.shape.width)
        for b in range(batch):
            part = slice(b * frames, (b + 1) * frames)
            self.kernels.gemm(e.in_x, x_operand, h[part], addend=static[part])
        yield from self._transformer(h, batch, table)
        # behind the transformer a row sees the rows around it only, so those before what the wanted ones see are left out
        first = max(0, given - e.reach)
        tail = self._floats("tail", batch * (frames - first), self.shape.width)
        for b in range(batch):
            tail[b * (frames - first) : (b + 1) * (frames - first)] = h[b * frames + first : (b + 1) * frames]
        made = yield from self._behind(tail, x[first:], batch, table)
        velocity = np.zeros((batch, frames, self.shape.mels), dtype=np.float32)
        velocity[:, given:] = made.reshape(batch, frames - first, -1)[:, given - first :]
        return velocity.reshape(-1, self.shape.mels)

    def _behind(self, h: Floats, x: Floats, batch: int, table: StepTable) -> Generator[bool, None, Floats]:
        """What follows the transformer: the long skip, the WaveNet, the last layer. h [B * T, width], x [T, mels]."""
        k, e, frames = self.kernels, self.estimator, len(x)
        normed = self._operand("normed", e.skip_h if self.shape.long_skip else e.conv1, len(h))
        k.put(RMS_NORM, h, normed, 0, *table.norms[-1], RMS_EPS)
        if self.shape.long_skip:
            x_operand, r = self._operand("x", e.in_x, frames), self._floats("r", len(h), self.shape.width)
            k.put(COPY, np.ascontiguousarray(x), x_operand)
            k.gemm(e.skip_h, normed, r)
            for b in range(batch):
                k.gemm(e.skip_x, x_operand, r[b * frames : (b + 1) * frames], flags=ACCUMULATE)
            k.put(COPY, r, normed)
        y, out = self._floats("y", len(h), self.shape.width), self._floats("out", len(h), self.shape.width)
        k.gemm(e.conv1, normed, y)
        k.gemm(e.res_projection, normed, out)
        yield from self._wavenet(y, out, batch, table)
        last = self._operand("last", e.out, len(h))
        k.put(LAYER_NORM, out, last, 0, table.final[0], table.final[1], FINAL_EPS)
        made = np.empty((len(h), self.shape.mels), dtype=np.float32)
        k.gemm(e.out, last, made)
        return made

    def _transformer(self, h: Floats, batch: int, table: StepTable) -> Generator[bool, None, None]:
        k, width, rows = self.kernels, self.shape.width, len(h)
        rope = self.estimator.rope(rows // batch)
        kept: list[Operand] = []
        qkv = self._floats("qkv", rows, 3 * width)
        for i, layer in enumerate(self.estimator.layers):
            operand = self._operand("width", layer.qkv, rows)
            if layer.enter is not None and layer.recall is not None:
                k.put(COPY, h, operand)
                k.gemm(layer.enter, operand, h)
                k.gemm(layer.recall, kept.pop(), h, flags=ACCUMULATE)
            k.put(RMS_NORM, h, operand, 0, *table.norms[2 * i], RMS_EPS)
            k.gemm(layer.qkv, operand, qkv)
            k.attention(qkv, batch, self.shape.heads, rope, self.estimator.inner, operand)
            k.gemm(layer.wo, operand, h, flags=ACCUMULATE)
            k.put(RMS_NORM, h, operand, 0, *table.norms[2 * i + 1], RMS_EPS)
            wide = self._floats("wide", rows, layer.w13.n // 2)
            k.gemm(layer.w13, operand, wide, flags=GATED_SILU)
            gated = self._operand("ffn", layer.w2, rows)
            k.put(COPY, wide, gated)
            k.gemm(layer.w2, gated, h, flags=ACCUMULATE)
            if self.shape.uvit_skips and i < self.shape.depth // 2:
                kept.append(self._operand(f"kept{i}", layer.qkv, rows))
                k.put(COPY, h, kept[-1])
            yield False

    def _wavenet(self, y: Floats, out: Floats, batch: int, table: StepTable) -> Generator[bool, None, None]:
        k, rows, frames = self.kernels, len(y), len(y) // batch
        a = self._floats("gate", rows, self.estimator.waves[0].gate.n // 2)
        for wave, bias in zip(self.estimator.waves, table.gates, strict=True):
            pad = (wave.gate.taps - 1) // 2 * wave.dilation
            span = frames + 2 * pad
            padded = self._operand(f"pad{pad}", wave.gate, batch * span)
            for b in range(batch):
                part = slice(b * frames, (b + 1) * frames)
                k.put(COPY, y[part], padded, b * span + pad)
                for j in range(1, pad + 1):
                    padded.copy_rows(b * span + pad + j, b * span + pad - j)
                    padded.copy_rows(b * span + pad + frames - 1 - j, b * span + pad + frames - 1 + j)
                k.gemm(wave.gate, padded, a[part], first=b * span, dilation=wave.dilation, flags=GATED_TANH, bias=bias)
            z = self._operand("gated", wave.skip, rows)
            k.put(COPY, a, z)
            if wave.residual is not None:
                k.gemm(wave.residual, z, y, flags=ACCUMULATE)
            k.gemm(wave.skip, z, out, flags=ACCUMULATE)
            yield False

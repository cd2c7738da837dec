"""The same kernels in numpy, for hosts without a C compiler and as the measure of the compiled ones in tests.

Weights are unpacked to float32 when first used, and activations are not quantised: correct, several times the memory, and about
a tenth of the speed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from realtime.engines.indextts2.kernels import native as n
from realtime.engines.indextts2.kernels.operand import Operand
from realtime.engines.indextts2.kernels.packing import LANES, Floats, Kind, Weight, unpack


def gelu(x: Floats) -> Floats:
    """The tanh approximation (Hendrycks and Gimpel 2016)."""
    out: Floats = 0.5 * x * (1 + np.tanh(np.float32(0.7978845608028654) * (x + np.float32(0.044715) * x * x * x)))
    return out


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + e^-x), safe at both ends."""
    out: Floats = 0.5 * (1 + np.tanh(0.5 * x))
    return out


def gated(x: Floats, flags: int) -> Floats:
    """[rows, 2 N] with halves in turns of a panel (`packing.paired`) -> [rows, N]."""
    turns = x.reshape(len(x), -1, 2, LANES)
    a, b = turns[:, :, 0].reshape(len(x), -1), turns[:, :, 1].reshape(len(x), -1)
    out: Floats = a * sigmoid(a) * b if flags & n.GATED_SILU else np.tanh(a) * sigmoid(b)
    return out


def layer_norm(x: Floats, gain: Floats, shift: Floats, eps: float) -> Floats:
    """Over the last axis."""
    centred = x - x.mean(axis=-1, keepdims=True)
    out: Floats = centred / np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + np.float32(eps)) * gain + shift
    return out


def rms_norm(x: Floats, gain: Floats, shift: Floats, eps: float) -> Floats:
    """Over the last axis."""
    out: Floats = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + np.float32(eps)) * gain + shift
    return out


def mish(x: Floats) -> Floats:
    """x * tanh(softplus(x))."""
    with np.errstate(invalid="ignore"):  # what is not a number must come out as such, not as a warning
        out: Floats = x * np.tanh(np.logaddexp(np.float32(0), x))
    return out


def softmax(scores: Floats) -> Floats:
    """Over the last axis."""
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    out: Floats = e / e.sum(axis=-1, keepdims=True)
    return out


def rotate(x: Floats, cosine: Floats, sine: Floats) -> Floats:
    """Rotary positions over interleaved pairs: x [..., t, d], tables [t, d / 2]."""
    even, odd = x[..., 0::2], x[..., 1::2]
    out = np.empty_like(x)
    out[..., 0::2] = even * cosine - odd * sine
    out[..., 1::2] = odd * cosine + even * sine
    return out


class Fallback:
    """See `native.Native`: the same methods with the same meaning. Operands hold float32."""

    name = "numpy"
    features = "numpy"
    threads = 1

    def __init__(self) -> None:
        self._dense: dict[int, tuple[Weight, Floats]] = {}

    def set_threads(self, threads: int) -> None:
        """numpy's own library decides; nothing to do."""

    def dense(self, w: Weight) -> Floats:
        """[taps, K, N], unpacked once."""
        held = self._dense.get(id(w))
        if held is None:
            held = self._dense[id(w)] = (w, unpack(w))
        return held[1]

    def operand(self, w: Weight, rows: int) -> Operand:
        """A buffer of float32 rows."""
        return Operand(w, rows, as_floats=True)

    def put(
        self,
        what: int,
        x: Floats,
        out: Operand,
        out_row: int = 0,
        gain: Floats | None = None,
        shift: Floats | None = None,
        eps: float = 1e-5,
    ) -> None:
        """Run a row pass and keep the result in `out`."""
        k = out.k
        a = x[:, :k]
        if what == n.LAYER_NORM or what == n.RMS_NORM:
            assert gain is not None and shift is not None
            y = (layer_norm if what == n.LAYER_NORM else rms_norm)(a, gain[:k], shift[:k], eps)
        else:
            y = mish(a) if what == n.MISH else a
        out.floats[out_row : out_row + len(x), :k] = y

    def gemm(
        self,
        w: Weight,
        a: Operand,
        out: Floats,
        first: int = 0,
        dilation: int = 1,
        flags: int = 0,
        bias: Floats | None = None,
        addend: Floats | None = None,
    ) -> None:
        """See `Native.gemm`."""
        rows = len(out)
        dense = self.dense(w)
        total = np.zeros((rows, w.n), dtype=np.float32)
        for tap in range(w.taps):
            start = first + tap * dilation
            total += a.floats[start : start + rows, : w.k] @ dense[tap]
        offset = w.bias if bias is None else bias
        if offset is not None:
            total += offset[: w.n]
        if flags & n.GATED:
            total = gated(total, flags)
        if flags & n.GELU:
            total = gelu(total)
        if addend is not None:
            total += addend[:, : w.n]
        if flags & n.ACCUMULATE:
            total += out[:, : w.n]
        out[:, : total.shape[1]] = total

    def snake(self, x: Floats, alpha: Floats, inverse_beta: Floats, taps: Floats, out: Operand, out_row: int = 0) -> None:
        """See `Native.snake`."""
        rows, channels = x.shape
        padded = np.pad(x, ((3, 3), (0, 0)), mode="edge")
        up = np.empty((2 * rows, channels), dtype=np.float32)
        up[0::2] = sum(2 * taps[11 - 2 * i] * padded[i : i + rows] for i in range(6))
        up[1::2] = sum(2 * taps[10 - 2 * i] * padded[i + 1 : i + 1 + rows] for i in range(6))
        up += np.sin(up * alpha[:channels]) ** 2 * inverse_beta[:channels]
        padded = np.pad(up, ((5, 6), (0, 0)), mode="edge")
        out.floats[out_row : out_row + rows, :channels] = sum(taps[i] * padded[i : i + 2 * rows : 2] for i in range(12))

    def attention(self, qkv: Floats, batch: int, heads: int, tables: Sequence[Floats], kind: Kind, out: Operand) -> None:
        """See `Native.attention`."""
        t, width = qkv.shape[0] // batch, qkv.shape[1] // 3
        q, k, v = qkv.reshape(batch, t, 3, heads, width // heads).transpose(2, 0, 3, 1, 4)
        q, k = rotate(q, tables[0][:t], tables[1][:t]), rotate(k, tables[0][:t], tables[1][:t])
        weights = softmax(q @ k.transpose(0, 1, 3, 2) / np.float32(np.sqrt(width // heads)))
        out.floats[: batch * t, :width] = (weights @ v).transpose(0, 2, 1, 3).reshape(batch * t, width)

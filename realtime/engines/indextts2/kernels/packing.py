"""Weights in the order that the kernels read them: panels of 16 output channels (see gemm.h), four kinds.

A packed weight is a handful of plain arrays, so it can be written to a file, mapped by several processes, and unpacked again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
LANES = 16
LAYOUT_VERSION = 4
"""Raise when the meaning of packed bytes changes, so that files written before are not read."""


class Kind(IntEnum):
    """Type of a weight; the values are those of gemm.h."""

    F32 = 0
    BF16 = 1
    Q8 = 2
    Q4 = 3

    @property
    def is_quantised(self) -> bool:
        """Whether activations are int8 with scales."""
        return self >= Kind.Q8


STEP = {Kind.F32: 1, Kind.BF16: 2, Kind.Q8: 4, Kind.Q4: 8}
"""Products that one 32-bit lane holds: K is padded to a multiple of it."""
ZERO = {Kind.Q8: 128, Kind.Q4: 8}
"""The unsigned value that means 0."""
LIMIT = 127
"""8-bit weights are symmetric: -127..127 around the zero point."""
SHRINK = (1.0, 0.9, 0.8)
"""4-bit scales tried per group, as parts of what the largest value asks for: clipping that one is worth finer steps for the others.
Together with using -8 for it, 17 % less error than plain rounding to -7..7 (normal values; LOG)."""
GROUP_FLOAT = 1024
"""K block of the float kinds: 64 channels by 1024 bf16 are 128 kB, which stays in a core's second-level cache."""


@dataclass(frozen=True, slots=True, eq=False)
class Weight:
    """One linear layer or convolution, packed.

    `data` holds [N/16][tap][k_pad/q][16][q] in the kind's type, `scale` [N/16][tap][k_pad/group][16] bf16 bits (quantised kinds),
    `bias` [n_pad] float32 or None. `k` and `n` are the unpadded sizes.
    """

    kind: Kind
    n: int
    k: int
    taps: int
    k_pad: int
    group: int
    data: npt.NDArray[Any]
    scale: npt.NDArray[np.uint16] | None = None
    bias: Floats | None = None

    @property
    def n_pad(self) -> int:
        """Output channels rounded up to whole panels."""
        return -(-self.n // LANES) * LANES

    @property
    def nbytes(self) -> int:
        """Bytes of everything."""
        return self.data.nbytes + (self.scale.nbytes if self.scale is not None else 0) + (self.bias.nbytes if self.bias is not None else 0)


def round_up(value: int, step: int) -> int:
    """The next multiple of `step`."""
    return -(-value // step) * step


def bf16_bits(x: Floats) -> npt.NDArray[np.uint16]:
    """bfloat16 bits, rounded to nearest even."""
    bits = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bf16_bits(bits: npt.NDArray[np.uint16]) -> Floats:
    """Back to float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def k_layout(kind: Kind, k: int, group: int) -> tuple[int, int]:
    """(k_pad, group): `group` shrinks to what K needs, K grows to whole groups."""
    padded = round_up(k, STEP[kind])
    if kind.is_quantised:
        group = min(group, padded)
        return round_up(padded, group), group
    blocks = -(-padded // GROUP_FLOAT)
    group = round_up(-(-padded // blocks), STEP[kind])
    return group * blocks, group


def pack(w: npt.NDArray[Any], kind: Kind, bias: Floats | None = None, group: int = 128) -> Weight:
    """Pack [N, K] or [N, K, taps] (the layout of torch's Linear and Conv1d). `group`: values of K that share a scale."""
    w3 = np.asarray(w, dtype=np.float32)
    w3 = w3[:, :, None] if w3.ndim == 2 else w3
    n, k, taps = w3.shape
    k_pad, group = k_layout(kind, k, group)
    n_pad = round_up(n, LANES)
    full = np.zeros((n_pad, taps, k_pad), dtype=np.float32)
    full[:n, :, :k] = w3.transpose(0, 2, 1)
    padded_bias = None
    if bias is not None:
        padded_bias = np.zeros(n_pad, dtype=np.float32)
        padded_bias[:n] = bias
    if not kind.is_quantised:
        return Weight(kind, n, k, taps, k_pad, group, _panels_float(full, kind), None, padded_bias)
    data, scale = _panels_quantised(full, kind, group)
    return Weight(kind, n, k, taps, k_pad, group, data, scale, padded_bias)


def paired(w: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The two halves of [2 N, ...] in turns of a panel, each filled up with zeros to whole panels: what a gated product multiplies with."""
    half = len(w) // 2
    filled = np.zeros((2, round_up(half, LANES), *w.shape[1:]), dtype=w.dtype)
    filled[:, :half] = w.reshape(2, half, *w.shape[1:])
    turns = filled.reshape(2, -1, LANES, *w.shape[1:])
    return np.ascontiguousarray(np.moveaxis(turns, 0, 1)).reshape(-1, *w.shape[1:])


def _panels_float(full: Floats, kind: Kind) -> npt.NDArray[Any]:
    n_pad, taps, k_pad = full.shape
    values: npt.NDArray[Any] = full if kind is Kind.F32 else bf16_bits(full)
    q = STEP[kind]
    panels = values.reshape(n_pad // LANES, LANES, taps, k_pad // q, q).transpose(0, 2, 3, 1, 4)
    return np.ascontiguousarray(panels).reshape(-1)


def _panels_quantised(full: Floats, kind: Kind, group: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint16]]:
    n_pad, taps, k_pad = full.shape
    groups = full.reshape(n_pad, taps, k_pad // group, group)
    # the scale is rounded to bf16 first and the weights to that scale, so its rounding costs no accuracy
    bits = bf16_bits(np.abs(groups).max(axis=-1) / LIMIT) if kind is Kind.Q8 else _scales_q4(groups)
    low, high = (-LIMIT, LIMIT) if kind is Kind.Q8 else (-8, 7)
    unsigned = (_levels(groups, bits, low, high) + ZERO[kind]).astype(np.uint8).reshape(n_pad // LANES, LANES, taps, k_pad)
    if kind is Kind.Q8:
        panels = unsigned.reshape(n_pad // LANES, LANES, taps, k_pad // 4, 4).transpose(0, 2, 3, 1, 4)
    else:
        halves = unsigned.reshape(n_pad // LANES, LANES, taps, k_pad // 8, 2, 4)
        panels = np.bitwise_or(halves[..., 0, :], halves[..., 1, :] << 4, dtype=np.uint8).transpose(0, 2, 3, 1, 4)
    scales = bits.reshape(n_pad // LANES, LANES, taps, k_pad // group).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(panels).reshape(-1), np.ascontiguousarray(scales).reshape(-1)


def _levels(groups: Floats, bits: npt.NDArray[np.uint16], low: int, high: int) -> Floats:
    """Nearest level of each value [..., group] on the scales `bits` [...]."""
    scale = from_bf16_bits(bits)
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale != 0)
    levels = np.rint(groups * inverse[..., None])
    return np.clip(levels, low, high, out=levels)


def _scales_q4(groups: Floats) -> npt.NDArray[np.uint16]:
    """Signed scale bits per group, the largest value at -8 (or clipped there), by least squared error of `SHRINK`."""
    place = np.abs(groups).argmax(axis=-1)[..., None]
    largest = np.take_along_axis(groups, place, axis=-1)[..., 0]
    best, least = bf16_bits(largest * np.float32(-0.125)), np.full(largest.shape, np.inf, dtype=np.float32)
    for part in SHRINK:
        bits = bf16_bits(largest * np.float32(part / -8))
        error = groups - _levels(groups, bits, -8, 7) * from_bf16_bits(bits)[..., None]
        square = np.einsum("...k,...k->...", error, error)
        best = np.where(square < least, bits, best)
        least = np.minimum(square, least)
    return best


def require(weight: Weight, n: int, k: int, taps: int, what: str) -> None:
    """Raise `ValueError` unless a weight has this size: the kernels trust it."""
    if (weight.n, weight.k, weight.taps) != (n, k, taps):
        raise ValueError(f"{what} is {(weight.n, weight.k, weight.taps)} (outputs, inputs, taps), the configuration says {(n, k, taps)}")


def unpack(weight: Weight) -> Floats:
    """What the packed weight stands for: [taps, K, N] float32."""
    q, k_pad, taps = STEP[weight.kind], weight.k_pad, weight.taps
    panels = weight.n_pad // LANES
    if weight.kind is Kind.Q4:
        raw = weight.data.reshape(panels, taps, k_pad // 8, LANES, 4)
        values = np.stack([raw & 15, raw >> 4], axis=-2).astype(np.float32).reshape(panels, taps, k_pad // 8, LANES, 8)
    elif weight.kind is Kind.BF16:
        values = from_bf16_bits(weight.data).reshape(panels, taps, k_pad // q, LANES, q)
    else:
        values = weight.data.astype(np.float32).reshape(panels, taps, k_pad // q, LANES, q)
    full = values.transpose(1, 2, 4, 0, 3).reshape(taps, k_pad, panels * LANES)
    if weight.scale is not None:
        scale = from_bf16_bits(weight.scale).reshape(panels, taps, k_pad // weight.group, LANES)
        rows = scale.transpose(1, 2, 0, 3).reshape(taps, k_pad // weight.group, panels * LANES)
        full = (full - ZERO[weight.kind]) * np.repeat(rows, weight.group, axis=1)
    return np.ascontiguousarray(full[:, : weight.k, : weight.n], dtype=np.float32)

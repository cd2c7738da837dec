"""The left-hand side of a matrix product: rows in the type that a weight wants, with room for a convolution's padding rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from realtime.engines.indextts2.kernels.packing import Floats, Kind, Weight

DTYPE: dict[Kind, Any] = {Kind.F32: np.float32, Kind.BF16: np.uint16, Kind.Q8: np.int8, Kind.Q4: np.int8}


LINE = 64
"""Bytes of a cache line and of a vector: one that lies across two lines costs two accesses."""


def aligned(shape: tuple[int, ...], dtype: Any, is_zero: bool = False) -> npt.NDArray[Any]:
    """An array whose data begins at a cache line (numpy's own begin 16 bytes behind one); undefined unless `is_zero`."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + LINE, dtype=np.uint8) if is_zero else np.empty(size + LINE, dtype=np.uint8)
    first = -raw.ctypes.data % LINE
    array: npt.NDArray[Any] = raw[first : first + size].view(dtype).reshape(shape)
    return array


class Operand:
    """Rows [rows, k_pad], all zero at first; for quantised kinds also one scale and one sum per row and group of K.

    `as_floats` is for the numpy kernels, which keep float32 rows whatever the kind.
    """

    __slots__ = ("data", "group", "k", "k_pad", "kind", "rows", "scale", "sum")

    def __init__(self, weight: Weight, rows: int, as_floats: bool = False) -> None:
        self.kind = Kind.F32 if as_floats else weight.kind
        self.k, self.k_pad, self.group, self.rows = weight.k, weight.k_pad, weight.group, rows
        self.data = aligned((rows, self.k_pad), DTYPE[self.kind], is_zero=True)
        groups = self.k_pad // self.group if self.kind.is_quantised else 0
        self.scale = np.zeros((rows, groups), dtype=np.float32)
        self.sum = np.zeros((rows, groups), dtype=np.int32)

    @property
    def floats(self) -> Floats:
        """The rows as float32; only for operands made `as_floats` or of that kind."""
        assert self.kind is Kind.F32
        return self.data

    def fits(self, weight: Weight) -> bool:
        """Whether the rows are what this weight reads."""
        same_type = self.kind is weight.kind or (self.kind.is_quantised and weight.kind.is_quantised and self.group == weight.group)
        return same_type and self.k == weight.k and self.k_pad == weight.k_pad

    def copy_rows(self, source: int, target: int, count: int = 1) -> None:
        """Repeat rows inside the buffer (reflected padding, context kept from chunk to chunk)."""
        for array in (self.data, self.scale, self.sum):
            array[target : target + count] = array[source : source + count]

    def clear(self, first: int, count: int) -> None:
        """Make rows zero (zero padding)."""
        for array in (self.data, self.scale, self.sum):
            array[first : first + count] = 0

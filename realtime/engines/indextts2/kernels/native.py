"""The compiled kernels through ctypes. Argument structs mirror those of the C headers; `Native` checks that the sizes agree."""

from __future__ import annotations

import ctypes as c
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from realtime.engines.indextts2.kernels.operand import Operand, aligned
from realtime.engines.indextts2.kernels.packing import Floats, Kind, Weight

COPY, LAYER_NORM, RMS_NORM, MISH = range(4)
ACCUMULATE, GELU, GATED_SILU, GATED_TANH = 1, 2, 4, 8
GATED = GATED_SILU | GATED_TANH
PAGE = 32
"""Positions per page of the K/V cache; gpt.h has the same."""
HEAD_MAX = 256
"""Widest attention head; attention.h has the same."""


class CWeight(c.Structure):
    _fields_ = [
        *((name, c.c_int32) for name in ("kind", "n", "n_pad", "k_pad", "taps", "group")),
        *((name, c.c_void_p) for name in ("w", "scale", "bias")),
    ]


class CAct(c.Structure):
    _fields_ = [(name, c.c_void_p) for name in ("a", "scale", "sum")]


class COperand(c.Structure):
    _fields_ = [
        *((name, c.c_void_p) for name in ("a", "scale", "sum")),
        *((name, c.c_int32) for name in ("kind", "k", "k_pad", "group")),
    ]


class CPass(c.Structure):
    _fields_ = [
        ("what", c.c_int32),
        ("x", c.c_void_p),
        ("rows", c.c_long),
        ("ldx", c.c_long),
        ("gain", c.c_void_p),
        ("shift", c.c_void_p),
        ("eps", c.c_float),
        ("out", COperand),
        ("out_row", c.c_long),
    ]


class CSnake(c.Structure):
    _fields_ = [
        ("x", c.c_void_p),
        ("rows", c.c_long),
        ("ldx", c.c_long),
        *((name, c.c_void_p) for name in ("alpha", "inverse_beta", "filter")),
        ("out", COperand),
        ("out_row", c.c_long),
    ]


class CAttend(c.Structure):
    _fields_ = [
        ("qkv", c.c_void_p),
        *((name, c.c_int32) for name in ("batch", "t", "heads", "d", "kind")),
        *((name, c.c_void_p) for name in ("cosine", "sine", "k_panels", "v_panels")),
        ("out", COperand),
        ("rows", c.c_void_p),
    ]


class CBlock(c.Structure):
    _fields_ = [
        *((name, c.c_void_p) for name in ("ln1_gain", "ln1_shift", "ln2_gain", "ln2_shift")),
        *((name, c.POINTER(CWeight)) for name in ("qkv", "proj", "fc", "fc_proj")),
    ]


class CGpt(c.Structure):
    _fields_ = [
        ("blocks", c.POINTER(CBlock)),
        *((name, c.c_int32) for name in ("layers", "heads", "d", "width", "inner", "kv_kind")),
        ("kv", c.c_void_p),
        ("tables", c.c_void_p),
        ("table_stride", c.c_int32),
        ("positions", c.c_void_p),
        ("rows", c.c_int32),
        *((name, c.c_void_p) for name in ("x", "wide", "attended", "operand_a", "operand_scale", "operand_sum")),
        ("layer", c.c_int32),
    ]


STRUCTS: tuple[Any, ...] = (CWeight, CAct, CPass, CSnake, CAttend, CGpt, CBlock)


def address(array: npt.NDArray[Any] | None) -> int | None:
    """Where a contiguous array's data lies."""
    if array is None:
        return None
    assert array.flags.c_contiguous, "kernels need contiguous arrays"
    return int(array.ctypes.data)


def c_operand(o: Operand) -> COperand:
    """The C view of an operand."""
    return COperand(address(o.data), address(o.scale), address(o.sum), int(o.kind), o.k, o.k_pad, o.group)


def c_weight(w: Weight, bias: Floats | None = None) -> CWeight:
    """The C view of a weight, with another bias if given (at least n_pad values)."""
    return CWeight(
        int(w.kind), w.n, w.n_pad, w.k_pad, w.taps, w.group, address(w.data), address(w.scale), address(w.bias if bias is None else bias)
    )


class Native:
    """Kernels as methods on numpy arrays. All arrays are C-contiguous float32 unless said otherwise."""

    name = "native"

    def __init__(self, library: Path, threads: int = 1) -> None:
        self.lib = c.CDLL(str(library))
        self.lib.rt_gemm.argtypes = [c.c_void_p] * 4 + [c.c_long] * 3 + [c.c_int]
        for function in ("rt_gemm", "rt_pass", "rt_snake", "rt_attention", "rt_gpt"):
            getattr(self.lib, function).restype = None
        for index, struct in enumerate(STRUCTS):
            if self.lib.rt_layout(index) != c.sizeof(struct):
                raise RuntimeError(f"{library} disagrees about the size of {struct.__name__}; remove it")
        if self.lib.rt_layout(len(STRUCTS)) != PAGE:
            raise RuntimeError(f"{library} disagrees about the page size; remove it")
        self.lib.rt_set_threads(threads)
        self._weights: dict[int, tuple[Weight, CWeight]] = {}
        self._rooms = threading.local()

    @property
    def features(self) -> str:
        """Instruction sets that the build uses, for logs."""
        bits = int(self.lib.rt_features())
        return "+".join(name for bit, name in enumerate(("avx512", "vnni", "bf16")) if bits >> bit & 1) or "generic"

    @property
    def threads(self) -> int:
        """Threads that share the work."""
        return int(self.lib.rt_threads())

    def set_threads(self, threads: int) -> None:
        """Let `threads` threads share the work from now on."""
        self.lib.rt_set_threads(threads)

    def go_solo(self) -> None:
        """Let the calling thread run its kernels alone, beside the shared threads, from now on."""
        self.lib.rt_solo(1)

    def view(self, w: Weight) -> CWeight:
        """The C view of a weight, made once."""
        held = self._weights.get(id(w))
        if held is None:
            held = self._weights[id(w)] = (w, c_weight(w))
        return held[1]

    def operand(self, w: Weight, rows: int) -> Operand:
        """A buffer of rows that `gemm` can multiply with `w`."""
        return Operand(w, rows)

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
        """Run a row pass over x [rows, width] and write the result as rows of `out` from `out_row` on."""
        job = CPass(what, address(x), x.shape[0], x.shape[1], address(gain), address(shift), eps, c_operand(out), out_row)
        self.lib.rt_pass(c.byref(job))

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
        """out[m] (+)= sum over taps of a[first + m + tap * dilation] W[tap] + bias, for every row m of out [rows, >= n].

        `bias` replaces the weight's own and needs n_pad values; `addend` [like out] is added and left as it is. `GATED_...` in `flags`:
        the weight is `packing.paired`, `out` has half its columns, and no other flag or addend goes with it.
        """
        rows, width = out.shape
        assert width >= (w.n // 2 if flags & GATED else w.n) and (not flags & GATED or (w.n % 32 == 0 and addend is None))
        assert a.fits(w) and first + rows - 1 + (w.taps - 1) * dilation < a.rows
        groups = a.k_pad // a.group * 4 if a.kind.is_quantised else 0
        act = CAct(
            a.data.ctypes.data + first * a.k_pad * a.data.itemsize, a.scale.ctypes.data + first * groups, a.sum.ctypes.data + first * groups
        )
        view = self.view(w) if bias is None else c_weight(w, bias)
        self.lib.rt_gemm(c.addressof(view), c.addressof(act), address(out), address(addend), rows, dilation, width, flags)

    def snake(self, x: Floats, alpha: Floats, inverse_beta: Floats, taps: Floats, out: Operand, out_row: int = 0) -> None:
        """Anti-aliased snake of x [rows, channels] into `out` from `out_row` on; alpha, inverse_beta padded to 16 channels."""
        job = CSnake(address(x), x.shape[0], x.shape[1], address(alpha), address(inverse_beta), address(taps), c_operand(out), out_row)
        self.lib.rt_snake(c.byref(job))

    def attention(self, qkv: Floats, batch: int, heads: int, tables: Sequence[Floats], kind: Kind, out: Operand) -> None:
        """Bidirectional attention with rotary positions: qkv [batch * t, 3 * width] -> rows of `out`; `tables` cos, sin [t, d/2]."""
        t, width = qkv.shape[0] // batch, qkv.shape[1] // 3
        d = width // heads
        t_pad, d_pad = -(-t // 16) * 16, -(-d // 16) * 16
        panel = self._scratch("panel", 2 * batch * heads * t_pad * d_pad, np.float32 if kind is Kind.F32 else np.uint16).reshape(2, -1)
        rows = self._scratch("rows", batch * t * width, np.float32)
        job = CAttend(
            address(qkv), batch, t, heads, d, int(kind), address(tables[0]), address(tables[1]), address(panel[0]), address(panel[1]),
            c_operand(out), address(rows),
        )  # fmt: skip
        self.lib.rt_attention(c.byref(job))

    def _scratch(self, name: str, size: int, dtype: Any) -> npt.NDArray[Any]:
        """Room of the calling thread's own, kept: fresh memory costs a page fault per 4 kB."""
        held: npt.NDArray[Any] | None = getattr(self._rooms, name, None)
        if held is None or len(held) < size or held.dtype != dtype:
            held = aligned((size,), dtype)
            setattr(self._rooms, name, held)
        return held[:size]

    def gpt(self, job: CGpt) -> None:
        """Run all transformer blocks; see gpt.h."""
        self.lib.rt_gpt(c.byref(job))

"""Codes and latents to the conditions of mel frames: codebook, projector, length regulator. Specification sections 9 and 10.

Small (4 M products per frame), so it stays in float32. The trap is its GroupNorm with one group: it averages over all frames of the
segment, so frames already spoken would change as codes are appended. `Norms` says what a streamed segment does about that.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from realtime.engines.indextts2.frames import nearest_rows
from realtime.engines.indextts2.kernels import Kernels
from realtime.engines.indextts2.kernels.native import COPY, MISH
from realtime.engines.indextts2.kernels.packing import Floats, Kind, Weight, pack
from realtime.engines.indextts2.store import Tensors, folded

NORM_EPS = 1e-5
PER_LAYER = 3
"""A layer of the official Sequential is convolution, norm, Mish; a last convolution follows all layers."""


@dataclass(slots=True)
class Norms:
    """Mean and deviation per GroupNorm. Empty: taken from the frames at hand, as the reference does. Filled: used as they are."""

    values: list[tuple[float, float]] = field(default_factory=list)


class Regulator:
    """The weights, and the three maps."""

    def __init__(self, kernels: Kernels, s2mel: Tensors, codec: Tensors) -> None:
        self.kernels = kernels
        name = "quantizer.quantizers.0"
        book = np.asarray(codec[f"{name}.codebook.weight"], dtype=np.float32)
        self.book = book
        self.out = folded(codec, f"{name}.out_project")[:, :, 0].T.copy()
        self.out_bias = np.asarray(codec[f"{name}.out_project.bias"], dtype=np.float32)
        linears = sorted(int(k.split(".")[1]) for k in s2mel if k.startswith("gpt_layer.") and k.endswith(".weight"))
        self.projector = [(_f32(s2mel, f"gpt_layer.{i}.weight").T.copy(), _f32(s2mel, f"gpt_layer.{i}.bias")) for i in linears]
        part = "length_regulator"
        self.entry = (_f32(s2mel, f"{part}.content_in_proj.weight").T.copy(), _f32(s2mel, f"{part}.content_in_proj.bias"))
        last = max(int(k.split(".")[2]) for k in s2mel if k.startswith(f"{part}.model."))
        layers = range(0, last, PER_LAYER)
        self.convs = [self._conv(s2mel, f"{part}.model.{i}") for i in (*layers, last)]
        self.gains = [(_f32(s2mel, f"{part}.model.{i + 1}.weight"), _f32(s2mel, f"{part}.model.{i + 1}.bias")) for i in layers]

    @staticmethod
    def _conv(tensors: Tensors, name: str) -> Weight:
        return pack(folded(tensors, name), Kind.F32, _f32(tensors, f"{name}.bias"))

    def content(self, codes: list[int], latents: Floats) -> Floats:
        """S_infer [N, H]: codebook rows projected, plus projected latents [N, D]."""
        return self.codebook(codes) + self.projected(latents)

    def codebook(self, codes: list[int]) -> Floats:
        """[N, H]."""
        out: Floats = self.book[np.asarray(codes, dtype=np.int64)] @ self.out + self.out_bias
        return out

    def projected(self, latents: Floats) -> Floats:
        """[N, D] -> [N, H]."""
        x = latents
        for w, b in self.projector:
            x = x @ w + b
        return x

    def run(self, content: Floats, frames: int, norms: Norms | None = None) -> Floats:
        """Conditions [frames, C] of content rows [N, H]; rows are repeated to `frames` by the reference's own index rule."""
        return self.frames(content @ self.entry[0] + self.entry[1], nearest_rows(len(content), frames), norms)

    def frames(self, entered: Floats, rows: npt.NDArray[np.int64], norms: Norms | None = None) -> Floats:
        """Conditions of frames that repeat `rows` of `entered` [N, C]. Fills `norms` if it is empty, uses it if frozen."""
        x = np.ascontiguousarray(entered[rows], dtype=np.float32)
        count, what = len(x), COPY
        for i, w in enumerate(self.convs):
            pad = (w.taps - 1) // 2
            operand = self.kernels.operand(w, count + 2 * pad)
            self.kernels.put(what, x, operand, pad)
            x = np.empty((count, w.n), dtype=np.float32)
            self.kernels.gemm(w, operand, x)
            if i < len(self.gains):
                x = self._normed(x, i, norms)
                what = MISH
        return x

    def _normed(self, x: Floats, i: int, norms: Norms | None) -> Floats:
        if norms is not None and i < len(norms.values):
            mean, deviation = norms.values[i]
        else:
            mean = float(x.mean(dtype=np.float64))
            deviation = float(np.sqrt(x.var(dtype=np.float64) + NORM_EPS))
        if norms is not None and i == len(norms.values):
            norms.values.append((mean, deviation))
        gain, shift = self.gains[i]
        out: Floats = (x - np.float32(mean)) * (gain / np.float32(deviation)) + shift
        return out


def _f32(tensors: Tensors, name: str) -> Floats:
    return np.ascontiguousarray(tensors[name], dtype=np.float32)

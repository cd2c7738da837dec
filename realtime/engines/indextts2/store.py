"""Tensors by their official key names, as numpy arrays; weight norm folded on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Tensors = Mapping[str, npt.NDArray[Any]]


def folded(tensors: Tensors, name: str) -> npt.NDArray[np.float32]:
    """`name.weight`, or `name.weight_g * name.weight_v / |weight_v|` where the checkpoint still has weight norm.

    The norm runs over all dimensions but the first, for transposed convolutions too (specification section 2).
    """
    if f"{name}.weight" in tensors:
        return np.asarray(tensors[f"{name}.weight"], dtype=np.float32)
    g = np.asarray(tensors[f"{name}.weight_g"], dtype=np.float32)
    v = np.asarray(tensors[f"{name}.weight_v"], dtype=np.float32)
    norm = np.sqrt((v.astype(np.float64) ** 2).sum(axis=tuple(range(1, v.ndim)), keepdims=True))
    return np.asarray(v * (g / norm), dtype=np.float32)

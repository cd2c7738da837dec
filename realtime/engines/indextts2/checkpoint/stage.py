"""One folder of reference data (config, weights, inputs and outputs), and the record of what was compared with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from realtime.engines.indextts2.checkpoint.sections import Section
from realtime.engines.indextts2.checkpoint.state import build
from realtime.errors import ModelMissing

M = TypeVar("M", bound=nn.Module)
Array = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Check:
    """One tensor compared: `error` is the largest absolute difference, infinite where shapes differ; `tolerance` 0 asks for identity."""

    stage: str
    tensor: str
    runtime: str
    error: float
    tolerance: float

    @property
    def is_within(self) -> bool:
        """Whether it passed. Not a number never passes."""
        return self.error <= self.tolerance

    @property
    def nearness(self) -> float:
        """Error as a share of the tolerance; infinite for any error of what must be identical, and for what is not a number."""
        if self.is_within:
            return self.error / self.tolerance if self.tolerance else 0.0
        return float("inf")


@dataclass(slots=True)
class Stage:
    """A stage folder. Reading an input or comparing an output marks it as used; what stays unused was not verified."""

    name: str
    folder: Path
    config: Section
    io: dict[str, Tensor]
    checks: list[Check] = field(default_factory=list)
    used: set[str] = field(default_factory=set)

    @classmethod
    def open(cls, folder: Path) -> Stage:
        """Raises `ModelMissing` naming the file that is absent or unreadable."""
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelMissing(f"{folder / 'config.json'}: {error}") from None
        return cls(folder.name, folder, Section(config, f"{folder.name}/config.json"), read_tensors(folder / "io.safetensors"))

    def module(self, make: Callable[[], M], prefix: str = "", ignored: tuple[str, ...] = ()) -> M:
        """A module with this stage's weights (those under `prefix`), loaded strictly."""
        state = read_tensors(self.folder / "weights.safetensors")
        part = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        return build(make, part, f"{self.name}/weights.safetensors", ignored)

    def has(self, name: str) -> bool:
        """Whether the folder holds a tensor of that name."""
        return name in self.io

    def names(self, start: str) -> list[str]:
        """Tensors whose name starts so, sorted."""
        return sorted(n for n in self.io if n.startswith(start))

    def input(self, name: str) -> Tensor:
        """An input tensor. Raises `ModelMissing` if the folder lacks it."""
        if name not in self.io:
            raise ModelMissing(f"{self.name}/io.safetensors: tensor {name!r} is missing")
        self.used.add(name)
        return self.io[name]

    def compare(self, name: str, ours: Tensor | Array, tolerance: float, runtime: str = "torch") -> None:
        """Compare with the stored output `name`, if there is one; 0 asks for identical values."""
        if name not in self.io:
            return
        self.used.add(name)
        theirs = self.io[name].numpy()
        self.checks.append(Check(self.name, name, runtime, largest_difference(np.asarray(ours), theirs), tolerance))

    def compare_part(self, name: str, row: int, ours: Array, tolerance: float, runtime: str) -> None:
        """Compare with one row of a stored batch."""
        self.used.add(name)
        error = largest_difference(ours, self.io[name][row].numpy())
        self.checks.append(Check(self.name, f"{name}[{row}]", runtime, error, tolerance))

    def unused(self) -> list[str]:
        """Tensors that were neither read nor compared."""
        return sorted(set(self.io) - self.used)


def largest_difference(ours: Array, theirs: Array) -> float:
    """Largest absolute difference; equal infinities count as equal; infinite if shapes or the places of infinities differ."""
    if ours.shape != theirs.shape:
        return float("inf")
    if ours.size == 0:
        return 0.0
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    same = a == b
    gap = np.abs(np.where(same, 0.0, a) - np.where(same, 0.0, b))
    return float(gap.max()) if not np.isnan(gap).any() else float("nan")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A safetensors file with half precision widened to float32. Raises `ModelMissing` if absent or damaged."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelMissing(f"{path}: {error}") from None
    return {k: v.float() if v.dtype in (torch.float16, torch.bfloat16) else v for k, v in tensors.items()}

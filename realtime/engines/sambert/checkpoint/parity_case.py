"""What a parity check reads and what it reports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Case:
    """One stage folder, read. `arrays` by file stem (`io`, `io_forced`, ...)."""

    path: Path
    config: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    arrays: Mapping[str, Arrays]

    @property
    def ios(self) -> Iterator[tuple[str, Arrays]]:
        """Input/output files; the plain one first."""
        yield from ((name, arrays) for name, arrays in self.arrays.items() if name == "io" or name.startswith("io_"))

    def shared(self, name: str, arrays: Arrays) -> Any:
        """A value that an io file may carry itself, else the plain file, else the configuration."""
        for source in (arrays, self.arrays.get("io", {}), self.config):
            if name in source:
                return source[name]
        raise KeyError(f"{self.path.name}: {name!r} is in none of its files")


@dataclass(frozen=True)
class Measured:
    """Largest absolute difference of one array; `is_exact` ones must not differ at all."""

    runtime: str
    what: str
    error: float
    is_exact: bool = False


@dataclass
class Ruler:
    """Compares results of one io file with its arrays, skipping those that the file does not have."""

    runtime: str
    arrays: Arrays
    file: str = "io"
    found: list[Measured] = field(default_factory=list)

    def compare(self, name: str, ours: Tensor | npt.NDArray[Any] | float, *, rows: int | None = None, is_exact: bool = False) -> None:
        """Compare with array `name`; `rows` limits both to the first rows of axis 1."""
        if name not in self.arrays:
            return
        mine = ours.detach().numpy() if isinstance(ours, Tensor) else np.asarray(ours)
        theirs = self.arrays[name]
        if rows is not None:
            mine, theirs = mine[:, :rows], theirs[:, :rows]
        what = name if self.file == "io" else f"{self.file[3:]}.{name}"
        if mine.shape != theirs.shape:
            raise ValueError(f"{what}: our shape {list(mine.shape)}, reference {list(theirs.shape)}")
        error = float(np.abs(mine.astype(np.float64) - theirs.astype(np.float64)).max()) if mine.size else 0.0
        self.found.append(Measured(self.runtime, what, error, is_exact))


def tensor(array: npt.NDArray[Any]) -> Tensor:
    """An array as a tensor, integers as int64."""
    out = torch.from_numpy(np.ascontiguousarray(array))
    return out if out.is_floating_point() or out.dtype is torch.bool else out.to(torch.int64)

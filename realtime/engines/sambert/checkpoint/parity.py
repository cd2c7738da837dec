"""`realtime models parity sambert DIR`: our modules against reference outputs, stage by stage.

A stage folder holds `config.json` (everything that the stage is built from), mostly `weights.safetensors` (published key names) and
`io*.npz` (inputs and outputs). Its name tells the stage. Each runs through the torch modules and, in the form that serving uses, through
the exported graphs and the runtime around them (streams cut at odd places on purpose). One line per stage; a stage that is over its
tolerance, broken, or unknown makes the whole check fail.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from torch import Tensor

from realtime.engines.sambert.checkpoint import parity_acoustic, parity_vocoder
from realtime.engines.sambert.checkpoint.parity_case import Case, Measured
from realtime.errors import RealtimeError


@dataclass(frozen=True)
class Stage:
    """How folders with this name prefix are checked."""

    prefix: str
    tolerance: float
    check: Callable[[Case], Iterator[Measured]]


# Longer prefixes first. Tolerances: largest absolute difference, as the reference data state them.
STAGES = (
    Stage("hifigan_nsf", 1e-4, parity_vocoder.check_hifigan),
    Stage("hifigan", 2e-5, parity_vocoder.check_hifigan),
    Stage("denorm_f0", 1e-4, parity_vocoder.check_denorm_f0),
    Stage("symbols", 0.0, parity_acoustic.check_symbols),
    Stage("text_encoder", 2e-5, parity_acoustic.check_text_encoder),
    Stage("variance_adaptor", 2e-5, parity_acoustic.check_variance_adaptor),
    Stage("length_regulator", 1e-6, parity_acoustic.check_length_regulator),
    Stage("mel_decoder", 5e-5, parity_acoustic.check_mel_decoder),
    Stage("postnet", 2e-5, parity_acoustic.check_postnet),
    Stage("acoustic", 5e-5, parity_acoustic.check_acoustic),
)


def parity(folder: Path) -> int:
    """Check every stage folder under `folder`, print one line each; 0 if all are within tolerance, else 1."""
    torch.set_num_threads(1)
    stages = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if not stages:
        print(f"{folder}: no stage folders in it")
        return 1
    failed = sum(not _report(path) for path in stages)
    print(f"{len(stages) - failed} of {len(stages)} stages within tolerance")
    return 1 if failed else 0


def _report(path: Path) -> bool:
    stage = next((one for one in STAGES if path.name.startswith(one.prefix)), None)
    if stage is None:
        print(f"{path.name:24s} NOT RUN: no stage of this name is known")
        return False
    try:
        measured = list(stage.check(read_case(path)))
    except (RealtimeError, OSError, KeyError, ValueError, IndexError, RuntimeError) as error:
        print(f"{path.name:24s} NOT RUN: {type(error).__name__}: {error}")
        return False
    if not measured:
        print(f"{path.name:24s} NOT RUN: nothing in it to compare")
        return False
    worst = {kind: max((m for m in measured if m.runtime == kind), key=_badness) for kind in dict.fromkeys(m.runtime for m in measured)}
    is_ok = all(_badness(m) <= (0.0 if m.is_exact else stage.tolerance) for m in measured)
    figures = "  ".join(f"{kind} {m.error:.1e} ({m.what})" for kind, m in worst.items())
    bad = [m for m in measured if _badness(m) > (0.0 if m.is_exact else stage.tolerance)]
    verdict = "ok" if is_ok else "OVER: " + ", ".join(f"{m.runtime} {m.what} {m.error:.1e}" for m in bad[:4])
    print(f"{path.name:24s} {figures}  tolerance {stage.tolerance:.0e}  {len(measured)} comparisons  {verdict}")
    return is_ok


def _badness(m: Measured) -> float:
    return float("inf") if np.isnan(m.error) else m.error


def read_case(path: Path) -> Case:
    """Read one stage folder."""
    config: dict[str, Any] = json.loads((path / "config.json").read_text(encoding="utf-8")) if (path / "config.json").is_file() else {}
    weights: dict[str, Tensor] = load_file(path / "weights.safetensors") if (path / "weights.safetensors").is_file() else {}
    arrays: dict[str, dict[str, npt.NDArray[Any]]] = {}
    for file in sorted(path.glob("*.npz")):
        with np.load(file) as opened:
            arrays[file.stem] = {name: opened[name] for name in opened.files}
    return Case(path, config, weights, arrays)

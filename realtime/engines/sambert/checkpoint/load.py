"""From a published state dict to a module, strictly: every key with its exact shape, and nothing that we don't know.

Two tensors are pure functions of the configuration and are absent from some published files; they alone are optional. Two prefixes
belong to other uses of the network (`IGNORED_PREFIXES`) and are skipped. See specification 2.2.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from realtime.engines.sambert.checkpoint.hifigan import Generator
from realtime.errors import ModelMissing

DERIVED = ("ling_enc.position_enc.position_enc", "dur_position_encoder.inv_timescales")
IGNORED_PREFIXES = ("align_attention.", "FP_predictor.")
# What the reader raises for files that are cut, overwritten, or hold code; all mean the same to the caller.
_DAMAGED = (RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError, OSError, pickle.UnpicklingError)

State = Mapping[str, Tensor]


def load_strict(module: nn.Module, state: State, where: str, prefix: str = "") -> None:
    """Copy `state` (keys starting with `prefix`) into `module` and set it to inference.

    Raises `ModelMissing` naming the first missing key, wrong shape, or unknown key.
    """
    if isinstance(module, Generator):
        module.prepare_for(state.keys())
    wanted = module.state_dict()
    given = {
        key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix) and not key.startswith(IGNORED_PREFIXES)
    }
    for key, target in wanted.items():
        if key not in given:
            if _is_derived(prefix + key):
                continue
            raise ModelMissing(f"{where}: key {prefix + key!r} is missing (shape {list(target.shape)} expected)")
        if not isinstance(given[key], Tensor):
            raise ModelMissing(f"{where}: {prefix + key!r} is not a tensor")
        if given[key].shape != target.shape:
            raise ModelMissing(f"{where}: {prefix + key!r} has shape {list(given[key].shape)}, expected {list(target.shape)}")
    for key in given:
        if key not in wanted:
            raise ModelMissing(
                f"{where}: unknown key {prefix + key!r}; the network of this file is not the one its configuration describes"
            )
    module.load_state_dict({**wanted, **{key: value.to(torch.float32) for key, value in given.items()}})
    module.eval().requires_grad_(False)


def _is_derived(key: str) -> bool:
    return key.endswith(DERIVED)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The dictionary inside a `.pth` file, loaded without running any code from it.

    Raises `ModelMissing` when the file is absent, truncated, or holds anything but tensors and plain values.
    """
    if not path.is_file():
        raise ModelMissing(f"{path}: file is missing; pull the model again")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGED as error:
        said = (str(error).splitlines() or ["empty file"])[0][:200]
        raise ModelMissing(f"{path}: can't be read as a checkpoint ({type(error).__name__}: {said}); pull it again") from error
    if not isinstance(loaded, dict) or "model" not in loaded:
        raise ModelMissing(f"{path}: holds no 'model' entry, so it is not a voice's checkpoint")
    return loaded


def newest_checkpoint(folder: Path) -> Path:
    """The `checkpoint*.pth` with the largest number (text after the last `_`, before the first `.`), as the published loader picks it."""
    found = [path for path in folder.glob("checkpoint*.pth") if _number(path) is not None]
    if not found:
        raise ModelMissing(f"{folder}: no checkpoint_<N>.pth in it")
    return max(found, key=lambda path: _number(path) or 0)


def _number(path: Path) -> int | None:
    text = path.name.split("_")[-1].split(".")[0]
    return int(text) if text.isdigit() else None

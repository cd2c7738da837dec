"""Which engines have model files, and where their own share of the work is. One line per engine.

Functions are strings, so that a command imports (and needs the extras of) only the engine it works on.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from realtime.errors import BadOption, ModelMissing, not_installed


@dataclass(frozen=True)
class Hooks:
    """`parity(folder) -> exit code`; `export(snapshots by repo, folder to write to, options) -> folders made`; a tuple of `Published`."""

    parity: str
    export: str
    published: str


HOOKS = {
    "sambert": Hooks(
        parity="realtime.engines.sambert.checkpoint.parity:parity",
        export="realtime.engines.sambert.checkpoint.export:export",
        published="realtime.engines.sambert.published:PUBLISHED",
    ),
    "indextts2": Hooks(
        parity="realtime.engines.indextts2.checkpoint.parity:parity",
        export="realtime.engines.indextts2.checkpoint.export:export",
        published="realtime.engines.indextts2.published:PUBLISHED",
    ),
}


@dataclass(frozen=True)
class Repo:
    """One repository to be downloaded. `patterns` are the files wanted (shell patterns on whole paths); empty takes all."""

    hub: str
    repo: str
    revision: str = ""
    patterns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Published:
    """One model that can be pulled by name: its repositories, the main one first."""

    name: str
    repos: tuple[Repo, ...]
    description: str = ""


def engine_hooks(engine: str) -> Hooks:
    """Raises `BadOption` for an engine without model files."""
    if engine not in HOOKS:
        raise BadOption(f"engine {engine!r} has no model files; there are: {', '.join(HOOKS)}")
    return HOOKS[engine]


def parity(engine: str, folder: Path) -> int:
    """Run an engine's parity check -> exit code."""
    return int(_function(engine_hooks(engine).parity)(folder))


def export(engine: str, snapshots: dict[str, Path], out: Path, options: dict[str, Any]) -> list[Path]:
    """Turn downloaded files into what the engine loads, under `out` -> the model folders made."""
    return list(_function(engine_hooks(engine).export)(snapshots, out, options))


def published(engine: str) -> tuple[Published, ...]:
    """What can be pulled for an engine."""
    return cast(tuple[Published, ...], _load(engine_hooks(engine).published))


def _function(path: str) -> Callable[..., Any]:
    return cast(Callable[..., Any], _load(path))


def _load(path: str) -> Any:
    module, name = path.split(":")
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise ModelMissing(not_installed(error)) from error

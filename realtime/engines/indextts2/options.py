"""What `[engines.indextts2.options]` may hold."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from realtime.engines.indextts2.kernels.packing import Kind
from realtime.engines.indextts2.sampler import Sampling
from realtime.engines.indextts2.stages import Precision
from realtime.errors import BadOption

KINDS = {"fp32": Kind.F32, "bf16": Kind.BF16, "int8": Kind.Q8, "int4": Kind.Q4}


@dataclass(frozen=True)
class Options:
    """Checked options. `threads` 0 takes every core that the process may use; `prompt_frames` caps every voice's prompt (86 per second);
    a part is given up after `max_codes_base + max_codes_per_piece * pieces` codes (speech takes about 4 per piece)."""

    models_dir: Path
    voices_dir: Path
    model: str = ""
    threads: int = 0
    capacity: int = 4
    precision: Precision = field(default_factory=Precision)
    position_offset: int = 1
    prompt_frames: int = 1292
    max_codes_base: int = 50
    max_codes_per_piece: float = 12.0
    interval_silence_ms: float = 200.0
    sampling: Sampling = field(default_factory=Sampling)
    cache_dir: Path = field(default_factory=lambda: Path.home() / ".cache" / "realtime")

    @classmethod
    def read(cls, table: Mapping[str, Any]) -> Options:
        """From the settings' table. Raises `BadOption` naming the key."""
        given = dict(table)
        if "models_dir" not in given:
            raise BadOption("indextts2 needs the option `models_dir`")
        models_dir = Path(str(given.pop("models_dir")))
        voices_dir = Path(str(given.pop("voices_dir", models_dir.parent.parent / "voices")))
        precision = Precision(*(_kind(given, f"{part}_precision", default) for part, default in _defaults()))
        sampling = _sampling(given)
        folders: dict[str, Any] = {"cache_dir": Path(str(given.pop("cache_dir")))} if "cache_dir" in given else {}
        plain = {f.name: given.pop(f.name) for f in fields(cls) if f.name in given and f.name not in ("precision", "sampling", "cache_dir")}
        if given:
            raise BadOption(f"indextts2 has no option {next(iter(given))!r}")
        try:
            values = {name: type(getattr(cls, name))(value) for name, value in plain.items()}
        except (TypeError, ValueError) as error:
            raise BadOption(f"indextts2 options: {error}") from None
        options = cls(models_dir, voices_dir, precision=precision, sampling=sampling, **folders, **values)
        options._check()
        return options

    def _check(self) -> None:
        limits = {
            "threads": (0, 64),
            "capacity": (1, 64),
            "position_offset": (1, 2),
            "prompt_frames": (1, 1292),
            "max_codes_base": (1, 1500),
        }
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise BadOption(f"indextts2 option {name} must be between {low} and {high}, got {getattr(self, name)}")
        if not (0 < self.max_codes_per_piece <= 100 and 0 <= self.interval_silence_ms <= 5000):
            raise BadOption("indextts2 options: max_codes_per_piece in 0..100, interval_silence_ms in 0..5000")

    @property
    def cores(self) -> int:
        """Threads to use."""
        return self.threads or len(os.sched_getaffinity(0))


def _defaults() -> list[tuple[str, Kind]]:
    return [(f.name, getattr(Precision(), f.name)) for f in fields(Precision)]


def _kind(given: dict[str, Any], name: str, default: Kind) -> Kind:
    value = given.pop(name, None)
    if value is not None and value not in KINDS:
        raise BadOption(f"indextts2 option {name} must be one of {', '.join(KINDS)}, got {value!r}")
    return default if value is None else KINDS[value]


def _sampling(given: dict[str, Any]) -> Sampling:
    names = [f.name for f in fields(Sampling)]
    try:
        return Sampling(**{name: given.pop(name) for name in names if name in given})
    except (TypeError, ValueError) as error:
        raise BadOption(f"indextts2 options: {error}") from None

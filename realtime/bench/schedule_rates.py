"""How fast the simulated engines are: measured tables, one from a file, or one taken here and now from real workers.

A table has one entry per engine of the chain, best first:
`{"main": {"levels": {"LEVEL": [rtf, first_chunk_s, crowding], ...}, "per_main": 1, "capacity": 4, ...}, "fallback": {...}}`; levels go from
best to fastest, `per_main` is how many workers there are for each worker of the main engine (at least one in all), the other fields are
those of `EngineModel`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any

from realtime.bench.schedule_world import EngineModel
from realtime.errors import BadOption
from realtime.scheduling.cards import LevelRate
from realtime.workers.interface import WorkerStatus

Table = dict[str, dict[str, Any]]
NAMES = ("main", "fallback", "last_resort")

# Measured with `realtime bench engine NAME` on two cores of a shared AVX-512 server while it was quiet: IndexTTS-2 on both cores (fast
# RTF 0.83 to 0.93, fastest 0.73 to 0.81; 2 and 4 jobs at once yield 1.8 and 2.2 s of sound per second), Sambert and espeak on one. A main
# worker per two cores, a stand-in per eight, espeak per 32. IndexTTS-2's `exact` makes each segment in one piece: not simulated.
SAMBERT = {"levels": {"standard": [0.107, 0.025, 1.0]}, "per_main": 0.25, "capacity": 8, "first_sound_s": 0.1, "longest_chunk_s": 0.5}
ESPEAK = {"levels": {"standard": [0.012, 0.004, 1.0]}, "per_main": 0.0625, "capacity": 8, "first_sound_s": 0.2, "longest_chunk_s": 0.5}
SMALL_HOST: Table = {
    "main": {
        "levels": {
            "high": [1.8, 1.9, 0.43],
            "standard": [1.16, 1.15, 0.43],
            "fast": [0.88, 0.87, 0.43],
            "fastest": [0.77, 0.7, 0.43],
        },
        "capacity": 4,
        "first_sound_s": 0.8,
        "longest_chunk_s": 0.6,
    },
    "fallback": SAMBERT,
    "last_resort": ESPEAK,
}
# A main engine that outpaces its listener: what a larger host is expected to give (an assumption, not a measurement). Sambert as measured.
LARGE_HOST: Table = {
    "main": {"levels": {"standard": [0.6, 0.55, 0.35], "fast": [0.4, 0.4, 0.35]}, "capacity": 4},
    "fallback": SAMBERT,
    "last_resort": ESPEAK,
}
TABLES = {"measured": SMALL_HOST, "large-host": LARGE_HOST}


def read(name: str) -> Table:
    """A table by its name, or from a JSON file. Raises `BadOption` that says what is wrong with it."""
    if name in TABLES:
        return TABLES[name]
    try:
        table: Table = json.loads(Path(name).read_text(encoding="utf-8"))
        models(table, 1)
    except OSError as error:
        raise BadOption(f"no rates named {name!r} ({', '.join(TABLES)}), and no such file: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadOption(f"{name}: not a table of rates: {type(error).__name__}: {error}") from None
    return table


def measured(workers: Sequence[WorkerStatus]) -> Table:
    """The table of workers that have just been warmed up, one per engine, in the order of the chain. Their crowding is not known: they are
    taken to take turns."""
    table: Table = {}
    for name, worker in zip(NAMES, workers, strict=False):
        shape = {key: value for key, value in SMALL_HOST[name].items() if key != "levels"}
        levels = {level: [rate.rtf, rate.first_chunk_s, 1.0] for level, rate in worker.rates.items()}
        table[name] = shape | {"levels": levels, "capacity": worker.info.capacity if worker.info else shape["capacity"]}
    return table


def models(table: Table, workers: int) -> list[EngineModel]:
    """The engines for so many main workers. Raises `ValueError`, `TypeError` or `KeyError` for a table that makes no sense."""
    if len(table) < 2:
        raise ValueError("a main engine and one that takes over are needed")
    found = []
    for name, entry in table.items():
        shape = {key: value for key, value in entry.items() if key not in ("levels", "per_main")}
        rates = {level: LevelRate(*rate) for level, rate in entry["levels"].items()}
        count = max(1, ceil(workers * entry.get("per_main", 1)))
        found.append(EngineModel(name, count, rates=rates, **shape))
    return found

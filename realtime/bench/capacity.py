"""How many streams a host carries: each engine's workers are started and measured here, then scaled to more cores.

The scaling is arithmetic, not measurement: throughput grows with the number of workers (an engine's worker keeps to its cores), memory
with one worker's own part. Shared caches and memory bandwidth make large hosts somewhat worse than this says. For IndexTTS-2, whose workers
share their weights and use several cores, its stages are also measured on one core and on all (`indextts2_hosts`).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import anyio
from rich.console import Console
from rich.table import Table

from realtime.app import installed_chain, worker_specs
from realtime.config import EngineSettings, Settings, load
from realtime.errors import BadOption, RealtimeError
from realtime.scheduling.admission import HEADROOM
from realtime.types import Priority
from realtime.workers.interface import WorkerStatus
from realtime.workers.pool import Pool

INDEXTTS2 = "indextts2"


@dataclass(frozen=True, slots=True)
class Estimate:
    """One engine at one quality level: streams at once on a number of cores, and what it takes."""

    engine: str
    level: str
    rtf: float
    first_chunk_ms: float
    cores: int
    streams: float
    rss_gb: float


def estimate(worker: WorkerStatus, worker_cores: int, cores: int) -> list[Estimate]:
    """Streams per level: workers on the host x sound per second of one, less the admission's headroom for interactive work."""
    workers = max(1, cores // worker_cores)
    share = HEADROOM[Priority.INTERACTIVE]
    return [
        Estimate(
            worker.engine,
            level,
            rate.rtf,
            rate.first_chunk_s * 1000,
            cores,
            share * workers / max(rate.rtf, 1e-9) if cores >= worker_cores else share * cores / worker_cores / max(rate.rtf, 1e-9),
            worker.rss_mb * workers / 1000,
        )
        for level, rate in worker.rates.items()
    ]


def main(argv: Sequence[str]) -> int:
    """`realtime plan`."""
    parser = argparse.ArgumentParser(prog="realtime plan", description="Measure the engines here and tell how many streams a host carries.")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings; engines and their options are taken from there")
    parser.add_argument("--engines", metavar="A,B", help="engines to measure (default: what is installed)")
    parser.add_argument("--cores", default=f"{os.cpu_count()},16,64", help="hosts to plan for (default: this one, 16 and 64)")
    parser.add_argument("--worker-cores", type=int, help="cores that one worker keeps busy (default: all for indextts2, 1 for the others)")
    parser.add_argument(
        "--memory-gbs",
        type=float,
        default=6.0,
        metavar="GB/S",
        help="memory speed per core of the planned hosts, which bounds IndexTTS-2's tokens (default %(default)s: 12 channels of DDR5-4800 "
        "are 460 GB/s for 64 to 96 cores)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    options = parser.parse_args(argv)
    try:
        return _planned(options)
    except RealtimeError as error:
        print(f"realtime plan: {error.message}", file=sys.stderr)
        return 1


def _planned(options: argparse.Namespace) -> int:
    settings = load(options.config)
    chain = tuple(options.engines.split(",")) if options.engines else settings.chain or installed_chain(settings)
    hosts = _hosts(options.cores)
    console = Console()
    with console.status("starting one worker of each engine and measuring it"):
        workers = anyio.run(measured_workers, settings, chain)
    found = [
        row
        for worker in workers
        for cores in hosts
        for row in estimate(worker, options.worker_cores or _cores(settings, worker.engine), cores)
    ]
    table = Table("engine", "level", "RTF", "first chunk", "cores", "streams at once", "memory", title="workers as they are, side by side")
    for row in found:
        figures = (f"{row.rtf:.3f}", f"{row.first_chunk_ms:.0f} ms", str(row.cores), f"{row.streams:.1f}", f"{row.rss_gb:.2f} GB")
        table.add_row(row.engine, row.level, *figures)
    console.print(table)
    result: dict[str, Any] = {"estimates": [asdict(row) for row in found]}
    if INDEXTTS2 in chain:
        result["indextts2_hosts"] = _indextts2(settings, hosts, options.memory_gbs, console)
    if options.json:
        print(json.dumps(result))
    return 0


def _hosts(text: str) -> list[int]:
    """Raises `BadOption` for what are no numbers of cores."""
    try:
        cores = sorted({int(word) for word in text.split(",")})
    except ValueError:
        cores = [0]
    if cores[0] < 1:
        raise BadOption(f"--cores takes numbers from 1 by commas, not {text!r}")
    return cores


def _cores(settings: Settings, engine: str) -> int:
    """Cores that a worker of an engine keeps busy, as its options say."""
    if engine != INDEXTTS2:
        return 1
    table = settings.engines.get(engine, EngineSettings())
    return int(table.options.get("threads") or 0) or len(table.cores or os.sched_getaffinity(0))


def _indextts2(settings: Settings, hosts: Sequence[int], gbs_per_core: float, console: Console) -> list[dict[str, Any]]:
    """The larger hosts of IndexTTS-2, from a loaded engine of this process; printed, with how they are reckoned."""
    from realtime.bench import indextts2_hosts, indextts2_report  # what they import need not be installed where other engines are

    (spec,) = worker_specs(settings, (INDEXTTS2,))
    with console.status("measuring IndexTTS-2's stages on one core and on all"):
        rows = indextts2_hosts.planned(dict(spec.options), hosts, gbs_per_core)
    console.print(indextts2_report.hosts(rows))
    console.print((indextts2_hosts.__doc__ or "").split("\n\n", 1)[1].strip(), highlight=False)
    return rows


async def measured_workers(settings: Settings, chain: Sequence[str]) -> list[WorkerStatus]:
    """One worker of each engine, started, warmed up and measured; in the order of `chain`. They are gone when this returns."""
    async with Pool(worker_specs(settings, tuple(chain))) as pool:
        await pool.wait_ready(chain, 600)
        ready = [worker for worker in pool.workers() if worker.is_ready]
    return [next(worker for worker in ready if worker.engine == engine) for engine in chain]

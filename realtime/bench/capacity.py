"""How many streams a host carries: each engine's workers are started and measured here, then scaled to more cores.

The scaling is arithmetic, not measurement: throughput grows with the number of workers (an engine's worker keeps to its cores), memory
with one worker's own part. Shared caches and memory bandwidth make large hosts somewhat worse than this says.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
from rich.console import Console
from rich.table import Table

from realtime.app import installed_chain, worker_specs
from realtime.config import Settings, load
from realtime.scheduling.admission import HEADROOM
from realtime.types import Priority
from realtime.workers.interface import WorkerStatus
from realtime.workers.pool import Pool


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
    parser.add_argument("--worker-cores", type=int, default=1, help="cores that one worker keeps busy (default 1)")
    options = parser.parse_args(argv)
    settings = load(options.config)
    chain = tuple(options.engines.split(",")) if options.engines else settings.chain or installed_chain(settings)
    console = Console()
    with console.status("starting one worker of each engine and measuring it"):
        workers = anyio.run(measured_workers, settings, chain)
    table = Table("engine", "level", "RTF", "first chunk", "cores", "streams at once", "memory")
    for worker in workers:
        for cores in sorted({int(word) for word in options.cores.split(",")}):
            for row in estimate(worker, options.worker_cores, cores):
                figures = (f"{row.rtf:.3f}", f"{row.first_chunk_ms:.0f} ms", str(cores), f"{row.streams:.1f}", f"{row.rss_gb:.2f} GB")
                table.add_row(row.engine, row.level, *figures)
    console.print(table)
    return 0


async def measured_workers(settings: Settings, chain: Sequence[str]) -> list[WorkerStatus]:
    """One worker of each engine, started, warmed up and measured; in the order of `chain`. They are gone when this returns."""
    async with Pool(worker_specs(settings, tuple(chain))) as pool:
        await pool.wait_ready(chain, 600)
        ready = [worker for worker in pool.workers() if worker.is_ready]
    return [next(worker for worker in ready if worker.engine == engine) for engine in chain]

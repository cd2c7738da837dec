"""What a busy neighbour costs: the same work alone, and beside a process that spins on one of our cores; ours and torch's.

A neighbour's share: where one of `n` cores is shared by two, the host leaves n - 1/2 to us, so work whose threads never wait for each
other takes n / (n - 1/2) times as long; work that makes no use of the shared core at all takes n / (n - 1) times, the neighbour's whole
core. Threads that wait at every operator can take more than that.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from realtime.bench.indextts2_speech import Script, speak
from realtime.bench.indextts2_stages import Work, pieces, torch_pieces
from realtime.engines.indextts2.engine import IndexTts2
from realtime.engines.indextts2.model_files import ModelFolder

SPIN = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\nprint(flush=True)\nwhile os.getppid() == int(sys.argv[2]): pass"
COMPARED = ("decode", "flow_step", "vocode_second")
Figures = dict[str, float]


@contextmanager
def busy_core(core: int) -> Iterator[None]:
    """A process that spins on one core; it also ends when we do."""
    command = [sys.executable, "-c", SPIN, str(core), str(os.getpid())]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield
        finally:
            process.kill()


def shares(threads: int) -> tuple[float, float]:
    """Times as long that work takes which loses half of one of `threads` cores, and all of it (half of it, where there is only one)."""
    return threads / (threads - 0.5), threads / (threads - 1) if threads > 1 else 2.0


def measure(
    engine: IndexTts2, script: Script, folder: ModelFolder | None, threads: int, rounds: int, console: Console
) -> dict[str, Figures]:
    """Per piece: seconds alone and beside the neighbour, and how many times as long that is; ours, and torch's with a folder."""
    core = max(os.sched_getaffinity(0))
    clause = script.job("n", script.clause, "fast")
    ours: dict[str, Work] = {"clause, fast": lambda: speak(engine, [clause])}
    ours |= {name: work for name, work in pieces(engine.stages).items() if name in COMPARED}
    out: dict[str, Figures] = {}
    for name, work in ours.items():
        out[name] = _both(work, core, rounds, "ours")
        console.print(f"{name} beside a busy process: {out[name]['ours_times']:.2f} times as long")
    for name, work in torch_pieces(folder, threads) if folder else ():
        if name in COMPARED:
            out[name] |= _both(work, core, rounds, "torch")
            console.print(f"torch's {name} beside a busy process: {out[name]['torch_times']:.2f} times as long")
    return out


def _both(work: Work, core: int, rounds: int, who: str) -> Figures:
    work()
    alone = _median(work, rounds)
    with busy_core(core):
        beside = _median(work, rounds)
    return {f"{who}_alone_s": alone, f"{who}_beside_s": beside, f"{who}_times": beside / alone}


def _median(work: Work, rounds: int) -> float:
    taken = []
    for _ in range(max(1, rounds)):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)

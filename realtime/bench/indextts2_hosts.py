"""What IndexTTS-2 should reach on a larger host, reckoned from what was measured on this one. Arithmetic, not measurement.

Sound stages take a part that no core shortens and a part that all share (Amdahl): both follow from their times on one core and on all of
ours; one job uses at most `MOST_USEFUL` cores. A token takes what one core needs, shared by the cores, but not less than reading the
language model's weights once (of memory a host is granted `GBS_PER_CORE`, and at least what was seen here), and the barriers between its
layers. One job on all cores: the level's real-time factor here, scaled as its modelled chunks are. Jobs at once: as many workers as ours
fit in, each with the throughput measured here; they share the weights by mapping, and the host's memory bounds their tokens.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich.console import Console

from realtime.bench.indextts2_speech import Script, aggregate, fresh_memory_mb, levels
from realtime.bench.indextts2_stages import CODE_S, CODES, PROMPT, tokens_per_s
from realtime.engines.indextts2.chunks import ChunkPlan, Costs
from realtime.engines.indextts2.engine import IndexTts2
from realtime.engines.indextts2.kernels.packing import Kind
from realtime.engines.indextts2.levels import Level, level_named
from realtime.engines.indextts2.lm import LmShape
from realtime.engines.indextts2.load import load_engine
from realtime.engines.indextts2.stages import measured_costs

PLANNED = "fast"
"""The level that hosts are planned for."""
GBS_PER_CORE = 6.0
"""Memory speed that a core of a large host can count on. Precedent: 12 channels of DDR5-4800 are 460 GB/s for 64 to 96 cores."""
BYTES = {Kind.F32: 4.0, Kind.BF16: 2.0, Kind.Q8: 1.02, Kind.Q4: 0.516}
"""Per weight, scales included."""
TURNS = 4
"""Times that each cost is taken; with one, a busy moment was seen to make 16 cores look like two."""
MOST_USEFUL = 16
"""Cores for one job: a chunk's products have 24 to 200 units of work, more cores would mostly wait (from the kernels' unit of 96 x 64)."""
BARRIERS, BARRIER_S = 9, 5e-6
"""Meetings of all threads per layer of the language model, and what one takes among many cores (guess; 1 us between two)."""
BATCH = 4
"""Jobs whose tokens one reading of the weights serves, where many speak at once."""


@dataclass(frozen=True, slots=True)
class Measured:
    """This host. `one` and `all` are the stages' costs on one core and on `cores`; the rest is of the level at hand, on all cores."""

    cores: int
    one: Costs
    all: Costs
    step_bytes: float
    layers: int
    rtf: float
    first_audio_s: float
    audio_s_per_s: float
    tokens_per_s: float
    shared_mb: float
    private_mb: float


@dataclass(frozen=True, slots=True)
class Host:
    """A reckoned host."""

    cores: int
    rtf: float
    first_audio_s: float
    tokens_per_s: float
    workers: int
    audio_s_per_s: float
    is_memory_bound: bool
    memory_gb: float


def costs(engine: IndexTts2) -> tuple[Costs, Costs]:
    """The stages' costs on one core and on all that the engine has, in turns, the best of each: their difference decides everything."""
    kernels = engine.stages.vocoder.kernels
    threads = kernels.threads
    found: dict[int, list[Costs]] = {1: [], threads: []}
    try:
        for _ in range(TURNS):
            for count, taken in found.items():
                kernels.set_threads(count)
                taken.append(measured_costs(engine.stages))
    finally:
        kernels.set_threads(threads)
    return _best(found[1]), _best(found[threads])


def _best(taken: Sequence[Costs]) -> Costs:
    names = ("decode_s", "flow_s", "vocode_s", "alone_s")
    return replace(taken[0], **{name: min(getattr(one, name) for one in taken) for name in names})


def bytes_per_step(engine: IndexTts2) -> float:
    """Weights that the language model reads for each step, whatever the batch."""
    shape: LmShape = engine.stages.decoder.model.shape
    weights = 12 * shape.layers * shape.model_dim**2 + shape.model_dim * shape.number_mel_codes
    return weights * BYTES[engine.options.precision.language]


def on(m: Measured, cores: int, speed_gbs: float) -> Costs:
    """Costs on another number of cores."""
    useful = min(cores, max(MOST_USEFUL, m.cores))
    decode = max(m.one.decode_s / useful, m.step_bytes / (speed_gbs * 1e9)) + m.layers * BARRIERS * BARRIER_S
    flow, vocode = (_scaled(getattr(m.one, name), getattr(m.all, name), m.cores, useful) for name in ("flow_s", "vocode_s"))
    return Costs(decode, flow, vocode, m.all.margin_frames, m.all.alone_s, useful)


def _scaled(one: float, all: float, cores: int, wanted: int) -> float:
    """Seconds on `wanted` cores from those on one and on `cores`."""
    if cores == 1:
        return one / wanted
    shared = min(one, max(0.0, (one - all) / (1 - 1 / cores)))
    return one - shared + shared / wanted


def host(m: Measured, level: Level, cores: int, gbs_per_core: float = GBS_PER_CORE) -> Host:
    """What a host of so many cores should reach. At this host's own number of cores: what was measured."""
    speed = max(gbs_per_core * cores, m.step_bytes / m.all.decode_s / 1e9)
    there = m.all if cores == m.cores else on(m, cores, speed)
    whole = modelled_s(there, level) / modelled_s(m.all, level)
    first = first_s(there, level) / first_s(m.all, level)
    workers = max(1, cores // m.cores)
    rate = m.audio_s_per_s * min(workers, cores / m.cores)
    bound = speed * 1e9 / m.step_bytes * BATCH * CODE_S if cores != m.cores else float("inf")
    memory = (m.shared_mb + workers * m.private_mb) / 1000
    tokens = m.tokens_per_s * m.all.decode_s / there.decode_s
    return Host(cores, m.rtf * whole, m.first_audio_s * first, tokens, workers, min(rate, bound), bound < rate, memory)


def modelled_s(c: Costs, level: Level) -> float:
    """Seconds for the published segment, chunk by chunk, alone on the host."""
    plan, left, total = ChunkPlan(c, PROMPT), CODES, 0.0
    while left > 0:
        codes = min(left, plan.next_codes(level, 1) or left)
        total += c.chunk_s(codes, level, PROMPT)
        plan.sent(codes, level, 1)
        left -= codes
    return total


def first_s(c: Costs, level: Level) -> float:
    """Seconds for the first chunk."""
    return c.chunk_s(ChunkPlan(c, PROMPT).next_codes(level, 1) or CODES, level, PROMPT)


def measured(engine: IndexTts2, row: Mapping[str, Any], jobs: Mapping[str, float], token_s: float, memory: Mapping[str, float]) -> Measured:
    """This host, from a row of the levels' table, sound per second by number of jobs, and seconds per token; costs are taken here."""
    one, all = costs(engine)
    return Measured(
        engine.stages.vocoder.kernels.threads,
        one,
        all,
        step_bytes=bytes_per_step(engine),
        layers=engine.stages.decoder.model.shape.layers,
        rtf=row["rtf"],
        first_audio_s=row["first_audio_ms"] / 1000,
        audio_s_per_s=max(jobs.values(), default=1 / row["rtf"]),
        tokens_per_s=1 / token_s,
        shared_mb=memory["shared"],
        private_mb=memory["private"],
    )


def rows(m: Measured, hosts: Sequence[int], gbs_per_core: float = GBS_PER_CORE) -> list[dict[str, Any]]:
    """A row per host, this one among them, for tables and JSON."""
    level = level_named(PLANNED)
    assert level is not None
    return [asdict(host(m, level, cores, gbs_per_core)) for cores in sorted({m.cores, *hosts})]


def planned(table: Mapping[str, Any], hosts: Sequence[int], gbs_per_core: float = GBS_PER_CORE) -> list[dict[str, Any]]:
    """Load an engine, measure what is needed, reckon. Raises `ModelMissing` for absent files and voices."""
    engine = load_engine({**table, "capacity": BATCH})
    try:
        script = Script.of(engine)
        (row,), _ = levels(engine, script, [PLANNED], 1, None, Console(quiet=True))
        jobs = {str(BATCH): aggregate(engine, script, BATCH, PLANNED)}
        token_s = 1 / tokens_per_s(engine, 1, 1, time.perf_counter)
        return rows(measured(engine, row, jobs, token_s, fresh_memory_mb(dict(table))), hosts, gbs_per_core)
    finally:
        engine.close()

"""`realtime bench schedule`: the service's scheduler against simpler policies, in a discrete-event simulation.

The scheduler is the real one; workers, listeners and time are simulated (`schedule_world`). Load 1 = the main engine's workers, as
full as leaves every listener in time, at their fastest level. Rates: the defaults below are assumptions, a main engine somewhat under
real time on its host and a stand-in like Sambert's; `--rates FILE` takes measured ones as `{"main": {"LEVEL": [rtf, first_chunk_s, crowding], ...}, "fallback": {...}}`, best
level first.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from time import process_time_ns
from typing import Any

from realtime.bench.schedule_policies import FifoTimeout, OnFailure, Ours, Policy
from realtime.bench.schedule_world import EngineModel, World, offers
from realtime.bench.svg_chart import Panel, chart
from realtime.scheduling.admission import AdmissionSettings, KeyLimits
from realtime.scheduling.scheduler import JobSpec, LevelRate, Scheduler, SchedulerSettings, StreamSpec, WorkerCard

MAIN, FALLBACK = "main", "fallback"
RATES = {
    MAIN: {"exact": (0.95, 0.9, 0.35), "balanced": (0.6, 0.55, 0.35), "fast": (0.4, 0.4, 0.35)},
    FALLBACK: {"standard": (0.13, 0.06, 1.0)},
}
CAPACITY = {MAIN: 4, FALLBACK: 8}
LOADS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
WORKERS = (1, 8, 64, 512)
FAULT_EVERY_S = 600.0  # a worker dies so often on average
AWAY_S = 8.0  # until it is replaced
UNBOUNDED = AdmissionSettings(
    max_streams=10**6, max_waiting_jobs=10**6, default_limits=KeyLimits(per_second=1e6, burst=10**6, streams=10**6)
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `realtime bench schedule`."""
    parser.add_argument("--loads", type=_floats, default=None, help="comma-separated loads (default 0.5 to 4)")
    parser.add_argument("--workers", type=_ints, default=None, help="comma-separated numbers of main workers (default 1 to 512)")
    parser.add_argument("--duration", type=float, default=None, metavar="S", help="simulated seconds of arrivals")
    parser.add_argument("--rates", type=Path, default=None, help="JSON file with measured rates")
    parser.add_argument("--picture", type=Path, default=None, metavar="FILE", help="write the curves as SVG")
    parser.add_argument("--quick", action="store_true", help="few points, a minute at most")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure; returns the keys of architecture section 7."""
    quick = bool(args.quick)
    loads = args.loads or ((0.5, 1.0, 2.0, 4.0) if quick else LOADS)
    workers = args.workers or ((1, 16) if quick else WORKERS)
    rates = json.loads(args.rates.read_text()) if args.rates else RATES
    rows = []
    for count in workers:
        for load in loads:
            duration = args.duration or _duration(count, load, quick)
            rows.append(one_load(load, count, duration, args.seed, rates))
            _say(rows[-1])
    cost = decision_cost((10, 100, 1000, 10_000), args.seed)
    result: dict[str, Any] = {"loads": rows, "decision_us_p99": cost["p99"], "decision_us_p50": cost["p50"]}
    if args.picture:
        args.picture.write_text(picture(rows, cost["p50"]), encoding="utf-8")
        result["picture"] = str(args.picture)
    return result


def models(workers: int, rates: dict[str, dict[str, Any]]) -> list[EngineModel]:
    """The two engines: a fallback worker for every four main ones, at least one."""
    counts = {MAIN: workers, FALLBACK: max(1, workers // 4)}
    return [
        EngineModel(name, counts[name], CAPACITY[name], {level: LevelRate(*rate) for level, rate in rates[name].items()})
        for name in (MAIN, FALLBACK)
    ]


def one_load(load: float, workers: int, duration_s: float, seed: int, rates: dict[str, dict[str, Any]] | None = None) -> dict[str, Any]:
    """All three policies under the same arrivals and faults."""
    engines = models(workers, rates or RATES)
    levels = list(engines[0].rates)
    arrivals = offers(load * engines[0].throughput(levels[-1]), duration_s, seed)
    row: dict[str, Any] = {"load": load, "workers": workers, "streams": len(arrivals)}
    for name in ("ours", "goodput_fifo_timeout", "goodput_on_failure"):
        world = World(engines, seed)
        policy = _policy(name, world)
        for offer in arrivals:
            world.at(offer.at, lambda offer=offer, policy=policy: policy.arrive(offer))  # type: ignore[misc]
        _schedule_faults(world, duration_s)
        world.run(duration_s + 120.0)
        calls = list(policy.calls.values())
        goodput = sum(call.is_good(world.now) for call in calls) / max(1, len(calls))
        if name != "ours":
            row[name] = round(goodput, 4)
            continue
        admitted = [call for call in calls if not call.is_refused]
        whole = sum(call.is_over and not call.is_failed and call.playout.continuity(world.now).is_whole for call in admitted)
        by_engine = {e: sum(call.by_engine.get(e, 0.0) for call in admitted) for e in (MAIN, FALLBACK)}
        row |= {
            "continuity": round(whole / max(1, len(admitted)), 5),
            "goodput": round(goodput, 4),
            "main_engine_share": round(by_engine[MAIN] / max(1e-9, sum(by_engine.values())), 4),
            "refused": round(1 - len(admitted) / max(1, len(calls)), 4),
        }
    return row


def decision_cost(stream_counts: tuple[int, ...], seed: int) -> dict[str, dict[str, float]]:
    """Microseconds per report-and-plan with so many streams speaking: p50 and p99 by number of streams."""
    found: dict[str, dict[str, float]] = {"p50": {}, "p99": {}}
    for streams in stream_counts:
        times = sorted(_report_times(streams, seed))
        found["p50"][str(streams)] = round(times[len(times) // 2] / 1000, 1)
        found["p99"][str(streams)] = round(times[int(len(times) * 0.99)] / 1000, 1)
    return found


def _report_times(streams: int, seed: int) -> list[int]:
    """Nanoseconds of each `progressed` + `sent` + `plan`, in a steady state with `streams` speaking utterances."""
    scheduler = Scheduler(SchedulerSettings(admission=UNBOUNDED))
    rate = {"standard": LevelRate(0.3, 0.1, 0.2)}
    for k in range(max(1, streams // 8 + 1)):
        scheduler.worker_ready(WorkerCard(f"w{k}", MAIN, 16, rate), 0.0)
        scheduler.worker_ready(WorkerCard(f"f{k}", FALLBACK, 8, rate), 0.0)
    for k in range(streams):
        name = f"s{k}"
        scheduler.open_stream(StreamSpec(name, (MAIN, FALLBACK)), 0.0)
        for index in range(3):
            scheduler.submit(JobSpec(f"{name}/{index}", name, index, 1000.0 if index == 0 else 3.0), 0.0)
    scheduler.plan(0.0)
    now, sent, times = 0.05, [0.0] * streams, []
    for step in range(max(2000, 2 * streams)):
        k = (step * 7919 + seed) % streams
        now += 0.5 / streams
        sent[k] += 0.5
        began = process_time_ns()
        scheduler.progressed(f"s{k}/0", MAIN, sent[k], now)
        scheduler.plan(now)
        scheduler.sent(f"s{k}", sent[k], now)
        scheduler.plan(now)
        times.append(process_time_ns() - began)
    return times[len(times) // 4 :]


def picture(rows: list[dict[str, Any]], cost_us: dict[str, float]) -> str:
    """Goodput, continuity and engine share over load (largest simulated pool), and the cost of a decision."""
    most = max(row["workers"] for row in rows)
    mine = sorted((row for row in rows if row["workers"] == most), key=lambda row: row["load"])

    def line(label: str, key: str) -> tuple[str, list[tuple[float, float]]]:
        return label, [(row["load"], row[key]) for row in mine]

    goodput = [
        line("deadline scheduler", "goodput"),
        line("FIFO, 3 s timeout", "goodput_fifo_timeout"),
        line("fallback on failure", "goodput_on_failure"),
    ]
    share = [line("continuity of admitted", "continuity"), line("speech by the main engine", "main_engine_share")]
    points = [(float(k), v) for k, v in cost_us.items()]
    top = max((v for _, v in points), default=1.0) * 1.2
    return chart(
        f"Scheduling under load, {most} main workers (simulated)",
        [
            Panel("Streams begun in time and never interrupted", "load", "share of all offered", goodput),
            Panel("Admitted streams", "load", "share", share),
            Panel("Cost of a decision (median)", "streams", "µs", [("deadline scheduler", points)], high=top, is_log_x=True),
        ],
    )


def _policy(name: str, world: World) -> Policy:
    chain = (MAIN, FALLBACK)
    if name == "ours":
        return Ours(world, chain, SchedulerSettings(admission=UNBOUNDED))
    return FifoTimeout(world, chain) if name == "goodput_fifo_timeout" else OnFailure(world, chain)


def _schedule_faults(world: World, duration_s: float) -> None:
    """Workers die at random, the same moments for every policy."""
    for worker_id in sorted(world.runs):
        at = world.random.expovariate(1 / FAULT_EVERY_S)
        while at < duration_s:
            world.at(at, lambda w=worker_id: world.kill(w, AWAY_S))  # type: ignore[misc]
            at += AWAY_S + world.random.expovariate(1 / FAULT_EVERY_S)


def _duration(workers: int, load: float, quick: bool) -> float:
    """Long enough for a few thousand streams, bounded so that the whole takes minutes."""
    streams = 400 if quick else 3000
    per_s = load * workers * 5.0 / 11.0  # about 5 s of sound per second and worker, 11 s per utterance
    return min(1800.0, max(30.0, streams / per_s))


def _say(row: dict[str, Any]) -> None:
    print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)


def _floats(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def _ints(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))

"""`realtime bench schedule`: the service's scheduler against simpler policies, in a discrete-event simulation.

The scheduler is the real one; workers, listeners, faults and time are simulated (`schedule_world`), the engines as fast as measured
(`schedule_rates`). Load 1 = as much sound as the main engine's workers alone can make in time. An utterance counts as good when its
first sound came within its budget and its listener never waited; `served_at_most` is what no policy could exceed, `main_engine_at_most`
how much of the sound of those admitted the main engine could have made (`schedule_bound`).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from os import sched_getaffinity
from pathlib import Path
from typing import Any

import anyio
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as Rows

from realtime.bench import schedule_rates as rates
from realtime.bench.schedule_baselines import FifoTimeout, OnFailure
from realtime.bench.schedule_bound import served_at_most, spoken_at_most
from realtime.bench.schedule_calls import Fate
from realtime.bench.schedule_cost import UNBOUNDED, decision_cost
from realtime.bench.schedule_ours import Ours
from realtime.bench.schedule_world import EngineModel, Offer, World, mean_offer_s, offers
from realtime.bench.svg_chart import Panel, chart
from realtime.scheduling.scheduler import SchedulerSettings

LOADS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
WORKERS = (1, 8, 64, 512)
STREAM_COUNTS = (10, 100, 1000, 10_000)
FAULT_EVERY_S = 600.0  # a worker dies so often on average
AWAY_S = 8.0  # until it is replaced
DRAIN_S = 120.0  # after the last arrival
BASELINES = {"fifo_timeout": FifoTimeout, "on_failure": OnFailure}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `realtime bench schedule`."""
    parser.add_argument("--loads", type=_floats, default=None, help="comma-separated loads (default 0.5 to 4)")
    parser.add_argument("--workers", type=_ints, default=None, help="comma-separated numbers of main workers (default 1,8,64,512)")
    parser.add_argument("--duration", type=float, default=None, metavar="S", help="simulated seconds of arrivals")
    parser.add_argument("--rates", default="measured", metavar="NAME|FILE", help="measured (default), large-host, or a JSON file")
    parser.add_argument("--measure", metavar="A,B", help="take the rates of these engines (best first) here and now, instead of --rates")
    parser.add_argument("--picture", type=Path, default=None, metavar="FILE", help="write the curves as SVG")
    parser.add_argument("--quick", action="store_true", help="few points, a minute at most")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure; returns the keys of architecture section 7."""
    quick = bool(args.quick)
    table = _measure(args.measure.split(",")) if args.measure else rates.read(args.rates)
    loads = args.loads or ((0.5, 1.0, 2.0, 4.0) if quick else LOADS)
    points = [(load, count) for count in args.workers or ((1, 16) if quick else WORKERS) for load in loads]
    with _progress(len(points) + 1) as step:
        rows = []
        with ProcessPoolExecutor(len(sched_getaffinity(0))) as processes:
            jobs = [processes.submit(one_load, load, count, args.duration, args.seed, table, quick) for load, count in points]
            for (load, count), job in zip(points, jobs, strict=True):
                step(f"{count} workers at {load:g}x")
                rows.append(job.result())
        step("cost of a decision")
        cost = decision_cost(STREAM_COUNTS, args.seed)
    _print(rows)
    result: dict[str, Any] = {"loads": rows, "rates": table, "decision_us_p99": cost["p99"], "decision_us_p50": cost["p50"]}
    result |= {f"{what}_us_p99": cost[f"{what}_p99"] for what in ("admission", "holds")} | {"holds_us_p50": cost["holds_p50"]}
    if args.picture:
        args.picture.write_text(picture(rows, cost["p50"]), encoding="utf-8")
        result["picture"] = str(args.picture)
    return result


def one_load(
    load: float, workers: int, duration_s: float | None, seed: int, table: rates.Table = rates.SMALL_HOST, quick: bool = False
) -> dict[str, Any]:
    """All three policies under the same arrivals and faults."""
    engines = rates.models(table, workers)
    per_s = load * engines[0].rated()
    duration_s = duration_s or _duration(per_s, quick)
    arrivals = offers(per_s, duration_s, seed)
    row: dict[str, Any] = {"load": load, "workers": workers, "streams": len(arrivals)}
    row |= _ours(engines, arrivals, duration_s, seed)
    for name, baseline in BASELINES.items():
        world = World(engines, seed)
        policy = baseline(world, tuple(world.engines))
        _simulate(world, policy, arrivals, duration_s)
        good = sum(call.is_good(world.now) for call in policy.calls)
        row[f"goodput_{name}"] = round(good / max(1, len(arrivals)), 4)
    row["served_at_most"] = round(served_at_most(arrivals, engines[:2], duration_s), 4)  # the last resort is for rescues
    return row


def _ours(engines: list[EngineModel], arrivals: list[Offer], duration_s: float, seed: int) -> dict[str, Any]:
    world = World(engines, seed)
    policy = Ours(world, tuple(world.engines), SchedulerSettings(admission=UNBOUNDED))
    _simulate(world, policy, arrivals, duration_s)
    calls = list(policy.calls)
    admitted = [call for call in calls if call.fate is not Fate.REFUSED]
    by_engine = {name: sum(call.by_engine.get(name, 0.0) for call in admitted) for name in world.engines}
    return {
        "continuity": round(sum(call.is_whole(world.now) for call in admitted) / max(1, len(admitted)), 5),
        "goodput": round(sum(call.is_good(world.now) for call in calls) / max(1, len(calls)), 4),
        "main_engine_share": round(by_engine[engines[0].name] / max(1e-9, sum(by_engine.values())), 4),
        "main_engine_at_most": round(spoken_at_most([call.offer for call in admitted], engines[0]), 4),
        "refused": round(1 - len(admitted) / max(1, len(calls)), 4),
        "given_up": sum(call.fate is Fate.BROKEN for call in calls),
    }


def _simulate(world: World, policy: Ours | OnFailure, arrivals: list[Offer], duration_s: float) -> None:
    world.policy = policy
    for offer in arrivals:
        world.at(offer.at, lambda offer=offer: policy.arrive(offer))  # type: ignore[misc]
    for worker_id in sorted(world.runs):  # workers die at random, the same moments for every policy
        at = world.random.expovariate(1 / FAULT_EVERY_S)
        while at < duration_s:
            world.at(at, lambda w=worker_id: world.kill(w, AWAY_S))  # type: ignore[misc]
            at += AWAY_S + world.random.expovariate(1 / FAULT_EVERY_S)
    world.run(duration_s + DRAIN_S)


def _duration(per_s: float, quick: bool) -> float:
    """Long enough for a few thousand streams, bounded so that the whole takes minutes; `per_s`: seconds of sound asked for per second."""
    streams = 400 if quick else 3000
    return min(3600.0, max(60.0, streams * mean_offer_s() / per_s))


def picture(rows: list[dict[str, Any]], cost_us: dict[str, float]) -> str:
    """Goodput and what became of the admitted over load (largest simulated pool), and the cost of a decision."""
    most = max(row["workers"] for row in rows)
    mine = sorted((row for row in rows if row["workers"] == most), key=lambda row: row["load"])

    def line(label: str, key: str) -> tuple[str, list[tuple[float, float]]]:
        return label, [(row["load"], row[key]) for row in mine]

    goodput = [
        line("deadline scheduler", "goodput"),
        line("FIFO, 3 s timeout", "goodput_fifo_timeout"),
        line("fallback on failure", "goodput_on_failure"),
        line("most that any policy could, in the long run", "served_at_most"),
    ]
    share = [
        line("continuity of admitted", "continuity"),
        line("speech by the main engine", "main_engine_share"),
        line("could be by the main engine", "main_engine_at_most"),
        line("refused", "refused"),
    ]
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


def _measure(engines: list[str]) -> rates.Table:
    from realtime.bench.capacity import measured_workers  # real workers, and with them the whole service: a second's import
    from realtime.config import load as load_settings

    with Console(stderr=True).status("starting one worker of each engine and measuring it"):
        return rates.measured(anyio.run(measured_workers, load_settings(), engines))


@contextmanager
def _progress(total: int) -> Iterator[Any]:
    """A bar on stderr; yields `step(what)`, to be called before each part."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task, begun = bar.add_task("", total=total), False

        def step(what: str) -> None:
            nonlocal begun
            bar.update(task, description=what, advance=1 if begun else 0)
            begun = True

        yield step


def _print(rows: list[dict[str, Any]]) -> None:
    table = Rows(*(key.replace("_", " ") for key in rows[0]))
    for row in rows:
        table.add_row(*(f"{value:g}" for value in row.values()))
    Console(stderr=True, width=200).print(table)


def _floats(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def _ints(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))

"""What a decision of the scheduler costs, by the number of streams that are speaking."""

from __future__ import annotations

from time import process_time_ns

from realtime.scheduling.admission import AdmissionSettings, KeyLimits
from realtime.scheduling.scheduler import JobSpec, LevelRate, Scheduler, SchedulerSettings, StreamSpec, WorkerCard

UNBOUNDED = AdmissionSettings(
    max_streams=10**6, max_waiting_jobs=10**6, default_limits=KeyLimits(per_second=1e6, burst=10**6, streams=10**6)
)
ADMISSIONS = 500


def decision_cost(stream_counts: tuple[int, ...], seed: int) -> dict[str, dict[str, float]]:
    """Microseconds by number of streams: of a report with its plan (`p50`, `p99`), of an admission (`admission_p99`), of what every event
    of a worker adds, the listener's sound told anew (`holds_p50`, `holds_p99`)."""
    found: dict[str, dict[str, float]] = {"p50": {}, "p99": {}, "admission_p99": {}, "holds_p50": {}, "holds_p99": {}}
    for streams in stream_counts:
        reports, holds, admissions = _times(streams, seed)
        kinds = (("p50", reports, 0.5), ("p99", reports, 0.99), ("admission_p99", admissions, 0.99))
        for key, times, share in (*kinds, ("holds_p50", holds, 0.5), ("holds_p99", holds, 0.99)):
            found[key][str(streams)] = round(sorted(times)[int(len(times) * share)] / 1000, 1)
    return found


def _times(streams: int, seed: int) -> tuple[list[int], list[int], list[int]]:
    """Nanoseconds of each `progressed` + `sent` + `plan`, in a steady state with `streams` speaking utterances, of each `holds`, at
    every eighth step with less sound than was made, as where voices change, and of admissions."""
    scheduler = _busy(streams)
    now, sent, reports, holds = 0.05, [0.0] * streams, [], []
    for step in range(max(2000, 2 * streams)):
        k = (step * 7919 + seed) % streams
        now += 0.5 / streams
        sent[k] += 0.5
        unsent_s = 0.4 if step % 8 == 0 else 0.5
        began = process_time_ns()
        scheduler.progressed(f"s{k}/0", "main", sent[k], now)
        between = process_time_ns()
        scheduler.holds(f"s{k}", unsent_s, now)
        holds.append(process_time_ns() - between)
        scheduler.plan(now)
        scheduler.sent(f"s{k}", sent[k], now)
        scheduler.plan(now)
        reports.append(process_time_ns() - began)
    admissions = []
    for k in range(ADMISSIONS):
        now += 0.5 / streams
        began = process_time_ns()
        scheduler.open_stream(StreamSpec(f"new{k}", ("main", "fallback")), now)
        admissions.append(process_time_ns() - began)
    steady = len(reports) // 4
    return reports[steady:], holds[steady:], admissions


def _busy(streams: int) -> Scheduler:
    """A scheduler with so many streams, each of which speaks a long segment and has two waiting."""
    scheduler = Scheduler(SchedulerSettings(admission=UNBOUNDED))
    rate = {"standard": LevelRate(0.3, 0.1, 0.2)}
    for k in range(streams // 2 + 8):
        scheduler.worker_ready(WorkerCard(f"w{k}", "main", 16, rate), 0.0)
        scheduler.worker_ready(WorkerCard(f"f{k}", "fallback", 8, rate), 0.0)
    for k in range(streams):
        name = f"s{k}"
        scheduler.open_stream(StreamSpec(name, ("main", "fallback")), 0.0)
        for index in range(3):
            scheduler.submit(JobSpec(f"{name}/{index}", name, index, 1000.0 if index == 0 else 3.0), 0.0)
        scheduler.plan(0.0)
    return scheduler

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.scheduling import actions as act
from realtime.scheduling.actions import Reason
from realtime.scheduling.ladder import Need, Rung, choose, is_in_time
from realtime.scheduling.queues import LazyHeap
from realtime.scheduling.rates import Quantile
from realtime.scheduling.scheduler import Admitted, JobSpec, LevelRate, Refused, Scheduler, StreamSpec, WorkerCard
from realtime.scheduling.streams import TRANSITIONS, JobEvent, JobState
from realtime.types import Budget, Priority


def test_one_segment_from_submission_to_the_end(pair, pick) -> None:  # type: ignore[no-untyped-def]
    job = pair.submit()
    (given,) = pick(act.Dispatch, pair.plan())
    assert (given.engine, given.worker_id, given.level) == ("first", "first-0", "best")
    assert given.deadline == pytest.approx(pair.now + 1.5)
    pair.sound(job, "first", 3.0, sent_s=3.0)
    pair.scheduler.finished(job, "first", 3.0, pair.now)
    assert pair.plan() == []
    assert pair.scheduler.playout("s").continuity(pair.now + 60).is_whole
    pair.scheduler.close_stream("s", pair.now)
    assert pair.plan() == []
    assert pair.scheduler.playout("s") is None


def test_repr_and_snapshot_tell_what_is_going_on(pair) -> None:  # type: ignore[no-untyped-def]
    pair.submit()
    pair.plan()
    assert repr(pair.scheduler) == "<Scheduler 1 streams, 1 jobs, first 1/4, second 0/4>"
    shot = pair.scheduler.snapshot(pair.now)
    assert (shot.streams, shot.running["first"], shot.slots["second"]) == (1, 1, 4)
    assert shot.supply["first"] > 1
    assert shot.counts["Dispatch:first"] == 1


def test_a_stream_ahead_of_its_listener_rests_until_the_lead_is_down(pair, pick) -> None:  # type: ignore[no-untyped-def]
    pair.scheduler.close_stream("s", pair.now)
    pair.open("t", max_lead_ms=4000)
    first = pair.submit(0, "t", seconds=5.0)
    pair.submit(1, "t")
    assert len(pick(act.Dispatch, pair.plan())) == 1 or pair.said
    pair.sound(first, "first", 5.0, sent_s=5.0)
    pair.scheduler.finished(first, "first", 5.0, pair.now)
    pair.plan()
    before = [d.job_id for d in pick(act.Dispatch, pair.said)]
    after = [d.job_id for d in pick(act.Dispatch, pair.advance(3.0))]
    assert (before, after) == (["t/0"], ["t/1"])


def test_no_worker_of_the_first_choice_means_the_next_at_once(bench, pick) -> None:  # type: ignore[no-untyped-def]
    bench.worker("second")
    answer = bench.open()
    assert isinstance(answer, Admitted) and answer.engine == "second"
    bench.submit()
    assert [d.engine for d in pick(act.Dispatch, bench.plan())] == ["second"]


def test_nothing_ready_at_all_is_refused_and_an_admitted_stream_expires(bench, pick) -> None:  # type: ignore[no-untyped-def]
    refused = bench.open()
    assert isinstance(refused, Refused) and refused.reason is Reason.NO_WORKER
    bench.worker("first")
    bench.open("t")
    bench.scheduler.worker_lost("first-0", bench.now)
    bench.submit(0, "t")
    assert not pick(act.Shed, bench.advance(1.4))
    (shed,) = pick(act.Shed, bench.advance(0.2))
    assert (shed.stream_id, shed.reason) == ("t", Reason.EXPIRED)


def test_no_engine_is_idle_beside_a_line_that_the_first_choice_cannot_work_off(bench, pick) -> None:  # type: ignore[no-untyped-def]
    bench.worker("first", capacity=1, rtf=0.7)
    bench.worker("second", capacity=8, rtf=0.1)
    given = []
    for k in range(6):
        force_open(bench.scheduler, StreamSpec(f"s{k}", ("first", "second"), budget=Budget(first_audio_ms=3000)), bench.now)
        bench.submit(0, f"s{k}")
        given.append([d.engine for d in pick(act.Dispatch, bench.plan())])
    # one runs, two in line keep it busy, two more can be reached in time; the sixth can't
    assert given == [["first"], [], [], [], [], ["second"]]


def test_a_worker_that_becomes_ready_takes_what_waits(bench, pick) -> None:  # type: ignore[no-untyped-def]
    bench.worker("first", "w")
    bench.open()
    bench.scheduler.worker_lost("w", bench.now)
    bench.submit()
    assert bench.plan() == []
    bench.worker("first", "w2")
    assert [d.worker_id for d in pick(act.Dispatch, bench.plan())] == ["w2"]


def test_the_quality_falls_with_the_load(bench, pick) -> None:  # type: ignore[no-untyped-def]
    bench.worker("first", rtf=0.6, fast=0.1)
    bench.open("s0", ("first",))
    bench.submit(0, "s0")
    assert [d.level for d in pick(act.Dispatch, bench.plan())] == ["best"]
    for k in (1, 2, 3):
        bench.open(f"s{k}", ("first",))
    bench.now += 1.1
    bench.submit(0, "s1")
    assert [d.level for d in pick(act.Dispatch, bench.plan())] == ["fast"]


def test_a_slow_level_makes_room_where_the_engine_can_change_it(bench, pick) -> None:  # type: ignore[no-untyped-def]
    rates = {"best": LevelRate(0.79, 0.1, 0.3), "fast": LevelRate(0.1, 0.1, 0.3)}
    bench.scheduler.worker_ready(WorkerCard("w", "first", 4, rates, can_adjust=True), bench.now)
    for name in ("a", "b"):
        force_open(bench.scheduler, StreamSpec(name, ("first",), budget=Budget(first_audio_ms=800)), bench.now)
        bench.submit(0, name)
        if name == "a":
            assert [d.level for d in pick(act.Dispatch, bench.plan())] == ["best"]
    done = bench.plan() + bench.advance(0.7)
    assert [(c.job_id, c.level) for c in pick(act.ChangeQuality, done)] == [("a/0", "fast")]
    assert [d.job_id for d in pick(act.Dispatch, done)] == ["b/0"]


def test_a_run_that_would_be_late_is_adjusted_where_the_engine_can(bench, pick) -> None:  # type: ignore[no-untyped-def]
    rates = {"best": LevelRate(0.5, 0.1), "fast": LevelRate(0.1, 0.1)}
    bench.scheduler.worker_ready(WorkerCard("w", "first", 4, rates, can_adjust=True), bench.now)
    bench.open()
    job = bench.submit(seconds=8.0)
    bench.plan()
    for k in range(1, 6):
        bench.now += 0.45  # a second of sound should take half a second; it takes nearly all of it
        bench.sound(job, "first", 0.4 * k, sent_s=0.4 * k)
    changed = pick(act.ChangeQuality, bench.said)
    assert [c.level for c in changed] == ["fast"]


def test_a_higher_class_goes_first_when_both_cannot_be_in_time(bench, pick) -> None:  # type: ignore[no-untyped-def]
    bench.worker("only", capacity=1, rtf=0.5, first=0.1)
    bench.open("busy", ("only",), Priority.BATCH)
    bench.submit(0, "busy", seconds=2.0)
    bench.plan()
    for name, priority, budget in (("l", Priority.BATCH, 1200), ("h", Priority.INTERACTIVE, 1300)):
        force_open(bench.scheduler, StreamSpec(name, ("only",), priority, Budget(first_audio_ms=budget)), bench.now)
        bench.submit(0, name, seconds=3.0)
    bench.plan()
    bench.now += 0.9
    bench.scheduler.finished("busy/0", "only", 2.0, bench.now)
    assert [d.stream_id for d in pick(act.Dispatch, bench.plan())] == ["h"]


def test_a_lower_class_is_served_although_a_higher_one_never_ends(bench, pick) -> None:  # type: ignore[no-untyped-def]
    bench.worker("only", capacity=1, rtf=0.5, first=0.1)
    force_open(bench.scheduler, StreamSpec("low", ("only",), Priority.BATCH, Budget(first_audio_ms=2000)), bench.now)
    bench.scheduler.sent("low", 0.01, bench.now)  # begun, so that it waits instead of expiring
    bench.submit(0, "low", seconds=1.0)
    served = []
    for k in range(40):
        force_open(bench.scheduler, StreamSpec(f"h{k}", ("only",), Priority.INTERACTIVE, Budget(first_audio_ms=900)), bench.now)
        bench.submit(0, f"h{k}", seconds=1.0)
        for given_out in pick(act.Dispatch, bench.plan()):
            served.append(given_out.stream_id)
        bench.advance(0.5)
        if served:
            bench.scheduler.finished(f"{served[-1]}/0", "only", 1.0, bench.now)
    assert "low" in served


def test_cancel_stops_every_run_and_forgets_the_rest(pair, pick) -> None:  # type: ignore[no-untyped-def]
    for k in range(4):
        pair.submit(k, seconds=2.0)
    given = pick(act.Dispatch, pair.plan())
    pair.scheduler.cancel("s", pair.now)
    assert sorted(c.job_id for c in pick(act.CancelJob, pair.plan())) == sorted(d.job_id for d in given)
    assert pair.advance(60) == []
    assert repr(pair.scheduler) == "<Scheduler 0 streams, 0 jobs, first 0/4, second 0/4>"


def test_reports_of_what_is_gone_are_ignored(pair) -> None:  # type: ignore[no-untyped-def]
    now = pair.now
    pair.scheduler.progressed("nobody/0", "first", 1.0, now)
    pair.scheduler.finished("nobody/0", "first", 1.0, now)
    pair.scheduler.failed("nobody/0", "first", Reason.ENGINE_FAILED, now)
    pair.scheduler.sent("nobody", 1.0, now)
    pair.scheduler.played("nobody", 1.0, now)
    pair.scheduler.cancel("nobody", now)
    pair.scheduler.submit(JobSpec("nobody/0", "nobody", 0, 1.0), now)
    pair.scheduler.worker_lost("nobody", now)
    assert pair.plan() == []


def test_a_stream_opened_twice_is_an_error(pair) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="open already"):
        pair.open()


# against the optimum


def force_open(scheduler: Scheduler, spec: StreamSpec, now: float) -> None:
    """Open a stream whatever the admission would say: these tests are about the order."""
    gate = scheduler._admission.refusal
    scheduler._admission.refusal = lambda *_: None  # type: ignore[method-assign]
    try:
        assert isinstance(scheduler.open_stream(spec, now), Admitted)
    finally:
        scheduler._admission.refusal = gate  # type: ignore[method-assign]


JOBS = st.lists(st.tuples(st.floats(0.2, 4.0), st.floats(0.2, 6.0)), min_size=1, max_size=6)
RTF, FIRST = 0.5, 0.1


def served_in_time(order: list[int], jobs: list[tuple[float, float]]) -> bool:
    """Whether one worker, taking the jobs in that order, gives each its first sound in time. A job is (seconds of sound, deadline)."""
    at = 0.0
    for k in order:
        length, deadline = jobs[k]
        if at + FIRST > deadline + 1e-9:
            return False
        at += FIRST + RTF * length
    return True


def our_order(jobs: list[tuple[float, float]], classes: list[Priority] | None = None) -> list[int]:
    """The order in which the scheduler gives them to one worker of capacity one."""
    classes = classes or [Priority.NORMAL] * len(jobs)
    scheduler = Scheduler()
    scheduler.worker_ready(WorkerCard("w", "e", 1, {"l": LevelRate(RTF, FIRST, 1.0)}), 0.0)
    for k, (length, deadline) in enumerate(jobs):
        spec = StreamSpec(f"s{k}", ("e",), classes[k], Budget(first_audio_ms=round(deadline * 1000)))
        force_open(scheduler, spec, 0.0)
        scheduler.submit(JobSpec(f"s{k}/0", f"s{k}", 0, length), 0.0)
    order, now = [], 0.0
    while True:
        given = [a for a in scheduler.plan(now) if isinstance(a, act.Dispatch)]
        if not given:
            return order
        k = int(given[0].stream_id[1:])
        order.append(k)
        scheduler.progressed(given[0].job_id, "e", 0.01, now + FIRST)
        now += FIRST + RTF * jobs[k][0]
        scheduler.finished(given[0].job_id, "e", jobs[k][0], now)
        scheduler.close_stream(given[0].stream_id, now)


@settings(max_examples=150, deadline=None)
@given(JOBS)
def test_no_stream_misses_when_any_order_would_keep_them_all(jobs: list[tuple[float, float]]) -> None:
    jobs = [(length, round(deadline, 3)) for length, deadline in jobs]
    feasible = any(served_in_time(list(order), jobs) for order in itertools.permutations(range(len(jobs))))
    if feasible:
        assert served_in_time(our_order(jobs), jobs)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.floats(0.2, 4.0), st.floats(0.2, 8.0), st.sampled_from(Priority)), min_size=1, max_size=6))
def test_classes_make_nobody_late_whom_some_order_would_keep(jobs: list[tuple[float, float, Priority]]) -> None:
    bare = [(length, round(deadline, 3)) for length, deadline, _ in jobs]
    orders = itertools.permutations(range(len(jobs)))
    order = our_order(bare, [priority for *_, priority in jobs])
    if any(served_in_time(list(candidate), bare) for candidate in orders):
        assert served_in_time(order, bare)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(0.15, 3.0), st.sampled_from(Priority)), min_size=1, max_size=12), st.integers(2, 4), st.booleans())
def test_nor_on_several_workers_or_in_batches_with_segments_of_one_length(
    offered: list[tuple[float, Priority]], workers: int, is_batch: bool
) -> None:
    """Equal lengths: earliest deadline first is optimal on any number of places, of one worker (a batch that costs what one job does) or
    of several, and every feasible set is found by it."""
    deadlines, classes = [d for d, _ in offered], [priority for _, priority in sorted(offered)]
    ordered = sorted(round(d, 3) for d in deadlines)
    step = FIRST + RTF * 1.0
    feasible = all((k // workers) * step + FIRST <= d + 1e-9 for k, d in enumerate(ordered))
    scheduler = Scheduler()
    for w in range(1 if is_batch else workers):
        rate = {"l": LevelRate(RTF, FIRST, 0.0 if is_batch else 1.0)}
        scheduler.worker_ready(WorkerCard(f"w{w}", "e", workers if is_batch else 1, rate), 0.0)
    for k, deadline in enumerate(ordered):
        force_open(scheduler, StreamSpec(f"s{k}", ("e",), classes[k], Budget(first_audio_ms=round(deadline * 1000))), 0.0)
    for k in random.Random(len(ordered)).sample(range(len(ordered)), len(ordered)):
        scheduler.submit(JobSpec(f"s{k}/0", f"s{k}", 0, 1.0), 0.0)
    late, now, running = 0, 0.0, []
    while True:
        for action in scheduler.plan(now):
            if isinstance(action, act.Dispatch):
                late += now + FIRST > ordered[int(action.stream_id[1:])] + 1e-9
                running.append((now + step, action.job_id))
                scheduler.progressed(action.job_id, "e", 0.01, now)
            late += isinstance(action, act.Shed)
        if not running:
            break
        running.sort()
        now, job = running.pop(0)
        scheduler.finished(job, "e", 1.0, now)
        scheduler.close_stream(job.split("/")[0], now)
    assert late == 0 or not feasible


# small parts


def test_every_state_of_a_segment_is_in_the_table_and_ends_are_final() -> None:
    assert set(TRANSITIONS) == set(JobState)
    for final in (JobState.DONE, JobState.FAILED, JobState.CANCELLED):
        assert TRANSITIONS[final] == {}
    assert {event for row in TRANSITIONS.values() for event in row} == set(JobEvent)


@pytest.mark.parametrize(
    ("rtf", "first", "audio", "slack", "expected"),
    [(0.5, 0.1, 3.0, 0.2, True), (0.5, 0.3, 3.0, 0.2, False), (1.5, 0.1, 3.0, 1.0, False), (1.5, 0.1, 3.0, 1.7, True)],
)
def test_in_time_is_decided_by_both_ends(rtf: float, first: float, audio: float, slack: float, expected: bool) -> None:
    assert is_in_time(Rung("l", first, rtf), Need(10.0, 10.0 + slack, audio)) is expected


@pytest.mark.parametrize(("lag_s", "slack", "expected"), [(0.3, 1.05, False), (0.3, 1.15, True), (-0.1, 0.75, True), (-1.0, 0.65, False)])
def test_a_start_may_be_put_off_for_chunks_that_come_late(lag_s: float, slack: float, expected: bool) -> None:
    need = Need(10.0, 10.0 + slack, 3.0, spare_s=0.1, tail_s=0.1)
    assert is_in_time(Rung("l", 0.7, 0.9, lag_s), need) is expected


@pytest.mark.parametrize(("lag_s", "expected"), [(0.2, True), (0.4, False)])
def test_chunks_that_come_late_must_fit_the_slack_of_a_listener_who_hears_already(lag_s: float, expected: bool) -> None:
    assert is_in_time(Rung("l", 0.7, 0.9, lag_s), Need(10.0, 11.0, 3.0)) is expected


def test_the_best_level_in_time_is_chosen_else_the_fastest() -> None:
    rungs = [Rung("best", 0.9, 0.9), Rung("mid", 0.4, 0.6), Rung("fast", 0.2, 0.3)]
    assert [choose(rungs, Need(0, slack, 3.0)).rung.level for slack in (2.0, 0.5, 0.3, 0.1)] == ["best", "mid", "fast", "fast"]
    assert not choose(rungs, Need(0, 0.1, 3.0)).is_in_time
    assert choose(rungs, Need(0, 2.0, 3.0), least=1).rung.level == "mid"


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0, 100)), max_size=200))
def test_lazy_heap_keeps_one_place_per_key(puts: list[tuple[int, float]]) -> None:
    heap: LazyHeap[int] = LazyHeap()
    places: dict[int, float] = {}
    for key, at in puts:
        if at > 90:
            heap.drop(key)
            places.pop(key, None)
        else:
            heap.put(key, at)
            places[key] = at
    assert len(heap) == len(places)
    assert [heap.pop() for _ in range(len(heap))] == sorted(((at, key) for key, at in places.items()), key=lambda p: p[0]) or len(
        set(places.values())
    ) < len(places)
    with pytest.raises(IndexError):
        heap.pop()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_quantile_is_of_the_last_values_only(values: list[float]) -> None:
    quantile = Quantile(kept=10)
    for value in values:
        quantile.add(value)
    last = sorted(values[-10:])
    assert quantile.at(0.0) == last[0]
    assert quantile.at(1.0) == last[-1]

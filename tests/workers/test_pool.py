"""The pool with real processes: what ends a worker, what becomes of its jobs, and that nothing is left behind.

Every wait is for an event, bounded by a limit that only a failure reaches.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import numpy as np
import psutil
import pytest

from realtime import errors
from realtime.engines.base import Chunk, Done, Failed, Job, PlanRequest
from realtime.engines.beacon.decoder import decode
from realtime.workers import pool as pool_module
from realtime.workers.interface import (
    Fault,
    FaultKind,
    JobEvent,
    LossReason,
    PoolEvent,
    Reload,
    Sentence,
    WorkerLost,
    WorkerPool,
    WorkerReady,
    WorkerSpec,
    WorkerState,
)
from realtime.workers.pool import Pool
from realtime.workers.warmup import SENTENCES, WARM_UP

LIMIT_S = 20.0
TALKER = "tests.workers.engines_for_tests:"


class Watch:
    """A pool and all that it reported, with ways to wait for it."""

    def __init__(self, *specs: WorkerSpec, **options: Any) -> None:
        self.events: list[PoolEvent] = []
        self._news = anyio.Event()
        self.pool = Pool(specs, on_event=self._on_event, allow_faults=True, **options)

    def _on_event(self, event: PoolEvent) -> None:
        self.events.append(event)
        self._news.set()
        self._news = anyio.Event()

    async def until(self, holds: Callable[[], Any]) -> None:
        with anyio.fail_after(LIMIT_S):
            while not holds():
                await self._news.wait()

    async def ready(self) -> str:
        """Wait until all workers are ready; the first one's id."""
        await self.pool.wait_ready([slot.spec.engine for slot in self.pool._slots], LIMIT_S)
        return self.pool.workers()[0].id

    def of(self, job_id: str) -> list[Any]:
        return [e.event for e in self.events if isinstance(e, JobEvent) and e.event.job_id == job_id]

    def sound(self, job_id: str) -> np.ndarray[Any, Any]:
        return np.concatenate([e.samples for e in self.of(job_id) if isinstance(e, Chunk)] or [np.zeros(0, np.float32)])

    def is_over(self, job_id: str) -> bool:
        return any(isinstance(e, Done | Failed) for e in self.of(job_id))

    @property
    def losses(self) -> list[WorkerLost]:
        return [e for e in self.events if isinstance(e, WorkerLost)]

    @property
    def arrivals(self) -> list[WorkerReady]:
        return [e for e in self.events if isinstance(e, WorkerReady)]


def beacon(**options: Any) -> WorkerSpec:
    return WorkerSpec("beacon", options, step_timeout_s=5.0)


def talker(kind: str = "talker", **changes: Any) -> WorkerSpec:
    return WorkerSpec("talker", factory=TALKER + kind, **{"step_timeout_s": 5.0, "is_measured": False, **changes})


def a_job(name: str = "j", text: str = "你好, world", start: int = 0) -> Job:
    return Job(name, text, "beacon-a", "zh", start=start)


def a_call(name: str = "j", text: str = "hello") -> Job:
    return Job(name, text, "v", "en")


@pytest.fixture(autouse=True)
async def nothing_is_left() -> AsyncIterator[None]:
    """After each test: as many file descriptors, child processes and tasks as before."""
    me = psutil.Process()
    fds, tasks, children = me.num_fds(), len(anyio.get_running_tasks()), set(me.children(recursive=True))
    yield
    assert set(me.children(recursive=True)) <= children
    assert me.num_fds() == fds
    assert len(anyio.get_running_tasks()) == tasks


class TestSpeaking:
    async def test_the_sound_of_a_job_arrives_whole(self) -> None:
        watch = Watch(beacon())
        async with watch.pool:
            worker = await watch.ready()
            watch.pool.start_job(worker, a_job())
            await watch.until(lambda: watch.is_over("j"))
        assert decode(watch.sound("j"), 24000) == "你好, world"
        assert watch.of("j")[-1] == Done("j", len(watch.sound("j")))

    async def test_sixteen_bit_transport_carries_it_too(self) -> None:
        watch = Watch(WorkerSpec("beacon", pcm="s16"))
        async with watch.pool:
            watch.pool.start_job(await watch.ready(), a_job())
            await watch.until(lambda: watch.is_over("j"))
        assert decode(watch.sound("j"), 24000) == "你好, world"

    async def test_jobs_are_interleaved_up_to_capacity_and_the_rest_waits(self) -> None:
        watch = Watch(beacon(capacity=2, chunk_ms=20))
        async with watch.pool:
            worker = await watch.ready()
            watch.pool.inject(worker, Fault(FaultKind.STALL, value=100))  # so that it finds all three at once
            for name in "abc":
                watch.pool.start_job(worker, a_job(name))
            await watch.until(lambda: all(watch.is_over(name) for name in "abc"))
        order = [e.event.job_id for e in watch.events if isinstance(e, JobEvent)]
        both = order[order.index("b") : len(order) - 1 - order[::-1].index("a")]  # from b's beginning to a's end they take turns
        assert len(both) >= 4 and all(one != other for one, other in itertools.pairwise(both))
        assert order.index("c") > order.index("a", 4)
        assert all(decode(watch.sound(name), 24000) == "你好, world" for name in "abc")

    async def test_ready_tells_what_was_measured(self) -> None:
        watch = Watch(beacon(levels=[{"name": "best", "rate_factor": 0.7}, {"name": "fast", "rate_factor": 0.2}]))
        async with watch.pool:
            await watch.ready()
            status = watch.pool.workers()[0]
        assert watch.arrivals[0].rates == status.rates
        assert status.rates["best"].rtf >= 0.7 > status.rates["fast"].rtf >= 0.2
        assert status.info is not None and status.info.levels[0].rtf == status.rates["best"].rtf

    @pytest.mark.parametrize(("pcm", "is_measured"), [("f32", False), ("s16", True)])
    async def test_an_engine_that_tells_no_words_tells_what_it_said_when_it_warmed_up(self, pcm: str, is_measured: bool) -> None:
        watch = Watch(talker("quiet", pcm=pcm, is_measured=is_measured))
        async with watch.pool:
            await watch.ready()
            assert watch.pool.statistics().orphans == 0
        (arrival,) = watch.arrivals
        assert arrival.sample is not None
        assert arrival.sample.sentence == Sentence("v", "en", (SENTENCES if is_measured else WARM_UP)["en"])
        sound = np.concatenate([chunk.samples for chunk in arrival.sample.chunks])
        assert len(sound) == 800 and sound == pytest.approx(0.1, abs=1e-4)

    async def test_an_engine_that_plans_need_not_tell(self) -> None:
        watch = Watch(talker())
        async with watch.pool:
            await watch.ready()
        assert watch.arrivals[0].sample is None

    async def test_a_declared_pace_is_kept_and_paid_for_in_order(self) -> None:
        watch = Watch(beacon(rate_factor=0.05, chunk_ms=100))
        async with watch.pool:
            worker = await watch.ready()
            began = anyio.current_time()
            watch.pool.start_job(worker, a_job(text="一" * 50))
            await watch.until(lambda: watch.is_over("j"))
            assert anyio.current_time() - began >= 50 * 0.08 * 0.05 * 0.99

    async def test_an_engine_may_serve_under_another_name(self) -> None:
        watch = Watch(WorkerSpec("main", factory="beacon"), WorkerSpec("spare", factory="beacon", count=2))
        async with watch.pool:
            await watch.ready()
            await watch.until(lambda: len(watch.arrivals) == 3)
            assert [w.id for w in watch.pool.workers()] == ["main-0.0", "spare-0.0", "spare-1.0"]
            assert {e.info.name for e in watch.arrivals} == {"main", "spare"}


class TestRefusals:
    async def test_a_job_that_the_engine_refuses_fails_with_its_code(self) -> None:
        watch = Watch(beacon())
        async with watch.pool:
            worker = await watch.ready()
            watch.pool.start_job(worker, Job("j", "x", "nobody", "zh"))
            await watch.until(lambda: watch.is_over("j"))
            assert watch.of("j")[0].code == "unknown_voice"

    async def test_a_job_that_chokes_the_engine_fails_alone(self) -> None:
        watch = Watch(talker())
        async with watch.pool:
            worker = await watch.ready()
            watch.pool.start_job(worker, a_call("a", "choke"))
            watch.pool.start_job(worker, a_call("b"))
            await watch.until(lambda: watch.is_over("a") and watch.is_over("b"))
        assert watch.of("a") == [Failed("a", "engine_failed", "RuntimeError: choked on the job")]
        assert watch.of("b")[-1] == Done("b", 800)

    async def test_too_many_jobs_unknown_workers_and_ids_in_use(self) -> None:
        watch = Watch(WorkerSpec("beacon", {"rate_factor": 5, "capacity": 1}, backlog=1))
        async with watch.pool:
            worker = await watch.ready()
            watch.pool.start_job(worker, a_job("a"))
            with pytest.raises(errors.BadOption):
                watch.pool.start_job(worker, a_job("a"))
            watch.pool.start_job(worker, a_job("b"))
            with pytest.raises(errors.Overloaded):
                watch.pool.start_job(worker, a_job("c"))
            with pytest.raises(errors.WorkerLost):
                watch.pool.start_job("beacon-9.9", a_job("d"))
            watch.pool.cancel_job("beacon-9.9", "a")
            watch.pool.cancel_job(worker, "nonsense")

    async def test_faults_need_permission(self) -> None:
        pool = Pool([beacon()])
        with pytest.raises(errors.BadOption, match="not allowed"):
            pool.inject("beacon-0.0", Fault(FaultKind.KILL))

    @pytest.mark.parametrize(
        "specs",
        [
            [WorkerSpec("beacon", count=0)],
            [WorkerSpec("beacon", pcm="u8")],
            [WorkerSpec("beacon", cores=(4096,))],
            [WorkerSpec("beacon", {"voices": {object()}})],
            [WorkerSpec("beacon"), WorkerSpec("beacon")],
        ],
    )
    async def test_specs_that_cannot_be_met(self, specs: list[WorkerSpec]) -> None:
        with pytest.raises(errors.BadOption):
            Pool(specs)


class TestCancel:
    async def test_nothing_of_a_cancelled_job_follows_and_its_neighbour_speaks_on(self) -> None:
        watch = Watch(beacon(rate_factor=0.3, chunk_ms=20))
        async with watch.pool:
            worker = await watch.ready()
            watch.pool.start_job(worker, a_job("gone", "一" * 500))
            watch.pool.start_job(worker, a_job("stays"))
            await watch.until(lambda: watch.of("gone"))
            watch.pool.cancel_job(worker, "gone")
            heard = len(watch.of("gone"))
            await watch.until(lambda: watch.is_over("stays"))
            assert len(watch.of("gone")) == heard
            assert watch.pool.statistics().jobs_cancelled == 1
            assert watch.pool.workers()[0].jobs == ()
        assert decode(watch.sound("stays"), 24000) == "你好, world"

    async def test_a_waiting_job_is_cancelled_before_it_begins(self) -> None:
        watch = Watch(beacon(capacity=1, rate_factor=0.2))
        async with watch.pool:
            worker = await watch.ready()
            for name in "abc":
                watch.pool.start_job(worker, a_job(name))
            watch.pool.cancel_job(worker, "b")
            await watch.until(lambda: watch.is_over("c"))
        assert watch.of("b") == []

    async def test_the_level_of_a_running_job_changes_its_pace(self) -> None:
        watch = Watch(beacon(chunk_ms=20, levels=[{"name": "best", "rate_factor": 100}, {"name": "fast", "rate_factor": 0}]))
        async with watch.pool:
            worker = await watch.ready()
            watch.pool.start_job(worker, a_job("j", "一" * 100))  # at the best level this would take ten minutes
            watch.pool.adjust_job(worker, "j", "fast")
            await watch.until(lambda: watch.is_over("j"))


class TestPlans:
    async def test_plans_come_from_a_ready_worker(self) -> None:
        watch = Watch(beacon())
        async with watch.pool:
            await watch.ready()
            reply = await watch.pool.plan("beacon", PlanRequest("一二", "beacon-a", "zh"))
            assert reply.plan.times_s == pytest.approx((0, 0.08, 0.16))
            with pytest.raises(errors.UnknownVoice):
                await watch.pool.plan("beacon", PlanRequest("一二", "nobody", "zh"))
            with pytest.raises(errors.WorkerLost):
                await watch.pool.plan("sambert", PlanRequest("一二", "x", "zh"))

    async def test_a_plan_that_raises_fails_alone(self) -> None:
        watch = Watch(talker())
        async with watch.pool:
            await watch.ready()
            with pytest.raises(errors.EngineFailed, match="no plan today"):
                await watch.pool.plan("talker", PlanRequest("x", "v", "en"))
        assert [loss.reason for loss in watch.losses] == [LossReason.STOPPED]

    async def test_a_plan_dies_with_its_worker(self) -> None:
        watch = Watch(talker())
        async with watch.pool:
            worker = await watch.ready()
            watch.pool.inject(worker, Fault(FaultKind.KILL))
            with pytest.raises(errors.WorkerLost):
                await watch.pool.plan("talker", PlanRequest("x", "v", "en"))

    async def test_a_cancelled_plan_leaves_nothing(self) -> None:
        watch = Watch(talker())
        async with watch.pool:
            worker = await watch.ready()
            watch.pool.inject(worker, Fault(FaultKind.STALL, value=300))
            with anyio.move_on_after(0.01):
                await watch.pool.plan("talker", PlanRequest("x", "v", "en"))
            assert watch.pool._workers[worker].load == 0
            watch.pool.start_job(worker, a_call())
            await watch.until(lambda: watch.is_over("j"))

    async def test_reload_reports_new_voices(self) -> None:
        watch = Watch(talker())
        async with watch.pool:
            worker = await watch.ready()
            answers = await watch.pool.reload(["talker"])
            assert answers == (Reload(worker, "talker", WorkerState.READY, ("v", "w")),)
            before, after = watch.arrivals
        assert [v.id for v in after.info.voices] == ["v", "w"]
        assert after.info.levels == before.info.levels and before.info.levels[0].rtf, "what was measured stays known"

    async def test_a_worker_that_starts_looks_for_voices_when_it_serves(self) -> None:
        watch = Watch(talker())
        async with watch.pool:
            while not watch.pool.workers():
                await anyio.lowlevel.checkpoint()
            (answer,) = await watch.pool.reload(["talker"])
            assert (answer.state, answer.voices, answer.error) == (WorkerState.STARTING, (), None)
            await watch.until(lambda: len(watch.arrivals) == 2)
        assert [v.id for v in watch.arrivals[1].info.voices] == ["v", "w"]

    async def test_a_reload_that_fails_says_why_and_leaves_the_worker_as_it_was(self) -> None:
        watch = Watch(talker(options={"reload": "raise"}))
        async with watch.pool:
            worker = await watch.ready()
            (answer,) = await watch.pool.reload(["talker"])
            assert answer.voices == () and isinstance(answer.error, errors.BadOption) and "two sample rates" in answer.error.message
            watch.pool.start_job(worker, a_call())
            await watch.until(lambda: watch.is_over("j"))
        assert isinstance(watch.of("j")[-1], Done)

    async def test_a_reload_waits_for_no_worker_longer_than_its_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        watch = Watch(talker(), beacon())
        async with watch.pool:
            await watch.ready()
            stalled, well = (worker.id for worker in watch.pool.workers())
            watch.pool.inject(stalled, Fault(FaultKind.STALL, value=1000))
            monkeypatch.setattr(pool_module, "RELOAD_TIMEOUT_S", 0.3)
            late, answered = await watch.pool.reload(["talker", "beacon"])
            assert (late.worker_id, type(late.error)) == (stalled, errors.DeadlineMissed)
            assert (answered.worker_id, answered.error) == (well, None) and "beacon-a" in answered.voices
            await watch.until(lambda: [e.worker_id for e in watch.arrivals].count(stalled) == 2)

    async def test_a_worker_lost_while_it_is_asked_is_said_to_be(self) -> None:
        watch = Watch(talker())
        async with watch.pool:
            watch.pool.inject(await watch.ready(), Fault(FaultKind.KILL))
            (answer,) = await watch.pool.reload(["talker"])
            assert isinstance(answer.error, errors.WorkerLost)


class TestLoss:
    """Each way to go ends in one WorkerLost that names the jobs, and in a new worker that speaks."""

    async def expect_loss(self, watch: Watch, reason: LossReason, jobs: tuple[str, ...]) -> None:
        await watch.until(lambda: watch.losses)
        lost = watch.losses[0]
        assert (lost.reason, lost.job_ids) == (reason, jobs)
        await watch.until(lambda: len(watch.arrivals) == 2)
        successor = watch.arrivals[1].worker_id
        assert successor != lost.worker_id
        with pytest.raises(errors.WorkerLost):
            watch.pool.start_job(lost.worker_id, a_call("late"))
        voice = watch.arrivals[1].info.voices[0].id
        watch.pool.start_job(successor, Job("next", "hello", voice, watch.arrivals[1].info.languages[-1]))
        await watch.until(lambda: watch.is_over("next"))
        assert isinstance(watch.of("next")[-1], Done)
        assert not watch.is_over("j")

    async def test_kill_nine(self) -> None:
        watch = Watch(beacon(rate_factor=1))
        async with watch.pool:
            worker = await watch.ready()
            watch.pool.start_job(worker, a_job())
            await watch.until(lambda: watch.of("j"))
            os.kill(watch.pool.workers()[0].pid or 0, signal.SIGKILL)
            await self.expect_loss(watch, LossReason.DIED, ("j",))
        assert "SIGKILL" in watch.losses[0].detail

    async def test_stopped_by_a_signal(self) -> None:
        watch = Watch(WorkerSpec("beacon", {"rate_factor": 1}, step_timeout_s=0.4))
        async with watch.pool:
            worker = await watch.ready()
            watch.pool.start_job(worker, a_job())
            os.kill(watch.pool.workers()[0].pid or 0, signal.SIGSTOP)
            await self.expect_loss(watch, LossReason.HUNG, ("j",))

    async def test_stopped_while_idle(self) -> None:
        watch = Watch(WorkerSpec("beacon", step_timeout_s=0.4))
        async with watch.pool:
            await watch.ready()
            os.kill(watch.pool.workers()[0].pid or 0, signal.SIGSTOP)
            await self.expect_loss(watch, LossReason.HUNG, ())

    async def test_a_hang_in_c(self) -> None:
        watch = Watch(talker(step_timeout_s=0.4))
        async with watch.pool:
            worker = await watch.ready()
            watch.pool.start_job(worker, a_call("j", "hang in C"))
            await self.expect_loss(watch, LossReason.HUNG, ("j",))

    async def test_an_exit_in_the_middle(self) -> None:
        watch = Watch(talker())
        async with watch.pool:
            worker = await watch.ready()
            watch.pool.start_job(worker, a_call("j", "exit"))
            await self.expect_loss(watch, LossReason.DIED, ("j",))
        assert "status 7" in watch.losses[0].detail
        assert len(watch.of("j")) == 2  # what it wrote before it died still arrived

    async def test_an_engine_broken_for_good_is_replaced(self) -> None:
        watch = Watch(talker())
        async with watch.pool:
            worker = await watch.ready()
            watch.pool.start_job(worker, a_call("j2", "break"))
            await watch.until(lambda: watch.is_over("j2"))
            await self.expect_loss(watch, LossReason.CRASHED, ())
        assert watch.of("j2")[-1] == Failed("j2", "engine_failed", "ValueError: broken for good")
        assert "still broken" in watch.losses[0].detail

    async def test_memory_beyond_all_bounds(self) -> None:
        watch = Watch(talker(rss_limit_mb=250.0))
        async with watch.pool:
            worker = await watch.ready()
            watch.pool.start_job(worker, a_call("j", "eat 400"))
            await watch.until(lambda: watch.losses)
        assert watch.losses[0].reason is LossReason.MEMORY


class TestExceptions:
    async def test_a_step_that_raises_fails_the_jobs_on_the_worker_which_stays(self) -> None:
        watch = Watch(talker())
        async with watch.pool:
            worker = await watch.ready()
            watch.pool.start_job(worker, a_call("a", "raise"))
            watch.pool.start_job(worker, a_call("b"))
            await watch.until(lambda: watch.is_over("a") and watch.is_over("b"))
            watch.pool.start_job(worker, a_call("c"))
            await watch.until(lambda: watch.is_over("c"))
            assert watch.losses == []
        assert watch.of("a")[-1] == Failed("a", "engine_failed", "ValueError: a bad step")
        assert watch.of("b")[-1] == Failed("b", "engine_failed", "ValueError: a bad step")
        assert watch.of("c")[-1] == Done("c", 800)

    async def test_an_exception_that_names_its_job_fails_only_that(self) -> None:
        watch = Watch(talker())
        async with watch.pool:
            worker = await watch.ready()
            watch.pool.start_job(worker, a_call("a", "raise for one"))
            watch.pool.start_job(worker, a_call("b"))
            await watch.until(lambda: watch.is_over("a") and watch.is_over("b"))
        assert watch.of("a")[-1].message == "ValueError: a bad job"
        assert watch.of("b")[-1] == Done("b", 800)


class TestTheCallback:
    async def test_what_it_raises_reaches_the_loop_and_no_event_is_lost(self) -> None:
        watch = Watch(beacon())
        complaints: list[str] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(str(context["exception"])))
        async with watch.pool:
            worker = await watch.ready()
            deliver = watch.pool.on_event

            def raises(event: PoolEvent) -> None:
                deliver(event)
                raise RuntimeError("a bug of the owner")

            watch.pool.on_event = raises
            watch.pool.start_job(worker, a_job())
            await watch.until(lambda: watch.is_over("j"))
            assert decode(watch.sound("j"), 24000) == "你好, world"
        assert set(complaints) == {"a bug of the owner"}


class TestMemory:
    async def test_the_replacement_is_ready_before_the_old_one_leaves(self) -> None:
        watch = Watch(talker(rss_limit_mb=150.0))
        async with watch.pool:
            worker = await watch.ready()
            watch.pool.start_job(worker, a_call("j", "eat 130"))
            await watch.until(lambda: watch.is_over("j"))
            await watch.until(lambda: watch.losses)
            assert isinstance(watch.of("j")[-1], Done)
            assert watch.losses[0].reason is LossReason.MEMORY
            assert watch.losses[0].job_ids == ()
            order = [e.worker_id for e in watch.events if not isinstance(e, JobEvent)]
            assert order == ["talker-0.0", "talker-0.1", "talker-0.0"]
            assert [w.id for w in watch.pool.workers() if w.state is WorkerState.READY] == ["talker-0.1"]


class TestStarting:
    async def test_missing_weights_are_said_at_once_and_not_tried_again(self) -> None:
        watch = Watch(talker("missing"))
        async with watch.pool:
            with pytest.raises(errors.ModelMissing, match="realtime models pull"):
                await watch.pool.wait_ready(["talker"], LIMIT_S)
            assert watch.pool.workers()[0].last_error.startswith("weights.safetensors")
            assert "lost" in repr(watch.pool)
        assert [loss.reason for loss in watch.losses] == [LossReason.START_FAILED]

    async def test_reload_tries_a_given_up_worker_again(self) -> None:
        watch = Watch(talker("missing"))
        async with watch.pool:
            with pytest.raises(errors.ModelMissing):
                await watch.pool.wait_ready(["talker"], LIMIT_S)
            (answer,) = await watch.pool.reload(["talker"])
            assert (answer.state, answer.voices, answer.error) == (WorkerState.LOST, (), None)
            await watch.until(lambda: len(watch.losses) == 2)

    @pytest.mark.parametrize(
        ("kind", "reason"),
        [("dies_at_start", LossReason.DIED), ("garbles", LossReason.GARBLED), ("silent", LossReason.START_FAILED)],
    )
    async def test_a_failed_start_is_tried_again(self, kind: str, reason: LossReason) -> None:
        watch = Watch(talker(kind))
        async with watch.pool:
            await watch.until(lambda: len(watch.losses) >= 2)
        assert {loss.reason for loss in watch.losses[:2]} == {reason}

    async def test_a_start_that_takes_too_long_is_given_up(self) -> None:
        watch = Watch(talker("dies_at_start"))
        async with watch.pool:
            with pytest.raises(errors.WorkerLost, match="not ready after"):
                await watch.pool.wait_ready(["talker"], 0.01)

    async def test_unknown_engines_and_options_are_named(self) -> None:
        watch = Watch(beacon(tempos=3))
        async with watch.pool:
            with pytest.raises(errors.BadOption, match="unknown option of engine beacon: tempos"):
                await watch.pool.wait_ready(["beacon"], LIMIT_S)
            with pytest.raises(errors.BadOption, match="no workers"):
                await watch.pool.wait_ready(["sambert"], LIMIT_S)

    async def test_a_system_that_refuses_processes_is_asked_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        start, refusals = subprocess.Popen, [OSError(11, "no processes left"), OSError(12, "no memory")]

        def popen(*args: Any, **more: Any) -> Any:
            if refusals:
                raise refusals.pop()
            return start(*args, **more)

        monkeypatch.setattr(subprocess, "Popen", popen)
        watch = Watch(beacon())
        async with watch.pool:
            worker = await watch.ready()
            assert worker == "beacon-0.2"
        assert [loss.reason for loss in watch.losses[:2]] == [LossReason.START_FAILED] * 2

    async def test_cores_are_pinned_and_shared_out(self) -> None:
        cores = tuple(sorted(os.sched_getaffinity(0)))
        watch = Watch(WorkerSpec("beacon", count=2, cores=cores))
        async with watch.pool:
            await watch.ready()
            await watch.until(lambda: len(watch.arrivals) == 2)
            held = [os.sched_getaffinity(w.pid or 0) for w in watch.pool.workers()]
        assert set().union(*held) == set(cores)
        assert len(cores) < 2 or not held[0] & held[1]

    async def test_leaving_early_and_often_leaves_nothing(self) -> None:
        for _ in range(5):
            watch = Watch(beacon())
            async with watch.pool:
                await anyio.lowlevel.checkpoint()
            assert [loss.reason for loss in watch.losses] in ([], [LossReason.STOPPED], [LossReason.DIED])

    async def test_an_error_of_the_owner_comes_out_as_it_is(self) -> None:
        watch = Watch(beacon())
        with pytest.raises(KeyError, match="mine"):
            async with watch.pool:
                await watch.ready()
                raise KeyError("mine")

    async def test_cancelling_the_owner_leaves_nothing(self) -> None:
        watch = Watch(beacon())
        with anyio.CancelScope() as scope:
            async with watch.pool:
                watch.pool.start_job(await watch.ready(), a_job("j", "一" * 1000))
                scope.cancel()
        assert watch.losses[-1].job_ids in (("j",), ())


class TestFaults:
    async def run(self, watch: Watch, *faults: Fault, text: str = "一二三四五六七八九十") -> None:
        async with watch.pool:
            worker = await watch.ready()
            for fault in faults:
                watch.pool.inject(worker, fault)
            watch.pool.start_job(worker, a_job("j", text))
            await watch.until(lambda: watch.is_over("j") or watch.losses)

    @pytest.mark.parametrize("at_ms", [0, 99.5, 100, 799])
    async def test_kill_at_a_moment_of_the_sound(self, at_ms: float) -> None:
        watch = Watch(beacon())
        await self.run(watch, Fault(FaultKind.KILL, "j", at_ms))
        assert len(watch.sound("j")) == round(at_ms * 24)
        assert watch.losses[0].job_ids == ("j",)

    async def test_stop_at_a_moment(self) -> None:
        watch = Watch(WorkerSpec("beacon", step_timeout_s=0.3))
        await self.run(watch, Fault(FaultKind.STOP, "j", 150))
        assert len(watch.sound("j")) == 150 * 24
        assert watch.losses[0].reason is LossReason.HUNG

    async def test_exception_at_a_moment_fails_that_job(self) -> None:
        watch = Watch(beacon(chunk_ms=50))
        await self.run(watch, Fault(FaultKind.EXCEPTION, "j", 150))
        assert watch.of("j")[-1].code == "engine_failed"
        assert 150 * 24 <= len(watch.sound("j")) <= 200 * 24

    async def test_nan_for_a_while(self) -> None:
        watch = Watch(beacon())
        await self.run(watch, Fault(FaultKind.NAN, "j", 150, value=100))
        bad = np.isnan(watch.sound("j"))
        assert bad[150 * 24 : 250 * 24].all()
        assert bad.sum() == 100 * 24

    async def test_garbage_until_the_end(self) -> None:
        watch = Watch(beacon())
        await self.run(watch, Fault(FaultKind.GARBAGE, "j", 400))
        assert decode(watch.sound("j"), 24000) == "一二三四五"
        assert np.abs(watch.sound("j")[400 * 24 :]).max() > 0.85

    async def test_a_dropped_chunk_shows_in_the_count(self) -> None:
        watch = Watch(beacon())
        await self.run(watch, Fault(FaultKind.DROP_CHUNK, "j", 250))
        assert watch.of("j")[-1].samples == len(watch.sound("j")) + 100 * 24
        places = [e.at for e in watch.of("j") if isinstance(e, Chunk)]
        assert places == [k * 2400 for k in range(8) if k != 2]

    async def test_slow_and_stall_delay_but_lose_nothing(self) -> None:
        watch = Watch(beacon(rate_factor=0.01))
        await self.run(watch, Fault(FaultKind.SLOW, value=5), Fault(FaultKind.STALL, "j", 100, value=50))
        assert decode(watch.sound("j"), 24000) == "一二三四五六七八九十"


async def test_the_pool_describes_itself() -> None:
    watch = Watch(beacon(rate_factor=1))
    pool: WorkerPool = watch.pool
    assert repr(pool) == "<Pool beacon-0 not started>"
    async with watch.pool:
        worker = await watch.ready()
        pool.start_job(worker, a_job())
        assert repr(pool) == "<Pool beacon-0.0 ready 1 jobs>"
        statistics = pool.statistics()
        assert statistics.workers == {"starting": 0, "ready": 1, "stopping": 0, "lost": 0}
        assert (statistics.jobs_running, statistics.jobs_started) == (1, 1)

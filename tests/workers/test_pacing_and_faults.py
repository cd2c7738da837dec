"""The pure helpers of the child: when events may leave, and what faults do to them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.engines.base import Chunk, Done, EngineEvent, EngineInfo, Job, QualityLevel, VoiceInfo
from realtime.workers.faults import FaultPlan
from realtime.workers.interface import Fault, FaultKind
from realtime.workers.pacing import Pacer

LEVELS = (QualityLevel("best", 1.0, 0.5), QualityLevel("fast", 0.1, 0.0))
TEST_VOICE = EngineInfo("t", 8000, ("en",), (VoiceInfo("v", ("en",)),), LEVELS, is_test_voice=True)
REAL = EngineInfo("r", 8000, ("en",), (VoiceInfo("v", ("en",)),), LEVELS)


def chunk(job_id: str = "j", ms: int = 100) -> Chunk:
    return Chunk(job_id, np.full(ms * 8, 0.1, np.float32), 8000)


def job(name: str = "j", level: str = "") -> Job:
    return Job(name, "x", "v", "en", level=level)


class TestPacer:
    def test_real_engines_are_not_held_back(self) -> None:
        pacer = Pacer(REAL)
        pacer.began(job())
        assert pacer.stepped(10.0, 10.2, [chunk()])[0][0] == 10.2

    def test_a_test_voice_keeps_its_declared_pace(self) -> None:
        pacer = Pacer(TEST_VOICE)
        pacer.began(job())
        times = [pacer.stepped(10.0, 10.0, [chunk()])[0][0] for _ in range(3)]
        assert times == pytest.approx([10.6, 10.7, 10.8])  # half a second until the first chunk, then real time

    def test_interleaved_jobs_share_the_processor(self) -> None:
        pacer = Pacer(TEST_VOICE)
        for name in "ab":
            pacer.began(job(name))
        times = [due for due, _ in pacer.stepped(0.0, 0.0, [chunk("a"), chunk("b"), chunk("a")])]
        assert times == pytest.approx([0.6, 1.2, 1.3])

    def test_a_changed_level_counts_from_the_next_chunk(self) -> None:
        pacer = Pacer(TEST_VOICE)
        pacer.began(job())
        pacer.stepped(0.0, 0.0, [chunk()])
        pacer.adjusted("j", "fast")
        pacer.adjusted("j", "nonsense")
        pacer.adjusted("unknown", "fast")
        assert pacer.stepped(0.6, 0.6, [chunk()])[0][0] == pytest.approx(0.61)

    def test_idle_time_is_not_saved_up_and_cancelled_work_is_not_paid(self) -> None:
        pacer = Pacer(TEST_VOICE)
        pacer.began(job(level="fast"))
        assert pacer.stepped(100.0, 100.0, [chunk()])[0][0] == pytest.approx(100.01)
        pacer.began(job("k"))
        pacer.stepped(100.0, 100.0, [chunk("k")])
        pacer.ended("k")
        pacer.idle(100.1)
        assert pacer.stepped(100.1, 100.1, [chunk()])[0][0] == pytest.approx(100.11)

    def test_slow_multiplies_what_a_step_took(self) -> None:
        pacer = Pacer(REAL)
        pacer.slow = 3.0
        pacer.began(job())
        assert pacer.stepped(10.0, 10.2, [chunk(), Done("j", 800)])[-1][0] == pytest.approx(10.6)


def samples_of(items: list[EngineEvent | Fault]) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.concatenate([i.samples for i in items if isinstance(i, Chunk)] or [np.zeros(0, np.float32)])


class TestFaultPlan:
    @given(st.floats(0, 299.99), st.lists(st.integers(1, 120), min_size=1, max_size=8))
    def test_a_fault_comes_at_its_moment_and_loses_no_sample(self, at_ms: float, sizes: list[int]) -> None:
        plan, out = FaultPlan(), list[EngineEvent | Fault]()
        plan.add(Fault(FaultKind.STALL, "j", at_ms))
        for size in [*sizes, 300]:
            out += plan.push(chunk(ms=size))
        where = next(k for k, item in enumerate(out) if isinstance(item, Fault))
        assert len(samples_of(out[:where])) == pytest.approx(at_ms * 8, abs=1)
        assert len(samples_of(out)) == (sum(sizes) + 300) * 8
        assert sum(isinstance(item, Fault) for item in out) == 1

    def test_other_jobs_are_left_alone(self) -> None:
        plan = FaultPlan()
        plan.add(Fault(FaultKind.NAN, "j", 0))
        assert not np.isnan(samples_of(plan.push(chunk("k")))).any()
        assert np.isnan(samples_of(plan.push(chunk("j")))).all()

    def test_a_fault_for_whoever_comes_first(self) -> None:
        plan = FaultPlan()
        plan.add(Fault(FaultKind.KILL, None, 150))
        assert not any(isinstance(i, Fault) for i in plan.push(chunk("a")) + plan.push(chunk("b")))
        assert any(isinstance(i, Fault) for i in plan.push(chunk("b")))
        assert not any(isinstance(i, Fault) for i in plan.push(chunk("a")))

    @pytest.mark.parametrize(("kind", "is_bad"), [(FaultKind.NAN, np.isnan), (FaultKind.GARBAGE, lambda x: x != np.float32(0.1))])
    def test_spoiling_lasts_as_long_as_it_says(self, kind: FaultKind, is_bad: object) -> None:
        plan = FaultPlan()
        plan.add(Fault(kind, "j", 50, value=120))
        sound = samples_of([item for _ in range(4) for item in plan.push(chunk())])
        bad = np.flatnonzero(is_bad(sound))  # type: ignore[operator]
        assert (bad[0], bad[-1], len(bad)) == (400, 1359, 960)

    def test_a_dropped_chunk_takes_its_faults_place(self) -> None:
        plan = FaultPlan()
        plan.add(Fault(FaultKind.DROP_CHUNK, "j", 150))
        assert [len(samples_of(plan.push(chunk()))) for _ in range(3)] == [800, 0, 800]

    def test_faults_end_with_their_job(self) -> None:
        plan = FaultPlan()
        plan.add(Fault(FaultKind.KILL, "j", 500))
        plan.push(chunk())
        assert plan.push(Done("j", 800)) == [Done("j", 800)]
        assert plan._waiting == []
        plan.add(Fault(FaultKind.KILL, "j", 0))
        plan.forget("j")
        assert len(plan.push(chunk())) == 1

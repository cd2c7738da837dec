from __future__ import annotations

import pytest

from realtime.scheduling.actions import Reason
from realtime.scheduling.admission import Admission, AdmissionSettings, KeyLimits, Load
from realtime.scheduling.cards import StreamSpec
from realtime.types import Priority

CALM = Load(streams=1, waiting_jobs=0, supply=10)


def spec(name: str = "a", key: str = "k", priority: Priority = Priority.NORMAL) -> StreamSpec:
    return StreamSpec(name, ("e",), priority, api_key=key)


@pytest.mark.parametrize(
    ("load", "reason"),
    [
        (CALM, None),
        (Load(3, 0, 0.0), Reason.NO_WORKER),
        (Load(9, 0, 10, late_s=0.5), Reason.OVERLOADED),
        (Load(3, 0, 10, slot_late_s=0.2), Reason.OVERLOADED),
        (Load(100, 0, 10), Reason.QUEUE_FULL),
        (Load(3, 1000, 10), Reason.QUEUE_FULL),
        (Load(0, 0, 0.5, late_s=3.0), None),  # nobody is there to be harmed: better slow than never
    ],
)
def test_the_gate(load: Load, reason: Reason | None) -> None:
    admission = Admission(AdmissionSettings(max_streams=100, max_waiting_jobs=1000))
    refused = admission.refusal(spec(), load, 0.0)
    assert (refused.reason if refused else None) is reason
    if refused:
        assert 50 <= refused.retry_after_ms <= 60_000


def test_what_is_predicted_to_be_late_says_when_to_come_back() -> None:
    refused = Admission().refusal(spec(), Load(6, 0, 10, late_s=0.7, slot_late_s=1.3), 0.0)
    assert refused is not None and refused.retry_after_ms == 1300


def test_token_bucket_refills() -> None:
    admission = Admission(AdmissionSettings(default_limits=KeyLimits(per_second=2, burst=2, streams=99)))
    for name in "ab":
        assert admission.refusal(spec(name), CALM, 0.0) is None
        admission.enter(spec(name), 0.0)
    refused = admission.refusal(spec("c"), CALM, 0.0)
    assert refused is not None and refused.reason is Reason.RATE_LIMITED
    assert refused.retry_after_ms == 500
    assert admission.refusal(spec("c"), CALM, 0.5) is None
    assert admission.refusal(spec("d", key="other"), CALM, 0.0) is None


def test_concurrency_per_key() -> None:
    admission = Admission(AdmissionSettings(limits={"k": KeyLimits(streams=1)}))
    admission.enter(spec("a"), 0.0)
    refused = admission.refusal(spec("b"), CALM, 0.0)
    assert refused is not None and refused.reason is Reason.TOO_MANY_STREAMS
    admission.leave(spec("a"))
    assert admission.refusal(spec("b"), CALM, 0.0) is None


def test_keys_remembered_are_bounded_and_busy_ones_stay() -> None:
    admission = Admission(AdmissionSettings(max_keys=3, default_limits=KeyLimits(streams=1)))
    admission.enter(spec("a", key="busy"), 0.0)
    for k in range(50):
        admission.refusal(spec("x", key=f"idle{k}"), CALM, 0.0)
    assert len(admission._buckets) <= 3
    refused = admission.refusal(spec("b", key="busy"), CALM, 0.0)
    assert refused is not None and refused.reason is Reason.TOO_MANY_STREAMS

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.scheduling.playout import MARK_TOLERANCE_S, PlayoutModel


@pytest.fixture
def model() -> PlayoutModel:
    """Text was given at 0; one second of sound came at 0.5: playing from 0.6 to 1.6."""
    model = PlayoutModel(first_audio_s=1.0, start_buffer_s=0.1)
    model.expect(0.0)
    model.sent(1.0, 0.5)
    return model


def test_before_the_first_sound_the_deadline_is_the_first_audio_budget() -> None:
    model = PlayoutModel(first_audio_s=1.2)
    assert model.next_deadline() == float("inf")
    model.expect(10.0)
    assert model.next_deadline() == pytest.approx(11.2)
    assert not model.has_started()


@pytest.mark.parametrize(("now", "position", "lead"), [(0.5, 0, 1), (0.6, 0, 1), (0.85, 0.25, 0.75), (1.6, 1, 0), (9, 1, 0)])
def test_the_clock_stands_in_for_marks(model: PlayoutModel, now: float, position: float, lead: float) -> None:
    assert model.position(now) == pytest.approx(position, abs=1e-4)
    assert model.lead(now) == pytest.approx(lead, abs=1e-4)
    assert model.next_deadline() == pytest.approx(1.6)


def test_sound_in_time_moves_the_deadline_by_its_length(model: PlayoutModel) -> None:
    model.sent(1.5, 1.0)
    assert model.next_deadline() == pytest.approx(2.1)
    assert model.continuity(2.0).is_whole


def test_running_dry_while_text_is_owed_is_an_underrun(model: PlayoutModel) -> None:
    assert model.continuity(1.8).total_ms == pytest.approx(200)
    model.sent(2.0, 1.85)
    record = model.continuity(2.0)
    assert (record.underruns, round(record.worst_ms), round(record.total_ms)) == (1, 250, 250)
    assert model.next_deadline() == pytest.approx(2.85)


def test_worst_and_total_of_two_underruns(model: PlayoutModel) -> None:
    model.sent(2.0, 1.7)
    model.sent(3.0, 2.9)
    record = model.continuity(3.0)
    assert (record.underruns, round(record.worst_ms), round(record.total_ms)) == (2, 200, 300)


def test_silence_without_text_is_a_pause(model: PlayoutModel) -> None:
    model.rest(1.0)
    model.expect(5.0)
    model.sent(2.0, 5.3)
    assert model.continuity(6.0).is_whole
    assert model.next_deadline() == pytest.approx(5.3 + 0.1 + 1.0)


def test_after_a_pause_only_what_exceeds_the_budget_is_an_underrun(model: PlayoutModel) -> None:
    model.rest(1.0)
    model.expect(5.0)
    model.sent(2.0, 6.4)
    assert model.continuity(6.5).total_ms == pytest.approx(400)


def test_text_that_comes_with_the_last_of_the_sound_grants_the_budget(model: PlayoutModel) -> None:
    model.rest(1.0)
    model.expect(1.55)
    assert model.next_deadline() == pytest.approx(2.55)
    model.sent(2.0, 1.9)
    record = model.continuity(2.0)
    assert record.is_whole
    assert record.starved_ms == pytest.approx(300)


def test_text_that_comes_while_there_is_lead_grants_nothing(model: PlayoutModel) -> None:
    model.rest(0.8)
    model.expect(0.9)
    assert model.next_deadline() == pytest.approx(1.6)
    model.sent(2.0, 1.7)
    assert model.continuity(2.0).total_ms == pytest.approx(100)


def test_sound_that_was_made_but_sent_too_late_is_an_underrun_after_all(model: PlayoutModel) -> None:
    model.rest(1.0)
    model.sent(1.5, 1.9)
    assert model.continuity(2.0).total_ms == pytest.approx(300)


def test_the_end_is_not_an_underrun(model: PlayoutModel) -> None:
    model.rest(1.0)
    assert model.continuity(60.0).is_whole


def test_marks_correct_the_clock(model: PlayoutModel) -> None:
    model.played(0.1, 1.0)  # the client began 0.3 s later than reckoned
    assert model.position(1.2) == pytest.approx(0.3, abs=1e-3)
    assert model.next_deadline() == pytest.approx(1.9, abs=1e-3)


@pytest.mark.parametrize(("claim", "at"), [(1.5, 1.0), (0.9, 0.55), (1e6, 1.0)])
def test_a_lying_mark_is_corrected_and_counted(model: PlayoutModel, claim: float, at: float) -> None:
    model.played(claim, at)
    assert model.continuity(at).lying_marks == 1
    assert model.position(at) <= at - 0.5 + MARK_TOLERANCE_S + 1e-4


def test_a_mark_before_any_sound_is_a_lie() -> None:
    model = PlayoutModel()
    model.played(1.0, 1.0)
    assert model.continuity(1.0).lying_marks == 1
    assert model.position(1.0) == 0


def test_stale_and_repeated_marks_change_nothing(model: PlayoutModel) -> None:
    model.played(0.4, 1.0)
    deadline = model.next_deadline()
    model.played(0.2, 1.05)
    assert model.next_deadline() == deadline
    assert model.continuity(1.1).stale_marks == 1
    model.played(0.4, 1.1)  # repeated: the earlier, more advanced one counts
    assert model.next_deadline() == pytest.approx(deadline)


def test_a_mark_held_up_on_its_way_counts_less_than_one_that_was_not(model: PlayoutModel) -> None:
    model.played(0.2, 0.8)
    model.played(0.4, 1.2)
    assert model.position(1.2) == pytest.approx(0.6, abs=1e-3)


def test_totals_that_do_not_grow_are_ignored(model: PlayoutModel) -> None:
    model.sent(1.0, 5.0)
    model.sent(0.5, 6.0)
    assert model.total_s() == 1.0


EVENTS = st.lists(
    st.tuples(st.sampled_from(["sent", "played", "expect", "rest"]), st.floats(0, 2), st.floats(-1, 1000, allow_nan=False)), max_size=60
)


@given(EVENTS)
def test_whatever_happens_the_listener_hears_no_more_than_was_sent_and_never_goes_back(events: list[tuple[str, float, float]]) -> None:
    model, now, total, heard = PlayoutModel(), 0.0, 0.0, 0.0
    for kind, after, value in events:
        now += after
        if kind == "sent":
            total += abs(value) / 100
            model.sent(total, now)
        elif kind == "played":
            model.played(value, now)
        else:
            getattr(model, kind)(now)
        assert -1e-4 <= model.position(now) <= model.total_s() + 1e-4
        assert model.lead(now) >= 0
        record = model.continuity(now)
        assert record.worst_ms <= record.total_ms + 1e-6
        assert record.total_ms >= heard - 1e-6
        heard = record.total_ms

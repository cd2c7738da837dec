"""The modelled listener."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from realtime_client.playout import PlayoutClock

RATE = 1000  # one sample per millisecond


def clock() -> PlayoutClock:
    return PlayoutClock(RATE, start_buffer_ms=100)


def test_playing_starts_with_the_start_buffer() -> None:
    listener = clock()
    listener.received(10.0, 99)
    assert listener.position(20.0) == 0 and not listener.is_playing
    listener.received(20.0, 100)
    assert listener.is_playing
    assert listener.position(20.05) == pytest.approx(50, abs=1)
    assert listener.lead_ms(20.05) == pytest.approx(50, abs=1)


def test_a_short_utterance_starts_at_its_end() -> None:
    listener = clock()
    listener.received(10.0, 40)
    listener.finished(10.5)
    assert listener.position(10.52) == pytest.approx(20, abs=1)
    assert listener.position(99.0) == 40


def test_silence_with_text_due_is_an_underrun_of_its_length() -> None:
    listener = clock()
    listener.received(0.0, 200)
    listener.advance(0.3)
    listener.received(0.45, 400)
    assert listener.underruns.count == 1
    assert listener.underruns.total_ms == pytest.approx(250)
    listener.received(0.9, 500)  # the 200 ms lasted until 0.65
    assert (listener.underruns.count, listener.underruns.worst_ms) == (2, pytest.approx(250))
    assert listener.underruns.total_ms == pytest.approx(500)


def test_silence_for_want_of_text_is_none_and_buffers_anew() -> None:
    listener = clock()
    listener.received(0.0, 200)
    listener.advance(0.5, has_text_due=False)
    listener.received(5.0, 250)
    assert not listener.is_playing
    listener.received(5.1, 300)
    assert listener.is_playing
    assert listener.underruns.count == 0


def test_silence_at_the_end_is_none() -> None:
    listener = clock()
    listener.received(0.0, 200)
    listener.advance(1.0)
    listener.finished(1.2)
    assert listener.position(9.0) == 200
    assert listener.underruns.count == 0


def test_rewinding_takes_back_what_was_not_heard() -> None:
    listener = clock()
    listener.received(0.0, 500)
    listener.advance(0.2)
    listener.rewound(300)
    assert listener.position(9.0) == 300
    listener = clock()
    listener.received(0.0, 500)
    listener.advance(0.4)
    listener.rewound(300)
    assert listener.position(9.0) == pytest.approx(400, abs=1)


@given(st.lists(st.tuples(st.floats(0, 0.5), st.integers(0, 300), st.booleans()), max_size=30))
def test_the_listener_never_hears_what_is_not_there_and_never_goes_back(steps: list[tuple[float, int, bool]]) -> None:
    listener, now, end, heard = clock(), 0.0, 0, 0
    for wait, more, has_text_due in steps:
        now, end = now + wait, end + more
        listener.received(now, end, has_text_due)
        assert heard <= listener.position(now) <= end
        heard = listener.position(now)
        assert listener.underruns.total_ms <= now * 1000 + 1e-6

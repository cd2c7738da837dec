"""The heartbeat asks once, counts the silence, and takes any message for a sign of life."""

from __future__ import annotations

from realtime.workers.heartbeat import Heartbeat


def test_one_question_is_open_at_a_time_and_silence_is_counted_from_it() -> None:
    heartbeat = Heartbeat()
    assert [heartbeat.tick(can_ask=True) for _ in range(4)] == [1, None, None, None]
    assert heartbeat.silent_ticks == 3


def test_an_answer_opens_the_next_question() -> None:
    heartbeat = Heartbeat()
    heartbeat.tick(can_ask=True)
    heartbeat.tick(can_ask=True)
    heartbeat.heard(pong=1)
    assert (heartbeat.silent_ticks, heartbeat.tick(can_ask=True)) == (0, 2)


def test_any_message_is_life_but_only_the_right_pong_an_answer() -> None:
    heartbeat = Heartbeat()
    heartbeat.tick(can_ask=True)
    heartbeat.heard(pong=1)
    heartbeat.tick(can_ask=True)
    heartbeat.tick(can_ask=True)
    heartbeat.heard()
    heartbeat.heard(pong=1)
    assert (heartbeat.silent_ticks, heartbeat.tick(can_ask=True)) == (0, None)


def test_a_worker_that_starts_is_not_asked_but_counted() -> None:
    heartbeat = Heartbeat()
    assert [heartbeat.tick(can_ask=False) for _ in range(3)] == [None] * 3
    assert heartbeat.silent_ticks == 3

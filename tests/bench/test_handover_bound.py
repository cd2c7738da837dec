"""What a clairvoyant could have had, by table: one worker's troubles, and when a sound of 0.1 s + 0.5 x 0.2 s of work would be there."""

from __future__ import annotations

import pytest

from realtime.bench.ear import Ear
from realtime.bench.handover_bound import NEVER, Need, Speed, Spell, Trouble, Weather, need_of
from realtime.bench.skipping_loop import LoopClock

SPEED = Speed(first_s=0.1, rtf=0.5, chunk_s=0.2)


def weather(*spells: tuple[Trouble, float, float], caused_by: str = "other", pace: float = 4.0) -> Weather:
    found = Weather({"w": SPEED})
    for trouble, begin, end in spells:
        found.note(Spell("w", trouble, begin, end, caused_by, pace))
    return found


@pytest.mark.parametrize(
    ("spells", "expected"),
    [
        ([], 10.2),
        ([(Trouble.DEAD, 9.0, 10.5)], 10.7),
        ([(Trouble.DEAD, 10.1, 10.5)], 10.7),
        ([(Trouble.DEAD, 10.2, 10.5)], 10.2),
        ([(Trouble.FROZEN, 9.0, 10.5)], 10.7),
        ([(Trouble.FROZEN, 10.1, 10.5)], 10.5),
        ([(Trouble.FROZEN, 10.1, 10.5), (Trouble.FROZEN, 10.5, 11.0)], 11.0),
        ([(Trouble.FROZEN, 9.0, 12.0), (Trouble.DEAD, 9.5, 10.1)], 10.3),
        ([(Trouble.SLOW, 9.0, 11.0)], 10.8),
        ([(Trouble.SLOW, 9.0, 10.3)], 10.5),
        ([(Trouble.SLOW, 9.0, 10.3), (Trouble.SLOW, 9.9, 12.9)], 10.5),
        ([(Trouble.DEAD, 9.0, NEVER)], NEVER),
    ],
)
def test_the_soonest_sound_of_a_worker_with_troubles(spells: list[tuple[Trouble, float, float]], expected: float) -> None:
    assert weather(*spells).first_sound_at(Need("me", 10.0, 1.0)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("spells", "expected"),
    [
        ([], 10.2),
        ([(Trouble.DEAD, 10.1, 10.5)], 10.7),  # it is known when it is back
        ([(Trouble.FROZEN, 9.0, 10.5)], 10.7),
        ([(Trouble.SLOW, 9.0, 10.35)], 10.8),  # asked at 10.0 and 10.3: slow; the one of 10.6 is as soon as the first
        ([(Trouble.SLOW, 9.0, 10.25)], 10.5),  # a clairvoyant asks at 10.25 and has it at 10.45
        ([(Trouble.DEAD, 9.0, NEVER)], NEVER),
    ],
)
def test_one_without_foresight_asks_again_when_it_took_too_long_or_the_worker_is_back(
    spells: list[tuple[Trouble, float, float]], expected: float
) -> None:
    need, sky = Need("me", 10.0, 1.0), weather(*spells)
    assert sky.online_at(need) == pytest.approx(expected)
    assert sky.first_sound_at(need) <= sky.online_at(need)


def test_one_without_foresight_has_the_best_of_all_workers_too() -> None:
    both = Weather({"w": SPEED, "quick": Speed(0.01, 0.1, 0.2)})
    assert both.online_at(Need("me", 10.0, 1.0)) == pytest.approx(10.03)


def test_troubles_that_the_listener_s_own_runs_caused_do_not_count() -> None:
    assert weather((Trouble.DEAD, 9.0, NEVER), caused_by="me").first_sound_at(Need("me", 10.0, 1.0)) == pytest.approx(10.2)


def test_a_short_rest_takes_less_work() -> None:
    assert weather().first_sound_at(Need("me", 10.0, 0.1)) == pytest.approx(10.15)


def test_the_best_worker_counts() -> None:
    both = Weather({"w": SPEED, "quick": Speed(0.01, 0.1, 0.2)})
    assert both.first_sound_at(Need("me", 10.0, 1.0)) == pytest.approx(10.03)


def listener() -> Ear:
    """Opened at 9.0; hears from 10.1 on; runs dry at 11.1, before the second of two segments, for 0.4 s."""
    ear = Ear(1000, LoopClock())
    ear._arrivals = [(10.0, 1000), (11.5, 500)]
    ear.segments = {0: 0, 1: 1000}
    return ear


@pytest.mark.parametrize(("max_lead_s", "since"), [(0.4, 10.7), (1.0, 10.1), (2.0, 9.0)])
def test_a_segment_can_be_begun_when_it_is_due_within_the_lead(max_lead_s: float, since: float) -> None:
    ear = listener()
    (wait,) = ear.waits(0.1)
    assert (wait.sample, wait.begin, wait.end) == (1000, pytest.approx(11.1), 11.5)
    assert need_of("me", 9.0, max_lead_s, ear, wait).since == pytest.approx(since)


def test_the_first_segment_can_be_begun_at_once() -> None:
    ear = listener()
    ear.segments = {0: 0}
    assert need_of("me", 9.0, 0.4, ear, ear.waits(0.1)[0]).since == 9.0

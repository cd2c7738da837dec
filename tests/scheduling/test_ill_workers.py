"""What a worker that has become ill teaches, and what it does not."""

from __future__ import annotations

import pytest

from realtime.scheduling.cards import LevelRate, WorkerCard
from realtime.scheduling.rates import RateBook


@pytest.fixture
def book() -> RateBook:
    """Two workers of an engine: a chunk of a second takes 0.1 s, with four jobs on the worker 0.16 s."""
    found = RateBook()
    for name in ("ill", "well"):
        found.add(WorkerCard(name, "e", 8, {"l": LevelRate(0.1, 0.05, 0.2)}))
    return found


def fall_ill(book: RateBook) -> None:
    for _ in range(10):
        book.saw_first_chunk("ill", "l", 4, 0.2, 1.0)
        book.saw_chunk("ill", "l", 4, 1.0, 3.0)


def test_its_slowness_is_no_price_of_sharing_for_the_others(book: RateBook) -> None:
    fall_ill(book)
    assert book.rtf("ill", "l", 4) > 0.25
    assert book.rtf("well", "l", 4) == pytest.approx(0.16)
    assert book.first_chunk_s("well", "l", 4) == pytest.approx(0.05 * 1.3)


def test_the_price_is_still_learned_from_those_that_are_well(book: RateBook) -> None:
    for _ in range(60):
        book.saw_chunk("well", "l", 4, 1.0, 0.28)
    assert book.rtf("well", "l", 4) == pytest.approx(0.28, rel=0.05)


def test_once_well_again_it_is_soon_believed(book: RateBook) -> None:
    fall_ill(book)
    for _ in range(5):
        book.saw_first_chunk("ill", "l", 1, 0.2, 0.05)
        book.saw_chunk("ill", "l", 1, 1.0, 0.1)
    card = WorkerCard("ill", "e", 8, {"l": LevelRate(0.1, 0.05, 0.2)})
    assert book.slowed(card, "l") < 1.5


def test_what_all_take_is_expected_of_all_however_far_off_it_was(book: RateBook) -> None:
    for _ in range(60):
        for name in ("ill", "well"):
            book.saw_first_chunk(name, "l", 4, 0.2, 0.4)  # eight times as long as alone, three times what was thought
            book.saw_chunk(name, "l", 4, 1.0, 0.5)
    assert book.first_chunk_s("well", "l", 4) == pytest.approx(0.4, rel=0.15)
    assert book.rtf("well", "l", 4) == pytest.approx(0.5, rel=0.15)

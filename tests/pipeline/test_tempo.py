from __future__ import annotations

import pytest

from realtime.pipeline.tempo import KNOWN, MOST_PAIRS, UNKNOWN, Tempo, TempoBook


def test_nothing_is_known_of_a_new_pair() -> None:
    tempo = TempoBook().tempo("a", "b", "zh")
    assert (tempo.ratio, tempo.doubt) == (1.0, UNKNOWN)


def test_segments_teach_the_ratio_and_take_away_the_doubt() -> None:
    book = TempoBook()
    doubts = []
    for _ in range(8):
        tempo = book.tempo("a", "b", "zh")
        doubts.append(tempo.doubt)
        book.learn(tempo, planned_s=2.0, spoken_s=2.5)
    assert book.tempo("a", "b", "zh").ratio == pytest.approx(0.8)
    assert doubts == sorted(doubts, reverse=True) and doubts[-1] == KNOWN
    assert book.tempo("a", "b", "en").ratio == 1.0


@pytest.mark.parametrize(("planned_s", "spoken_s"), [(0.0, 2.0), (2.0, 0.0), (0.5, 0.6), (9.0, 1.0)])
def test_what_can_not_be_a_pace_teaches_nothing(planned_s: float, spoken_s: float) -> None:
    book = TempoBook()
    book.learn(book.tempo("a", "b", "zh"), planned_s, spoken_s)
    assert book.tempo("a", "b", "zh").doubt == UNKNOWN


def test_a_tempo_of_nobody_is_not_learned() -> None:
    book = TempoBook()
    book.learn(Tempo(), 2.0, 3.0)
    assert not book._known


def test_the_pair_that_was_not_asked_for_longest_is_forgotten() -> None:
    book = TempoBook()
    for number in range(MOST_PAIRS):
        book.learn(book.tempo(f"v{number}", "b", "zh"), 2.0, 2.5)
    book.tempo("v0", "b", "zh")
    book.learn(book.tempo("new", "b", "zh"), 2.0, 2.5)
    assert len(book._known) == MOST_PAIRS
    assert book.tempo("v0", "b", "zh").doubt < UNKNOWN == book.tempo("v1", "b", "zh").doubt

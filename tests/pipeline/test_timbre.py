from __future__ import annotations

import numpy as np
import pytest

from realtime.audio.features import mfcc
from realtime.pipeline.align import align
from realtime.pipeline.timbre import CEPSTRA, LEAST_ROWS, MOST_FRAMES, MOST_VOICES, NOBODYS, Timbre, TimbreBook, louder

RNG = np.random.default_rng(5)


def cepstra(count: int, mean: float = 0.0, deviation: float = 1.0) -> np.ndarray:
    return (mean + deviation * RNG.standard_normal((count, CEPSTRA))).astype(np.float32)


def mels(count: int, shift: float = 0.0) -> np.ndarray:
    return (shift + RNG.standard_normal((count, 40))).astype(np.float32)


def test_two_speeches_blended_are_as_one() -> None:
    one, other = cepstra(60, 3.0), cepstra(140, -1.0, 2.0)
    parts = [Timbre(len(some), some.mean(axis=0), some.var(axis=0)) for some in (one, other)]
    both, whole = parts[0].blended(parts[1]), np.concatenate([one, other])
    assert both.frames == 200
    assert both.mean == pytest.approx(whole.mean(axis=0), abs=1e-4)
    assert both.variance == pytest.approx(whole.var(axis=0), rel=1e-4)


def test_what_nobody_said_changes_nothing() -> None:
    some = Timbre.of(cepstra(50))
    assert some.blended(NOBODYS) is some and NOBODYS.blended(some) is some
    rows = cepstra(5)
    assert NOBODYS.normal(rows) is rows
    assert Timbre.of(cepstra(0)) is NOBODYS


def test_a_timbre_that_counts_for_little_gives_way() -> None:
    old, new = Timbre.of(cepstra(200, 5.0)), Timbre.of(cepstra(200))
    means = [float(new.blended(old.counted(frames)).mean.mean()) for frames in (1, 50, 400)]
    assert means == sorted(means)
    assert means[0] < 0.3 and means[-1] > 3.0


def test_the_quietest_rows_are_left_out() -> None:
    rows = cepstra(100)
    rows[:30, 0] = -50.0
    assert len(louder(rows)) <= 70 and louder(rows)[:, 0].min() > -40
    assert len(louder(np.ones((60, CEPSTRA), np.float32))) == 60


def test_sentences_teach_and_the_latest_count_most() -> None:
    book, key = TimbreBook(), ("quiet/v", "zh", 16000)
    assert book.timbre(key) is NOBODYS
    for _ in range(4):
        book.learn(key, mels(400, 0.0))
    before = book.timbre(key)
    assert before.frames == MOST_FRAMES
    latest = mels(400, 2.0)
    book.learn(key, latest)
    loud = Timbre.of(mfcc(latest, count=CEPSTRA)).mean[0]
    assert before.mean[0] + 0.3 * (loud - before.mean[0]) < book.timbre(key).mean[0] < loud
    assert book.timbre(("quiet/v", "zh", 8000)) is NOBODYS  # a telephone hears another voice


@pytest.mark.parametrize("rows", [mels(2 * LEAST_ROWS - 1), np.full((100, 40), np.nan, np.float32), np.zeros((0, 40), np.float32)])
def test_what_tells_nothing_of_a_voice_is_not_learned(rows: np.ndarray) -> None:
    book = TimbreBook()
    book.learn(("v", "zh", 0), rows)
    assert len(book) == 0


def test_the_voice_that_was_not_asked_for_longest_is_forgotten() -> None:
    book = TimbreBook()
    for number in range(MOST_VOICES):
        book.learn((f"v{number}", "zh", 0), mels(2 * LEAST_ROWS))
    book.timbre(("v0", "zh", 0))
    book.learn(("new", "zh", 0), mels(2 * LEAST_ROWS))
    assert len(book) == MOST_VOICES
    assert book.timbre(("v0", "zh", 0)).frames and not book.timbre(("v1", "zh", 0)).frames


def test_with_both_timbres_known_even_a_tilted_beginning_is_found() -> None:
    """Half a second that is all vowels and no hiss has another mean than the sentence: what the voice brings along puts that right."""
    reference = np.repeat(mels(30), 10, axis=0) * 3 + 0.2 * mels(300)
    tilt = np.linspace(4.0, -4.0, 40, dtype=np.float32)
    sound = reference + tilt + 0.2 * mels(300)
    known = Timbre.of(mfcc(sound, count=CEPSTRA)), Timbre.of(mfcc(reference, count=CEPSTRA))
    plain, helped = (align(sound[:55], reference, timbres=timbres) for timbres in ((NOBODYS, NOBODYS), known))
    assert helped.time_s == pytest.approx(0.55, abs=0.03)
    assert helped.cost < plain.cost

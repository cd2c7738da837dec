"""Sound is judged before anybody hears it, in pieces long enough to be judged."""

from __future__ import annotations

import numpy as np
import pytest

from realtime.engines.base import Chunk
from realtime.pipeline.watchdog import CHUNK_MISSING, END_MISSING, Watchdog

RATE = 16000


def tone(count: int) -> np.ndarray:  # type: ignore[type-arg]
    return (0.3 * np.sin(2 * np.pi * 220 * np.arange(count) / RATE)).astype(np.float32)


def noise(count: int) -> np.ndarray:  # type: ignore[type-arg]
    return np.random.default_rng(3).uniform(-0.9, 0.9, count).astype(np.float32)


def cut(samples: np.ndarray, length: int) -> list[Chunk]:  # type: ignore[type-arg]
    return [Chunk("j", samples[at : at + length], RATE, at=at) for at in range(0, len(samples), length)]


@pytest.mark.parametrize("length", [37, 160, 399, 400, 1600])
def test_clean_sound_passes_whole_and_in_order(length: int) -> None:
    dog, sound = Watchdog(), tone(4000)
    passed = [chunk for given in cut(sound, length) for chunk in dog.push(given)] + dog.finish(len(sound))
    assert dog.fault is None
    assert np.array_equal(np.concatenate([chunk.samples for chunk in passed]), sound)
    assert [chunk.at for chunk in passed] == [chunk.at for chunk in cut(sound, length)]


@pytest.mark.parametrize("length", [37, 160, 399, 400, 1600])
def test_not_one_sample_of_noise_passes_however_small_the_chunks(length: int) -> None:
    dog = Watchdog()
    passed = [chunk for given in cut(noise(4000), length) for chunk in dog.push(given)]
    assert (passed, dog.fault) == ([], "noise")


def test_noise_at_the_very_end_is_found_though_nothing_follows_it() -> None:
    dog = Watchdog()
    assert dog.push(Chunk("j", tone(1600), RATE, at=0))
    assert dog.push(Chunk("j", noise(100), RATE, at=1600)) == []
    assert (dog.finish(1700), dog.fault) == ([], "noise")


def test_noise_behind_a_quiet_end_is_not_taken_for_the_mean_of_both() -> None:
    dog = Watchdog()
    assert dog.push(Chunk("j", 0.02 * tone(294), RATE, at=0)) == []
    assert (dog.push(Chunk("j", noise(120), RATE, at=294)), dog.fault) == ([], "noise")


def test_noise_behind_a_quiet_end_is_found_where_the_sound_ends_before_it_can_be_judged() -> None:
    dog = Watchdog()
    assert dog.push(Chunk("j", tone(1600), RATE, at=0))
    assert dog.push(Chunk("j", 0.02 * tone(319), RATE, at=1600)) == []
    assert dog.push(Chunk("j", noise(45), RATE, at=1919)) == []
    assert (dog.finish(1964), dog.fault) == ([], "noise")


def test_a_chunk_that_is_missing_condemns_what_follows_it() -> None:
    dog = Watchdog()
    first, _, third = cut(tone(4800), 1600)
    assert dog.push(first)
    assert (dog.push(third), dog.fault) == ([], CHUNK_MISSING)


def test_a_missing_end_is_noticed_when_the_engine_says_how_much_it_gave() -> None:
    dog = Watchdog()
    assert dog.push(Chunk("j", tone(1600), RATE, at=0))
    assert (dog.finish(1700), dog.fault) == ([], END_MISSING)


def test_a_single_sample_that_is_no_number_is_enough() -> None:
    sound = tone(1600)
    sound[1234] = np.nan
    dog = Watchdog()
    assert (dog.push(Chunk("j", sound, RATE, at=0)), dog.fault) == ([], "nan")


def test_a_last_millisecond_too_short_to_be_judged_is_muted_where_it_leaps() -> None:
    dog = Watchdog()
    assert dog.push(Chunk("j", tone(1600), RATE, at=0))
    assert dog.push(Chunk("j", noise(9), RATE, at=1600)) == []
    (last,) = dog.finish(1609)
    assert (len(last.samples), last.samples.any(), dog.fault) == (9, False, None)

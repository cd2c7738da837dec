"""Splices: no click, no jump in loudness, nothing lost but what was given up on purpose."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.audio.levels import clicks, rms_db
from realtime.audio.splice import FADE_MS, MAX_GAIN_DB, SEARCH_MS, TAIL_MS, Splicer

Samples = npt.NDArray[np.float32]
RATE = 24000
FADE, TAIL, SEARCH = (RATE * ms // 1000 for ms in (FADE_MS, TAIL_MS, SEARCH_MS))
NOTHING = np.zeros(0, np.float32)


def tone(hz: float, samples: int, level: float = 0.3, phase: float = 0.0) -> Samples:
    return (level * np.sin(2 * np.pi * hz * np.arange(samples) / RATE + phase)).astype(np.float32)


def hand_over(old: Samples, new: Samples, *, chunk: int = 2400, resume: int | None = None) -> tuple[Samples, int]:
    """The whole output when `new` takes over at the end of `old`, and the seam."""
    splicer = Splicer(RATE)
    out = [splicer.push(old[at : at + chunk]) for at in range(0, len(old), chunk)]
    joined = splicer.join(splicer.take_tail()[:resume], new[:4800])
    out += [joined.samples, *(splicer.push(new[at : at + chunk]) for at in range(4800, len(new), chunk)), splicer.flush()]
    return np.concatenate(out), joined.seam


@given(st.lists(st.integers(0, 3000), max_size=10))
def test_without_a_join_the_stream_passes_unchanged(lengths: list[int]) -> None:
    splicer = Splicer(RATE)
    source = np.random.default_rng(0).standard_normal(sum(lengths)).astype(np.float32)
    out = []
    for chunk in np.split(source, np.cumsum(lengths)):
        out.append(splicer.push(chunk))
        assert splicer.held <= TAIL
    out.append(splicer.flush())
    assert np.array_equal(np.concatenate(out), source)
    assert splicer.position == len(source)


def test_the_newest_eighty_milliseconds_are_held() -> None:
    splicer = Splicer(RATE)
    out = splicer.push(tone(200, 10 * TAIL))
    assert (len(out), splicer.held) == (9 * TAIL, TAIL)
    assert repr(splicer) == f"<Splicer at {9 * TAIL}, {TAIL} held>"
    assert len(splicer.take_tail()) == TAIL
    assert splicer.held == 0


@pytest.mark.parametrize("first", [0, 7, 100, 239, 5000])
def test_a_tail_put_back_leaves_no_trace(first: int) -> None:
    def spoken(*, is_taken: bool) -> Samples:
        splicer, new = Splicer(RATE), tone(300, 9600)
        out = [splicer.push(tone(200, 9600)), splicer.join(splicer.take_tail(), new[:first]).samples]
        if is_taken:
            splicer.take_tail()
            splicer.put_back()
        return np.concatenate([*out, splicer.push(new[first:]), splicer.flush()])

    assert np.array_equal(spoken(is_taken=True), spoken(is_taken=False))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 12000), st.integers(FADE, 12000), st.floats(80, 1000), st.floats(80, 1000), st.floats(0.05, 0.9), st.floats(0.05, 0.9),
    st.integers(0, TAIL),
)  # fmt: skip
def test_no_join_steps_further_than_its_two_voices_do(
    before: int, after: int, old_hz: float, new_hz: float, old_level: float, new_level: float, resume: int
) -> None:
    old, new = tone(old_hz, before, old_level, 1.0), tone(new_hz, after, new_level, 1.5)
    out, _ = hand_over(old, new, resume=resume)
    gained = new_level * 10 ** (MAX_GAIN_DB / 20)
    steepest = 2 * np.pi / RATE * (old_hz * old_level + new_hz * min(1.0, gained))
    fades = 2 * np.pi * max(old_level, min(1.0, gained)) / FADE  # a fade is a slope of its own, and there are two
    assert np.abs(np.diff(out)).max(initial=0.0) <= steepest + fades


@pytest.mark.parametrize("seed", range(8))
def test_voices_join_without_a_click(seed: int, voice: Callable[..., Samples]) -> None:
    old, new = voice(RATE, 12000 + 1111 * seed, seed), 0.5 * voice(RATE, 24000, seed + 100)[1000 * seed :]
    out, seam = hand_over(old, new)
    assert [at for at in clicks(out, RATE) if abs(at - seam) < 2400] == []


def test_length_is_that_of_both_less_the_overlap_and_what_was_given_up() -> None:
    old, new = tone(200, 7000), tone(300, 9000)
    splicer = Splicer(RATE)
    sent = splicer.push(old)
    joined = splicer.join(splicer.take_tail(), new)
    total = len(sent) + len(joined.samples) + len(splicer.flush())
    assert total == 7000 + 9000 - FADE - joined.dropped
    assert joined.seam == 7000 - joined.dropped - FADE
    assert splicer.position == total


def test_before_the_seam_and_after_the_fade_the_voices_are_themselves() -> None:
    old, new = tone(200, 7000), tone(310, 20000)
    out, seam = hand_over(old, new)
    assert np.array_equal(out[:seam], old[:seam])
    settled = 10000  # well after hold and ramp
    assert np.array_equal(out[seam + settled : seam + settled + 1000], new[settled : settled + 1000])


def test_a_steady_voice_keeps_its_energy_through_the_join() -> None:
    rng = np.random.default_rng(3)
    old, new = (rng.standard_normal(24000).astype(np.float32) * np.float32(0.1) for _ in range(2))
    out, seam = hand_over(old, new)
    around = [rms_db(out[at : at + 240]) for at in range(seam - 1200, seam + 1200, 240)]
    assert max(around) - min(around) < 3.0


@pytest.mark.parametrize("level", [0.04, 0.1, 0.3])
def test_the_new_voice_starts_as_loud_as_the_old_one_was(level: float) -> None:
    old, new = tone(200, 24000, 0.1), tone(300, 24000, level)
    out, seam = hand_over(old, new)
    assert abs(rms_db(out[seam + FADE : seam + 2400]) - rms_db(old)) < 1.0
    assert abs(rms_db(out[seam + 12000 : seam + 16000]) - rms_db(new)) < 0.1  # and ends as itself


def test_gain_is_bounded_and_never_clips() -> None:
    splicer = Splicer(RATE)
    splicer.push(tone(200, 24000, 0.9))
    quiet = splicer.join(splicer.take_tail(), tone(300, 4800, 0.01))
    assert quiet.gain_db == pytest.approx(MAX_GAIN_DB)
    splicer = Splicer(RATE)
    splicer.push(np.sign(tone(200, 24000)) * np.float32(0.9))  # much louder for its peak than a sine
    peaky = splicer.join(splicer.take_tail(), tone(300, 4800, 0.8))
    assert peaky.gain_db <= -20 * np.log10(0.8) + 0.01


def test_gain_changes_by_small_steps() -> None:
    out, seam = hand_over(tone(200, 24000, 0.3), np.full(24000, 0.1, np.float32))
    ramp = out[seam + FADE :]
    assert np.abs(np.diff(ramp)).max() < 1e-3


def test_silence_has_no_loudness_to_match() -> None:
    splicer = Splicer(RATE)
    splicer.push(np.zeros(24000, np.float32))
    assert splicer.join(splicer.take_tail(), tone(300, 4800)).gain_db == 0.0


def test_a_pause_near_the_end_is_where_the_voices_meet() -> None:
    word, pause, stub = tone(200, 20000), np.zeros(400, np.float32), tone(200, 300, 0.3, 0.5)
    splicer = Splicer(RATE)
    splicer.push(np.concatenate([word, pause, stub]))
    joined = splicer.join(splicer.take_tail(), tone(300, 4800))
    middle = joined.seam + FADE // 2
    assert len(word) < middle < len(word) + len(pause)
    assert joined.dropped >= len(stub)
    assert joined.dropped <= SEARCH


def test_a_tail_that_is_exactly_right_is_kept_whole() -> None:
    splicer = Splicer(RATE)
    splicer.push(np.concatenate([tone(200, 20000), np.zeros(400, np.float32), tone(200, 300, 0.3, 0.5)]))
    joined = splicer.join(splicer.take_tail(), tone(300, 4800), search_ms=0)
    assert (joined.dropped, joined.seam) == (0, 20700 - FADE)


def test_without_a_pause_nothing_is_given_up() -> None:
    splicer = Splicer(RATE)
    splicer.push(tone(200, 20000))
    assert splicer.join(splicer.take_tail(), tone(300, 4800)).dropped == 0


def test_before_the_first_sample_the_new_voice_just_speaks() -> None:
    new = tone(300, 9000)
    out, seam = hand_over(NOTHING, new)
    assert seam == 0
    assert np.array_equal(out, new)


def test_with_nothing_left_to_say_the_tail_ends_softly() -> None:
    splicer = Splicer(RATE)
    sent = splicer.push(tone(200, 5030))
    joined = splicer.join(splicer.take_tail(), NOTHING)
    out = np.concatenate([sent, joined.samples, splicer.flush()])
    assert len(out) == 5030
    assert abs(float(out[-1])) < 2e-3


def test_with_no_tail_left_the_new_voice_eases_in_from_the_last_sample() -> None:
    splicer = Splicer(RATE)
    sent = [splicer.push(np.full(5000, 0.4, np.float32)), splicer.flush()]
    joined = splicer.join(splicer.take_tail(), np.full(4800, -0.4, np.float32))
    out = np.concatenate([*sent, joined.samples, splicer.flush()])
    assert len(out) == 9800
    assert np.abs(np.diff(out)).max() < 0.02


@pytest.mark.parametrize("first", [0, 1, 50, 239, 240, 1000, 5000])
def test_a_second_handover_right_after_the_first_is_as_clean(first: int) -> None:
    splicer = Splicer(RATE)
    out = [splicer.push(tone(200, 12000))]
    out.append(splicer.join(splicer.take_tail(), tone(300, first, 0.2, 0.3)).samples)
    second = splicer.join(splicer.take_tail(), tone(250, 9600, 0.25, 1.0))
    out += [second.samples, splicer.flush()]
    whole = np.concatenate(out)
    assert splicer.position == len(whole)
    assert clicks(whole, RATE) == []


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
def test_every_rate_has_its_own_lengths(rate: int) -> None:
    splicer = Splicer(rate)
    splicer.push(np.full(rate, 0.1, np.float32))
    assert splicer.held == round(rate * TAIL_MS / 1000)
    joined = splicer.join(splicer.take_tail(), np.full(rate, 0.1, np.float32))
    assert joined.seam == rate - round(rate * FADE_MS / 1000)


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_an_exact_join_overlaps_nothing_and_still_makes_no_click(rate: int) -> None:
    time = np.arange(rate) / rate
    old, new = (np.sin(2 * np.pi * hz * time).astype(np.float32) for hz in (330, 410))
    splicer = Splicer(rate)
    out = [splicer.push(0.5 * old)]
    tail = splicer.take_tail()
    joined = splicer.join(tail, 0.5 * new, is_exact=True)
    out += [joined.samples, splicer.flush()]
    edge = rate * 2 // 1000
    assert (joined.seam, joined.dropped) == (rate, 0)
    sound = np.concatenate(out)
    assert np.array_equal(sound[: rate - edge], 0.5 * old[: rate - edge])
    gain = 10 ** (joined.gain_db / 20)
    assert np.allclose(sound[rate + edge : rate + 2 * edge], 0.5 * gain * new[edge : 2 * edge], atol=1e-3)
    assert clicks(sound, rate) == []

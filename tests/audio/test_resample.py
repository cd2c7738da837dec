"""The resampler: exact length, exact phase, the same sound however it is cut."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.audio.resample import StreamResampler, resample, resampled_length
from realtime.errors import BadOption

Samples = npt.NDArray[np.float32]
RATES = (8000, 16000, 22050, 24000, 44100, 48000)
PAIRS = [(a, b) for a in RATES for b in RATES if a != b]
rates = st.sampled_from((*RATES, 11025, 32000, 22051))


def in_pieces(stream: StreamResampler, pieces: list[Samples]) -> Samples:
    return np.concatenate([*(stream.push(piece) for piece in pieces), stream.flush()])


def db(error: float, of: float) -> float:
    return 20 * np.log10(error / of + 1e-12)


@pytest.mark.parametrize(("from_rate", "to_rate"), PAIRS)
def test_a_stream_in_chunks_equals_the_whole_within_the_ripple(from_rate: int, to_rate: int, pieces: Callable[..., object]) -> None:
    noise = np.random.default_rng(1).standard_normal(from_rate // 2 + 13).astype(np.float32) * np.float32(0.1)
    whole = resample(noise, from_rate, to_rate)
    parts = in_pieces(StreamResampler(from_rate, to_rate), list(pieces(noise, 2, from_rate // 40)))
    assert len(parts) == len(whole)
    assert db(np.abs(parts - whole).max(), np.abs(whole).max()) < -115


@pytest.mark.parametrize(("from_rate", "to_rate"), PAIRS)
def test_the_whole_equals_libsoxr_at_once(from_rate: int, to_rate: int) -> None:
    noise = np.random.default_rng(2).standard_normal(from_rate // 4).astype(np.float32) * np.float32(0.1)
    expected = soxr.resample(noise, from_rate, to_rate)
    got = resample(noise, from_rate, to_rate)
    shared = min(len(got), len(expected))
    assert abs(len(got) - len(expected)) <= 1
    assert db(np.abs(got[:shared] - expected[:shared]).max(), 0.1) < -115


@pytest.mark.parametrize(("from_rate", "to_rate"), PAIRS)
def test_a_sine_cut_at_random_is_the_sine_at_the_other_rate(from_rate: int, to_rate: int, pieces: Callable[..., object]) -> None:
    sine = np.sin(2 * np.pi * 1000 * np.arange(from_rate) / from_rate).astype(np.float32) * np.float32(0.5)
    got = in_pieces(StreamResampler(from_rate, to_rate), list(pieces(sine, 3, 700)))
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(to_rate) / to_rate)
    edge = to_rate // 20  # the sine's abrupt start and end ring
    assert len(got) == to_rate
    assert db(np.abs(got - expected)[edge:-edge].max(), 0.5) < -85  # phase and level: no delay, no drift


@settings(max_examples=60, deadline=None)
@given(rates, rates, st.lists(st.integers(0, 1500), max_size=8))
def test_length_is_the_rounded_ratio_for_any_cutting(from_rate: int, to_rate: int, lengths: list[int]) -> None:
    stream = StreamResampler(from_rate, to_rate)
    out = in_pieces(stream, [np.zeros(length, np.float32) for length in lengths])
    total = sum(lengths)
    assert len(out) == resampled_length(total, from_rate, to_rate)
    assert abs(len(out) - total * to_rate / from_rate) <= 0.5


@settings(max_examples=60, deadline=None)
@given(rates, rates, st.lists(st.integers(1, 1500), min_size=1, max_size=8))
def test_no_more_is_held_back_than_stated(from_rate: int, to_rate: int, lengths: list[int]) -> None:
    stream = StreamResampler(from_rate, to_rate)
    fed = out = 0
    for length in lengths:
        fed += length
        out += len(stream.push(np.zeros(length, np.float32)))
        assert (fed - stream.held_back) * to_rate <= out * from_rate + from_rate
        assert out * from_rate <= fed * to_rate


@pytest.mark.parametrize(("from_rate", "to_rate"), PAIRS)
def test_less_than_seventeen_milliseconds_are_held_back(from_rate: int, to_rate: int) -> None:
    assert StreamResampler(from_rate, to_rate).held_back / from_rate < 0.017


def test_memory_is_bounded_however_long_the_stream() -> None:
    stream = StreamResampler(22050, 48000)
    sizes = []
    for _ in range(200):
        stream.push(np.zeros(2205, np.float32))
        sizes.append(len(stream._window))
    assert max(sizes[10:]) <= max(sizes[:10])


def test_equal_rates_pass_the_same_array() -> None:
    stream = StreamResampler(24000, 24000)
    chunk = np.ones(7, np.float32)
    assert stream.push(chunk) is chunk
    assert len(stream.flush()) == 0
    assert (stream.held_back, stream.delay_samples) == (0, 0)


def test_after_flush_it_is_as_new() -> None:
    stream = StreamResampler(24000, 8000)
    sound = np.random.default_rng(4).standard_normal(3000).astype(np.float32)
    first = in_pieces(stream, [sound])
    assert np.array_equal(in_pieces(stream, [sound]), first)


def test_pushing_leaves_the_chunk_as_it_was_and_free_to_be_reused() -> None:
    stream = StreamResampler(24000, 48000)
    chunk = np.full(1000, 0.5, np.float32)
    first = stream.push(chunk)
    chunk[:] = 0.0
    kept = first.copy()
    rest = stream.flush()
    assert np.array_equal(first, kept)
    assert rest[0] == pytest.approx(0.5, abs=0.06)  # still the old value: the stream had its own copy


@pytest.mark.parametrize(("from_rate", "to_rate"), [(0, 8000), (8000, 0), (-1, 8000)])
def test_rates_that_are_none_are_refused(from_rate: int, to_rate: int) -> None:
    with pytest.raises(BadOption, match="positive"):
        StreamResampler(from_rate, to_rate)

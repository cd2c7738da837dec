"""The packetizer: whatever is pushed comes out once, in order, in frames of one length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.audio.packetize import Packetizer


@given(st.integers(1, 50), st.lists(st.integers(0, 120), max_size=12))
def test_frames_and_the_last_one_are_the_input(frame_samples: int, lengths: list[int]) -> None:
    packetizer = Packetizer(frame_samples)
    source = np.arange(sum(lengths), dtype=np.float32) + 1
    frames = [frame for chunk in np.split(source, np.cumsum(lengths)) for frame in packetizer.push(chunk)]
    assert all(frame.shape == (frame_samples,) for frame in frames)
    assert packetizer.pending == len(source) % frame_samples
    last = packetizer.flush()
    content = [last.content] if last else []
    assert np.array_equal(np.concatenate([np.zeros(0), *frames, *content]), source)
    if last:
        assert len(last.samples) == frame_samples
        assert not last.samples[frame_samples - last.padding :].any()
    else:
        assert len(source) % frame_samples == 0


def test_a_frame_is_out_as_soon_as_it_is_full() -> None:
    packetizer = Packetizer(160)
    assert packetizer.push(np.zeros(159, np.float32)) == []
    assert len(packetizer.push(np.zeros(1, np.float32))) == 1


def test_after_flush_it_is_empty() -> None:
    packetizer = Packetizer(10)
    packetizer.push(np.ones(3, np.float32))
    last = packetizer.flush()
    assert last is not None and last.padding == 7
    assert packetizer.flush() is None
    assert packetizer.pending == 0


@pytest.mark.parametrize("length", [3, 6])
def test_the_caller_may_reuse_its_chunk(length: int) -> None:
    packetizer = Packetizer(4)
    chunk = np.ones(length, np.float32)
    frames = packetizer.push(chunk)
    chunk[:] = 9
    last = packetizer.flush()
    assert last is not None
    assert np.concatenate([*frames, last.content]).tolist() == [1] * length


def test_a_frame_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        Packetizer(0)

"""Bytes in, 20 ms frames out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from realtime_ivr.errors import CallFailed
from realtime_ivr.playout import PREFETCH, Playout

from realtime.types import Codec


def plain() -> Playout:
    """One that holds nothing back at the beginning."""
    return Playout(Codec.MULAW, prefetch=0)


def frames_of(playout: Playout) -> list[bytes]:
    found = []
    while (frame := playout.next_frame()) is not None:
        found.append(frame)
    return found


@given(st.lists(st.integers(0, 700), max_size=12))
def test_whatever_the_pieces_the_sound_is_the_same(sizes: list[int]) -> None:
    data = np.arange(sum(sizes), dtype=np.uint8).tobytes()
    playout, at = plain(), 0
    for size in sizes:
        playout.push(data[at : at + size])
        at += size
    playout.mark("end")
    out = b"".join(frames_of(playout))
    assert out[: len(data)] == data
    assert set(out[len(data) :]) <= {0xFF} and len(out) - len(data) < 160
    assert playout.played == len(data) and playout.queued == 0
    assert playout.marks_passed() == ["end"]


def test_less_than_a_frame_waits_for_its_rest() -> None:
    playout = plain()
    playout.push(b"\x01" * 100)
    assert playout.next_frame() is None
    playout.push(b"\x02" * 60)
    assert playout.next_frame() == b"\x01" * 100 + b"\x02" * 60


def test_a_rest_that_stays_alone_is_made_up_with_silence_when_a_mark_ends_it() -> None:
    playout = Playout(Codec.ALAW)
    playout.push(b"\x01" * 100)
    assert [playout.next_frame() for _ in range(100)] == [None] * 100
    playout.mark("end")
    assert playout.next_frame() == b"\x01" * 100 + b"\xd5" * 60 and playout.marks_passed() == ["end"]


def test_clear_passes_the_marks_and_keeps_the_position() -> None:
    playout = Playout(Codec.PCM_S16LE)
    playout.push(bytes(320 * 5))
    playout.mark("m")
    assert playout.next_frame() is not None and playout.marks_passed() == []
    assert playout.clear() == 160 * 4
    assert playout.played == 160 and playout.marks_passed() == ["m"] and playout.next_frame() is None


def test_cut_takes_back_what_lies_behind_and_never_what_was_heard() -> None:
    playout = plain()
    playout.push(b"\x01" * 480)
    playout.next_frame()
    playout.cut(200)
    assert playout.end == 200
    playout.cut(10)
    assert playout.end == playout.played == 160


def test_a_full_queue_and_half_a_sample_are_refused() -> None:
    playout = Playout(Codec.PCM_S16LE, max_queued_s=0.1)
    with pytest.raises(ValueError, match="2-byte"):
        playout.push(b"\0")
    playout.push(bytes(1600))
    with pytest.raises(CallFailed, match="wait to be heard"):
        playout.push(bytes(2))


def test_sound_begins_with_100_ms_or_when_that_is_all_and_anew_after_running_dry() -> None:
    playout = Playout(Codec.MULAW)
    playout.push(bytes(PREFETCH - 1))
    assert playout.next_frame() is None
    playout.push(bytes(1))
    assert len(frames_of(playout)) == 5  # down to the last one: what was held is for what comes late
    playout.push(bytes(320))
    assert playout.next_frame() is None
    playout.mark("all")
    assert len(frames_of(playout)) == 2


def test_a_short_word_is_held_back_for_100_ms_at_most() -> None:
    playout = Playout(Codec.MULAW)
    playout.push(bytes(320))
    assert [playout.next_frame() is None for _ in range(8)] == [True] * 5 + [False] * 2 + [True]


def test_a_piece_that_comes_before_the_last_was_heard_is_not_held_back() -> None:
    playout = Playout(Codec.MULAW)
    playout.push(bytes(PREFETCH))
    for _ in range(50):
        assert playout.next_frame() is not None
        playout.push(bytes(160))

"""Packets in any order in, one frame per tick out."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from realtime_ivr.jitter import MAX_FRAMES, MAX_LOST_RUN, Heard, JitterBuffer


def name(number: int) -> bytes:
    return number.to_bytes(4, "big")


def run(buffer: JitterBuffer, arrivals: list[tuple[float, int]], ticks: int, first: int = 0) -> list[bytes | None]:
    """Arrivals (ms, number) against ticks every 20 ms; what each tick gave, b"" for a lost frame."""
    arrivals = sorted(arrivals)
    found: list[bytes | None] = []
    for tick in range(ticks):
        while arrivals and arrivals[0][0] <= tick * 20:
            at, number = arrivals.pop(0)
            buffer.push((first + number) & 0xFFFF, number * 20.0, name(number), at / 1000)
        heard = buffer.pop()
        found.append(None if heard is None else heard.payload)
    return found


def test_an_even_stream_passes_whole_over_the_wrap_of_the_sequence() -> None:
    buffer = JitterBuffer()
    out = [f for f in run(buffer, [(n * 20, n) for n in range(200)], 210, first=65500) if f]
    assert out == [name(n) for n in range(200)]
    assert buffer.lost == buffer.late == buffer.dropped == 0


@settings(max_examples=50)
@given(st.integers(0, 2**32), st.sampled_from([2, 8, 15]))
def test_jitter_costs_frames_only_until_the_delay_has_grown(seed: int, spread: int) -> None:
    rng = random.Random(seed)
    buffer = JitterBuffer()
    out = run(buffer, [(n * 20 + rng.uniform(0, spread), n) for n in range(300)], 320)
    heard = [f for f in out if f]
    assert heard == sorted(heard)
    assert len(set(heard)) == len(heard) >= 295
    assert buffer.target <= MAX_FRAMES


def test_a_swapped_pair_comes_out_in_order() -> None:
    buffer = JitterBuffer()
    buffer._extra = 2
    out = [f for f in run(buffer, [(0, 0), (20, 1), (61, 2), (60, 3), (80, 4), (100, 5), (120, 6)], 14) if f]
    assert out == [name(n) for n in range(7)]


def test_a_lost_packet_gives_one_lost_frame() -> None:
    buffer = JitterBuffer()
    out = run(buffer, [(n * 20, n) for n in range(50) if n != 20], 60)
    heard = [f for f in out if f is not None]
    assert heard.count(b"") <= 1 and buffer.lost <= 1
    assert [f for f in heard if f] == [name(n) for n in range(50) if n != 20]


def test_a_long_gap_ends_in_silence_and_the_stream_goes_on_after_it() -> None:
    buffer = JitterBuffer()
    numbers = [*range(20), *range(60, 90)]
    out = run(buffer, [(n * 20, n) for n in numbers], 100)
    assert [f for f in out if f] == [name(n) for n in numbers]
    assert out.count(b"") <= MAX_LOST_RUN + 1


def test_a_duplicate_and_a_late_packet_are_counted_and_not_heard() -> None:
    buffer = JitterBuffer()
    for number in (0, 1, 1, 2):
        buffer.push(number, number * 20.0, name(number), number * 0.02)
    assert buffer.duplicates == 1
    assert [buffer.pop(), buffer.pop(), buffer.pop()][0] is not None
    buffer.push(0, 0.0, name(0), 0.2)
    assert buffer.late == 1


def test_a_new_stream_starts_over() -> None:
    buffer = JitterBuffer()
    run(buffer, [(n * 20, n) for n in range(10)], 15)
    buffer.push(40000, 1e6, b"new", 1.0)
    buffer.push(40001, 1e6 + 20, b"neu", 1.02)
    assert buffer.pop() == Heard(b"new")


def test_a_burst_does_not_grow_the_buffer_for_ever() -> None:
    buffer = JitterBuffer()
    for number in range(1000):
        buffer.push(number, number * 20.0, name(number), 0.0)
    assert len(buffer._held) <= 64 and buffer.dropped == 1000 - 64

"""Values of the shared cache: what was written comes back, and nothing else does."""

from __future__ import annotations

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.pipeline.cache import CacheKey, SpokenSegment
from realtime.pipeline.cache_values import HEAD, MAGIC, _checksum, decode, encode, name_of
from realtime.pipeline.outputs import Word
from realtime.types import Emotion, Span

KEY = CacheKey("e", "1", "v", "zh", "您好", 1.0, Emotion("happy", None, 0.5), 7)
NAME = name_of(KEY, "best")


def segment(samples: int = 500, words: int = 3) -> SpokenSegment:
    sound = np.arange(samples, dtype=np.int16)
    return SpokenSegment(sound, 24000, tuple(Word(Span(k, k + 1), k * 10.5, k * 10.5 + 9) for k in range(words)))


@given(st.binary(min_size=2, max_size=400).filter(lambda b: len(b) % 2 == 0), st.sampled_from([8000, 16000, 22050, 24000, 48000]))
def test_every_sound_comes_back(sound: bytes, rate: int) -> None:
    entry = SpokenSegment(np.frombuffer(sound, "<i2"), rate, segment().words)
    found = decode(NAME, encode(NAME, entry))
    assert found is not None and found.rate == rate and found.words == entry.words
    assert np.array_equal(found.samples, entry.samples)


@pytest.mark.parametrize("keep", [0, 1, len(MAGIC), HEAD, HEAD + 1, 100, -1])
def test_a_value_cut_short_is_none(keep: int) -> None:
    assert decode(NAME, encode(NAME, segment())[:keep]) is None


@given(st.integers(0, 400), st.integers(0, 7))
def test_one_wrong_bit_is_none(at: int, bit: int) -> None:
    value = bytearray(encode(NAME, segment()))
    value[at % len(value)] ^= 1 << bit
    assert decode(NAME, bytes(value)) is None


@given(st.binary(max_size=300))
def test_foreign_bytes_are_none(value: bytes) -> None:
    assert decode(NAME, value) is None
    assert decode(NAME, MAGIC + value) is None


@pytest.mark.parametrize(
    "body",
    [
        [],
        7,
        [24000, b"\x00\x01\x02", []],
        [24000, b"", []],
        [0, b"\0\0", []],
        ["24000", b"\0\0", []],
        [True, b"\0\0", []],
        [24000, "text", []],
        [24000, b"\0\0", [[0, 1]]],
        [24000, b"\0\0", [[3, 1, 0.0, 1.0]]],
        [24000, b"\0\0", [[-1, 1, 0.0, 1.0]]],
        [24000, b"\0\0", [[0, 1, float("nan"), 1.0]]],
        [24000, b"\0\0", [[0, 1, "0", 1.0]]],
        [24000, b"\0\0", 5],
    ],
)
def test_a_right_checksum_over_the_wrong_content_is_none(body: object) -> None:
    packed = msgpack.packb(body)
    assert decode(NAME, MAGIC + _checksum(NAME, packed) + packed) is None


def test_a_value_under_another_name_is_none() -> None:
    other = name_of(KEY, "fast")
    assert decode(other, encode(NAME, segment())) is None


def test_names_differ_by_everything_and_hold_no_text() -> None:
    from dataclasses import replace

    changes = [{"engine": "x"}, {"revision": "2"}, {"voice": "w"}, {"language": "en"}, {"text": "您"}, {"speed": 1.1}, {"seed": 8}]
    changes += [{"emotion": None}, {"emotion": Emotion("happy", None, 0.6)}, {"emotion": Emotion("happy", (0.5,), 0.5)}]
    names = {NAME, name_of(KEY, "fast"), *(name_of(replace(KEY, **change), "best") for change in changes)}  # type: ignore[arg-type]
    assert len(names) == 2 + len(changes)
    assert all("您".encode() not in name for name in names)
    assert name_of(KEY, "best") == NAME

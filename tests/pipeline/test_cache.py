"""The cache of spoken segments: bounded by bytes, best level first, exact positions."""

from __future__ import annotations

import numpy as np
import pytest

from realtime.pipeline.cache import CacheKey, SegmentCache, SpokenSegment
from realtime.pipeline.outputs import Word
from realtime.types import Emotion, Span


def key(text: str = "你好", **fields: object) -> CacheKey:
    values: dict[str, object] = {
        "engine": "e",
        "revision": "1",
        "voice": "v",
        "language": "zh",
        "text": text,
        "speed": 1.0,
        "emotion": None,
        "seed": 0,
    }
    return CacheKey(**{**values, **fields})  # type: ignore[arg-type]


def segment(samples: int = 1600, position: int = 10) -> SpokenSegment:
    sound = (0.5 * np.sin(np.arange(samples) * 0.1)).astype(np.float32)
    words = [Word(Span(position, position + 1), 0.0, 40.0), Word(Span(position + 1, position + 2), 40.0, 100.0)]
    return SpokenSegment.of([sound[:100], sound[100:]], 16000, words, position)


def test_what_was_put_comes_back_at_any_rate_and_place() -> None:
    cache = SegmentCache(1 << 20)
    cache.put(key(), "best", segment())
    found = cache.get(key(), ("best",))
    assert found is not None
    assert len(found.at_rate(8000)) == 800 and len(found.at_rate(16000)) == 1600
    assert [w.span for w in found.words_at(100)] == [Span(100, 101), Span(101, 102)]
    sound = (0.5 * np.sin(np.arange(1600) * 0.1)).astype(np.float32)
    assert np.abs(found.at_rate(16000) - sound).max() <= 1 / 32767


def test_the_better_level_wins_and_an_unknown_one_is_a_miss() -> None:
    cache = SegmentCache(1 << 20)
    fast, best = segment(), segment()
    cache.put(key(), "fast", fast)
    assert cache.get(key(), ("best", "fast")) is fast
    cache.put(key(), "best", best)
    assert cache.get(key(), ("best", "fast")) is best
    assert cache.get(key(), ("other",)) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"engine": "x"},
        {"revision": "2"},
        {"voice": "x"},
        {"language": "en"},
        {"text": "再见"},
        {"speed": 1.1},
        {"emotion": Emotion("happy")},
        {"seed": 1},
    ],
)
def test_everything_that_changes_the_sound_is_in_the_key(fields: dict[str, object]) -> None:
    cache = SegmentCache(1 << 20)
    cache.put(key(), "best", segment())
    assert cache.get(key(**fields), ("best",)) is None


def test_bytes_are_bounded_and_the_least_recently_used_leaves_first() -> None:
    entry = segment()
    cache = SegmentCache(entry.size * 3)
    for text in "abc":
        cache.put(key(text), "best", segment())
    assert cache.get(key("a"), ("best",)) is not None
    cache.put(key("d"), "best", segment())
    assert [text for text in "abcd" if cache.get(key(text), ("best",))] == ["a", "c", "d"]
    cache.put(key("huge"), "best", segment(1_000_000))
    assert len(cache) == 3


def test_a_cache_of_no_bytes_keeps_nothing() -> None:
    cache = SegmentCache(0)
    cache.put(key(), "best", segment())
    assert not cache.is_on and cache.get(key(), ("best",)) is None

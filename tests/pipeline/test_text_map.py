"""TextMap: sound to text and back, monotone both ways."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from realtime.pipeline.text_map import TextMap


def mapped(*anchors: tuple[int, int]) -> TextMap:
    text_map = TextMap()
    for sample, char in anchors:
        text_map.add(sample, char)
    return text_map


def test_between_anchors_text_advances_evenly() -> None:
    text_map = mapped((0, 10), (1000, 20), (1500, 20), (2500, 30))
    assert [text_map.char_at(s) for s in (0, 99, 100, 500, 1000, 1400, 2000, 2500, 9999)] == [10, 10, 11, 15, 20, 20, 25, 30, 30]


def test_a_character_begins_where_its_anchor_says() -> None:
    text_map = mapped((0, 10), (1000, 20), (1500, 20), (2500, 30))
    assert [text_map.sample_at(c) for c in (10, 15, 20, 25, 30)] == [0, 500, 1000, 2000, 2500]
    assert text_map.sample_at(31) is None


def test_cut_ends_the_map_at_the_seam() -> None:
    text_map = mapped((0, 0), (1000, 10), (2000, 20))
    text_map.cut(1200, 8)
    assert text_map.char_at(5000) == 8
    text_map.add(3000, 20)
    assert text_map.char_at(3000) == 20


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 100)), min_size=1), st.lists(st.integers(0, 1200), min_size=2))
def test_the_map_never_goes_back(anchors: list[tuple[int, int]], samples: list[int]) -> None:
    text_map = mapped(*anchors)
    chars = [text_map.char_at(sample) for sample in sorted(samples)]
    assert chars == sorted(chars)

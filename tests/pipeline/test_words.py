"""Word times of a segment: together they cover its letters and digits, whatever the engine left out."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from realtime.engines.base import Chunk
from realtime.pipeline.attempt import Attempt
from realtime.pipeline.segment_run import SegmentRun
from realtime.types import Segment, Span, SpokenText, WordTime

RATE = 1000


def words_of(text: str, spoken: SpokenText, *words: WordTime) -> list[str]:
    """The words of a segment that begins at character 10 of its utterance, after its engine told of `words`."""
    run = SegmentRun(Segment(0, Span(10, 10 + len(text)), text), RATE)
    attempt = Attempt("u/0#1", "main", "v", "main-0", "standard", SpokenText(spoken.text, tuple(10 + at for at in spoken.origin)))
    run.begin(attempt)
    run.receive(attempt, Chunk("u/0#1", np.zeros(600, np.float32), RATE, words=words))
    run.finish(attempt)
    told = run.words()
    assert all(a.span.end <= b.span.start and a.start_ms <= b.start_ms for a, b in pairwise(told))
    return [text[word.span.start - 10 : word.span.end - 10] for word in told]


@pytest.mark.parametrize(
    ("text", "origin", "spans", "expected"),
    [
        ("2024 yuan", (0, 1, 2, 3, 4, 5, 9), (Span(0, 1), Span(1, 2), Span(3, 4), Span(5, 6)), ["2", "02", "4", "yuan"]),
        ("in 2024.", (0, 2, 3, 4, 8), (Span(0, 1), Span(2, 3)), ["in", "2024"]),
        ("a, b", (0, 1, 3, 4), (Span(0, 1), Span(2, 3)), ["a", "b"]),
    ],
)
def test_what_has_no_time_of_its_own_goes_with_the_word_before(
    text: str, origin: tuple[int, ...], spans: tuple[Span, ...], expected: list[str]
) -> None:
    spoken = SpokenText("x" * (len(origin) - 1), origin)
    words = [WordTime(span, 100 * k, 100 * (k + 1)) for k, span in enumerate(spans)]
    assert words_of(text, spoken, *words) == expected

"""From segments to the three forms that engines ask for."""

from __future__ import annotations

import pytest

from realtime.text import words
from realtime.text.boundaries import is_cluster_break, is_extender, is_speakable, weight_of
from realtime.text.language import guess_language
from realtime.text.normalize import NormalizationFailure
from realtime.text.segmenter import Segmenter
from realtime.text.speakable import Preparer, prepare, spoken_words, warm_up
from realtime.types import Segment, Span


def segment(text: str, language: str = "zh") -> Segment:
    return Segment(0, Span(0, len(text)), text, language)


def test_the_three_forms_of_a_segment() -> None:
    text = "**气温**35℃😀。"
    assert prepare(segment(text), "raw").text == text
    assert prepare(segment(text), "plain").text == "气温35℃。"
    spoken = prepare(segment(text), "spoken")
    assert spoken.text == "气温三十五摄氏度。"
    assert [text[i] for i in spoken.origin[:2]] == ["气", "温"]
    assert text[spoken.origin[2] : spoken.origin[-2]] == "35℃😀"


def test_a_preparer_follows_a_fence_through_the_stream() -> None:
    failures: list[NormalizationFailure] = []
    preparer, segmenter = Preparer(on_failure=failures.append), Segmenter()
    segments = segmenter.push("See 5 km:\n```\ncode. 3\n```\nDone 2 times.", 0.0) + segmenter.flush(0.0)
    forms = [preparer.push(s) for s in segments]
    assert "".join(f["spoken"].text for f in forms) == "See five kilometers:Done two times."
    assert "".join(f["plain"].text for f in forms) == "See 5 km:Done 2 times."
    assert "".join(f["raw"].text for f in forms) == "".join(s.text for s in segments)
    assert failures == []
    for form, source in zip(forms, segments, strict=True):
        assert form["spoken"].origin[-1] <= len(source.text)


def test_blanks_at_the_ends_are_not_spoken() -> None:
    assert prepare(segment("  你好 \n"), "plain").origin == (2, 3, 4)
    assert prepare(segment(" \n"), "spoken").text == ""


def test_captions_show_words_without_their_pronunciation() -> None:
    assert spoken_words("<重|chong2>要") == "重要"


def test_warm_up_loads_everything_once() -> None:
    warm_up()
    assert words._tokenizer.cache_info().currsize == 1


@pytest.mark.parametrize("text", ["a", "好", "5", "℃", "$", "½", "  x "])
def test_speakable(text: str) -> None:
    assert is_speakable(text)


@pytest.mark.parametrize("text", ["", " \n", "。", "……", "!?", "“”", "---", "😀", "\ud83d", "`*_"])
def test_not_speakable(text: str) -> None:
    assert not is_speakable(text)


def test_weights() -> None:
    assert (weight_of("abc"), weight_of("你好"), weight_of("你a")) == (3, 6, 4)


@pytest.mark.parametrize(
    ("text", "at", "expected"),
    [
        ("ab", 0, True),
        ("ab", 1, True),
        ("e\u0301", 1, False),
        ("\r\n", 1, False),
        ("\n\u0301", 1, True),
        ("👍🏽", 1, False),
        ("👩\u200d👧", 2, False),
        ("a\u200db", 2, True),
        ("🇨🇳", 1, False),
        ("🇨🇳🇩🇪", 2, True),
        ("\ud83d\ude00", 1, False),
        ("\ud83da", 1, True),
        ("क्ष", 2, False),
        ("क्1", 2, False),
        ("。\u094d1", 2, True),
        ("한글", 1, True),
        ("\u1112\u1161", 1, False),
        ("\u1161\u1161", 1, False),
        ("\u06001", 1, False),
        ("\u0600\n", 1, True),
        ("ก\u0e33", 1, False),
    ],
)
def test_grapheme_clusters(text: str, at: int, expected: bool) -> None:
    assert is_cluster_break(text, at) is expected


def test_extenders() -> None:
    assert is_extender("\U000e0067") and is_extender("\ufe0f") and not is_extender("a")


def test_language_guess() -> None:
    assert [guess_language(t, "en") for t in ("123", "你好 hello", "你好 hello there friend", "été")] == ["en", "zh", "en", "en"]


def test_word_breaks_of_chinese() -> None:
    assert words.last_word_break("我们去北京大学", 0, 7) == 3
    assert words.last_word_break("abc def", 0, 7) == 0
    assert words.last_word_break("三千五百六十", 0, 6) == 0

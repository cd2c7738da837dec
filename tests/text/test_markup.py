"""Markup out of the text: what goes, what stays, and what spans segments."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.text.markup import MarkupFilter, MarkupOptions, strip_markup
from realtime.text.segmenter import Segmenter
from realtime.types import Segment, Span


def plain(text: str, language: str = "en", options: MarkupOptions | None = None) -> str:
    return strip_markup(text, language, options).text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# Title", "Title"),
        ("### A **bold** title ##", "A bold title"),
        ("- one", "one"),
        ("* one", "one"),
        ("+ one", "one"),
        ("• one", "one"),
        ("- [x] done", "done"),
        ("  - nested", "nested"),
        ("1. first", "1. first"),
        ("> quoted\n> more", "quoted more"),
        ("> # deep", "deep"),
        ("a **bold** word", "a bold word"),
        ("a __bold__ word", "a bold word"),
        ("an *italic* word", "an italic word"),
        ("an _italic_ word", "an italic word"),
        ("***both***", "both"),
        ("这是**重点**内容", "这是重点内容"),
        ("这是*重点*内容", "这是重点内容"),
        ("**注意：**不要", "注意：不要"),
        ("~~gone~~ here", "gone here"),
        ("`code` here", "code here"),
        ("``a ` b``", "a b"),
        ("half `open", "half open"),
        ("half **open", "half open"),
        ("*dangling start", "dangling start"),
        ("dangling end*", "dangling end"),
        ("a [link](http://x.y/z) here", "a link here"),
        ("a [link](http://x.y/a_(b) 'title') here", "a link here"),
        ("an ![image](a.png) here", "an image here"),
        ("![](a.png)none", "none"),
        ("[text][ref] and [^1]", "text and "),
        ("see [1] there", "see [1] there"),
        ("---", ""),
        ("***", ""),
        ("===", ""),
        ("| a | b |", "a, b"),
        ("|---|:-:|", ""),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "a, b 1, 2"),
        ("<b>bold</b> and <br/>new", "bold and new"),
        ('<a href="x">link</a>', "link"),
        ("<!-- note -->seen", "seen"),
        ("<!-- open", ""),
        ('<speed ratio="1.05"/>Hi', "Hi"),
        ("<custom/>Hi</custom>", "Hi"),
        ("a &amp; b &lt; c &#65; &nbsp;d", "a & b < c A d"),
        ("&bogus; stays", "&bogus; stays"),
        ("see https://www.example.com/a/b?c=1#d now", "see example.com now"),
        ("see http://example.com:8080/x.", "see example.com."),
        ("(https://example.org/a)", "(example.org)"),
        ("<https://example.org/a>", "example.org"),
        ("http://192.168.0.1/x here", "192.168.0.1 here"),
        ("www.example.co.uk/path, ok", "example.co.uk, ok"),
        ("见https://example.com/a。谢谢", "见example.com。谢谢"),
        ("mailto:jane@example.com", "jane@example.com"),
        ("jane@example.com", "jane@example.com"),
        ("fun 😀 and 👨‍👩‍👧 done", "fun and done"),
        ("key 5️⃣ here", "key 5 here"),
        ("ok :) fine ;-) good", "ok fine good"),
        (r"\*not\* \# this", "*not* # this"),
        ("a\u200bb\x07c\ufeffd", "abcd"),
        ("a\n\n  b\u3000c", "a b c"),
        ("", ""),
    ],
)
def test_markup_goes_and_words_stay(text: str, expected: str) -> None:
    assert plain(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "2 * 3 * 4 = 24",
        "2*3*4",
        "2 ** 3 and 2**3",
        "a*b*c",
        "a_b_c and snake_case_name",
        "issue #5 and C#",
        "a < b and c > d",
        "x<y",
        "vector<int> v",
        "1 <= 2",
        "|x| = 5",
        "a | b",
        "x ~ y",
        "<重|chong2>要 <live|L AY1 V>",
        "at 3:30 (noon)",
        "5 - 3 = 2",
        "a -- b",
        "-5 degrees",
        "$5 & more",
        "C:D drive",
    ],
)
def test_what_only_looks_like_markup_stays(text: str) -> None:
    assert plain(text) == text


def test_emoji_by_name() -> None:
    named = MarkupOptions(emoji="name")
    assert plain("yes 👍", "en", named) == "yes thumbs up "
    assert "拇指" in plain("好👍", "zh", named)


def test_table_pauses_follow_the_language() -> None:
    assert plain("| 甲 | 乙 |", "zh") == "甲，乙"


def stream(text: str, options: MarkupOptions | None = None) -> list[str]:
    """Through the segmenter, as the pipeline does."""
    segmenter, markup = Segmenter(), MarkupFilter(options)
    segments = segmenter.push(text, 0.0) + segmenter.flush(0.0)
    return [markup.push(segment).text for segment in segments]


def test_a_code_fence_over_many_segments_is_skipped_or_noted() -> None:
    text = 'Look:\n```python\nprint("Hi. You.")\n\nx = 1  # Done.\n```\nThat was it.'
    assert "".join(stream(text)) == "Look: That was it."
    assert "".join(stream(text, MarkupOptions(code="note"))) == "Look: Code omitted.That was it."
    assert stream("看：\n~~~\n代码。\n~~~\n好。", MarkupOptions(code="note"))[1] == "代码略。"


def test_a_fence_needs_its_own_kind_and_length_to_close() -> None:
    assert "".join(stream("````\n```\n~~~\nstill code\n````\nout")) == "out"
    assert "".join(stream("```inline``` stays")) == "inline stays"
    markup = MarkupFilter()
    markup.push(Segment(0, Span(0, 4), "```\n"))
    assert markup.is_in_code


def test_marks_of_a_line_count_only_at_its_start() -> None:
    markup = MarkupFilter()
    assert markup.push(Segment(0, Span(0, 6), "Hello.", "en")).text == "Hello."
    assert markup.push(Segment(1, Span(6, 15), " # no. 5\n", "en")).text == " # no. 5 "
    assert markup.push(Segment(2, Span(15, 20), "# yes", "en")).text == "yes"


PIECES = st.sampled_from([*"*_`~#>|[]()<>!-\\& \na好", "```", "**", "http://a.b", "&amp;", "<b>", "😀", "1. ", "\ud83d"])


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=120), st.lists(PIECES, max_size=40).map("".join)))
def test_any_text_keeps_its_way_back(text: str) -> None:
    spoken = strip_markup(text)
    assert list(spoken.origin) == sorted(spoken.origin)
    assert spoken.origin[-1] == len(text)


@given(st.text("ab 好。<>|*_#1", max_size=60))
def test_what_is_left_was_in_the_text_in_that_order(text: str) -> None:
    spoken = strip_markup(text)
    for char, at in zip(spoken.text, spoken.origin, strict=False):
        assert char == text[at] or char in " ，"

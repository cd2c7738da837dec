"""Clauses and runs: every character once, in order, cut where a listener would."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.engines.espeak.clauses import LONGEST_CLAUSE, Clause, is_speakable, readable, split_clauses, split_runs

texts = st.text(st.one_of(st.sampled_from("你好，。！？ab c1.,;\n”—…"), st.characters()), max_size=400)


@given(texts, st.integers(0, 400))
def test_clauses_cover_every_character_once(text: str, start: int) -> None:
    start = min(start, len(text))
    at = start
    for clause in split_clauses(text, start):
        assert clause.start == at < clause.end
        at = clause.end
        runs = split_runs(text, clause, "zh")
        assert [runs[0].start, *(run.end for run in runs)] == [*(run.start for run in runs), clause.end]
    assert at == len(text)


@given(texts)
def test_only_a_text_without_letters_has_a_mute_clause(text: str) -> None:
    clauses = split_clauses(text)
    if is_speakable(readable(text)):
        assert all(is_speakable(readable(text[c.start : c.end])) for c in clauses)
    else:
        assert len(clauses) <= 1


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("你好，世界！再见", ["你好，", "世界！", "再见"]),
        ("It is 3.14, ok?  Yes.", ["It is 3.14, ", "ok?  ", "Yes."]),
        ("At 10:30 in the U.S.A today", ["At 10:30 in the U.S.A today"]),
        ("他说：“走吧。”我们走", ["他说：", "“走吧。”", "我们走"]),
        ("等等……好", ["等等……", "好"]),
        ("😀，你好。😀", ["😀，你好。😀"]),
        ("...", ["..."]),
        ("", []),
    ],
)
def test_where_clauses_end(text: str, parts: list[str]) -> None:
    assert [text[c.start : c.end] for c in split_clauses(text)] == parts


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("我们用GPT-4模型", [("我们用", "zh"), ("GPT-4", "en"), ("模型", "zh")]),
        ("3个 apples", [("3个 ", "zh"), ("apples", "en")]),
        ("12", [("12", "zh")]),
        ("Привет 你好", [("Привет 你好", "zh")]),
    ],
)
def test_runs_are_of_one_language(text: str, runs: list[tuple[str, str]]) -> None:
    assert [(text[r.start : r.end], r.language) for r in split_runs(text, Clause(0, len(text), "none"), "zh")] == runs


def test_long_clauses_are_cut_at_spaces() -> None:
    words = "word " * 100
    clauses = split_clauses(words)
    assert max(c.end - c.start for c in clauses) <= LONGEST_CLAUSE
    assert all(words[c.end - 1] == " " for c in clauses)


def test_readable_keeps_positions() -> None:
    assert readable("a😀b\x00c\ud800你+") == "a b c 你+"

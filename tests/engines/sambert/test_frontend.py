"""The front end against the published front end's samples, a table of hard cases, and its invariants on any text."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.engines.sambert.frontend import syllables
from realtime.engines.sambert.frontend.frontend import Frontend
from realtime.engines.sambert.frontend.lexicon import Lexicon
from realtime.engines.sambert.frontend.lines import MAX_SYMBOLS, Line
from realtime.engines.sambert.frontend.units import Syllable
from realtime.engines.sambert.symbols import PHONES, Vocabulary
from realtime.errors import BadOption

FRONTEND = Frontend()
SILENT = {"ga": "", "ge": "", "go": "", "xx_c": "x"}
MARKS = {"#1": "|", "#3": ","}


def short_syllable(one: Syllable) -> str:
    if len(one.phones) == 2 and (one.phones[0].endswith("_c") or one.phones[0] in SILENT):
        onset, final = one.phones
        return SILENT.get(onset, onset[:-2]) + final[:-2] + str(one.tone)
    return "-".join(one.phones) + str(one.tone)


def short(lines: tuple[Line, ...]) -> str:
    out = []
    for line in lines:
        for i, word in enumerate(line.words):
            mark = "/" if i == len(line.words) - 1 else MARKS[word.level]
            out.append(" ".join(short_syllable(one) for one in word.word.syllables) + " " + mark)
    return " ".join(out)


def symbols(text: str, language: str = "zh") -> str:
    return " ".join(str(one) for line in FRONTEND.read(text, language).lines for one in line.symbols("emotion_neutral", "F7"))


CASES = [
    tuple(line.split("\t"))
    for line in (Path(__file__).parent / "hard_cases.tsv").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]


def test_the_table_is_long_enough() -> None:
    assert len(CASES) >= 150


@pytest.mark.parametrize(("text", "expected"), CASES, ids=[text for text, _ in CASES])
def test_hard_case(text: str, expected: str) -> None:
    assert short(FRONTEND.read(text, "zh").lines) == expected


def test_published_samples_and_worked_examples_come_out_exactly(golden: Path) -> None:
    examples = json.loads((golden / "symbols" / "symbols.json").read_text(encoding="utf-8"))["examples"]
    checked = 0
    for example in examples:
        text = example["note"].split(" (")[0]
        if text[0] >= "一" and "mixed" not in text:
            assert symbols(text) == example["symbols"].strip()
            checked += 1
    assert checked >= 5


# One-letter codes of the worked examples: word_begin, word_middle, word_end.
WORKED = {
    "一会儿去玩儿": "y_c2b i_c2m h_c4m ueir_c4e #1 q_c4b v_c4e #1 w_c2b anr_c2e #4",
    "爱好绿色旅行": "ga4b ai_c4m h_c4m ao_c4e #1 l_c4b v_c4m s_c4m e_c4e #1 l_c3b v_c3m xx_c2m ing_c2e #4",
    "第一次看一看雨伞，不是我的。": (
        "d_c4b i_c4m y_c1m i_c1m c_c4m ii_c4e #1 k_c4b an_c4m y_c5m i_c5m k_c4m an_c4e #1 y_c2b v_c2m s_c3m an_c3e #3 "
        "b_c2b u_c2m sh_c4m ih_c4e #1 w_c3b o_c3m d_c5m e_c5e #4"
    ),
    "北京今天天气怎么样": (
        "b_c3b ei_c3m j_c1m ing_c1e #1 j_c1b in_c1m t_c1m ian_c1e #1 t_c1b ian_c1m q_c4m i_c4e #1 z_c3b en_c3m m_c5m e_c5m y_c4m ang_c4e #4"
    ),
}


@pytest.mark.parametrize("text", WORKED)
def test_worked_example_of_the_specification(text: str) -> None:
    letters = {"word_begin": "b", "word_middle": "m", "word_end": "e"}
    (line,) = FRONTEND.read(text, "zh").lines
    got = [one.sy if one.is_break else one.sy + one.tone[4:] + letters[one.word] for one in line.symbols("emotion_neutral", "F7")]
    assert " ".join(got) == WORKED[text]


def test_breaks_carry_no_emotion_and_phones_do() -> None:
    (line,) = FRONTEND.read("你好，世界", "zh").lines
    for one in line.symbols("emotion_happy", "F7"):
        assert one.emotion == ("emotion_none" if one.is_break else "emotion_happy")


def test_the_inventory_has_its_411_plain_and_250_rhotic_syllables() -> None:
    plain = [i + f for i, finals in syllables.PLAIN.items() for f in finals.split()]
    rhotic = [i + f + "r" for i, finals in syllables.RHOTIC.items() for f in finals.split()]
    assert (len(plain), len(rhotic)) == (411, 250)
    for one in plain + rhotic:
        pair = syllables.symbols_of(one)
        assert pair is not None and set(pair) <= set(PHONES), one
    assert syllables.symbols_of("xyz") is None and syllables.symbols_of("bong") == syllables.symbols_of("beng")


# --- spans ---


def test_symbols_point_at_the_characters_they_speak() -> None:
    text = "您好，2024年！"
    lines = FRONTEND.read(text, "zh").lines
    spoken = {text[span.start : span.end] for line in lines for span in line.spans()}
    assert {"您", "好", "，", "年", "！"} <= spoken
    assert any("2" in piece for piece in spoken)


TEXTS = st.text(alphabet=st.one_of(st.sampled_from("你好不一儿的，。！？ 12.AaBc'-<|>…\n行长𠮷한ا😀é"), st.characters()), max_size=60)


@settings(max_examples=150, deadline=None)
@given(text=TEXTS, language=st.sampled_from(["zh", "en"]))
def test_any_text_gives_symbols_of_the_inventory_with_ordered_spans(text: str, language: str) -> None:
    vocabulary = Vocabulary.of_speakers("F7")
    at = 0
    for line in FRONTEND.read(text, language).lines:
        got, spans = line.symbols("emotion_neutral", "F7"), line.spans()
        vocabulary.encode(got)
        assert len(got) == len(spans) <= MAX_SYMBOLS + 80
        assert got[-1].sy == "#4" and not got[0].is_break
        assert all(not (a.is_break and b.is_break) for a, b in itertools.pairwise(got))
        for span in spans:
            assert at <= span.start <= span.end <= len(text)
            at = max(at, span.start)


# --- policies ---


@pytest.mark.parametrize("text", ["", "   ", "。。。！？", "…", "\n\n", "——"])
def test_text_without_anything_to_say_gives_no_line(text: str) -> None:
    reading = FRONTEND.read(text, "zh")
    assert reading.lines == () and not reading.unspoken


def test_what_no_rule_can_speak_is_counted_and_the_rest_is_spoken() -> None:
    reading = FRONTEND.read("你好😀😀世界\ue000", "zh")
    assert reading.unspoken == {"😀": 2, "\ue000": 1}
    assert short(reading.lines).startswith("n")


@pytest.mark.parametrize("text", ["한국어", "Привет", "こんにちは", "Ελλάδα", "שלום"])
def test_other_scripts_are_read_through_their_transliteration(text: str) -> None:
    reading = FRONTEND.read(text, "zh")
    assert reading.lines and not reading.unspoken


def test_a_text_of_5000_characters_without_a_stop_is_cut_into_lines() -> None:
    lines = FRONTEND.read("今天天气很好我们去公园" * 455, "zh").lines
    assert len(lines) > 50
    assert all(sum(word.size for word in line.words) <= MAX_SYMBOLS for line in lines)
    assert [line.ends_sentence for line in lines] == [False] * (len(lines) - 1) + [True]


def test_long_sentences_are_cut_behind_a_clause() -> None:
    clause = "我们今天去公园看花，"
    for line in FRONTEND.read(clause * 12, "zh").lines[:-1]:
        assert line.words[-1].level == "#3"


# --- lexicon and marks ---


def test_inline_marks_set_the_reading_and_its_neighbours_still_join() -> None:
    assert short(FRONTEND.read("<长|zhang3><处|chu4>的<重|chong2>", "zh").lines) == "zhang3 | chu4 de5 | chong2 /"


def test_a_mark_that_makes_no_sense_is_read_as_if_it_were_not_there() -> None:
    assert short(FRONTEND.read("<你好|what>", "zh").lines) == "ni2 hao3 /"


@pytest.mark.parametrize("text", ["<词|#0>", "<词|#5>", "<词|\ue0000>", "<词|\ue000>"])
def test_a_mark_of_the_user_is_never_taken_for_one_of_the_lexicon(text: str) -> None:
    for frontend in (FRONTEND, Frontend(Lexicon({"重庆": "chong2 qing4"}))):
        assert short(frontend.read(text + "重庆", "zh").lines).startswith("cii2")


def test_the_lexicon_takes_pinyin_and_phones_and_keeps_the_spans() -> None:
    frontend = Frontend(Lexicon({"行道树": "hang2 dao4 shu4", "nginx": "EH1 N JH IH0 N EH1 K S"}))
    lines = frontend.read("看行道树用Nginx。", "zh").lines
    assert short(lines) == "kan4 | hang2 dao4 shu4 | yong4 | eh-n1 jh-ih0 n-eh-k-s1 /"
    words = {("看行道树用Nginx。"[one.span.start : one.span.end]) for one in lines[0].words}
    assert "行道树" in words and "Nginx" in words


@pytest.mark.parametrize("entries", [{"词": "ci"}, {"词": "xyz3"}, {"": "ci2"}, {"word": "QQ1"}])
def test_a_lexicon_entry_that_is_no_reading_is_refused_by_name(entries: dict[str, str]) -> None:
    with pytest.raises(BadOption, match="lexicon"):
        Lexicon(entries)


def test_a_lexicon_file_names_its_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "lexicon.tsv"
    path.write_text("# ours\n重庆\tchong2 qing4\n坏行\n", encoding="utf-8")
    with pytest.raises(BadOption, match=r"lexicon\.tsv:3"):
        Lexicon.read(path)
    path.write_text("重庆\tchong2 qing4\n", encoding="utf-8")
    assert len(Lexicon.read(path)) == 1

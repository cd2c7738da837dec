"""Spoken forms: a table of cases per language, and what holds for any text.

The expected forms say how a good reader would read. Where two readings are equally good the library's was kept: a price's
decimals as a number in Chinese (十九点九九美元), `10` minutes past as 十分, dates with the year digit by digit.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.text import normalize as normalize_module
from realtime.text.edits import PRONUNCIATION, Edit, apply, differences, substitute
from realtime.text.normalize import NormalizationFailure, normalize, warm_up
from realtime.text.numbers import en_cardinal, en_decimal, en_digits, en_ordinal, en_year, roman, zh_cardinal, zh_digits
from realtime.types import Span, SpokenText


def cases(language: str) -> list[tuple[str, str]]:
    lines = (Path(__file__).parent / f"cases_{language}.tsv").read_text(encoding="utf-8").splitlines()
    return [(written, spoken) for written, spoken in (line.split("\t") for line in lines if not line.startswith("# "))]


def say(text: str, language: str) -> str:
    failures: list[NormalizationFailure] = []
    spoken = normalize(SpokenText.verbatim(text), language, failures.append)
    assert failures == []
    assert list(spoken.origin) == sorted(spoken.origin) and spoken.origin[-1] == len(text)
    return spoken.text


@pytest.mark.parametrize(("written", "spoken"), cases("zh"))
def test_chinese_reading(written: str, spoken: str) -> None:
    assert say(written, "zh") == spoken


@pytest.mark.parametrize(("written", "spoken"), cases("en"))
def test_english_reading(written: str, spoken: str) -> None:
    assert say(written, "en") == spoken


@pytest.mark.parametrize("language", ["zh", "en"])
def test_the_tables_are_large_and_leave_no_digit(language: str) -> None:
    table = cases(language)
    assert len({written for written, _ in table}) >= 120
    assert [spoken for _, spoken in table if re.search(r"\d", PRONUNCIATION.sub("", spoken))] == []


@pytest.mark.parametrize(
    ("text", "part", "spoken_part"),
    [
        ("请付￥7,999，谢谢", "￥7,999", "七千九百九十九元"),
        ("单价12元/平方米起", "12", "十二"),
        ("我在2024年3月5日出生", "2024年", "二零二四年"),
        ("气温35℃左右", "35℃", "三十五摄氏度"),
    ],
)
def test_the_way_back_to_the_source(text: str, part: str, spoken_part: str) -> None:
    spoken = normalize(SpokenText.verbatim(text), "zh")
    at = spoken.text.index(spoken_part)
    found = spoken.source_span(Span(at, at + len(spoken_part)))
    assert text[found.start : found.end] == part


def test_origins_of_an_earlier_step_are_kept() -> None:
    spoken = normalize(SpokenText.verbatim("有3个", at=40), "zh")
    assert (spoken.text, spoken.origin) == ("有三个", (40, 41, 42, 43))


def test_latin_words_and_pronunciation_marks_stay_untouched() -> None:
    assert say("我用iPhone和MacBook开会，OK吗", "zh") == "我用iPhone和MacBook开会，OK吗"
    assert say("<重|chong2>复<2|er4>次3遍", "zh") == "<重|chong2>复<2|er4>次三遍"
    assert say("say <live|L IH1 V> 5 times", "en") == "say <live|L IH1 V> five times"


def test_an_unknown_language_is_read_as_english() -> None:
    assert normalize(SpokenText.verbatim("5 km"), "fr").text == "five kilometers"


FIGURES = "1 23 456 2024 0 , . : / - – ~ + = * × < > % ℃ ° $ ￥ € £ # @ & ( ) ' \" | ^ ² ½ Ⅲ ① １ ¢ _ [ ] { } \\ ` 10:30 3/4 2:1"
WORDS = "元 万 亿 年 月 日 点 个 次 第 零下 电话 拨打 am p.m. km/h GB v GPT- Jan May th st Room No. <重|chong2> a@b.com \ud83d \x00"
PIECES = st.sampled_from([*FIGURES.split(" "), *WORDS.split(" "), " "])
TEXTS = st.one_of(st.text(max_size=80), st.lists(PIECES, max_size=14).map("".join))


@settings(max_examples=400, deadline=None)
@given(TEXTS, st.sampled_from(["zh", "en"]))
def test_any_text_is_read_without_an_error(text: str, language: str) -> None:
    spoken = normalize(SpokenText.verbatim(text), language)
    assert list(spoken.origin) == sorted(spoken.origin) and 0 <= spoken.origin[0] and spoken.origin[-1] == len(text)
    assert normalize(spoken, language) is not None


class _Broken:
    def normalize(self, text: str) -> str:
        if "7" in text:
            raise AssertionError("no path")
        return text.replace("8", "eight")


def test_what_the_library_fails_on_stays_as_written_and_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(normalize_module, "_library", lambda language: _Broken())
    monkeypatch.setattr(normalize_module, "RULES", {"zh": (), "en": ()})
    failures: list[NormalizationFailure] = []
    spoken = normalize(SpokenText.verbatim("a 7 b8 c 77"), "en", failures.append)
    assert spoken.text == "a 7 beight c 77"
    assert failures == [NormalizationFailure(text, "en", "AssertionError: no path") for text in ("7", "77")]
    assert normalize(SpokenText.verbatim("7"), "zh").text == "7"
    assert normalize(SpokenText.verbatim("9"), "zh").text == "9"


def test_warm_up_loads_both_languages() -> None:
    normalize_module._library.cache_clear()
    warm_up()
    assert normalize_module._library.cache_info().currsize == 2


def test_edits_share_the_old_characters_evenly() -> None:
    spoken = apply(SpokenText.verbatim("ab12c"), [Edit(2, 4, "wxyz")])
    assert (spoken.text, spoken.origin) == ("abwxyzc", (0, 1, 2, 2, 3, 3, 4, 5))
    gone = apply(spoken, [Edit(0, 2, "")])
    assert (gone.text, gone.origin) == ("wxyzc", (2, 2, 3, 3, 4, 5))
    assert apply(spoken, []) is spoken


def test_substitute_leaves_what_the_rule_declines() -> None:
    spoken = SpokenText.verbatim("a1b2")
    assert substitute(spoken, re.compile(r"\d"), lambda m: None if m.group() == "1" else "two").text == "a1btwo"


def test_differences_are_small_edits() -> None:
    assert differences("same", "same") == []
    assert differences("a 1 b 2", "a one b two", 10) == [Edit(12, 13, "one"), Edit(16, 17, "two")]
    assert differences("aa", "a") == [Edit(1, 2, "")]


CHINESE = (
    "0 零 10 十 12 十二 20 二十 102 一百零二 110 一百一十 200 两百 1002 一千零二 1010 一千零一十 2000 两千 10000 一万 "
    "12345 一万两千三百四十五 20000 两万 20300 两万零三百 100005 十万零五 100000000 一亿 1000000000000 一万亿"
).split()


@pytest.mark.parametrize(("number", "words"), list(zip(map(int, CHINESE[::2]), CHINESE[1::2], strict=True)))
def test_chinese_cardinals(number: int, words: str) -> None:
    assert zh_cardinal(number) == words


@pytest.mark.parametrize(
    ("number", "cardinal", "ordinal"),
    [
        (0, "zero", "zeroth"),
        (1, "one", "first"),
        (12, "twelve", "twelfth"),
        (20, "twenty", "twentieth"),
        (21, "twenty one", "twenty first"),
        (100, "one hundred", "one hundredth"),
        (1001, "one thousand one", "one thousand first"),
        (2_000_005, "two million five", "two million fifth"),
    ],
)
def test_english_cardinals_and_ordinals(number: int, cardinal: str, ordinal: str) -> None:
    assert (en_cardinal(number), en_ordinal(number)) == (cardinal, ordinal)


def test_other_numbers() -> None:
    assert en_cardinal(10**15).startswith("one zero zero")
    assert [en_year(y) for y in (1066, 1900, 1905, 2000, 2008, 2024, 476)] == [
        "ten sixty six",
        "nineteen hundred",
        "nineteen oh five",
        "two thousand",
        "two thousand eight",
        "twenty twenty four",
        "four hundred seventy six",
    ]
    assert (en_decimal(".5"), en_decimal("1,234.50")) == ("zero point five", "one thousand two hundred thirty four point five zero")
    assert (en_digits("1a0"), zh_digits("10"), zh_digits("10", is_call=True)) == ("one zero", "一零", "幺零")
    assert [roman(n) for n in ("IV", "XIV", "IX", "L")] == [4, 14, 9, 50]

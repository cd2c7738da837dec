"""The text front end: normaliser, spans, vocabulary pieces, segment limits."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.engines.indextts2 import normal, pieces
from realtime.engines.indextts2.normal import Glossary, normalised
from realtime.engines.indextts2.tokens import TextFrontEnd, spaced, spoken_marks, upper
from realtime.errors import BadText, ModelMissing
from realtime.types import Span, SpokenText

VOCABULARY = 110


def spoken(text: str, glossary: Glossary | None = None) -> str:
    return normalised(SpokenText.verbatim(text), glossary).text


class TestNormaliser:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("我有3个苹果。", "我有三个苹果."),
            ("花了$5！", "花了五美元!"),
            ("It's 5 o-clock, who's there?", "It is five o-clock, who is there?"),
            ("F-TTS真好", "F-TTS真好"),
            ("克里斯托弗·诺兰来了", "克里斯托弗-诺兰来了"),
            ("真的吗？“好”；是：的、对", "真的吗?'好',是,的,对"),
            ("等等……好~", "等等…好-"),
            ("一\n二", "一 二"),
            ("lv4 ju4 xuan4 XIN1", "lv4 JV4 XVAN4 XIN1"),
            ("<重|chong2>新", "<重|chong2>新"),
            ("read <read|R EH1 D> it", "read <read|R EH1 D> it"),
            ("", ""),
        ],
    )
    def test_says_what_the_model_was_trained_on(self, text: str, expected: str) -> None:
        assert spoken(text) == expected

    @pytest.mark.parametrize(
        ("text", "language"),
        [("hello", "en"), ("你好 hello", "zh"), ("123", "zh"), ("a@b.com", "zh"), ("say ni3", "zh"), ("an12 b", "en")],
    )
    def test_chooses_the_grammar_by_the_characters(self, text: str, language: str) -> None:
        assert normal.language_path(text) == language

    def test_a_mark_does_not_turn_chinese_into_english(self) -> None:
        assert spoken("<重|chong2> 3") == "<重|chong2> 三"

    def test_the_glossary_prefers_long_terms_in_any_case(self) -> None:
        glossary = Glossary({"AI": {"zh": "人工智能", "en": "artificial intelligence"}, "ai lab": "研究所"})
        assert spoken("Ai 和 AI Lab", glossary) == "人工智能 和 研究所"
        assert spoken("good AI", glossary) == "good artificial intelligence"

    @pytest.mark.parametrize("content", ["- a\n- b", "a: 3", "a: {fr: x}", "a: [", "a: {zh: 1}"])
    def test_a_wrong_glossary_file_is_named(self, content: str, tmp_path: Path) -> None:
        path = tmp_path / "glossary.yaml"
        path.write_text(content, encoding="utf-8")
        with pytest.raises(ModelMissing, match=r"glossary\.yaml"):
            Glossary.read(path)

    def test_every_character_knows_where_it_came_from(self) -> None:
        text = "买了12个, it's克里斯托弗·诺兰"
        out = normalised(SpokenText.verbatim(text, at=100))
        at = out.text.index("个")
        assert out.source_span(Span(at, at + 1)) == Span(104, 105)
        number = out.text.index("十二")
        assert out.source_span(Span(number, number + 2)) == Span(102, 104)
        name = out.text.index("诺")
        assert text[out.origin[name] - 100] == "诺"

    @settings(deadline=None, max_examples=60)
    @given(st.text(alphabet="ab3$.-'’ ：，。·<|>汉字qu1\n\u0300ß…", max_size=30))
    def test_the_map_never_goes_back_nor_leaves_the_text(self, text: str) -> None:
        out = upper(spaced(spoken_marks(normalised(SpokenText.verbatim(text, at=7)))))
        assert all(a <= b for a, b in zip(out.origin, out.origin[1:], strict=False))
        assert all(7 <= o <= 7 + len(text) for o in out.origin)


class TestPieces:
    @pytest.fixture
    def front(self, bpe: bytes) -> TextFrontEnd:
        return TextFrontEnd(bpe, VOCABULARY)

    def test_characters_stand_alone_in_upper_case(self) -> None:
        out = upper(spaced(SpokenText.verbatim(" 今天hello  world好 ")))
        assert out.text == "今 天 HELLO  WORLD 好"
        assert out.source_span(Span(out.text.index("好"), len(out.text))) == Span(15, 17)

    def test_marks_become_syllables_or_the_word(self) -> None:
        assert spoken_marks(SpokenText.verbatim("<重|chong2>新")).text == " CHONG2 新"
        assert spoken_marks(SpokenText.verbatim("<银行|yin2 hang2>")).text == " YIN2 HANG2 "
        assert spoken_marks(SpokenText.verbatim("<read|R EH1 D>")).text == "read"

    def test_ids_are_the_vocabularys_and_spans_the_texts(self, front: TextFrontEnd) -> None:
        (segment,) = front.encode("今天天气很好。", at=50)
        assert [p.text for p in segment.pieces] == ["▁今", "▁天", "▁天", "▁气", "▁很", "▁好", "▁", "."] or segment.pieces[-1].text == "▁."
        assert segment.span == Span(50, 57)
        assert segment.ids == tuple(front.processor.encode("今 天 天 气 很 好 ."))

    def test_a_number_is_traced_to_its_digits(self, front: TextFrontEnd) -> None:
        (segment,) = front.encode("买了12个")
        digits = [p for p in segment.pieces if p.text.strip("▁") in "十二" and p.text.strip("▁")]
        assert digits[0].span.start == 2
        assert digits[-1].span.end == 4

    def test_start_and_stop_never_come_from_text(self, front: TextFrontEnd) -> None:
        for segment in front.encode("<s> 你好 </s>"):
            assert not {0, 1} & set(segment.ids)

    @pytest.mark.parametrize("text", ["", "   ", "。！？", "...", "，"])
    def test_nothing_to_say_gives_no_segment(self, front: TextFrontEnd, text: str) -> None:
        assert front.encode(text) == []

    def test_one_character_is_taken_as_it_stands(self, front: TextFrontEnd) -> None:
        (segment,) = front.encode(" 好 ")
        assert [p.text for p in segment.pieces] == ["▁好"]

    def test_lone_surrogates_are_refused(self, front: TextFrontEnd) -> None:
        with pytest.raises(BadText):
            front.encode("a\ud800")

    def test_long_text_is_cut_below_the_limit(self, bpe: bytes) -> None:
        front = TextFrontEnd(bpe, VOCABULARY, limit=10)
        found = front.encode("今天天气很好，" * 5 + "公" * 25)
        assert len(found) > 4
        assert all(len(s.pieces) <= 10 for s in found)
        assert sum(p.text.endswith("公") for s in found for p in s.pieces) == 25

    def test_a_file_that_is_no_vocabulary_is_refused(self) -> None:
        with pytest.raises(ModelMissing, match="not a sentencepiece model"):
            TextFrontEnd(b"version https://git-lfs", VOCABULARY)

    def test_a_vocabulary_of_another_size_is_refused(self, bpe: bytes) -> None:
        with pytest.raises(ModelMissing, match="110 pieces, the language model was trained with 12000"):
            TextFrontEnd(bpe, 12000)


class TestSegments:
    def cut(self, text: str, limit: int, first: int = 0) -> list[str]:
        letters = list(text)
        return ["".join(letters[a:b]) for a, b in pieces.segments(letters, limit, first)]

    def test_short_text_is_one_segment(self) -> None:
        assert self.cut("abc,def.ghi", 120) == ["abc,def.ghi"]

    def test_stops_and_commas_are_where_it_is_cut(self) -> None:
        assert self.cut("abc,def.ghi!", 8) == ["abc,def.", "ghi!"]
        assert self.cut("abc,def.ghi!", 4) == ["abc,", "def.", "ghi!"]

    def test_a_quote_goes_with_the_stop_before_it_and_is_said_once(self) -> None:
        assert self.cut("abc.'def.", 5) == ["abc.'", "def."]

    def test_text_without_marks_is_cut_hard(self) -> None:
        assert self.cut("abcdefghij", 4) == ["abcd", "efgh", "ij"]

    def test_first_pieces_can_be_kept_short(self) -> None:
        assert self.cut("abcd.efgh.ijkl.mnop.", 12, first=12) == ["abcd.", "efgh.ijkl.", "mnop."]

    @given(st.text(alphabet="ab,.-'!", max_size=60), st.integers(1, 20), st.integers(0, 30))
    def test_nothing_is_lost_said_twice_or_too_long(self, text: str, limit: int, first: int) -> None:
        found = self.cut(text, limit, first)
        assert "".join(found) == text
        assert all(0 < len(s) <= limit for s in found)

"""The segmenter: its invariants on any text, and its choices on real ones."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.text import segmenter as segmenter_module
from realtime.text.boundaries import is_cluster_break, is_speakable, weight_of
from realtime.text.scan import LOOKAHEAD, LOOKBEHIND, next_mark
from realtime.text.segmenter import DEFAULT_SCHEDULE, HARD_FACTOR, Segmenter, SegmenterOptions, Stage
from realtime.types import Segment

WHOLE = SegmenterOptions(schedule=(Stage(100_000, 100_000, 1.0),))
"""Sentences only: no clause or length cut."""


def segments_of(deltas: list[str], options: SegmenterOptions | None = None) -> list[Segment]:
    segmenter = Segmenter(options)
    found = [segment for delta in deltas for segment in segmenter.push(delta, 0.0)]
    return found + segmenter.flush(0.0)


def sentences(text: str) -> list[str]:
    return [s.text.strip() for s in segments_of([text], WHOLE)]


def cut_at(text: str, cuts: list[int]) -> list[str]:
    edges = [0, *sorted({c % (len(text) + 1) for c in cuts}), len(text)]
    return [text[a:b] for a, b in pairwise(edges)]


def check_cover(text: str, found: list[Segment]) -> None:
    assert "".join(s.text for s in found) == text
    at = 0
    for index, segment in enumerate(found):
        assert (segment.index, segment.span.start) == (index, at)
        assert segment.text == text[segment.span.start : segment.span.end] != ""
        at = segment.span.end


MARKS = "。 ！ ？ ； ， 、 … —— . , ! ? ; : - ' \" ” ’ ） ) ( [ ] < > | * _ ` # / @ = & \n \r\n ``` ## - ** [a](http://b.c) <重|chong2>"
WORDS = "你 好 今天 的 了 三 Dr U.S a.m J No St etc www example com Please the he I x 3 14 1 2024 $ ￥ % °"
CLUSTERS = "e\u0301 \u0301 \u200d 👍🏽 👨‍👩‍👧 🇨🇳 \ud83d \ude00"
PIECES = st.sampled_from([*MARKS.split(" "), *WORDS.split(" "), *CLUSTERS.split(" "), " ", "  ", "\t"])
TEXTS = st.one_of(st.text(max_size=200), st.lists(PIECES, max_size=120).map("".join))
SHORT = SegmenterOptions(schedule=(Stage(6, 12, 0.5), Stage(9, 30, 1.0)))


@settings(max_examples=400, deadline=None)
@given(TEXTS, st.lists(st.integers(0, 400), max_size=12), st.sampled_from([None, SHORT, WHOLE]))
def test_segments_cover_the_text_and_do_not_depend_on_how_it_was_cut(text: str, cuts: list[int], options: SegmenterOptions | None) -> None:
    whole = segments_of([text], options)
    check_cover(text, whole)
    assert segments_of(cut_at(text, cuts), options) == whole
    assert segments_of(list(text), options) == whole


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.sampled_from([None, SHORT]))
def test_no_cut_falls_inside_a_grapheme_cluster(text: str, options: SegmenterOptions | None) -> None:
    for segment in segments_of([text], options):
        assert is_cluster_break(text, segment.span.end)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(TEXTS, st.floats(0, 3)), max_size=12))
def test_timers_keep_the_cover_whatever_the_pauses(pushes: list[tuple[str, float]]) -> None:
    segmenter, now, found = Segmenter(SHORT), 0.0, []
    for delta, pause in pushes:
        found += segmenter.push(delta, now)
        now += pause
        due = segmenter.next_due()
        if due is not None and due <= now:
            released = segmenter.due(due)
            assert released != []
            found += released
        found += segmenter.due(now)
        assert (segmenter.next_due() or now + 1) > now
    found += segmenter.flush(now)
    check_cover("".join(delta for delta, _ in pushes), found)
    assert segmenter.held == 0 and segmenter.next_due() is None


@given(TEXTS)
def test_segments_stay_below_the_hard_limit(text: str) -> None:
    for segment in segments_of([text], SHORT):
        assert weight_of(segment.text) <= 30 * HARD_FACTOR + LOOKAHEAD * 3


@pytest.mark.parametrize(
    "unit", ["a", "你", ". ", "<a", "[a", "。", " ", "\n", "a, ", "word ", "\u0301", "一", "1", "“", "!”", "a.", "-", "Dr. ", "👍"]
)
def test_the_cost_of_single_characters_is_linear_in_calls_and_window(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed: how often the scanner is asked, and how much text each question can see."""
    calls, widest = 0, 0

    def counted(text: str, at: int, floor: int, is_final: bool) -> object:
        nonlocal calls, widest
        calls += 1
        widest = max(widest, len(text))
        return next_mark(text, at, floor, is_final)

    monkeypatch.setattr(segmenter_module, "next_mark", counted)
    longest = max(stage.max_weight for stage in DEFAULT_SCHEDULE) * HARD_FACTOR
    size = 20_000
    segmenter = Segmenter()
    for char in (unit * size)[:size]:
        segmenter.push(char, 0.0)
        assert segmenter.held <= longest + LOOKAHEAD + 1
    segmenter.flush(0.0)
    assert calls <= 5 * size
    assert widest <= longest + LOOKBEHIND + LOOKAHEAD + 1


@pytest.mark.parametrize("unit", ["a", "你", ". ", "。", " ", "<a", "\u0301"])
def test_one_huge_push_asks_the_scanner_a_linear_number_of_times(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def counted(text: str, at: int, floor: int, is_final: bool) -> object:
        nonlocal calls
        calls += 1
        mark = next_mark(text, at, floor, is_final)
        assert mark is None or mark.end - at <= 3 * LOOKAHEAD
        return mark

    monkeypatch.setattr(segmenter_module, "next_mark", counted)
    text = (unit * 40_000)[:40_000]
    check_cover(text, segments_of([text]))
    assert calls <= 5 * len(text)


NEVER_SPLIT = [
    "Pi is 3.14 exactly",
    "It costs $3.50 today",
    "A fever of 98.6°F is mild",
    "We saw Dr. Smith yesterday",
    "The U.S. Army is large",
    "Wake me at 6 a.m. on Monday",
    "J. R. R. Tolkien wrote it",
    "Visit www.example.com for more",
    "Write to jane.doe@mail.example.org today",
    "Use version 2.10.3 now",
    "Python 3.11.4 and v2.0 work",
    "Mr. and Mrs. Brown, e.g. in No. 5 and Fig. 3",
    "See https://example.com/a.b?c=d&e=f#g for it",
    "Set file.txt and index.html there",
    "The answer, i.e. the number, is 1,000,000.50 in all",
    "He met St. Nicholas vs. Prof. Lee et al. there",
    "At 10:30 a.m. the U.K. team met Lt. Col. Fox",
    "Call Node.js or ASP.NET or System.Out.println now",
    "我的邮箱是li.wei@example.com可以联系",
    "圆周率是3.14159左右",
    "版本v2.0.1已经发布",
    "访问www.example.com查看",
    "价格￥1,299.00左右",
    "我想想……嗯……好吧",
    "等等...我再看看",
    "比分是3:2或者1：1",
    "<重|chong2>要的是<长|zhang3>大",
    'Say <speed ratio="1.05"/> now',
    "Read [the docs. Really](http://a.b/c.html) first",
    "1. Mix the flour",
    "12. Stir",
    '"Stop!" he said to them',
    "(Really?) they asked",
    "Wait... what is it",
    "Is a != b here",
    "x?y=1 and a!b stay",
]


@pytest.mark.parametrize("text", NEVER_SPLIT)
def test_stays_in_one_piece_at_every_cut(text: str) -> None:
    for cut in range(len(text) + 1):
        assert [s.text for s in segments_of([text[:cut], text[cut:]], WHOLE)] == [text]
    assert [s.text for s in segments_of(list(text), WHOLE)] == [text]


@pytest.mark.parametrize("text", NEVER_SPLIT)
def test_stays_in_one_piece_when_a_pause_of_a_settled_stop_falls_inside(text: str) -> None:
    """The stream stalls at each position for longer than a full stop takes to settle."""
    long = SegmenterOptions(schedule=(Stage(100_000, 100_000, 10.0),))
    for cut in range(1, len(text)):
        segmenter = Segmenter(long)
        found = segmenter.push(text[:cut], 0.0) + segmenter.due(0.5) + segmenter.push(text[cut:], 0.5) + segmenter.flush(0.5)
        head = text[:cut].rstrip(' )"”')
        is_fair = head.endswith(("!", "?", "...", "…")) or is_plain_stop(head)
        assert is_fair or [s.text for s in found] == [text], f"stalled after {text[:cut]!r}"


def is_plain_stop(head: str) -> bool:
    """A word and a dot: no one can tell `example.` from `desk.` after a long enough silence."""
    word = head.rstrip(".").split(" ")[-1]
    return head.endswith(".") and len(word) > 1 and word.isalpha()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("你好。今天好！是吗？行；好", ["你好。", "今天好！", "是吗？", "行；", "好"]),
        ("真的吗？！好的。", ["真的吗？！", "好的。"]),
        ("他说：“今天很好。”然后走了。", ["他说：“今天很好。”", "然后走了。"]),
        ("（完了。）下一个。", ["（完了。）", "下一个。"]),
        ("我不知道……。好吧。", ["我不知道……。", "好吧。"]),
        ("我去了U.S.。很好。", ["我去了U.S.。", "很好。"]),
        ("OK.你好", ["OK.", "你好"]),
        ("你好.我们走.Go", ["你好.", "我们走.", "Go"]),
        ("第1.2节。完", ["第1.2节。", "完"]),
        ("I live in the U.S. He does not.", ["I live in the U.S.", "He does not."]),
        ("Up at 6 a.m. The sun rose.", ["Up at 6 a.m.", "The sun rose."]),
        ("We ate, etc. Then we left.", ["We ate, etc.", "Then we left."]),
        ("My birthday is Jan 1, 1980. Another sentence.", ["My birthday is Jan 1, 1980.", "Another sentence."]),
        ("He said no. Then he left.", ["He said no.", "Then he left."]),
        ("Choose plan B. Then go.", ["Choose plan B.", "Then go."]),
        ("It is v2.0. It works.", ["It is v2.0.", "It works."]),
        ("See example.com. Then go.", ["See example.com.", "Then go."]),
        ('He left. "Come on!" Bye.', ["He left.", '"Come on!"', "Bye."]),
        ("(Say done.) Next.", ["(Say done.)", "Next."]),
        ("He (see below.) went on. Fine.", ["He (see below.) went on.", "Fine."]),
        ("'Go.' 'No.'", ["'Go.'", "'No.'"]),
        ("**Note.** Next one. *Really.* Yes", ["**Note.**", "Next one.", "*Really.*", "Yes"]),
        ("Hi!How are you?Fine", ["Hi!", "How are you?", "Fine"]),
        ("Sentence one.Sentence two.", ["Sentence one.", "Sentence two."]),
        ("Done.Thanks.Bye", ["Done.Thanks.Bye"]),
        ("we did it.Thanks.Bye now", ["we did it.", "Thanks.Bye now"]),
        ("Great job.🎉 Next", ["Great job.", "🎉 Next"]),
        ("Really?! No way!!! OK", ["Really?!", "No way!!!", "OK"]),
        ("Two things. 1. Buy milk. 2. Eat it.", ["Two things.", "1. Buy milk.", "2. Eat it."]),
        ("Steps: 1. Mix. 2. Bake.", ["Steps: 1. Mix.", "2. Bake."]),
        ("# Title\nText here\n- item one\n- item two", ["# Title", "Text here", "- item one", "- item two"]),
        ("Dear all,\n\nwe meet today.", ["Dear all,", "we meet today."]),
        ("the quick\nbrown fox", ["the quick\nbrown fox"]),
        ("a line that an editor has wrapped somewhere near column seventy of\nText that goes on.", None),
        ("标题\n正文", ["标题", "正文"]),
        ("Hmm... I see. OK... yes", ["Hmm...", "I see.", "OK... yes"]),
        ("今天……明天。", ["今天……明天。"]),
        ("He said 5. I said 6.", ["He said 5.", "I said 6."]),
        ("No. 5 is alive. No. I am.", ["No. 5 is alive.", "No.", "I am."]),
        ("Done.)Next", ["Done.)", "Next"]),
        ("etc.,and so on.", ["etc.,and so on."]),
        ("“Yes.” “No.”", ["“Yes.”", "“No.”"]),
        ("what?“好”", ["what?", "“好”"]),
        ("“Wow.”，他说。“走！”，她说。", ["“Wow.”，他说。", "“走！”，她说。"]),
        ('"Go!", he said. Fine.', ['"Go!", he said.', "Fine."]),
        ("《红楼梦》是小说。作者是曹雪芹。", ["《红楼梦》是小说。", "作者是曹雪芹。"]),
        ("他问：“你是谁？”我说：“我是……”", ["他问：“你是谁？”", "我说：“我是……”"]),
        ("He lives at 5 Main St. The house is red.", ["He lives at 5 Main St.", "The house is red."]),
        ("He got a Ph.D. in 2010. She has an M.D. too.", ["He got a Ph.D. in 2010.", "She has an M.D. too."]),
        ("See Sec. 3.2.1. Then continue.", ["See Sec. 3.2.1.", "Then continue."]),
        ("Go to https://a.b/c?d=1. Then stop!", ["Go to https://a.b/c?d=1.", "Then stop!"]),
        ("J.K. Rowling wrote it. Mr. T. is here.", ["J.K. Rowling wrote it.", "Mr. T. is here."]),
    ],
)
def test_splits_sentences(text: str, expected: list[str] | None) -> None:
    assert sentences(text) == (expected or [text])


def test_a_sentence_comes_out_with_the_character_that_decides_it() -> None:
    segmenter = Segmenter()
    assert segmenter.push("Hello there.", 0.0) == []
    assert [s.text for s in segmenter.push(" ", 0.0)] == ["Hello there."]
    assert segmenter.push("你好。", 0.0) == []
    assert [s.text for s in segmenter.push("我", 0.0)] == [" 你好。"]


def test_the_first_segment_is_a_clause_and_later_ones_are_longer() -> None:
    text = "今天天气很好，我们一起去公园玩，然后去吃饭，最后回家休息，明天还要上班。"
    first, second, *_ = segments_of([text])
    assert first.text == "今天天气很好，"
    assert len(second.text) > 2 * len(first.text)


def test_a_short_interjection_is_no_first_segment() -> None:
    assert segments_of(["好，我们现在开始讲，第一点。"])[0].text == "好，我们现在开始讲，"


def test_an_overlong_sentence_is_cut_at_a_comma_else_between_words() -> None:
    options = SegmenterOptions(schedule=(Stage(60, 60, 1.0),))
    found = segments_of(["one two three, four five six seven eight nine ten eleven twelve thirteen fourteen"], options)
    assert found[0].text == "one two three, four five six seven eight nine ten eleven "
    assert found[1].text == "twelve thirteen fourteen"
    with_comma = segments_of(["one two three four five six seven, eight nine ten eleven twelve thirteen"], options)
    assert with_comma[0].text == "one two three four five six seven,"
    listed = segments_of(["苹果和香蕉还有梨、桃子和西瓜以及一些葡萄和樱桃"], options)
    assert listed[0].text == "苹果和香蕉还有梨、"


def test_chinese_without_marks_is_cut_between_words() -> None:
    found = segments_of(
        ["我们明天早上一起去北京大学图书馆看书然后去王府井百货大楼买东西"], SegmenterOptions(schedule=(Stage(45, 45, 1.0),))
    )
    assert "".join(s.text for s in found).startswith("我们明天")
    for segment in found[:-1]:
        assert not any(segment.text.endswith(half) for half in ("北", "大", "图", "图书", "百", "王", "王府"))


def test_numbers_with_spaces_and_runs_without_any_break() -> None:
    options = SegmenterOptions(schedule=(Stage(20, 20, 1.0),))
    assert [s.text for s in segments_of(["call me on 138 0013 8000 now"], options)] == ["call me on ", "138 0013 8000 now"]
    assert [len(s.text) for s in segments_of(["x" * 200], options)] == [80, 80, 40]
    family = "👨‍👩‍👧" * 60
    for segment in segments_of([family], options):
        assert segment.text == "👨‍👩‍👧" * (len(segment.text) // 5)


def test_a_cluster_beyond_reason_is_cut_all_the_same() -> None:
    text = "a" + "\u0301" * 5000
    found = segments_of(list(text))
    check_cover(text, found)
    assert len(found) > 1


def test_a_chinese_stop_settles_within_tens_of_milliseconds_and_a_dot_a_little_later() -> None:
    segmenter = Segmenter()
    assert segmenter.push("好的。", 10.0) == []
    assert segmenter.next_due() == pytest.approx(10.04)
    assert segmenter.due(10.03) == []
    assert [s.text for s in segmenter.due(10.041)] == ["好的。"]
    segmenter.push("Sure.", 20.0)
    assert segmenter.next_due() == pytest.approx(20.15)
    assert [s.text for s in segmenter.due(20.2)] == ["Sure."]
    assert segmenter.next_due() is None and segmenter.due(99.0) == []


def test_a_number_before_a_dot_does_not_settle() -> None:
    segmenter = Segmenter()
    segmenter.push("It costs $3.", 0.0)
    assert segmenter.due(0.5) == []
    assert segmenter.push("50 now. ", 0.5)[0].text == "It costs $3.50 now."


def test_a_number_or_abbreviation_at_the_end_settles_later() -> None:
    for text in ("It was 1980.", "It is 6 a.m.", "Go to the U.S.", "It is v2.0."):
        segmenter = Segmenter()
        segmenter.push(text, 0.0)
        assert segmenter.due(0.5) == []
        assert [s.text for s in segmenter.due(0.6)] == [text]
    for text in ("Ask Dr.", "In No.", "J.", "www.", "So: 1."):
        segmenter = Segmenter()
        segmenter.push(text, 0.0)
        assert segmenter.due(0.65) == []


def test_a_settled_clause_opens_the_utterance() -> None:
    segmenter = Segmenter()
    assert segmenter.push("没问题没问题，", 0.0) == []
    assert [s.text for s in segmenter.due(0.05)] == ["没问题没问题，"]


def test_a_clause_is_released_after_the_longest_wait_although_its_sentence_is_open() -> None:
    segmenter = Segmenter()
    segmenter.push("好，我", 0.0)
    assert segmenter.due(0.6) == []
    assert [s.text for s in segmenter.due(0.7)] == ["好，"]
    assert segmenter.due(0.8) == []


def test_words_of_a_slow_stream_are_released_without_the_last_that_may_be_open() -> None:
    segmenter = Segmenter()
    segmenter.push("Let me ", 0.0)
    segmenter.push("che", 1.3)
    assert [s.text for s in segmenter.due(1.4)] == ["Let me "]
    assert segmenter.push("ck that for", 1.5) == []
    segmenter.flush(1.5)


def test_a_stalled_stream_is_spoken_to_its_end_but_for_an_open_number_or_mark() -> None:
    def stalled(text: str, at: float) -> list[str]:
        segmenter = Segmenter()
        segmenter.push(text, 0.0)
        return [s.text for s in segmenter.due(at)]

    assert stalled("Let me check", 1.4) == ["Let me check"]
    assert stalled("It is 3,", 1.4) == ["It is "]
    assert stalled("It is 3,", 9.9) == ["It is 3,"]
    assert stalled("See Dr.", 1.4) == ["See "]
    assert stalled("你说<重|cho", 1.4) == ["你说"]
    assert stalled("   ", 99.0) == []


def test_flush_closes_and_marks_the_last_and_the_stream_goes_on() -> None:
    segmenter = Segmenter()
    assert segmenter.flush(0.0) == []
    segmenter.push("The book is on the desk.", 0.0)
    first = segmenter.flush(0.1)
    segmenter.push("Please take it.", 0.2)
    second = segmenter.flush(0.3)
    assert [s.text for s in first + second] == ["The book is on the desk.", "Please take it."]
    assert all(s.is_last_before_flush for s in first + second)
    assert (second[0].index, second[0].span.start) == (1, 24)
    assert repr(segmenter) == "<Segmenter 2 segments, 0 characters held>"


def test_whole_sentences_pushed_without_spaces_and_one_flush() -> None:
    found = segments_of(["The book is on the desk.", "Please take it.", "Thanks."])
    assert [s.text for s in found] == ["The book is on the desk.", "Please take it.", "Thanks."]


def test_an_unspeakable_rest_joins_the_last_sentence_of_a_flush() -> None:
    assert [s.text for s in segments_of(["你好。 \n"])] == ["你好。", " \n"]
    segmenter = Segmenter()
    segmenter.push("Is it", 0.0)
    segmenter.push("?", 0.0)
    found = segmenter.flush(0.0)
    assert [s.text for s in found] == ["Is it?"]
    tail = segments_of([" …\n "])
    assert [s.text for s in tail] == [" …\n "] and not is_speakable(tail[0].text)


def test_leading_marks_wait_for_something_to_say() -> None:
    assert [s.text for s in segments_of(["……。！你好。再见"])] == ["……。！你好。", "再见"]


def test_language_of_each_segment_in_mixed_text() -> None:
    found = segments_of(["123. 我用iPhone打电话。This is English. The word 你好 means hello. 42!"], WHOLE)
    assert [(s.text.strip(), s.language) for s in found] == [
        ("123. 我用iPhone打电话。", "zh"),
        ("This is English.", "en"),
        ("The word 你好 means hello.", "en"),
        ("42!", "en"),
    ]


@pytest.mark.parametrize(
    "kwargs",
    [{"schedule": ()}, {"schedule": (Stage(0, 9, 1.0),)}, {"schedule": (Stage(9, 8, 1.0),)}, {"settle_s": 0.0}],
)
def test_impossible_options_are_refused(kwargs: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        SegmenterOptions(**kwargs)  # type: ignore[arg-type]

"""Resuming, without a network: any number of cuts at any sample, and every word sounds once."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from realtime_client.transcript import MAX_PIECE_CHARS, ResumePoint, Transcript

from realtime.wire.events import AppendText, Audio, Cancelled, End, Flush, Flushed, Pong, SegmentStarted, Switch, Word

RATE = 1000
PER_CHAR = 10  # samples, and milliseconds


def words_of(text: str) -> tuple[Word, ...]:
    return tuple(Word(m.start(), m.end(), m.start() * PER_CHAR, m.end() * PER_CHAR) for m in re.finditer(r"\w+", text))


def segments_of(text: str) -> list[SegmentStarted]:
    """Sentences of `text`, timed at ten milliseconds per character."""
    words = words_of(text)
    spans = [m.span() for m in re.finditer(r"[^.]+\.?|\.", text)]
    return [
        SegmentStarted("u", i, a, b, a * PER_CHAR, "e", "en", tuple(w for w in words if a <= w.start_char < b))
        for i, (a, b) in enumerate(spans)
    ]


def speak(transcript: Transcript, text: str, samples: int) -> None:
    """What a service says of `text`, of which `samples` arrive."""
    received, seq = 0, 0
    for segment in segments_of(text):
        if segment.sample_offset > samples or received >= samples:
            return
        transcript.receive(segment)
        end = min(segment.span_end * PER_CHAR, samples)
        transcript.receive(Audio("u", seq, received, end - received, "e", b""))
        received, seq = end, seq + 1


def drain(transcript: Transcript) -> str:
    """The text that is sent on this connection."""
    sent = ""
    while (message := transcript.next_message("u")) is not None:
        if isinstance(message, AppendText):
            sent += message.text
    return sent


TEXT = st.lists(st.sampled_from(["a", "ten", "words", "x1", "Ω", "你好"]), min_size=1, max_size=12).flatmap(
    lambda words: st.lists(st.sampled_from([" ", ", ", ". ", "... "]), min_size=len(words), max_size=len(words)).map(
        lambda gaps: "".join(word + gap for word, gap in zip(words, gaps, strict=True))
    )
)


@settings(deadline=None, max_examples=300)
@given(text=TEXT, cuts=st.lists(st.floats(0, 1), max_size=4))
def test_no_word_twice_and_none_lost_whatever_is_cut_when(text: str, cuts: list[float]) -> None:
    transcript = Transcript(RATE)
    transcript.append(text)
    transcript.end()
    heard: list[int] = []  # for each sample of kept sound the character that it belongs to

    def speak_the_rest() -> int:
        """Send what is unsent; the rest of the text sounds as if nothing will break. Returns the samples that this would take."""
        base, rest = transcript.bases, drain(transcript)
        assert rest == text[base.char :]
        heard[base.sample :] = [base.char + i for i in range(len(rest)) for _ in range(PER_CHAR)]
        return len(rest) * PER_CHAR

    for cut in cuts:
        base = transcript.bases
        speak(transcript, text[base.char :], round(speak_the_rest() * cut))
        point = transcript.resume_point()
        assert base.sample <= point.sample <= transcript.received_samples
        transcript.rewind(point)
    speak_the_rest()
    assert [at for at in heard if text[at].isalnum()] == [at for at, c in enumerate(text) if c.isalnum() for _ in range(PER_CHAR)]


def started(text: str, samples: int) -> Transcript:
    transcript = Transcript(RATE)
    transcript.append(text)
    drain(transcript)
    speak(transcript, text, samples)
    return transcript


def test_it_goes_on_in_the_gap_before_the_word_that_was_cut() -> None:
    assert started("one two three.", 90).resume_point() == ResumePoint(8, 75)


def test_it_goes_on_at_the_segment_where_no_word_times_are_known() -> None:
    transcript = started("one two.", 80)
    transcript.receive(SegmentStarted("u", 1, 8, 18, 80, "e", "en"))
    transcript.receive(Audio("u", 1, 80, 50, "e", b""))
    assert transcript.resume_point() == ResumePoint(8, 80)


def test_words_without_times_are_said_again_rather_than_lost() -> None:
    transcript = Transcript(RATE)
    transcript.append("one two three four")
    transcript.receive(SegmentStarted("u", 0, 0, 18, 0, "e", "en", (Word(0, 3, 0, 30), Word(8, 13, 80, 130))))
    transcript.receive(Audio("u", 0, 0, 60, "e", b""))
    assert transcript.resume_point() == ResumePoint(3, 30)  # "two" has no time
    transcript.receive(Audio("u", 1, 60, 120, "e", b""))
    assert transcript.resume_point() == ResumePoint(13, 130)  # nor has "four"


def test_nothing_received_starts_over() -> None:
    transcript = started("one two", 0)
    transcript.rewind(transcript.resume_point())
    assert drain(transcript) == "one two"


def test_a_whole_text_leaves_nothing_to_resume() -> None:
    transcript = started("one two. ", 90)
    transcript.end()
    transcript.rewind(transcript.resume_point())
    assert transcript.is_all_spoken


def test_a_resumed_utterance_keeps_one_timeline() -> None:
    transcript = started("one two three. four", 90)
    transcript.rewind(transcript.resume_point())
    assert drain(transcript) == "three. four"
    lifted = transcript.receive(SegmentStarted("u", 0, 0, 6, 0, "f", "en", (Word(0, 5, 0, 50),)))
    assert lifted == SegmentStarted("u", 1, 8, 14, 75, "f", "en", (Word(8, 13, 75, 125),))
    assert transcript.receive(Audio("u", 0, 0, 60, "f", b"")) == Audio("u", 1, 75, 60, "f", b"")
    assert transcript.receive(Switch("u", "f", "g", "stalled", 2, 20)) == Switch("u", "f", "g", "stalled", 10, 95)
    assert transcript.receive(Flushed("u", "x", 6, 60)) == Flushed("u", "x", 14, 135)
    assert transcript.receive(Cancelled("u", 5, 50.0)) == Cancelled("u", 13, 125.0)
    assert transcript.receive(Pong()) == Pong()
    assert [word.start_ms for word in transcript.words] == [0, 40, 75]
    assert transcript.audio_s_by_engine == {"e": pytest.approx(0.075), "f": pytest.approx(0.06)}


def test_flushes_keep_their_place_and_are_asked_again() -> None:
    transcript = Transcript(RATE)
    transcript.append("one ")
    transcript.flush("1")
    transcript.append("two")
    transcript.flush("2")
    transcript.end()
    expected = [AppendText("u", "one "), Flush("u", "1"), AppendText("u", "two"), Flush("u", "2"), End("u"), None]
    assert [transcript.next_message("u") for _ in range(6)] == expected
    transcript.receive(Flushed("u", "1", 4, 40))
    transcript.rewind(transcript.resume_point())
    assert [transcript.next_message("u") for _ in range(4)] == [AppendText("u", "one two"), Flush("u", "2"), End("u"), None]


def test_long_text_goes_in_pieces() -> None:
    transcript = Transcript(RATE)
    transcript.append("x" * (MAX_PIECE_CHARS + 1))
    assert transcript.unsent_characters == MAX_PIECE_CHARS + 1
    first, second = transcript.next_message("u"), transcript.next_message("u")
    assert isinstance(first, AppendText) and isinstance(second, AppendText)
    assert (len(first.text), len(second.text)) == (MAX_PIECE_CHARS, 1)


@pytest.mark.parametrize(
    ("text", "samples", "ended", "due"),
    [
        ("one two", 70, False, False),  # the rest of the sentence is not written yet
        ("one two", 50, False, True),  # "two" was begun
        ("one. two. three", 40, False, True),  # a whole sentence waits
        ("one. three", 40, False, False),
        ("one. three", 40, True, True),
        ("one. ", 50, True, False),
        ("你好。世界", 30, False, False),
        ("你好。世界。", 30, False, True),
    ],
)
def test_whether_a_silence_is_the_services(text: str, samples: int, ended: bool, due: bool) -> None:
    transcript = Transcript(RATE)
    transcript.append(text)
    if ended:
        transcript.end()
    drain(transcript)
    whole = segments_of(text.replace("。", "."))
    received = 0
    for segment in whole:
        if segment.sample_offset >= samples:
            break
        transcript.receive(segment)
        received = min(samples, segment.span_end * PER_CHAR)
    transcript.receive(Audio("u", 0, 0, received, "e", b""))
    assert transcript.has_text_due is due


def test_a_segment_whose_words_are_not_all_timed_is_not_over() -> None:
    transcript = Transcript(RATE)
    transcript.append("one two")
    drain(transcript)
    part = SegmentStarted("u", 0, 0, 7, 0, "e", "en", (Word(0, 3, 0, 30),))
    transcript.receive(part)
    transcript.receive(Audio("u", 0, 0, 50, "e", b""))
    assert transcript.has_text_due
    transcript.receive(replace(part, words=()))
    assert not transcript.has_text_due  # nothing is known of its words


def test_heard_characters_are_whole_words() -> None:
    transcript = started("one two three.", 140)
    assert [transcript.heard_characters(sample) for sample in (0, 29, 30, 69, 70, 200)] == [0, 0, 3, 3, 7, 13]


def test_silence_after_a_lost_connection_is_the_services() -> None:
    transcript = started("one two. three", 40)
    transcript.rewind(transcript.resume_point())
    assert transcript.has_text_due

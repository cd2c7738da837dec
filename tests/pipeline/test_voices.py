"""Who speaks for whom."""

from __future__ import annotations

import pytest

from realtime.engines.base import EngineInfo, VoiceInfo
from realtime.errors import BadOption, Overloaded, UnknownVoice
from realtime.pipeline.voices import Part, VoiceBook


def info(name: str, *voices: VoiceInfo, is_test: bool = False) -> EngineInfo:
    return EngineInfo(name, 16000, ("zh", "en"), voices, is_test_voice=is_test)


@pytest.fixture
def book() -> VoiceBook:
    book = VoiceBook(("best", "middle", "last"), stand_ins={"clone": {"last": "last-b"}})
    book.learn(info("last", VoiceInfo("last-a", ("zh",)), VoiceInfo("last-b", ("zh", "en")), VoiceInfo("last-en", ("en",))))
    book.learn(info("best", VoiceInfo("clone", ("zh", "en"), gender="female")))
    book.learn(info("middle", VoiceInfo("him", ("zh",), gender="male"), VoiceInfo("her", ("zh",), gender="female")))
    return book


def test_the_chain_begins_at_the_voice_s_own_engine(book: VoiceBook) -> None:
    assert book.cast("him", None) == (Part("middle", "him"), Part("last", "last-a"))


def test_stand_ins_named_in_the_settings_go_first_then_the_same_gender(book: VoiceBook) -> None:
    assert book.cast("clone", None) == (Part("best", "clone"), Part("middle", "her"), Part("last", "last-b"))


def test_without_a_voice_the_best_engine_that_speaks_the_language_is_taken(book: VoiceBook) -> None:
    assert book.cast(None, None)[0] == Part("best", "clone")
    assert book.cast(None, "en-US")[0] == Part("best", "clone")


def test_unknown_voices_and_languages_are_refused(book: VoiceBook) -> None:
    with pytest.raises(UnknownVoice, match="nobody"):
        book.cast("nobody", None)
    with pytest.raises(BadOption, match="does not speak 'ja'"):
        book.cast("him", "ja")
    with pytest.raises(BadOption, match="no voice speaks"):
        book.cast(None, "ja")


def test_before_any_engine_is_ready_there_are_no_voices() -> None:
    with pytest.raises(Overloaded, match="warming up"):
        VoiceBook(("best",)).cast(None, None)


def test_a_test_voice_is_never_stood_in_for_by_a_real_one(book: VoiceBook) -> None:
    book = VoiceBook(("beacon", "last"))
    book.learn(info("last", VoiceInfo("last-a", ("zh",))))
    book.learn(info("beacon", VoiceInfo("tone", ("*",)), is_test=True))
    assert book.cast("tone", "ja") == (Part("beacon", "tone"),)


def test_every_voice_is_listed_once_with_the_engine_that_has_it_first(book: VoiceBook) -> None:
    book.learn(info("last", VoiceInfo("him", ("zh",)), VoiceInfo("last-a", ("zh",))))
    assert [(i.name, v.id) for i, v in book.voices()] == [
        ("best", "clone"),
        ("middle", "him"),
        ("middle", "her"),
        ("last", "last-a"),
    ]

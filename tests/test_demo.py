"""The demo has somebody to hand over to, and leaves settings alone that name engines of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from realtime.config import Settings, load
from realtime.demo import with_second_voice
from realtime.engines.espeak.engine import EspeakOptions
from realtime.pipeline.voices import VoiceBook


def settings(tmp_path: Path, **tables: object) -> Settings:
    return load(None, server={"data_dir": tmp_path}, **tables)


def test_espeak_alone_gets_a_second_one_behind_it(tmp_path: Path) -> None:
    demo = with_second_voice(settings(tmp_path, chain=("espeak",)))
    assert demo.chain == ("espeak", "espeak2")
    assert demo.engines["espeak2"].factory == "espeak"
    assert demo.engines["espeak2"].options["name"] == "espeak2"


def test_a_chain_of_several_engines_stays_as_it_is(tmp_path: Path) -> None:
    chosen = settings(tmp_path, chain=("beacon", "espeak"))
    assert with_second_voice(chosen) is chosen


def test_every_voice_is_followed_by_a_speaker_that_sounds_different(tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader", reason="espeak-ng is not installed (extra `espeak`)")
    from realtime.engines.espeak.engine import load as load_engine

    demo = with_second_voice(settings(tmp_path, chain=("espeak",)))
    book = VoiceBook(demo.chain)
    for name in demo.chain:
        table = demo.engines.get(name)
        book.learn(load_engine(table.options if table else {}).info)
    variants = {v.id: v.variant for table in ({}, demo.engines["espeak2"].options) for v in EspeakOptions.from_table(table).voices}
    for _, voice in book.voices()[: len(EspeakOptions().voices)]:
        first, second = book.cast(voice.id, None)
        assert (first.engine, second.engine) == demo.chain
        assert variants[first.voice] != variants[second.voice]

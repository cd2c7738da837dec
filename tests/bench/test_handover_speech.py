"""The listening part of the handover bench: its sentences, its measures, and a few cuts of real speech."""

from __future__ import annotations

import random

import numpy as np
import pytest

from realtime.bench import handover_speech
from realtime.bench.sentences import random_sentence
from realtime.text.boundaries import is_speakable


@pytest.mark.parametrize("kind", ["zh", "en", "mixed"])
def test_sentences_differ_and_come_again_with_their_seed(kind: str) -> None:
    some = [random_sentence(random.Random(seed), kind) for seed in range(30)]
    assert len(set(some)) > 25
    assert some == [random_sentence(random.Random(seed), kind) for seed in range(30)]
    assert all(is_speakable(text) and 8 <= len(text) <= 140 for text in some)
    has_latin = [any("a" <= char.lower() <= "z" for char in text) for text in some]
    has_han = [any("一" <= char <= "鿿" for char in text) for text in some]
    assert all(has_latin) == (kind != "zh") and all(has_han) == (kind != "en")


@pytest.mark.parametrize(("at_s", "share"), [(0.0, 0.0), (1.0, 0.0), (1.5, 0.5), (2.0, 1.0), (9.0, 1.0)])
def test_the_share_of_a_word_that_was_heard(at_s: float, share: float) -> None:
    assert handover_speech._share(at_s, (1.0, 2.0)) == share


def test_a_click_at_a_seam_is_seen_and_one_elsewhere_is_not() -> None:
    rate = 24000
    smooth = (0.3 * np.sin(np.arange(rate) * 2 * np.pi * 200 / rate)).astype(np.float32)
    broken = smooth.copy()
    broken[rate // 2 :] = -broken[rate // 2 :] + 0.4
    seams = handover_speech.Seams()
    for sound, at in ((smooth, rate // 2), (broken, rate // 2), (broken, rate // 4)):
        seams.add(sound, at, rate)
    assert (seams.count, seams.clicks) == (3, 1)


def test_a_step_in_loudness_is_measured() -> None:
    rate = 24000
    sound = (0.1 * np.sin(np.arange(rate) * 2 * np.pi * 200 / rate)).astype(np.float32)
    sound[rate // 2 :] *= 2
    seams = handover_speech.Seams()
    seams.add(sound, rate // 2, rate)
    assert seams.steps_db[0] == pytest.approx(6.0, abs=0.1)


def test_a_few_cuts_of_real_speech_lose_no_word() -> None:
    pytest.importorskip("espeakng_loader", reason="espeak-ng is not installed (extra [espeak])")
    report = handover_speech.measure(4, 24)
    assert report["align_cuts"] == 24
    assert report["resume_words_repeated"] == report["resume_words_dropped"] == 0
    assert report["align_error_p50_ms"] < 30
    assert report["speech_joins"] >= 20

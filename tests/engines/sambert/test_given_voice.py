"""A voice that speaks: its archive is taken as it is, word times fit the sound, chunks equal the whole."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from realtime.audio.features import log_mel, normalized
from realtime.engines.base import Chunk, Done, Job, PlanRequest
from realtime.engines.sambert import job_speech
from realtime.engines.sambert.engine import SambertEngine, load
from realtime.types import WordTime

ROOT = Path(__file__).resolve().parents[3]
TEXTS = (
    "您好，我们可以帮您，请问有什么问题，我将尽力解答。",
    "今天天气很好，大家去公园看花，晚上吃饭，明天休息。",
    "北京，上海，广州，都是大城市。",
)
HOP = 80  # 5 ms at 16 kHz


@pytest.fixture(scope="module")
def engine(torch: Any, tmp_path_factory: pytest.TempPathFactory) -> SambertEngine:
    from realtime.engines.sambert.checkpoint.export import export

    archive = Path(os.environ.get("REALTIME_VOICES_DIR", ROOT.parent / "shared" / "voices")) / "sambert_espeak_zh"
    if not archive.is_dir():
        pytest.skip(f"no voice at {archive}; set REALTIME_VOICES_DIR")
    models = tmp_path_factory.mktemp("voice")
    export({"archive": archive}, models, {})
    return load({"models_dir": str(models)})


def say(engine: SambertEngine, text: str) -> tuple[np.ndarray[Any, Any], list[WordTime]]:
    engine.start(Job("a", text, "espeak_zh", "zh"))
    parts: list[Any] = []
    words: list[WordTime] = []
    while True:
        for event in engine.step():
            if isinstance(event, Chunk):
                parts.append(event.samples)
                words += event.words
            else:
                assert isinstance(event, Done), event
                return np.concatenate(parts), words


def test_words_begin_where_the_sound_does(engine: SambertEngine) -> None:
    errors_ms = []
    for text in TEXTS:
        samples, words = say(engine, text)
        power = (samples[: len(samples) // HOP * HOP].reshape(-1, HOP) ** 2).mean(axis=1)
        db = 10 * np.log10(power + 1e-9)
        loud = db > db.max() - 35
        for before, word in itertools.pairwise(words):
            if word.start - before.end < 16 * 30:
                continue
            low = max(0, before.end // HOP - 4)
            quietest = low + int(np.argmin(db[low : word.start // HOP + 16]))
            assert db[quietest] < db.max() - 45  # the pause is one
            errors_ms.append(abs((quietest + int(np.argmax(loud[quietest:]))) * HOP - word.start) / 16)
    assert len(errors_ms) >= 8
    # A stop consonant is silent for some 50 ms before it is heard.
    assert np.median(errors_ms) <= 40 and max(errors_ms) <= 100


def test_features_of_a_plan_look_like_the_sound(engine: SambertEngine) -> None:
    planned = engine.plan(PlanRequest(TEXTS[0], "espeak_zh", "zh", with_features=True)).features
    samples, _ = say(engine, TEXTS[0])
    heard = normalized(log_mel(samples, 16000))
    assert planned is not None and planned.shape == heard.shape

    def alikeness(shift: int) -> float:
        a, b = heard[5 + shift : len(heard) - 5 + shift], normalized(planned)[5 : len(heard) - 5]
        return float(np.mean([np.corrcoef(a[:, k], b[:, k])[0, 1] for k in range(a.shape[1])]))

    assert alikeness(0) > 0.85
    assert max(range(-5, 6), key=alikeness) in (-1, 0, 1)  # in time to one row, 10 ms


def test_it_sounds_like_speech_and_not_like_noise(engine: SambertEngine) -> None:
    samples, _ = say(engine, "北京今天天气怎么样")
    assert 1.2 < len(samples) / 16000 < 4.0
    assert np.isfinite(samples).all() and 0.05 < np.abs(samples).max() < 1.0
    spectrum = np.abs(np.fft.rfft(samples)) ** 2
    low = spectrum[: len(spectrum) // 2].sum()
    assert low > 0.8 * spectrum.sum()  # most of speech lies below 4 kHz


def test_its_chunks_equal_the_whole(engine: SambertEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    chunked, _ = say(engine, TEXTS[0])
    monkeypatch.setattr(job_speech, "CHUNK_S", (1000.0,))
    whole, _ = say(engine, TEXTS[0])
    assert np.abs(chunked - whole).max() <= 1e-4

"""The second part of `realtime bench handover`: how well the aligner finds its place in real speech.

Sentences are spoken by espeak voices at different speeds; one rendering is cut at random, and the place of the cut is looked for in the
other by `pipeline/align.py`. espeak tells when each of its words begins, so the truth is known to a few milliseconds: the cut's share of
its word, carried over to the same word of the other rendering.
"""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from realtime.engines import registry
from realtime.engines.base import Chunk, Job
from realtime.pipeline.align import align, describe

SENTENCES = {
    "en": (
        "Thank you for calling, your account balance is available now.",
        "Please hold the line while I transfer you to an agent.",
        "The quick brown fox jumps over the lazy dog near the river bank.",
        "We have received your payment and will send a receipt by mail.",
        "If you would like to hear this message again, please press nine.",
        "Tomorrow morning there will be light rain with a gentle breeze.",
    ),
    "zh": (
        "感谢您的来电，请稍等，正在为您转接人工服务。",
        "今天天气很好，我们一起去公园散步吧。",
        "您的订单已经发货，预计明天下午送到。",
        "如果需要再听一遍，请按九号键。",
        "银行卡的余额不足，请及时充值。",
        "这家餐厅的菜很好吃，价格也不贵。",
    ),
}
SPEEDS = (0.8, 1.0, 1.25)


@dataclass(frozen=True, slots=True)
class Rendering:
    """One sentence as one voice spoke it. `starts` and `ends` of its words in seconds, the same words in every rendering."""

    language: str
    text: str
    voice: str
    speed: float
    samples: npt.NDArray[np.float32]
    rate: int
    words: tuple[tuple[int, float, float], ...]  # character, start, end


def measure(seed: int, cuts: int) -> dict[str, Any]:
    """Alignment errors over random cuts. Raises what the engine does when espeak is not installed."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        renderings = pool.submit(render_all).result()
    rng = random.Random(seed)
    errors: dict[str, list[float]] = {"zh": [], "en": []}
    wrong_words = 0
    for _ in range(cuts):
        main, other = _pair(renderings, rng)
        error_s, is_wrong = _one_cut(main, other, rng)
        errors[main.language].append(abs(error_s) * 1000)
        wrong_words += is_wrong
    both = errors["zh"] + errors["en"]
    return {
        "align_cuts": cuts,
        "align_error_p50_ms": round(float(np.percentile(both, 50)), 1),
        "align_error_p95_ms": round(float(np.percentile(both, 95)), 1),
        "align_error_p50_ms_by_language": {k: round(float(np.percentile(v, 50)), 1) for k, v in errors.items() if v},
        "align_error_p95_ms_by_language": {k: round(float(np.percentile(v, 95)), 1) for k, v in errors.items() if v},
        "align_wrong_words": wrong_words,
    }


def render_all() -> list[Rendering]:
    """Everything spoken by every voice at every speed; runs in a process of its own, as the engine does in service."""
    engine = registry.load("espeak", {})
    found = []
    for language, sentences in SENTENCES.items():
        voices = [voice.id for voice in engine.info.voices if any(name.startswith(language) for name in voice.languages)][:2]
        for text in sentences:
            for voice in voices:
                for speed in SPEEDS:
                    found.append(_render(engine, Job(f"{text}{voice}{speed}", text, voice, language, speed=speed)))
    engine.close()
    return found


def _render(engine: Any, job: Job) -> Rendering:
    engine.start(job)
    pieces: list[npt.NDArray[np.float32]] = []
    words: list[tuple[int, float, float]] = []
    rate = engine.info.sample_rate
    while True:
        events = engine.step()
        for event in events:
            if isinstance(event, Chunk):
                pieces.append(event.samples)
                words += [(w.span.start, w.start / rate, w.end / rate) for w in event.words]
        if any(not isinstance(event, Chunk) for event in events):
            return Rendering(job.language, job.text, job.voice, job.speed, np.concatenate(pieces), rate, tuple(words))


def _pair(renderings: Sequence[Rendering], rng: random.Random) -> tuple[Rendering, Rendering]:
    """Two renderings of one sentence by different voices or at different speeds."""
    main = rng.choice(renderings)
    others = [r for r in renderings if r.text == main.text and (r.voice, r.speed) != (main.voice, main.speed) and r.voice != main.voice]
    others = others or [r for r in renderings if r.text == main.text and r.speed != main.speed]
    return main, rng.choice(others)


def _one_cut(main: Rendering, other: Rendering, rng: random.Random) -> tuple[float, bool]:
    """Error in seconds of the other's time, and whether the place found lies in another word."""
    word = rng.randrange(1, len(main.words))
    _, start, end = main.words[word]
    share = rng.random()
    cut_s = start + share * (end - start)
    twin = next((w for w in other.words if w[0] == main.words[word][0]), None)
    assert twin is not None, "both voices speak the same words"
    truth_s = twin[1] + share * (twin[2] - twin[1])
    tempo = other.words[-1][2] / main.words[-1][2]
    found = align(describe(main.samples[: round(cut_s * main.rate)], main.rate), describe(other.samples, other.rate), tempo)
    is_wrong = not twin[1] - 0.08 <= found.time_s <= twin[2] + 0.08
    return found.time_s - truth_s, is_wrong

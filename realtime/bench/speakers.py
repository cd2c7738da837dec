"""Real voices for benches that listen: sentences rendered with the truth about their words, in a process of its own as in service."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from realtime.engines import registry
from realtime.engines.base import Chunk, Engine, Failed, Job, PlanRequest
from realtime.types import SpeechPlan

Samples = npt.NDArray[np.float32]

# Variants of espeak-ng's voice; the aligner was tuned on the first six of SEEN only.
SEEN = ("", "f2", "m3", "f4", "m7", "steph")
UNSEEN = ("f1", "f3", "f5", "m1", "m2", "m4", "m5", "m6", "m8", "linda", "adam", "belinda", "ed", "paul", "klatt2", "anika", "travis")


@dataclass(frozen=True, slots=True)
class Take:
    """A sentence to be spoken: by whom, how fast, from which character on."""

    text: str
    language: str
    engine: str
    voice: str
    speed: float
    start: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Rendering:
    """One take: its sound, its plan with features, and its engine's own words (first and last character, start and end in seconds)."""

    take: Take
    samples: Samples
    rate: int
    plan: SpeechPlan
    features: npt.NDArray[np.float32] | None
    words: tuple[tuple[int, int, float, float], ...]


class Speakers:
    """A process that speaks. `with Speakers(...) as speakers: speakers.render(takes)`."""

    def __init__(self, variants: Sequence[str], sambert_models: str | None = None) -> None:
        tables: dict[str, dict[str, Any]] = {"espeak": {"voices": [{"id": variant or "plain", "variant": variant} for variant in variants]}}
        if sambert_models:
            tables["sambert"] = {"models_dir": sambert_models}
        self._pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=_load, initargs=(tables,))

    def __enter__(self) -> Speakers:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown()

    def render(self, takes: Iterable[Take]) -> list[Rendering]:
        """Speak. Raises `EngineFailed` or what the engine's `start` raises."""
        return self._pool.submit(_render_all, list(takes)).result()

    def voices(self, engine: str) -> list[str]:
        """Ids of an engine's voices."""
        return self._pool.submit(_voices, engine).result()


_engines: dict[str, Engine] = {}


def _load(tables: dict[str, dict[str, Any]]) -> None:
    for name, table in tables.items():
        _engines[name] = registry.load(name, table)


def _voices(engine: str) -> list[str]:
    return [voice.id for voice in _engines[engine].info.voices]


def _render_all(takes: list[Take]) -> list[Rendering]:
    return [_render(_engines[take.engine], take) for take in takes]


def _render(engine: Engine, take: Take) -> Rendering:
    reply = engine.plan(PlanRequest(take.text, take.voice, take.language, take.speed, with_features=True))
    engine.start(Job("take", take.text, take.voice, take.language, start=take.start, speed=take.speed))
    pieces: list[Samples] = []
    words: list[tuple[int, int, float, float]] = []
    rate, is_over = engine.info.sample_rate, False
    while not is_over:
        for event in engine.step():
            assert not isinstance(event, Failed), event
            if isinstance(event, Chunk):
                pieces.append(event.samples)
                words += [(w.span.start, w.span.end, w.start / rate, w.end / rate) for w in event.words]
            else:
                is_over = True
    return Rendering(take, np.concatenate([np.zeros(0, np.float32), *pieces]), rate, reply.plan, reply.features, tuple(words))

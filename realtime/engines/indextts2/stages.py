"""The loaded model: language model, acoustics and vocoder on one set of kernels, and what they cost on this host."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np

from realtime.engines.indextts2.acoustic import Acoustic
from realtime.engines.indextts2.background import Background
from realtime.engines.indextts2.chunks import Costs
from realtime.engines.indextts2.decode import Decoder, Prefix, Sequence
from realtime.engines.indextts2.flow import Estimator, FlowShape
from realtime.engines.indextts2.kernels import Kernels
from realtime.engines.indextts2.kernels.native import Native
from realtime.engines.indextts2.kernels.packing import LAYOUT_VERSION, Kind
from realtime.engines.indextts2.kv_pages import PagePool, pages_for
from realtime.engines.indextts2.lm import LanguageModel, LmShape, LmWeights
from realtime.engines.indextts2.model_files import ModelFolder
from realtime.engines.indextts2.packs import Packs, through_file
from realtime.engines.indextts2.regulator import Regulator
from realtime.engines.indextts2.sampler import Sampling
from realtime.engines.indextts2.solve import Solver
from realtime.engines.indextts2.vocode import Vocoder, VocoderShape

T = TypeVar("T")
PREFIXES = 8
"""Voices' condition rows kept in the cache at once; each holds two pages officially (8 MB)."""
MARGIN_SHARE = 0.45
"""What a frame of the vocoder's margin costs beside one of sound: only the first stage runs over most of it (vocode.py)."""
BESIDE = 1.35
"""A code takes so much longer on one core beside the sound than there alone (measured; LOG): where the host can't be asked itself."""
TRIAL_PREFIX, TRIAL_TEXT = 34, 100
"""Positions before a trial's first code, voice and text: a code's cost grows with them, and so many lie before the middle of a segment."""
LEAST_TRIAL_CODES = 8
"""Fewer codes beside a trial sound say nothing: the first and last overlap with it in part."""
TRIAL_ROWS = 192
"""Frames of the trial runs that measure costs: about those of a first chunk. Shorter ones look dearer per frame."""


@dataclass(frozen=True, slots=True)
class Precision:
    """Types of the weights: language model, flow, vocoder."""

    language: Kind = Kind.Q4
    flow: Kind = Kind.Q8
    vocoder: Kind = Kind.Q8


@dataclass(frozen=True, slots=True, eq=False)
class Stages:
    """The three stages, ready."""

    decoder: Decoder
    acoustic: Acoustic
    vocoder: Vocoder

    @property
    def sample_rate(self) -> int:
        """Of the vocoder's sound."""
        return self.vocoder.shape.sampling_rate


def load_stages(folder: ModelFolder, kernels: Kernels, precision: Precision, positions: int, cache: Path, offset: int = 1) -> Stages:
    """All weights, packed once into `cache`. `positions`: cache positions of all jobs together.

    Raises `ModelMissing`, and `ValueError` or `KeyError` where config and weights do not fit.
    """
    shape = LmShape.of(folder.config["gpt"])

    def packed(part: str, kind: Kind, build: Callable[[Packs], T]) -> T:
        name = hashlib.sha256(f"{folder.fingerprint(part)} {kind.name} {LAYOUT_VERSION}".encode()).hexdigest()[:20]
        return through_file(cache / f"{part}-{kind.name.lower()}-{name}.pack", build)

    gpt, s2mel, bigvgan = (folder.tensors(part) for part in ("gpt", "s2mel", "bigvgan"))
    weights = packed("gpt", precision.language, lambda packs: LmWeights.of(gpt, shape, precision.language, packs))
    pages = pages_for(positions) + PREFIXES * (pages_for(64) + 1)
    pool = PagePool(pages, shape.layers, shape.heads, shape.model_dim // shape.heads, precision.language is not Kind.F32)
    decoder = Decoder(LanguageModel(kernels, weights, shape, pool), offset)
    flow_shape, sound_shape = FlowShape.of(folder.config["s2mel"]), VocoderShape.of(folder.config["bigvgan"])
    estimator = packed("s2mel", precision.flow, lambda packs: Estimator(kernels, s2mel, flow_shape, precision.flow, packs))
    acoustic = Acoustic(Regulator(kernels, s2mel, folder.tensors("codec")), Solver(estimator))
    vocoder = packed("bigvgan", precision.vocoder, lambda packs: Vocoder(kernels, bigvgan, sound_shape, precision.vocoder, packs))
    return Stages(decoder, acoustic, vocoder)


def measured_costs(stages: Stages) -> Costs:
    """Time one small piece of each stage several times, keeping the best; the first run also touches all weights. Decoding, which a
    neighbour of a moment slows most, is timed before, between and behind the others."""
    shape, estimator, kernels = stages.decoder.model.shape, stages.acoustic.solver.estimator, stages.vocoder.kernels
    x = np.zeros((TRIAL_ROWS, estimator.shape.mels), dtype=np.float32)
    static, table = estimator.static_null(2 * TRIAL_ROWS), stages.acoustic.solver.table(0.0)
    prefix = stages.decoder.prefix(np.ones((TRIAL_PREFIX, shape.model_dim), dtype=np.float32))

    def code_s() -> float:
        sequence = _trial(stages.decoder, prefix)
        best = _best(lambda: stages.decoder.step([sequence]), 8)
        stages.decoder.end(sequence)
        return best

    decode_s = code_s()
    flow_s = _best(lambda: list(estimator.steps(x, static, table)), 5)
    decode_s = min(decode_s, code_s())
    vocode_s = _best(lambda: list(stages.vocoder.steps(x)), 2)

    def sound() -> Iterable[object]:
        return chain(estimator.steps(x, static, table), stages.vocoder.steps(x))

    beside = None
    if isinstance(kernels, Native) and kernels.threads > 1:
        beside = _beside(stages.decoder, prefix, Background(stages.decoder, kernels), sound, flow_s + vocode_s)
    alone_s, delay_s = beside or (BESIDE * _alone(stages.decoder, prefix, kernels), None)
    decode_s = min(decode_s, code_s())
    stages.decoder.forget_prefix(prefix)
    margin = int(MARGIN_SHARE * stages.vocoder.shape.context)
    return Costs(decode_s, flow_s / (2 * TRIAL_ROWS), vocode_s / TRIAL_ROWS, margin, alone_s, kernels.threads, delay_s)


def _alone(decoder: Decoder, prefix: Prefix, kernels: Kernels) -> float:
    """Seconds of a code on one core, nothing beside it."""
    threads, sequence = kernels.threads, _trial(decoder, prefix)
    kernels.set_threads(1)
    alone_s = _best(lambda: decoder.step([sequence]), 8)
    kernels.set_threads(threads)
    decoder.end(sequence)
    return alone_s


def _trial(decoder: Decoder, prefix: Prefix) -> Sequence:
    """A sequence past its prompt."""
    sequence = decoder.start(prefix, [2] * min(TRIAL_TEXT, decoder.model.shape.max_text_tokens - 2), Sampling(), 0, 64, 64)
    while not sequence.codes:
        decoder.step([sequence])
    return sequence


def _beside(
    decoder: Decoder, prefix: Prefix, background: Background, sound: Callable[[], Iterable[object]], sound_s: float
) -> tuple[float, float] | None:
    """Seconds of a code that is decoded while `sound` is made, and by how much it delays it; `sound_s`: what that takes alone. None if
    the model stops too soon to tell."""
    found = []
    for _ in range(2):
        sequence = _trial(decoder, prefix)
        before, began, ended = len(sequence.codes), time.perf_counter(), None
        background.begin([sequence])
        for _piece in sound():
            if ended is None and not background.is_running:
                ended = time.perf_counter()
                background.settle()
        took_s = time.perf_counter() - began
        background.pause()
        codes = len(sequence.codes) - before
        decoder.end(sequence)
        if codes >= LEAST_TRIAL_CODES:
            found.append((((ended or began + took_s) - began) / codes, max(0.0, took_s - sound_s) / codes))
    background.close()
    return min(found, key=lambda f: f[1]) if found else None


def _best(work: Callable[[], object], times: int) -> float:
    best = float("inf")
    for _ in range(times):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best

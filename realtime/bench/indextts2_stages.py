"""IndexTTS-2 stage by stage: seconds per piece of work, ours and torch's in turns, and tokens per second of batches."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from realtime.engines.indextts2.acoustic import drained
from realtime.engines.indextts2.engine import IndexTts2
from realtime.engines.indextts2.model_files import ModelFolder
from realtime.engines.indextts2.sampler import Sampling
from realtime.engines.indextts2.stages import Stages

if TYPE_CHECKING:
    from realtime.bench.indextts2_baseline import Baseline

CODES, TEXT_TOKENS, PROMPT = 250, 60, 258
"""One 5 s segment, 60 text tokens, a 3 s prompt: the sizes that the published figures are for."""
ROWS = 34 + TEXT_TOKENS + 3
FRAMES = PROMPT + int(1.72 * CODES)
SECOND = round(22050 / 256)
CODE_S = 1.72 * 256 / 22050
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
Work = Callable[[], object]


def best(times: int, now: Callable[[], float], *works: Work) -> list[float]:
    """Best seconds of each piece of work, run in turns."""
    found = [float("inf")] * len(works)
    for _ in range(times):
        for i, work in enumerate(works):
            began = now()
            work()
            found[i] = min(found[i], now() - began)
    return found


def measure(
    engine: IndexTts2, folder: ModelFolder | None, threads: int, rounds: int, now: Callable[[], float], console: Console
) -> dict[str, dict[str, float]]:
    """Seconds per piece, ours and (with a folder) torch's: prefill of 97 rows, one token, latent pass, one flow step with guidance, one
    second of sound."""
    ours = pieces(engine.stages)
    if folder is None:
        return {name: {"ours_s": best(rounds + 1, now, work)[0]} for name, work in ours.items()}
    out: dict[str, dict[str, float]] = {}
    for name, theirs in torch_pieces(folder, threads):
        console.print(f"measuring {name} beside torch")
        mine = ours.get(name)
        times = best(rounds, now, *([mine, theirs] if mine else [theirs]))
        out[name] = {"ours_s": times[0] if mine else 0.0, "torch_s": times[-1]}
    return out


def pieces(s: Stages) -> dict[str, Work]:
    """One piece of work per stage of the serving runtime."""
    return {
        "prefill": _prefill(s),
        "decode": _decode(s),
        "flow_step": _flow(s),
        "vocode_second": lambda: s.vocoder.run(np.zeros((SECOND, s.vocoder.shape.num_mels), dtype=np.float32)),
    }


def torch_pieces(folder: ModelFolder, threads: int) -> Iterator[tuple[str, Work]]:
    """The same of torch, and its latent pass. One module is in memory at a time: use each piece before asking for the next."""
    import torch

    from realtime.bench.indextts2_baseline import Baseline

    baseline = Baseline(folder, threads)
    with torch.inference_mode():
        for part in (_language, _sound):
            yield from part(baseline)
            gc.collect()


def _language(baseline: Baseline) -> Iterator[tuple[str, Work]]:
    import torch

    from realtime.bench import indextts2_baseline as base

    gpt = baseline.gpt()
    yield "prefill", lambda: base.latent_pass(gpt, ROWS)
    steps, code = base.decoding(gpt, ROWS + CODES // 2), torch.tensor([5])
    yield "decode", lambda: steps.feed(code)
    yield "latent_pass", lambda: base.latent_pass(gpt, ROWS + CODES)


def _sound(baseline: Baseline) -> Iterator[tuple[str, Work]]:
    from realtime.bench import indextts2_baseline as base

    cfm = baseline.flow()
    yield "flow_step", lambda: base.flow_step(cfm, FRAMES, PROMPT)
    vocoder = baseline.vocoder()
    yield "vocode_second", lambda: base.vocode(vocoder, SECOND)


def _prefill(s: Stages) -> Work:
    x = np.random.default_rng(0).standard_normal((ROWS, s.decoder.model.shape.model_dim), dtype=np.float32)
    table = np.tile(np.arange(8, dtype=np.int32), (ROWS, 1))
    return lambda: s.decoder.model.forward(x.copy(), np.arange(ROWS, dtype=np.int32), table)


def _decode(s: Stages) -> Work:
    """One token at the middle of the segment."""
    sequence = sequences(s, 1)[0]
    while len(sequence.codes) < CODES // 2:
        s.decoder.step([sequence])

    def work() -> None:
        s.decoder.step([sequence])

    return work


def _flow(s: Stages) -> Work:
    estimator = s.acoustic.solver.estimator
    static, table = np.tile(estimator.static_null(FRAMES), (2, 1)), estimator.table(0.4)
    x = np.random.default_rng(0).standard_normal((FRAMES, estimator.shape.mels), dtype=np.float32)
    return lambda: drained(estimator.steps(x, static, table))


def sequences(s: Stages, count: int) -> list[Any]:
    """Sequences of the published size, prompts run."""
    d = s.decoder
    prefix = d.prefix(np.random.default_rng(0).standard_normal((34, d.model.shape.model_dim), dtype=np.float32))
    made = [d.start(prefix, list(range(2, 2 + TEXT_TOKENS)), Sampling(), i, CODES, CODES) for i in range(count)]
    while any(len(sequence.pending) > 1 for sequence in made):
        d.step(made)
    d.forget_prefix(prefix)
    return made


def tokens_per_s(engine: IndexTts2, batch: int, rounds: int, now: Callable[[], float]) -> float:
    """Tokens of all sequences together, measured around the middle of the segment."""
    d = engine.stages.decoder
    made = sequences(engine.stages, batch)
    while len(made[0].codes) < CODES // 2:
        d.step(made)
    per_step = statistics.median(best(1, now, lambda: d.step(made))[0] for _ in range(10 * rounds))
    for sequence in made:
        d.end(sequence)
    return batch / per_step


def baseline_rtf(stages: dict[str, dict[str, float]]) -> float:
    """The published pipeline's seconds per second of sound, from its stages."""
    t = {name: row["torch_s"] for name, row in stages.items()}
    seconds = t["prefill"] + CODES * t["decode"] + t["latent_pass"] + 25 * t["flow_step"] + CODES * CODE_S * t["vocode_second"]
    return seconds / (CODES * CODE_S)

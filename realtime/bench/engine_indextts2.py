"""Speed, quality levels and memory of IndexTTS-2, beside torch eager float32 in the same run.

Without `--models` the official sizes with random weights are used (written once, 1.4 GB): the sound is noise, the time is real, and the
distances bound the numerics of a level, not its taste. Each stage is timed in turns with its baseline, the best of `--rounds` counting.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from realtime.audio.features import log_mel
from realtime.engines.base import Chunk, Failed, Job
from realtime.engines.indextts2 import random_model
from realtime.engines.indextts2.acoustic import drained
from realtime.engines.indextts2.engine import IndexTts2
from realtime.engines.indextts2.levels import LEVELS
from realtime.engines.indextts2.load import load_engine
from realtime.engines.indextts2.model_files import ModelFolder, find_model
from realtime.engines.indextts2.options import KINDS
from realtime.engines.indextts2.sampler import Sampling
from realtime.engines.indextts2.stages import Stages

CODES, TEXT_TOKENS, PROMPT = 250, 60, 258
"""One 5 s segment, 60 text tokens, a 3 s prompt: the sizes that the published figures are for."""
CODE_S = 1.72 * 256 / 22050
CLAUSE = "今天天气真好我们去公园散步吧。"
"""Fifteen characters with the mark."""
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
DB_PER_NEPER = 8.685889638
EXACT = {"language_precision": "int4", "flow_precision": "fp32", "vocoder_precision": "fp32"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `realtime bench engine indextts2`."""
    parser.add_argument("--models", type=Path, help="exported models; default: random weights at official size")
    parser.add_argument("--voices", type=Path, help="voice packs that go with --models")
    parser.add_argument("--threads", type=int, default=0, help="cores to use (default: all)")
    parser.add_argument("--rounds", type=int, default=3, help="times each stage is measured, in turns with its baseline (default 3)")
    parser.add_argument("--levels", default=",".join(level.name for level in LEVELS), help="levels to measure, by commas")
    parser.add_argument("--batches", default="1,4,8", help="batch sizes for tokens/s (default 1,4,8)")
    parser.add_argument("--jobs", default="1,2,4", help="numbers of jobs at once on the fast level (default 1,2,4)")
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall", help="cpu: for stages on a busy host, best with --threads 1")
    parser.add_argument("--no-distance", action="store_true", help="skip the distances (they need a float32 run of 25 steps)")
    parser.add_argument("--no-baseline", action="store_true", help="skip torch (then there are no ratios)")
    parser.add_argument("--keep", type=Path, help="write one WAV per level here, for A/B listening")
    for part in ("language", "flow", "vocoder"):
        parser.add_argument(f"--{part}-precision", choices=tuple(KINDS), help="default: the engine's")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure, print tables, return the figures of the contract."""
    console = Console(stderr=True)
    threads = args.threads or len(os.sched_getaffinity(0))
    models, voices = args.models or _random_data(console) / "models" / "indextts2", args.voices
    capacity = max(8, *_numbers(args.jobs), *_numbers(args.batches))
    table: dict[str, Any] = {"models_dir": str(models), "threads": threads, "capacity": capacity}
    table |= {"voices_dir": str(voices)} if voices else {}
    table |= {k: v for part in ("language", "flow", "vocoder") if (v := getattr(args, k := f"{part}_precision"))}
    global now
    now = CLOCKS[args.clock]
    began = time.perf_counter()
    engine = load_engine(table)
    result: dict[str, Any] = {"load_s": time.perf_counter() - began, "cores": threads, "kernels": engine.stages.vocoder.kernels.features}
    folder = ModelFolder.open(find_model(Path(models)))
    result["stages"] = _stages(engine, None if args.no_baseline else folder, threads, args.rounds, console)
    result["tokens_per_s"] = {str(n): _tokens_per_s(engine, n, args.rounds) for n in _numbers(args.batches)}
    baseline = None if args.no_baseline else _baseline_rtf(result["stages"])
    if baseline is not None:
        result["baseline_rtf"] = baseline
        result["baseline_tokens_per_s"] = 1 / result["stages"]["decode"]["torch_s"]
    result["levels"], sounds = _levels(engine, [name for name in args.levels.split(",") if name], args.rounds, baseline, console)
    result["jobs"] = {str(n): _aggregate(engine, n) for n in _numbers(args.jobs)}
    result["rss_mb"] = psutil.Process().memory_info().rss / 1e6 if args.no_baseline else _fresh_rss_mb(table)
    if sounds and not args.no_distance:
        engine.close()
        _distances(table | EXACT, result["levels"], sounds)
    if args.keep:
        _keep(args.keep, sounds, engine.stages.sample_rate)
    _print(console, result)
    return result


def _numbers(text: str) -> list[int]:
    return [int(n) for n in text.split(",") if n]


def _random_data(console: Console) -> Path:
    """The random model at official size, written once per machine."""
    root = Path(tempfile.gettempdir()) / "realtime-random-indextts2"
    if not (root / "models" / "indextts2" / "random" / "manifest.json").is_file():
        console.print(f"writing random weights at official size to {root} (once, 1.4 GB, half a minute)")
        random_model.write_random(root / "models" / "indextts2", root / "voices", random_model.OFFICIAL)
    return root


now: Callable[[], float] = time.perf_counter


def _best(times: int, *works: Callable[[], object]) -> list[float]:
    """Best seconds of each piece of work, run in turns."""
    best = [float("inf")] * len(works)
    for _ in range(times):
        for i, work in enumerate(works):
            began = now()
            work()
            best[i] = min(best[i], now() - began)
    return best


# -- stages


def _stages(engine: IndexTts2, folder: ModelFolder | None, threads: int, rounds: int, console: Console) -> dict[str, dict[str, float]]:
    """Seconds per piece, ours and torch's: prefill of 97 rows, one token, latent pass, one flow step with guidance, one second of sound."""
    s = engine.stages
    rows = 34 + TEXT_TOKENS + 3
    frames = PROMPT + int(1.72 * CODES)
    second = round(22050 / 256)
    ours = {
        "prefill": _prefill_work(s, rows),
        "decode": _decode_work(s),
        "flow_step": _flow_work(s, frames),
        "vocode_second": lambda: s.vocoder.run(np.zeros((second, s.vocoder.shape.num_mels), dtype=np.float32)),
    }
    if folder is None:
        return {name: {"ours_s": _best(rounds + 1, work)[0]} for name, work in ours.items()}
    return _beside_torch(ours, folder, threads, rounds, (rows, frames, second), console)


def _beside_torch(
    ours: dict[str, Callable[[], object]], folder: ModelFolder, threads: int, rounds: int, sizes: tuple[int, int, int], console: Console
) -> dict[str, dict[str, float]]:
    import torch

    from realtime.bench import indextts2_baseline as base

    rows, frames, second = sizes
    baseline = base.Baseline(folder, threads)
    out: dict[str, dict[str, float]] = {}

    def measure(name: str, theirs: Callable[[], object]) -> None:
        console.print(f"measuring {name} beside torch")
        mine = ours.get(name)
        times = _best(rounds, *([mine, theirs] if mine else [theirs]))
        out[name] = {"ours_s": times[0] if mine else 0.0, "torch_s": times[-1]}

    def language() -> None:
        gpt = baseline.gpt()
        measure("prefill", lambda: base.latent_pass(gpt, rows))
        steps, code = base.decoding(gpt, rows + CODES // 2), torch.tensor([5])
        measure("decode", lambda: steps.feed(code))
        measure("latent_pass", lambda: base.latent_pass(gpt, rows + CODES))

    def flow() -> None:
        cfm = baseline.flow()
        measure("flow_step", lambda: base.flow_step(cfm, frames, PROMPT))

    def sound() -> None:
        vocoder = baseline.vocoder()
        measure("vocode_second", lambda: base.vocode(vocoder, second))

    with torch.inference_mode():
        for part in (language, flow, sound):  # one module in memory at a time
            part()
            gc.collect()
    return out


def _prefill_work(s: Stages, rows: int) -> Callable[[], object]:
    x = np.random.default_rng(0).standard_normal((rows, s.decoder.model.shape.model_dim), dtype=np.float32)
    table = np.tile(np.arange(8, dtype=np.int32), (rows, 1))
    return lambda: s.decoder.model.forward(x.copy(), np.arange(rows, dtype=np.int32), table)


def _decode_work(s: Stages) -> Callable[[], object]:
    """One token at the middle of the segment."""
    sequence = _sequences(s, 1)[0]
    while len(sequence.codes) < CODES // 2:
        s.decoder.step([sequence])

    def work() -> None:
        s.decoder.step([sequence])

    return work


def _flow_work(s: Stages, frames: int) -> Callable[[], object]:
    estimator = s.acoustic.solver.estimator
    static, table = np.tile(estimator.static_null(frames), (2, 1)), estimator.table(0.4)
    x = np.random.default_rng(0).standard_normal((frames, estimator.shape.mels), dtype=np.float32)
    return lambda: drained(estimator.steps(x, static, table))


def _sequences(s: Stages, count: int) -> list[Any]:
    """Sequences of the published size, prompts run."""
    d = s.decoder
    prefix = d.prefix(np.random.default_rng(0).standard_normal((34, d.model.shape.model_dim), dtype=np.float32))
    made = [d.start(prefix, list(range(2, 2 + TEXT_TOKENS)), Sampling(), i, CODES, CODES) for i in range(count)]
    while any(len(sequence.pending) > 1 for sequence in made):
        d.step(made)
    d.forget_prefix(prefix)
    return made


def _tokens_per_s(engine: IndexTts2, batch: int, rounds: int) -> float:
    """Tokens of all sequences together, measured around the middle of the segment."""
    d = engine.stages.decoder
    sequences = _sequences(engine.stages, batch)
    while len(sequences[0].codes) < CODES // 2:
        d.step(sequences)
    per_step = statistics.median(_best(1, lambda: d.step(sequences))[0] for _ in range(10 * rounds))
    for sequence in sequences:
        d.end(sequence)
    return batch / per_step


def _baseline_rtf(stages: dict[str, dict[str, float]]) -> float:
    """The published pipeline's seconds per second of sound, from its stages."""
    t = {name: row["torch_s"] for name, row in stages.items()}
    seconds = t["prefill"] + CODES * t["decode"] + t["latent_pass"] + 25 * t["flow_step"] + CODES * CODE_S * t["vocode_second"]
    return seconds / (CODES * CODE_S)


# -- whole engine


def _speak(engine: IndexTts2, jobs: list[Job]) -> tuple[float, float, dict[str, list[np.ndarray[Any, Any]]], float]:
    """Seconds in all, seconds to the first chunk, chunks by job, longest step."""
    began, first, longest = time.perf_counter(), 0.0, 0.0
    sounds: dict[str, list[np.ndarray[Any, Any]]] = {job.id: [] for job in jobs}
    for job in jobs:
        engine.start(job)
    while engine.is_busy:
        step = time.perf_counter()
        events = engine.step()
        longest = max(longest, time.perf_counter() - step)
        for event in events:
            if isinstance(event, Failed):
                raise RuntimeError(f"{event.job_id} failed: {event.message}")
            if isinstance(event, Chunk):
                first = first or time.perf_counter() - began
                sounds[event.job_id].append(event.samples)
    return time.perf_counter() - began, first, sounds, longest


def _job(engine: IndexTts2, id: str, text: str, level: str) -> Job:
    return Job(id, text, engine.info.voices[0].id, "zh", level=level, seed=1)


def _segment(engine: IndexTts2) -> str:
    """A text of about `TEXT_TOKENS` pieces."""
    text = ""
    while sum(len(part.ids) for part in engine.front_end.encode(text + CLAUSE[:-1])) <= TEXT_TOKENS:
        text += CLAUSE[:-1]
    return text + "。" if text else CLAUSE


def _levels(
    engine: IndexTts2, names: list[str], rounds: int, baseline: float | None, console: Console
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    rows, sounds = [], {}
    text = _segment(engine)
    for name in names:
        console.print(f"measuring level {name}")
        best: dict[str, float] = {"rtf": float("inf"), "first_audio_ms": float("inf"), "longest_step_ms": 0.0}
        for _ in range(max(1, rounds - 1)):
            wall, _, found, longest = _speak(engine, [_job(engine, "a", text, name)])
            sounds[name] = np.concatenate(found["a"])
            best["rtf"] = min(best["rtf"], wall / (len(sounds[name]) / engine.stages.sample_rate))
            best["longest_step_ms"] = max(best["longest_step_ms"], 1000 * longest)
            best["first_audio_ms"] = min(best["first_audio_ms"], 1000 * _speak(engine, [_job(engine, "a", CLAUSE, name)])[1])
        rows.append({"name": name, **best} | ({"speedup": baseline / best["rtf"]} if baseline else {}))
    return rows, sounds


def _aggregate(engine: IndexTts2, count: int) -> float:
    """Audio seconds per second with `count` jobs at once on the fast level."""
    text = _segment(engine)
    wall, _, sounds, _ = _speak(engine, [_job(engine, str(i), text, "fast") for i in range(count)])
    samples = sum(len(chunk) for chunks in sounds.values() for chunk in chunks)
    return samples / engine.stages.sample_rate / wall


def _distances(table: dict[str, Any], rows: list[dict[str, Any]], sounds: dict[str, Any]) -> None:
    """Root mean square log-mel difference to float32, 25 steps, whole segment, on the same codes and noise."""
    reference = load_engine(table)
    _, _, found, _ = _speak(reference, [_job(reference, "a", _segment(reference), "exact")])
    exact = log_mel(np.concatenate(found["a"]), reference.stages.sample_rate)
    for row in rows:
        other = log_mel(sounds[row["name"]], reference.stages.sample_rate)
        count = min(len(exact), len(other))
        row["distance_db"] = float(DB_PER_NEPER * np.sqrt(((exact[:count] - other[:count]) ** 2).mean()))


def _fresh_rss_mb(table: dict[str, Any]) -> float:
    """Resident memory of a process that loads the engine and speaks one clause, without torch beside it."""
    code = (
        "import json,sys,psutil\n"
        "from realtime.bench.engine_indextts2 import CLAUSE,_job,_speak\n"
        "from realtime.engines.indextts2.load import load_engine\n"
        "e=load_engine(json.loads(sys.argv[1]))\n"
        "_speak(e,[_job(e,'a',CLAUSE,'fast')])\n"
        "print(psutil.Process().memory_info().rss/1e6)"
    )
    done = subprocess.run([sys.executable, "-c", code, json.dumps(table)], capture_output=True, text=True, timeout=300, check=True)
    return float(done.stdout.strip().splitlines()[-1])


def _keep(folder: Path, sounds: dict[str, Any], rate: int) -> None:
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    for name, samples in sounds.items():
        soundfile.write(folder / f"{name}.wav", samples, rate)


def _print(console: Console, result: dict[str, Any]) -> None:
    stages = Table("stage", "torch ms", "ours ms", "ratio", title="stages")
    for name, row in result["stages"].items():
        theirs, mine = row.get("torch_s", 0.0), row["ours_s"]
        ratio = f"{theirs / mine:.1f}" if theirs and mine else "-"
        stages.add_row(name, f"{1000 * theirs:.1f}" if theirs else "-", f"{1000 * mine:.1f}", ratio)
    levels = Table("level", "RTF", "speedup", "first audio ms", "distance dB", "longest step ms", title="levels")
    for row in result["levels"]:
        cells = (row["rtf"], row.get("speedup"), row["first_audio_ms"], row.get("distance_db"), row["longest_step_ms"])
        levels.add_row(row["name"], *("-" if cell is None else f"{cell:.2f}" for cell in cells))
    console.print(stages, levels)
    console.print("tokens/s by batch:", {k: round(v, 1) for k, v in result["tokens_per_s"].items()})
    console.print("audio s/s by jobs:", {k: round(v, 2) for k, v in result["jobs"].items()}, f"RSS {result['rss_mb']:.0f} MB")

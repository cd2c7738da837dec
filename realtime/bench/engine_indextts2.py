"""Speed, quality levels and memory of IndexTTS-2, beside torch eager float32 in the same run.

Without `--models` the official sizes with random weights are used (written once, 1.4 GB): the sound is noise, the time is real, and the
distances bound the numerics of a level, not its taste. With `--models DIR --keep DIR` the owner of real weights hears every level.
Each stage is timed in turns with its baseline, the best of `--rounds` counting.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from realtime.bench import indextts2_hosts, indextts2_neighbour, indextts2_report, indextts2_speech, indextts2_stages
from realtime.bench.indextts2_speech import Samples, Script
from realtime.engines.indextts2 import random_model
from realtime.engines.indextts2.engine import IndexTts2
from realtime.engines.indextts2.levels import LEVELS, level_named
from realtime.engines.indextts2.load import load_engine
from realtime.engines.indextts2.model_files import ModelFolder, find_model
from realtime.engines.indextts2.options import KINDS
from realtime.errors import BadOption

PARTS = ("language", "flow", "vocoder")
HOSTS = (16, 64)
WIDTH = 160
"""Columns of the tables in a file."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `realtime bench engine indextts2`."""
    add = parser.add_argument
    add("--models", type=Path, metavar="DIR", help="exported models, or one model's folder; default: random weights at official size")
    add("--voices", type=Path, metavar="DIR", help="voice packs that go with --models (default: `voices` of the same data directory)")
    add("--voice", default="", metavar="NAME", help="whose voice (default: the first)")
    add("--text", default="", help="what is spoken instead of the published sizes")
    add("--threads", type=int, default=0, help="cores to use (default: all)")
    add("--rounds", type=int, default=3, help="times each figure is taken, in turns with its baseline (default 3)")
    add("--levels", default=",".join(level.name for level in LEVELS), help="levels to measure, by commas")
    add("--batches", default="1,4,8", help="batch sizes for tokens/s (default 1,4,8)")
    add("--jobs", default="1,2,4", help="numbers of jobs at once on level fast (default 1,2,4)")
    add("--clock", choices=tuple(indextts2_stages.CLOCKS), default="wall", help="cpu: for stages on a busy host, best with --threads 1")
    add("--neighbour", action="store_true", help="also measure beside a process that spins on one core")
    add("--no-distance", action="store_true", help="skip the distances (they need a float32 run of 25 steps)")
    add("--no-baseline", action="store_true", help="skip torch (then there are no ratios)")
    add("--keep", type=Path, metavar="DIR", help="write one WAV per level and the float32 one here, for A/B listening")
    for part in PARTS:
        add(f"--{part}-precision", choices=tuple(KINDS), help="default: the engine's")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure, print tables, return the figures of the contract."""
    console = Console(stderr=True, width=None if sys.stderr.isatty() else WIDTH)
    names = _checked([name for name in args.levels.split(",") if name])
    threads, now = args.threads or len(os.sched_getaffinity(0)), indextts2_stages.CLOCKS[args.clock]
    table = _options(args, console)
    began = time.perf_counter()
    engine = load_engine(table | {"threads": threads})
    script = Script.of(engine, args.voice, args.text)
    result: dict[str, Any] = {"load_s": time.perf_counter() - began, "cores": threads, "kernels": engine.stages.vocoder.kernels.features}
    folder = None if args.no_baseline else ModelFolder.open(find_model(Path(table["models_dir"])))
    result["stages"] = indextts2_stages.measure(engine, folder, threads, args.rounds, now, console)
    result["tokens_per_s"] = {str(n): indextts2_stages.tokens_per_s(engine, n, args.rounds, now) for n in _numbers(args.batches)}
    baseline = indextts2_stages.baseline_rtf(result["stages"]) if folder else None
    if baseline is not None:
        result |= {"baseline_rtf": baseline, "baseline_tokens_per_s": 1 / result["stages"]["decode"]["torch_s"]}
    result["levels"], sounds = indextts2_speech.levels(engine, script, names, max(1, args.rounds - 1), baseline, console)
    result["jobs"] = {str(n): indextts2_speech.aggregate(engine, script, n) for n in _numbers(args.jobs)}
    result["memory_mb"] = indextts2_speech.fresh_memory_mb(table | {"threads": threads})
    result["rss_mb"] = result["memory_mb"]["resident"]
    if args.neighbour:
        result["neighbour_shares"] = indextts2_neighbour.shares(threads)
        result["neighbour"] = indextts2_neighbour.measure(engine, script, folder, threads, args.rounds, console)
    result["hosts"] = _hosts(engine, result)
    engine.close()
    if not args.no_distance:
        sounds["fp32"] = indextts2_speech.distances(table | {"threads": threads}, script, result["levels"], sounds)
    if args.keep:
        _keep(args.keep, sounds, engine.stages.sample_rate)
        console.print(f"wrote {', '.join(f'{name}.wav' for name in sounds)} to {args.keep}")
    indextts2_report.show(console, result)
    return result


def _options(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """The engine's options."""
    models = args.models or _random_data(console) / "models" / "indextts2"
    # a model's own folder lies one deeper than the folder of all models
    home = models.parent.parent.parent if (models / "manifest.json").is_file() else models.parent.parent
    capacity = max(8, *_numbers(args.jobs), *_numbers(args.batches))
    table = {"models_dir": str(models), "voices_dir": str(args.voices or home / "voices"), "capacity": capacity}
    return table | {key: value for part in PARTS if (value := getattr(args, key := f"{part}_precision"))}


def _numbers(text: str) -> list[int]:
    try:
        numbers = [int(n) for n in text.split(",") if n]
    except ValueError:
        numbers = [0]
    if any(n < 1 for n in numbers):
        raise BadOption(f"expected numbers from 1 by commas, not {text!r}")
    return numbers


def _checked(names: list[str]) -> list[str]:
    for name in names:
        if level_named(name) is None:
            raise BadOption(f"unknown quality level {name!r}; there are: {', '.join(level.name for level in LEVELS)}")
    return names


def _random_data(console: Console) -> Path:
    """The random model at official size, written once per machine."""
    root = Path(tempfile.gettempdir()) / "realtime-random-indextts2"
    if not (root / "models" / "indextts2" / "random" / "manifest.json").is_file():
        console.print(f"writing random weights at official size to {root} (once, 1.4 GB, half a minute)")
        random_model.write_random(root / "models" / "indextts2", root / "voices", random_model.OFFICIAL)
    return root


def _hosts(engine: IndexTts2, result: dict[str, Any]) -> list[dict[str, Any]]:
    """This host and larger ones, from the figures at hand; none without the level that they are planned for."""
    row = next((row for row in result["levels"] if row["name"] == indextts2_hosts.PLANNED), None)
    if row is None:
        return []
    token_s = result["stages"]["decode"]["ours_s"]
    return indextts2_hosts.rows(indextts2_hosts.measured(engine, row, result["jobs"], token_s, result["memory_mb"]), HOSTS)


def _keep(folder: Path, sounds: dict[str, Samples], rate: int) -> None:
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    for name, samples in sounds.items():
        soundfile.write(folder / f"{name}.wav", samples, rate)

"""`realtime models parity indextts2 DIR`: every stage folder under DIR through our modules, compared with its stored outputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from onnxruntime.capi import onnxruntime_pybind11_state as ort
from rich.console import Console

from realtime.engines.indextts2.checkpoint import parity_gpt, parity_graphs, parity_serving, parity_sound
from realtime.engines.indextts2.checkpoint.stage import Check, Stage
from realtime.errors import ModelMissing

STAGES: dict[str, Callable[[Stage], None]] = {
    "features": parity_sound.features,
    "w2vbert": parity_sound.w2vbert,
    "campplus": parity_sound.campplus,
    "semantic_codec": parity_sound.codec,
    "emotion_vector": parity_sound.emotion_vector,
    "gpt": parity_gpt.run,
    "sampler": parity_sound.sampler,
    "s2mel": parity_sound.s2mel,
    "bigvgan": parity_sound.bigvgan,
    "chain": parity_sound.chain,
}
"""Stage folder name -> its checks, in the order of the pipeline."""
SERVED: dict[str, tuple[Callable[[Stage], None], ...]] = {
    "gpt": (parity_graphs.gpt, parity_serving.gpt),
    "s2mel": (parity_graphs.s2mel, parity_serving.s2mel),
    "bigvgan": (parity_graphs.bigvgan, parity_serving.bigvgan),
    "chain": (parity_graphs.chain, parity_serving.chain),
}
"""The stages that are exported, through ONNX Runtime and through the serving runtime in float32."""


BREAKS = (
    *(ValueError, LookupError, TypeError, ArithmeticError, RuntimeError, AssertionError),
    *(ort.Fail, ort.InvalidArgument, ort.InvalidGraph, ort.RuntimeException, ort.NotImplemented, ort.InvalidProtobuf),
)
"""What a runtime may raise on sizes that it can't take: said as a miss of the stage, the others still run."""


def parity(directory: Path | str) -> int:
    """Run all stages under `directory` (or the one that it is), print a line per tensor and one per stage; 0 if all are within tolerance.

    1 if any tensor misses, if a stored tensor was not compared, or if a stage folder could not be run or is of an unknown name.
    """
    directory = Path(directory)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    folders = stage_folders(directory)
    if not folders:
        console.print(f"no stage folders (with a config.json) under {directory}")
        return 1
    failures = 0
    checks = 0
    for folder in folders:
        done, problems = run_stage(folder)
        for check in done:
            console.print(line(check))
        for problem in problems:
            console.print(f"{folder.name:15} {problem}  MISS")
        console.print(summary(folder.name, done, problems))
        checks += len(done)
        failures += len(problems) + sum(not c.is_within for c in done)
    absent = [name for name in STAGES if name not in [folder.name for folder in folders]] if len(folders) > 1 else []
    note = f"; this set has no {', '.join(absent)}" if absent else ""
    console.print(f"{len(folders)} stages, {checks} comparisons, {failures} misses{note}")
    return 1 if failures else 0


def stage_folders(directory: Path) -> list[Path]:
    """The folders to run, in pipeline order, unknown names last."""
    if (directory / "config.json").is_file():
        return [directory]
    order = list(STAGES)
    found = [p for p in directory.iterdir() if p.is_dir()] if directory.is_dir() else []
    return sorted(found, key=lambda p: (order.index(p.name) if p.name in order else len(order), p.name))


@torch.inference_mode()
def run_stage(folder: Path) -> tuple[list[Check], list[str]]:
    """The comparisons of one folder, and what kept it from being verified in full."""
    if folder.name not in STAGES:
        return [], [f"not run: unknown stage; there are: {', '.join(STAGES)}"]
    try:
        stage = Stage.open(folder)
    except ModelMissing as error:
        return [], [f"not run: {error}"]
    problems: list[str] = []
    for run in (STAGES[folder.name], *SERVED.get(folder.name, ())):
        try:
            run(stage)
        except (ModelMissing, *BREAKS) as error:
            problems.append(f"not run: {type(error).__name__}: {str(error) or 'no reason given'}")
    problems += [f"{name}: stored but not compared" for name in stage.unused()]
    return stage.checks, problems if stage.checks else [*problems, "nothing was compared"]


def summary(name: str, checks: list[Check], problems: list[str]) -> str:
    """One line for a stage: for each runtime the error that comes nearest to its tolerance, or is furthest above it."""
    by_runtime = {runtime: [c for c in checks if c.runtime == runtime] for runtime in dict.fromkeys(c.runtime for c in checks)}
    worst = [max(found, key=lambda c: c.nearness) for found in by_runtime.values()]
    figures = ", ".join(f"{c.runtime} {c.error:.1e} of {c.tolerance:.0e} ({c.tensor})" for c in worst)
    misses = len(problems) + sum(not c.is_within for c in checks)
    return f"{name:15} {'STAGE MISSED' if misses else 'STAGE OK'}: max abs error of tolerance: {figures or 'nothing compared'}"


def line(check: Check) -> str:
    """One line of the report."""
    verdict = "ok" if check.is_within else "MISS"
    asked = "identical" if check.tolerance == 0 else f"{check.tolerance:.0e}"
    return f"{check.stage:15} {check.tensor:28} {check.runtime:14} max abs error {check.error:.2e}  tolerance {asked:9}  {verdict}"

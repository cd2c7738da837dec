"""The engine's bench on a small random model: every figure of the contract is there, with and without the baseline."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import pytest

from realtime.bench import engine_indextts2 as bench
from realtime.engines.indextts2 import random_model


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    random_model.write_random(root / "models" / "indextts2", root / "voices", random_model.TINY)
    return root


def measured(data: Path, *options: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    given = ["--models", str(data / "models" / "indextts2"), "--voices", str(data / "voices"), "--threads", "1", "--rounds", "1"]
    return bench.run(parser.parse_args([*given, "--levels", "exact,fast", "--batches", "1,2", "--jobs", "1,2", *options]))


def test_all_figures_are_there_without_the_baseline(data: Path) -> None:
    result = measured(data, "--no-baseline", "--keep", str(data / "kept"))
    assert "baseline_rtf" not in result and result["cores"] == 1 and result["rss_mb"] > 10
    assert set(result["tokens_per_s"]) == set(result["jobs"]) == {"1", "2"}
    assert [row["name"] for row in result["levels"]] == ["exact", "fast"]
    for row in result["levels"]:
        assert row["rtf"] > 0 and row["first_audio_ms"] > 0 and math.isfinite(row["distance_db"]) and "speedup" not in row
    assert {path.name for path in (data / "kept").iterdir()} == {"exact.wav", "fast.wav"}


def test_float32_at_the_exact_level_is_no_distance_away(data: Path) -> None:
    precise = ("--flow-precision", "fp32", "--vocoder-precision", "fp32")
    exact, fast = measured(data, "--no-baseline", *precise)["levels"]
    assert exact["distance_db"] == 0.0 < fast["distance_db"]


def test_ratios_are_to_torch_in_the_same_run(data: Path) -> None:
    result = measured(data, "--no-distance")
    assert {"prefill", "decode", "latent_pass", "flow_step", "vocode_second"} == set(result["stages"])
    assert result["baseline_rtf"] > 0 and result["baseline_tokens_per_s"] > 0
    for row in result["levels"]:
        assert row["speedup"] == pytest.approx(result["baseline_rtf"] / row["rtf"]) and "distance_db" not in row

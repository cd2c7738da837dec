"""The parity check itself: green on the reference data, red on anything that is off, unknown or broken."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from realtime.models import cli


def check(folder: Path) -> int:
    return cli.main(["parity", "sambert", str(folder)])


@pytest.mark.golden
def test_every_stage_of_the_reference_data_is_within_tolerance(torch: Any, golden: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(golden) == 0
    lines = capsys.readouterr().out.splitlines()
    stages = [path.name for path in golden.iterdir() if path.is_dir()]
    for stage in stages:
        (line,) = [line for line in lines if line.startswith(stage + " ")]
        assert line.endswith("ok")
        assert "torch" in line or stage in ("symbols", "denorm_f0")
        assert "onnx" in line or stage in ("symbols", "denorm_f0", "length_regulator")


@pytest.mark.golden
@pytest.mark.parametrize("stage", ["postnet", "hifigan_noncausal"])
def test_derived_tensors_may_be_absent_and_a_wrong_weight_is_found(stage: str, torch: Any, golden: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "set" / stage
    shutil.copytree(golden / stage, folder)
    assert check(folder.parent) == 0
    weights = load_file(folder / "weights.safetensors")
    name = sorted(weights)[3]
    weights[name] = weights[name] + 1e-2
    save_file(weights, folder / "weights.safetensors")
    assert check(folder.parent) == 1


@pytest.mark.golden
def test_stages_that_can_not_be_run_make_the_check_fail(
    torch: Any, golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(tmp_path / "nothing") == 1
    folder = tmp_path / "set"
    shutil.copytree(golden / "postnet", folder / "postnet")
    (folder / "mystery").mkdir()
    assert check(folder) == 1
    assert "mystery" in capsys.readouterr().out
    (folder / "mystery").rmdir()
    (folder / "postnet" / "weights.safetensors").unlink()
    assert check(folder) == 1
    assert "NOT RUN" in capsys.readouterr().out


@pytest.mark.golden
def test_a_wrong_shape_or_a_number_that_is_none_is_over(torch: Any, golden: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set" / "denorm_f0"
    shutil.copytree(golden / "denorm_f0", folder)
    arrays = dict(np.load(folder / "io.npz"))
    for change in (arrays["out_global"][:-1], np.full_like(arrays["out_global"], np.nan)):
        np.savez(folder / "io.npz", **{**arrays, "out_global": change})
        assert check(folder.parent) == 1

"""The reference data through `realtime models parity`, and what the command does about data that does not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from onnxruntime.capi import onnxruntime_pybind11_state as ort
from safetensors.torch import load_file, save_file

from realtime.engines.indextts2.checkpoint.parity import STAGES, parity, run_stage
from realtime.engines.indextts2.checkpoint.stage import Stage, largest_difference


@pytest.mark.golden
@pytest.mark.parametrize("stage", STAGES)
def test_reference_stage_is_within_tolerance(golden: Path, stage: str) -> None:
    checks, problems = run_stage(golden / stage)
    assert problems == []
    assert [c for c in checks if not c.is_within] == []
    runtimes = {c.runtime.split("/")[0] for c in checks}
    assert runtimes == ({"torch", "onnxruntime", "serving"} if stage in ("gpt", "s2mel", "bigvgan", "chain") else {"torch"})


@pytest.fixture
def stage(golden: Path, tmp_path: Path) -> Path:
    """A copy of the codec's stage, which is small."""
    shutil.copytree(golden / "semantic_codec", tmp_path / "semantic_codec", copy_function=shutil.copyfile)
    (tmp_path / "semantic_codec").chmod(0o755)
    return tmp_path / "semantic_codec"


@pytest.mark.golden
class TestMisses:
    def changed(self, stage: Path, name: str, tensor: torch.Tensor) -> None:
        io = load_file(stage / "io.safetensors")
        (stage / "io.safetensors").unlink()
        save_file({**io, name: tensor}, stage / "io.safetensors")

    def test_all_good_is_zero(self, stage: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert parity(stage.parent) == 0
        assert "quantized" in capsys.readouterr().out

    def test_a_wrong_value_is_one(self, stage: Path, capsys: pytest.CaptureFixture[str]) -> None:
        quantised = load_file(stage / "io.safetensors")["quantized"]
        quantised[0, 0, 0] += 1e-3
        self.changed(stage, "quantized", quantised)
        assert parity(stage.parent) == 1
        said = capsys.readouterr().out.splitlines()
        (line,) = [text for text in said if " quantized " in text]
        assert "1.00e-03" in line
        assert line.endswith("MISS")
        (summary,) = [text for text in said if "STAGE" in text]
        assert "STAGE MISSED" in summary
        assert "1.0e-03 of 1e-04 (quantized)" in summary

    def test_a_stage_of_unknown_name_is_one(self, stage: Path, capsys: pytest.CaptureFixture[str]) -> None:
        stage.rename(stage.parent / "codec9")
        assert parity(stage.parent) == 1
        assert "not run: unknown stage" in capsys.readouterr().out

    def test_a_stored_tensor_that_nothing_compares_is_one(self, stage: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.changed(stage, "news", torch.ones(2))
        assert parity(stage.parent) == 1
        assert "news: stored but not compared" in capsys.readouterr().out

    def test_a_missing_file_is_one(self, stage: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (stage / "weights.safetensors").unlink()
        assert parity(stage.parent) == 1
        assert "not run: " in capsys.readouterr().out

    @pytest.mark.parametrize("error", [ValueError("odd"), AssertionError(), ort.Fail("no kernel")])
    def test_a_runtime_that_breaks_is_one_and_the_others_run(
        self, stage: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        def broken(stage: Stage) -> None:
            raise error

        shutil.copytree(stage, stage.parent / "sampler", copy_function=shutil.copyfile)
        monkeypatch.setitem(STAGES, "sampler", broken)
        assert parity(stage.parent) == 1
        said = capsys.readouterr().out
        assert f"not run: {type(error).__name__}: {error or 'no reason given'}" in said
        assert "quantized" in said

    def test_a_config_of_other_sizes_is_one(self, stage: Path, capsys: pytest.CaptureFixture[str]) -> None:
        config = json.loads((stage / "config.json").read_text())
        config["RepCodec"]["vocos_dim"] += 1
        (stage / "config.json").unlink()
        (stage / "config.json").write_text(json.dumps(config))
        assert parity(stage.parent) == 1
        assert "its config asks for" in capsys.readouterr().out


def test_an_empty_folder_is_one(tmp_path: Path) -> None:
    assert parity(tmp_path) == 1
    assert parity(tmp_path / "absent") == 1


def test_differences_of_what_is_not_a_number_never_pass() -> None:
    ones, bad = np.ones(2), np.array([1.0, np.nan])
    assert np.isnan(largest_difference(bad, ones))
    assert largest_difference(ones, np.ones(3)) == float("inf")
    cut = np.array([-np.inf, 1.0])
    assert largest_difference(cut, cut) == 0
    assert largest_difference(cut, ones) == float("inf")

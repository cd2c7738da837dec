"""`realtime models export|list|verify|parity indextts2`, as typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from realtime.models import manifest
from realtime.models.cli import main
from tests.models.conftest import FakeHub, hub

__all__ = ["hub"]


def test_export_list_and_verify(written_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = ["--dir", str(tmp_path)]
    assert main([*here, "export", "indextts2", str(written_folder), "--name", "tiny", "--option", "onnx=off"]) == 0
    said = capsys.readouterr()
    assert f"exported {tmp_path / 'indextts2' / 'tiny'}" in said.out
    assert "GB written, peak memory" in said.err
    assert main([*here, "list", "indextts2", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out.splitlines()[-1])["models"]
    assert (row["engine"], row["name"], row["sample_rate"]) == ("indextts2", "tiny", 22050)
    assert main([*here, "list", "sambert", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["models"] == []
    assert main([*here, "verify", "indextts2"]) == 0
    assert "ok" in capsys.readouterr().out
    weights = tmp_path / "indextts2" / "tiny" / "s2mel.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert main([*here, "verify", "indextts2", "tiny"]) == 1
    assert "s2mel.safetensors: checksum differs" in capsys.readouterr().out


def test_a_copy_that_brings_the_other_models_along_is_pulled_and_exported(hub: FakeHub, written_folder: Path, tmp_path: Path) -> None:
    hub.files = {str(path.relative_to(written_folder)): path.read_bytes() for path in written_folder.rglob("*") if path.is_file()}
    hub.files |= {"LICENSE.txt": b"terms", "qwen0.6bemo4-merge/model.safetensors": b"not needed"}
    hub.licence = "other terms"
    options = ["--hub", "modelscope", "--endpoint", hub.url, "--accept-licence"]
    assert main(["--dir", str(tmp_path), "pull", "indextts2", "owner/voice", *options]) == 0
    folder = tmp_path / "indextts2" / "voice"
    about = manifest.read(folder)
    assert (about.licence, about.source, about.revision) == ("other terms", "owner/voice", "master")
    assert (folder / "LICENSE.txt").read_bytes() == b"terms"
    assert not list(tmp_path.rglob("qwen*"))
    assert manifest.problems(folder) == []


def test_what_can_be_pulled_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "indextts2", "--published"]) == 0
    said = capsys.readouterr().out
    assert "IndexTeam/IndexTTS-2" in said
    assert "sambert" not in said


def test_a_folder_that_is_no_checkpoint_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dir", str(tmp_path / "models"), "export", "indextts2", str(tmp_path)]) == 1
    assert "expected one folder with config.yaml" in capsys.readouterr().err
    assert main(["parity", "indextts2", str(tmp_path)]) == 1


@pytest.mark.golden
def test_parity_of_one_stage_folder(golden: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["parity", "indextts2", str(golden / "semantic_codec")]) == 0
    assert "1 stages" in capsys.readouterr().out

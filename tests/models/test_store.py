"""Manifests: what is written is read back, and any change of a file is found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from realtime.errors import BadOption, ModelMissing
from realtime.models import cli, engines, manifest
from realtime.models.manifest import Manifest


@pytest.fixture
def model(models_dir: Path) -> Path:
    folder = models_dir / "sambert" / "voice"
    folder.mkdir(parents=True)
    (folder / "a.onnx").write_bytes(b"x" * 1000)
    manifest.write(folder, Manifest("sambert", "voice", "v1", 16000, ("zh",), details={"k": [1]}))
    return folder


def test_what_is_written_is_read_back(model: Path) -> None:
    one = manifest.read(model)
    assert (one.engine, one.name, one.revision, one.sample_rate, one.languages) == ("sambert", "voice", "v1", 16000, ("zh",))
    assert one.files["a.onnx"].bytes == 1000 and one.details == {"k": [1]}


def test_verify_finds_every_kind_of_damage(model: Path, models_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verify = ["--dir", str(models_dir), "verify"]
    assert cli.main(verify) == 0
    path = model / "a.onnx"
    for damage, message in ((b"y" + b"x" * 999, "checksum differs"), (b"x" * 10, "truncated")):
        path.write_bytes(damage)
        assert cli.main([*verify, "sambert", "voice"]) == 1
        assert message in capsys.readouterr().out
    path.unlink()
    assert cli.main(verify) == 1
    assert "missing" in capsys.readouterr().out


def test_list_shows_models_and_broken_ones(model: Path, models_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--dir", str(models_dir), "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [(one["engine"], one["name"]) for one in listed["models"]] == [("sambert", "voice")]
    (model / "manifest.json").write_text("{", encoding="utf-8")
    assert cli.main(["--dir", str(models_dir), "list"]) == 0
    assert "not a readable manifest" in capsys.readouterr().out


def test_an_empty_store_says_what_to_do(models_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--dir", str(models_dir), "list"]) == 0
    assert "realtime models pull" in capsys.readouterr().out
    assert cli.main(["--dir", str(models_dir), "verify"]) == 1


@pytest.mark.parametrize("text", ["[]", '{"files": {}}', '{"format": 99, "files": {}}'])
def test_a_manifest_that_makes_no_sense_is_refused(text: str, model: Path) -> None:
    (model / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(ModelMissing):
        manifest.read(model)


def test_another_format_names_both_versions(model: Path) -> None:
    table = json.loads((model / "manifest.json").read_text(encoding="utf-8"))
    (model / "manifest.json").write_text(json.dumps({**table, "format": 99}), encoding="utf-8")
    with pytest.raises(ModelMissing, match="format 99"):
        manifest.read(model)


def test_an_engine_without_models_is_refused_by_name() -> None:
    with pytest.raises(BadOption, match="espeak"):
        engines.engine_hooks("espeak")


def test_what_can_be_pulled_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "--published"]) == 0
    assert "iic/speech_sambert-hifigan_tts_zh-cn_16k" in capsys.readouterr().out

"""Export: whole or not at all, resumed, readable by the serving side, graphs equal to torch."""

from __future__ import annotations

import errno
import json
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors import SafetensorError

from realtime.engines.indextts2.checkpoint import export as exporting
from realtime.engines.indextts2.checkpoint import official
from realtime.engines.indextts2.checkpoint.export import Settings, Work, export, export_parts
from realtime.engines.indextts2.checkpoint.load import Checkpoint
from realtime.engines.indextts2.checkpoint.random_weights import RandomParts
from realtime.engines.indextts2.model_files import ModelFolder
from realtime.engines.indextts2.published import PUBLISHED
from realtime.errors import BadOption, ModelMissing
from realtime.models import manifest

GRAPHS = {"text_rows", "code_rows", "language_model", "content", "regulator", "estimator", "vocoder"}


def no_leftovers(out: Path) -> bool:
    return not [p for p in out.iterdir() if p.name.startswith(".")]


@pytest.fixture(scope="module")
def exported(written_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint, exported once."""
    out = tmp_path_factory.mktemp("models")
    (folder,) = export({"me/tiny": written_folder}, out, {"name": "tiny", "revision": "abc"})
    assert no_leftovers(out)
    return folder


def test_the_serving_side_reads_what_was_exported(exported: Path, written_folder: Path) -> None:
    folder = ModelFolder.open(exported)
    assert (folder.manifest.engine, folder.manifest.name, folder.manifest.revision) == ("indextts2", "tiny", "abc")
    assert folder.manifest.sample_rate == 22050
    assert folder.manifest.source == "me/tiny"
    assert folder.manifest.details["checkpoint"] == [str(written_folder)]
    assert folder.config["gpt"]["model_dim"] == 32
    checkpoint = Checkpoint(written_folder)
    for part, module in (("gpt", checkpoint.gpt()), ("s2mel", checkpoint.s2mel()), ("bigvgan", checkpoint.vocoder())):
        tensors = folder.tensors(part)
        state = module.state_dict()
        for key, tensor in tensors.items():
            np.testing.assert_array_equal(tensor, state[key].numpy(), err_msg=key)
    assert not [k for k in folder.tensors("gpt") if "encoder" in k or "text_head" in k]
    assert set(folder.tensors("codec")) == {
        "quantizer.quantizers.0.codebook.weight",
        "quantizer.quantizers.0.out_project.weight",
        "quantizer.quantizers.0.out_project.bias",
    }


def test_every_file_is_listed_with_its_checksum(exported: Path) -> None:
    assert manifest.problems(exported) == []
    listed = set(manifest.read(exported).files)
    assert listed == {p.name for p in exported.iterdir()} - {"manifest.json"}
    assert {f"{g}.onnx" for g in GRAPHS} <= listed
    assert all(p.stat().st_mode & 0o444 == 0o444 for p in exported.iterdir())  # the service may run as another user


def test_graphs_hold_no_weights_and_their_difference_is_recorded(exported: Path) -> None:
    details = manifest.read(exported).details
    assert set(details["difference_to_torch"]) == GRAPHS
    assert all(0 <= error < 1e-4 for error in details["difference_to_torch"].values())
    assert details["precision"] == "float32"
    assert details["peak_memory_mb"] > 10
    for name in GRAPHS:
        initializers = onnx.load(str(exported / f"{name}.onnx"), load_external_data=False).graph.initializer
        outside = [i for i in initializers if i.external_data]
        assert outside
        assert {i.external_data[0].value.split(".")[1] for i in outside} == {"safetensors"}
        assert sum(i.ByteSize() for i in initializers if not i.external_data) < 50_000  # taps and snakes of the vocoder


def test_graphs_run_from_the_finished_folder(exported: Path, written_folder: Path) -> None:
    vocoder = Checkpoint(written_folder).vocoder()
    mel = torch.randn(1, 80, 9, generator=torch.Generator().manual_seed(1))
    session = onnxruntime.InferenceSession(str(exported / "vocoder.onnx"), providers=["CPUExecutionProvider"])
    (wave,) = session.run(None, {"mel": mel.numpy()})
    np.testing.assert_allclose(wave, vocoder(mel).numpy(), atol=1e-5)


def test_an_older_export_is_replaced(written_folder: Path, tmp_path: Path) -> None:
    for revision in ("one", "two"):
        (folder,) = export({"x": written_folder}, tmp_path, {"revision": revision, "onnx": "off"})
        assert manifest.read(folder).revision == revision
    assert not (folder / "vocoder.onnx").exists()
    assert no_leftovers(tmp_path)


def test_a_stored_half_is_widened_on_reading(tiny_parts: RandomParts, tmp_path: Path) -> None:
    folder = export_parts(tiny_parts, tmp_path, Settings("half", onnx=False, precision="float16"))
    tensor = ModelFolder.open(folder).tensors("gpt")["mel_head.weight"]
    assert tensor.dtype == np.float32
    np.testing.assert_array_equal(tensor, tiny_parts.gpt().mel_head.weight.half().float().numpy())


def test_repositories_as_pull_leaves_them(tiny_folder: Path, tmp_path: Path) -> None:
    main, *others = (tmp_path / str(i) / "0123abcd" for i in range(5))
    for folder in others:
        folder.mkdir(parents=True)
    (others[1] / "semantic_codec").mkdir()
    cache = tiny_folder / "hf_cache"
    (cache / "w2v-bert-2.0").rename(others[0] / "moved")
    for file in (others[0] / "moved").iterdir():
        file.rename(others[0] / file.name)
    (others[0] / "moved").rmdir()
    (cache / "semantic_codec_model.safetensors").rename(others[1] / "semantic_codec" / "model.safetensors")
    (cache / "campplus_cn_common.bin").rename(others[2] / "campplus_cn_common.bin")
    for name in ("config.json", "bigvgan_generator.pt"):
        (cache / "bigvgan" / name).rename(others[3] / name)
    main.parent.mkdir()
    tiny_folder.rename(main)
    snapshots = {repo.repo: folder for repo, folder in zip(PUBLISHED[0].repos, (main, *others), strict=True)}
    (folder,) = export(snapshots, tmp_path / "models", {"name": None, "onnx": "off"})
    about = manifest.read(folder)
    assert (about.name, about.revision, about.source) == ("indextts2", "0123abcd", "IndexTeam/IndexTTS-2")
    again = Checkpoint(Path(about.details["checkpoint"][0]), tuple(Path(p) for p in about.details["checkpoint"][1:]))
    assert again.feature_encoder() is not None
    assert again.style_encoder() is not None


class TestInterruptions:
    def broken_after(self, monkeypatch: pytest.MonkeyPatch, files: int, error: OSError) -> list[str]:
        """Let `files` weight files be written, then fail; returns the names asked for."""
        real, names = Work.save, []

        def save(work: Work, name: str, *rest: Any) -> Path:
            if len(names) == files:
                raise error
            names.append(name)
            return real(work, name, *rest)

        monkeypatch.setattr(Work, "save", save)
        return names

    def test_a_full_disk_is_said_and_the_next_run_goes_on(
        self, tiny_parts: RandomParts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = Settings("tiny", onnx=False)
        with monkeypatch.context() as patch:
            self.broken_after(patch, 1, OSError(errno.ENOSPC, "No space left on device"))
            with pytest.raises(ModelMissing, match="is full; what is whole is kept in"):
                export_parts(tiny_parts, tmp_path, settings)
        assert not (tmp_path / "tiny").exists()
        names = self.broken_after(monkeypatch, 9, OSError())
        folder = export_parts(tiny_parts, tmp_path, settings)
        assert names == ["s2mel", "codec", "bigvgan"]
        assert manifest.problems(folder) == []
        assert no_leftovers(tmp_path)

    def test_a_full_disk_that_the_weights_library_meets_is_said_too(
        self, tiny_parts: RandomParts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        words = "Error while serializing: I/O error: No space left on device (os error 28)"

        def save_file(tensors: object, path: Path) -> None:
            raise SafetensorError(words)

        monkeypatch.setattr(exporting, "save_file", save_file)
        with pytest.raises(ModelMissing, match="is full; what is whole is kept in"):
            export_parts(tiny_parts, tmp_path, Settings("tiny", onnx=False))
        words = "another fault of the library"
        with pytest.raises(SafetensorError, match="another fault"):
            export_parts(tiny_parts, tmp_path, Settings("tiny", onnx=False))

    def test_a_step_whose_file_was_lost_is_done_again(
        self, tiny_parts: RandomParts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = Settings("tiny", onnx=False)
        with monkeypatch.context() as patch:
            self.broken_after(patch, 3, OSError(errno.ENOSPC, "No space left on device"))
            with pytest.raises(ModelMissing):
                export_parts(tiny_parts, tmp_path, settings)
        (tmp_path / ".tiny.part" / "codec.safetensors").write_bytes(b"half")
        names = self.broken_after(monkeypatch, 9, OSError())
        folder = export_parts(tiny_parts, tmp_path, settings)
        assert names == ["s2mel", "codec", "bigvgan"]
        assert manifest.problems(folder) == []

    def test_other_weights_start_anew(self, tiny_parts: RandomParts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = Settings("tiny", onnx=False)
        with monkeypatch.context() as patch:
            self.broken_after(patch, 1, OSError(errno.ENOSPC, "No space left on device"))
            with pytest.raises(ModelMissing):
                export_parts(tiny_parts, tmp_path, settings)
        monkeypatch.setattr(RandomParts, "fingerprint", lambda self: "changed")
        names = self.broken_after(monkeypatch, 9, OSError())
        export_parts(tiny_parts, tmp_path, settings)
        assert names == ["gpt", "s2mel", "codec", "bigvgan"]

    def test_a_broken_export_leaves_the_older_model_alone(
        self, tiny_parts: RandomParts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = export_parts(tiny_parts, tmp_path, Settings("tiny", revision="old", onnx=False))
        monkeypatch.setattr(exporting, "_write_vocoder", lambda *rest: (_ for _ in ()).throw(OSError(errno.EIO, "I/O error")))
        with pytest.raises(OSError, match="I/O error"):
            export_parts(tiny_parts, tmp_path, Settings("tiny", revision="new", onnx=False))
        assert manifest.problems(folder) == []
        assert manifest.read(folder).revision == "old"

    def test_room_is_checked_before_anything_is_written(
        self, tiny_parts: RandomParts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usage = namedtuple("usage", "total used free")
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 10**12, 1000))
        with pytest.raises(ModelMissing, match=r"the export takes 0\.0 GB, 0\.0 GB are free"):
            export_parts(tiny_parts, tmp_path, Settings("tiny"))
        assert not list(tmp_path.rglob("*.safetensors"))

    def test_a_graph_that_differs_from_torch_is_refused(
        self, tiny_parts: RandomParts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(exporting, "GRAPH_TOLERANCE", -1.0)
        with pytest.raises(ModelMissing, match=r"text_rows\.onnx: ONNX Runtime differs from torch"):
            export_parts(tiny_parts, tmp_path, Settings("tiny"))


class TestWrongInput:
    def test_unknown_options(self, written_folder: Path, tmp_path: Path) -> None:
        for options in ({"speed": "1"}, {"onnx": "maybe"}, {"precision": "int1"}, {"name": "../x"}):
            with pytest.raises(BadOption):
                export({"x": written_folder}, tmp_path, options)
        assert list(tmp_path.iterdir()) == []

    def test_folders_without_a_checkpoint(self, tmp_path: Path) -> None:
        with pytest.raises(ModelMissing, match=r"one folder with config\.yaml, found 0"):
            export({"x": tmp_path}, tmp_path / "out", {})

    def test_a_vocabulary_of_another_version(self, tiny_folder: Path, tmp_path: Path) -> None:
        config = json.loads(json.dumps(Checkpoint(tiny_folder).config.table))
        config["gpt"]["number_text_tokens"] = 111
        (tiny_folder / "config.yaml").unlink()
        (tiny_folder / "config.yaml").write_text(json.dumps(config))
        with pytest.raises(ModelMissing, match=r"bpe\.model has 110 pieces, the language model was trained with 111"):
            export({"x": tiny_folder}, tmp_path / "out", {})


def test_sizes_are_counted_without_memory() -> None:
    count = exporting.sizes_of({**official.CONFIG, "bigvgan": official.VOCODER})
    # specification section 1: transformer 472.26 M, head and embeddings 39.45 M, s2mel 103.67 M, vocoder 112.20 M, codebook 75 k
    assert count == pytest.approx(472.26e6 + 39.45e6 + 103.67e6 + 112.20e6 + 75e3, rel=1e-3)


def test_what_is_pulled_has_all_that_is_read() -> None:
    files = {pattern for repo in PUBLISHED[0].repos for pattern in repo.patterns}
    assert {"config.yaml", "gpt.pth", "s2mel.pth", "bpe.model", "wav2vec2bert_stats.pt", "feat1.pt", "feat2.pt"} <= files
    assert {"semantic_codec/model.safetensors", "campplus_cn_common.bin", "bigvgan_generator.pt", "model.safetensors"} <= files

"""Archives of every published layout, and each thing that can be wrong with one: the error names it."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from realtime.errors import BadOption, ModelMissing

VOICE = "voices/tiny"


@pytest.fixture(scope="module")
def made(write_tiny: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("made") / "archive", ("tiny", "other"))


@pytest.fixture
def archive(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "archive")
    return tmp_path / "archive"


def read(folder: Path, scratch: Path | None = None) -> list[Any]:
    from realtime.engines.sambert.checkpoint.archive import find_voices, read_voice

    return [read_voice(files) for files in find_voices(folder, scratch or folder / "scratch")]


def edit_yaml(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    table = yaml.safe_load(path.read_text(encoding="utf-8"))
    change(table)
    path.write_text(yaml.safe_dump(table), encoding="utf-8")


def edit_state(path: Path, change: Callable[[dict[str, Any]], None], *inner: str) -> None:
    import torch

    whole = torch.load(path, weights_only=True)
    state = whole["model"]
    for key in inner:
        state = state[key]
    change(state)
    torch.save(whole, path)


def params(table: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = table["Model"]["KanTtsSAMBERT"]["params"]
    return found


# --- layouts ---


def test_all_voices_of_an_archive_are_found_in_order(archive: Path) -> None:
    voices = read(archive)
    assert [voice.name for voice in voices] == ["tiny", "other"]
    assert voices[0].sample_rate == 1600 and voices[0].vocoder.hop == 20


def test_a_zipped_archive_is_unpacked_aside(archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive / "voices.zip", "w") as packed:
        for path in (archive / "voices").rglob("*"):
            packed.write(path, path.relative_to(archive))
    shutil.rmtree(archive / "voices")
    assert [voice.name for voice in read(archive, tmp_path / "scratch")] == ["tiny", "other"]
    assert not (archive / "voices").exists()


def test_a_pretraining_layout_and_an_explicit_pair_are_taken(archive: Path, tmp_path: Path) -> None:
    from realtime.engines.sambert.checkpoint.archive import pair, read_voice

    base = tmp_path / "base" / "basemodel_16k"
    base.mkdir(parents=True)
    for old, new in (("am", "sambert"), ("voc", "hifigan"), ("dict", "dict")):
        shutil.copytree(archive / VOICE / old, base / new)
    assert read(base.parent)[0].name == "basemodel_16k"
    assert read_voice(pair(base / "sambert", base / "hifigan", "mine")).name == "mine"
    with pytest.raises(BadOption):
        pair(base / "nothing", base / "hifigan", "mine")


def test_the_checkpoint_with_the_largest_number_is_used(archive: Path) -> None:
    folder = archive / VOICE / "am/ckpt"
    for name in ("checkpoint_9.pth", "checkpoint_12.pth"):
        shutil.copy(folder / "checkpoint_0.pth", folder / name)
    (folder / "other_99.pth").write_bytes(b"")
    assert read(archive)[0].acoustic_file.name == "checkpoint_12.pth"


def test_tables_without_a_mask_and_without_dict_files_are_read(archive: Path) -> None:
    def drop_mask(state: dict[str, Any]) -> None:
        for key in [key for key in state if key.endswith(("_emb.weight", "tokenizer.weight")) and state[key].dim() == 2]:
            state[key] = state[key][:-1].clone()

    edit_state(archive / VOICE / "am/ckpt/checkpoint_0.pth", drop_mask)
    shutil.rmtree(archive / VOICE / "dict")
    voice = read(archive)[0]
    assert voice.acoustic.sy == 146 and len(voice.vocabulary.tables["sy"]) == 144


def test_the_two_derived_tensors_may_be_absent(archive: Path) -> None:
    from realtime.engines.sambert.checkpoint.acoustic import AcousticModel
    from realtime.engines.sambert.checkpoint.load import load_strict

    def drop(state: dict[str, Any]) -> None:
        del state["text_encoder.ling_enc.position_enc.position_enc"], state["variance_adaptor.dur_position_encoder.inv_timescales"]

    edit_state(archive / VOICE / "am/ckpt/checkpoint_0.pth", drop)
    voice = read(archive)[0]
    load_strict(AcousticModel(voice.acoustic), voice.acoustic_state, "here")


# --- what is wrong is named ---

AM, VOC = f"{VOICE}/am", f"{VOICE}/voc"


@pytest.mark.parametrize(
    "path",
    [
        f"{AM}/config.yaml",
        f"{AM}/ckpt/checkpoint_0.pth",
        f"{VOC}/config.yaml",
        f"{VOC}/ckpt/checkpoint_0.pth",
        VOC,
        AM,
        f"{AM}/ckpt",
        VOICE,
    ],
)
def test_a_missing_file_or_folder_is_named(path: str, archive: Path) -> None:
    target = archive / path
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    with pytest.raises(ModelMissing, match=Path(path).parent.name if path.endswith(".pth") else Path(path).name):
        read(archive)


@pytest.mark.parametrize("size", [0, 100, 5000])
def test_a_truncated_checkpoint_is_named(size: int, archive: Path) -> None:
    path = archive / AM / "ckpt/checkpoint_0.pth"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ModelMissing, match=r"checkpoint_0\.pth.*can't be read"):
        read(archive)


def test_a_checkpoint_with_code_in_it_is_not_run(archive: Path) -> None:
    import torch

    torch.save({"model": print}, archive / AM / "ckpt/checkpoint_0.pth")
    with pytest.raises(ModelMissing, match="can't be read"):
        read(archive)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.update(FP=True), "FP"),
        (lambda p: p.update(MAS_byte=True), "MAS_byte"),
        (lambda p: p.update(surprise=1), "unknown parameter 'surprise'"),
        (lambda p: p.pop("decoder_num_layers"), "'decoder_num_layers' is missing"),
        (lambda p: p.update(decoder_num_layers="two"), "'decoder_num_layers' is 'two'"),
        (lambda p: p.update(encoder_num_heads=3), "encoder_num_heads 3"),
        (lambda p: p.update(nsf_norm_type="odd"), "nsf_norm_type"),
    ],
)
def test_a_wrong_parameter_is_named(change: Callable[[dict[str, Any]], Any], message: str, archive: Path) -> None:
    edit_yaml(archive / AM / "config.yaml", lambda table: (change(params(table)), None)[1])
    with pytest.raises(ModelMissing, match=message):
        read(archive)


def test_byte_models_other_languages_and_other_features_are_refused_by_name(archive: Path) -> None:
    path = archive / AM / "config.yaml"
    for key, value, message in (
        ("lfeat_type_list", "byte_index,emo_category", "byte model"),
        ("lfeat_type_list", "sy,tone", "lfeat_type_list"),
        ("language", "Sichuan", "Sichuan"),
    ):
        before = path.read_text(encoding="utf-8")
        edit_yaml(path, lambda table, key=key, value=value: table["linguistic_unit"].update({key: value}))  # type: ignore[misc]
        with pytest.raises(ModelMissing, match=message):
            read(archive)
        path.write_text(before, encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: g.update(out_channels=4), "out_channels 4"),
        (lambda g: g.update(nonlinear_activation="ELU"), "ELU"),
        (lambda g: g.update(in_channels=7), "in_channels 7"),
        (lambda g: g.update(upsample_scales=[5]), "differ in length"),
        (lambda g: g.update(upsample_scales=[5, 2]), "hop_length"),
        (lambda g: g.update(nsf_params={"nb_harmonics": 3, "sampling_rate": 1600}), "NSF is not set"),
    ],
)
def test_a_wrong_generator_is_named(change: Callable[[dict[str, Any]], Any], message: str, archive: Path) -> None:
    edit_yaml(archive / VOC / "config.yaml", lambda table: (change(table["Model"]["Generator"]["params"]), None)[1])
    with pytest.raises(ModelMissing, match=message):
        read(archive)


def load_both(folder: Path) -> None:
    from realtime.engines.sambert.checkpoint.acoustic import AcousticModel
    from realtime.engines.sambert.checkpoint.hifigan import Generator
    from realtime.engines.sambert.checkpoint.load import load_strict

    voice = read(folder)[0]
    load_strict(AcousticModel(voice.acoustic), voice.acoustic_state, str(voice.acoustic_file))
    load_strict(Generator(voice.vocoder), voice.vocoder_state, str(voice.vocoder_file))


@pytest.mark.parametrize("part", ["am", "voc"])
def test_a_missing_wrong_or_unknown_key_is_named(part: str, archive: Path) -> None:
    import torch

    path = archive / VOICE / part / "ckpt/checkpoint_0.pth"
    inner = ("generator",) if part == "voc" else ()
    key = "mel_postnet.fc.weight" if part == "am" else "conv_pre.conv1d.weight_v"
    whole = path.read_bytes()
    for change, message in (
        (lambda state: state.pop(key), f"{key}' is missing"),
        (lambda state: state.update({key: torch.zeros(2, 2)}), r"shape \[2, 2\], expected"),
        (lambda state: state.update({"extra.key": torch.zeros(1)}), r"unknown key 'extra\.key'"),
    ):
        edit_state(path, change, *inner)
        with pytest.raises(ModelMissing, match=message):
            load_both(archive)
        path.write_bytes(whole)
    if part == "am":
        edit_state(path, lambda state: state.update({"align_attention.x": torch.zeros(1)}))
        load_both(archive)


def test_tables_that_disagree_with_the_weights_are_named(archive: Path) -> None:
    path = archive / VOICE / "dict/sy_dict.txt"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(lines[:-5]), encoding="utf-8")
    with pytest.raises(ModelMissing, match=r"sy table has 139 entries, but its embedding 147 rows"):
        read(archive)
    path.write_text("\n".join([*lines[:-1], lines[0]]), encoding="utf-8")
    with pytest.raises(ModelMissing, match=r"sy_dict\.txt.*stands there twice"):
        read(archive)
    path.write_text("", encoding="utf-8")
    with pytest.raises(ModelMissing, match="is empty"):
        read(archive)
    path.write_text("\n".join("@" + line for line in lines), encoding="utf-8")
    assert read(archive)[0].vocabulary.tables["sy"][0] == "a_c"


def test_an_archive_of_the_tensorflow_generation_is_refused_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "old"
    (folder / "voices/zhitian/am").mkdir(parents=True)
    (folder / "voices/zhitian/am/model.ckpt-0.index").write_bytes(b"")
    with pytest.raises(ModelMissing, match="TensorFlow generation"):
        read(folder)
    with pytest.raises(ModelMissing, match="not a Sambert archive"):
        read(tmp_path / "nothing")


def test_voice_lists_that_make_no_sense_are_named(archive: Path) -> None:
    path = archive / "voices/voices.json"
    for text, message in (("{", "voices.json"), ('{"voices": []}', "lists no voices"), (json.dumps({"voices": ["ghost"]}), "ghost")):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ModelMissing, match=message):
            read(archive)
    path.unlink()
    assert [voice.name for voice in read(archive)] == ["other", "tiny"]


def test_a_zip_that_leaves_its_folder_or_is_broken_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "zipped"
    folder.mkdir()
    with zipfile.ZipFile(folder / "voices.zip", "w") as packed:
        packed.writestr("../evil.txt", "x")
    with pytest.raises(ModelMissing, match="outside its folder"):
        read(folder)
    (folder / "voices.zip").write_bytes(b"PK\x03\x04 no")
    with pytest.raises(ModelMissing, match="can't be unpacked"):
        read(folder)


def test_speaker_embedding_and_f0_files_are_needed_where_the_voice_uses_them(write_tiny: Callable[..., Path], tmp_path: Path) -> None:
    acoustic = {"num_mels": 8, "NSF": True, "SE": True, "speaker_units": 6}
    vocoder = {"nsf_params": {"nb_harmonics": 3, "sampling_rate": 1600}}
    folder = write_tiny(tmp_path / "nsf", ("v",), acoustic, vocoder)
    assert read(folder)[0].speaker_embedding.shape == (6,)
    np.save(folder / "voices/v/am/se.npy", np.zeros((1, 5), np.float32))
    with pytest.raises(ModelMissing, match=r"se\.npy.*expected 6"):
        read(folder)
    np.save(folder / "voices/v/am/se.npy", np.zeros((1, 6), np.float32))
    (folder / "voices/v/am/mvn.npy").unlink()
    with pytest.raises(ModelMissing, match=r"mvn\.npy: file is missing"):
        read(folder)


def test_an_export_is_whole_or_not_there(archive: Path, tmp_path: Path) -> None:
    from realtime.engines.sambert.checkpoint.export import export

    out = tmp_path / "models"
    made = export({"a": archive}, out, {"name": "tiny", "licence": "CC0"})
    assert [path.name for path in made] == ["tiny"]
    table = json.loads((out / "tiny/manifest.json").read_text(encoding="utf-8"))
    assert table["licence"] == "CC0" and table["details"]["difference_to_torch"]["mel"] < 5e-5
    edit_state(archive / VOICE / "voc/ckpt/checkpoint_0.pth", lambda state: state.pop("conv_post.conv1d.bias"), "generator")
    with pytest.raises(ModelMissing):
        export({"a": archive}, out, {"name": "tiny"})
    assert sorted(path.name for path in out.iterdir()) == ["tiny"]
    with pytest.raises(BadOption, match="unknown export option"):
        export({"a": archive}, out, {"colour": 1})

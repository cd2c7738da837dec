"""Official folders are read strictly: what fits loads exactly, what does not is named."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import nn

from realtime.engines.indextts2.checkpoint import layout, official
from realtime.engines.indextts2.checkpoint.bigvgan import lowpass_taps
from realtime.engines.indextts2.checkpoint.configs import BigVganConfig, CodecConfig, GptConfig, MelConfig, S2MelConfig, W2vBertConfig
from realtime.engines.indextts2.checkpoint.load import Checkpoint, read_pickle
from realtime.engines.indextts2.checkpoint.random_weights import RandomParts, stand_in_vocabulary
from realtime.engines.indextts2.checkpoint.sections import Section
from realtime.engines.indextts2.checkpoint.state import folded
from realtime.engines.indextts2.tokens import TextFrontEnd
from realtime.errors import BadOption, ModelMissing

MODELS = ("gpt", "s2mel", "codec", "vocoder", "style_encoder", "feature_encoder")


def replaced(path: Path, change: Callable[[Any], Any]) -> None:
    """Rewrite a torch file; the link to the shared one is cut first."""
    value = torch.load(path, weights_only=True)
    path.unlink()
    torch.save(change(value), path)


def reconfigured(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "config.yaml"
    table = yaml.safe_load(path.read_text())
    change(table)
    path.unlink()
    path.write_text(yaml.safe_dump(table))


def same(a: nn.Module, b: nn.Module) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


@pytest.mark.parametrize("model", MODELS)
def test_what_was_written_is_what_is_loaded(written_folder: Path, tiny_parts: RandomParts, model: str) -> None:
    assert same(getattr(Checkpoint(written_folder), model)(), getattr(tiny_parts, model)())


def test_stats_and_matrices_come_from_their_files(written_folder: Path, tiny_parts: RandomParts) -> None:
    mean, deviation = Checkpoint(written_folder).feature_stats()
    assert torch.equal(mean, torch.zeros(1024))
    assert torch.equal(deviation, torch.ones(1024))
    speakers, emotions, groups = Checkpoint(written_folder).emotion_matrices()
    assert torch.equal(speakers, tiny_parts.emotion_matrices()[0])
    assert emotions.shape == (9, 32)
    assert groups == (1, 2, 1, 1, 1, 1, 1, 1)


def test_official_extras_are_tolerated_and_nothing_else(tiny_folder: Path, tiny_parts: RandomParts) -> None:
    extras = {"gpt.h.0.attn.bias": torch.ones(1), "inference_model.lm_head.weight": torch.ones(2), "gpt.wte.weight": torch.ones(3)}
    replaced(tiny_folder / "gpt.pth", lambda state: {"model": {**state, **extras}})
    assert same(Checkpoint(tiny_folder).gpt(), tiny_parts.gpt())
    replaced(tiny_folder / "gpt.pth", lambda state: {"model": {**state["model"], "gpt.h.0.attn.q_proj.weight": torch.ones(1)}})
    with pytest.raises(ModelMissing, match=r"gpt\.pth: key 'gpt\.h\.0\.attn\.q_proj\.weight' is unknown"):
        Checkpoint(tiny_folder).gpt()
    assert same(Checkpoint(tiny_folder, ignored=(r".*\.q_proj\..*",)).gpt(), tiny_parts.gpt())
    with pytest.raises(BadOption, match="pattern of keys"):
        Checkpoint(tiny_folder, ignored=("(",)).gpt()


def test_nets_may_carry_a_module_prefix_and_company(tiny_folder: Path, tiny_parts: RandomParts) -> None:
    def change(state: Any) -> Any:
        nets = {net: {"module." + k: v for k, v in keys.items()} for net, keys in state["net"].items()}
        return {"net": {**nets, "style_encoder": {"x": torch.ones(1)}}, "iters": 3, "ema": {}}

    replaced(tiny_folder / "s2mel.pth", change)
    assert same(Checkpoint(tiny_folder).s2mel(), tiny_parts.s2mel())


def test_weight_norm_is_folded_in_either_naming() -> None:
    conv = nn.ConvTranspose1d(6, 4, 3)
    conv.weight.data.normal_()
    norm = conv.weight.flatten(1).norm(dim=1)[:, None, None]
    for gain, direction in ((".weight_g", ".weight_v"), (".parametrizations.weight.original0", ".parametrizations.weight.original1")):
        state = {"up" + gain: norm, "up" + direction: 3 * conv.weight, "up.bias": conv.bias}
        plain = folded(state, "file")
        torch.testing.assert_close(plain["up.weight"], conv.weight.detach())
        assert plain.keys() == {"up.weight", "up.bias"}
    with pytest.raises(ModelMissing, match="no partner"):
        folded({"up.weight_g": norm}, "file")


def test_half_precision_is_widened(tiny_folder: Path) -> None:
    replaced(tiny_folder / "gpt.pth", lambda state: {k: v.half() if v.is_floating_point() else v for k, v in state.items()})
    assert {p.dtype for p in Checkpoint(tiny_folder).gpt().parameters()} == {torch.float32}


def test_files_of_the_older_container_are_read(tiny_folder: Path, tiny_parts: RandomParts) -> None:
    path = tiny_folder / "hf_cache" / "campplus_cn_common.bin"
    state = torch.load(path, weights_only=True)
    path.unlink()
    torch.save(state, path, _use_new_zipfile_serialization=False)
    assert same(Checkpoint(tiny_folder).style_encoder(), tiny_parts.style_encoder())
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 3])
    with pytest.raises(ModelMissing, match=r"campplus_cn_common\.bin: not readable as weights"):
        Checkpoint(tiny_folder).style_encoder()


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "older"])
def test_any_damage_is_answered_with_one_clear_error(tmp_path: Path, is_zip: bool) -> None:
    path, random = tmp_path / "weights.pth", np.random.default_rng(1)
    torch.save({"a.weight": torch.randn(4, 5), "b": {"c": torch.arange(6)}}, path, _use_new_zipfile_serialization=is_zip)
    whole = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    refused = 0
    for i in range(300):
        data = whole[: random.integers(len(whole))].copy() if i % 3 == 0 else whole.copy()
        places = random.integers(0, len(data), 3) if len(data) else []
        data[places] = random.integers(0, 256, len(places))
        path.write_bytes(data.tobytes())
        try:
            read_pickle(path)  # a change within a tensor's values can't be seen
        except ModelMissing as error:
            refused += "weights.pth" in error.message
    assert refused > 150


class TestWrongFiles:
    def test_a_truncated_checkpoint(self, tiny_folder: Path) -> None:
        path = tiny_folder / "gpt.pth"
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data[: len(data) // 2])
        with pytest.raises(ModelMissing, match=r"gpt\.pth: not readable as weights \(truncated"):
            Checkpoint(tiny_folder).gpt()

    def test_a_file_that_would_run_code(self, tiny_folder: Path, tmp_path: Path) -> None:
        marker = tmp_path / "ran"

        class Evil:
            def __reduce__(self) -> tuple[Any, ...]:
                return (Path.touch, (marker,))

        path = tiny_folder / "gpt.pth"
        path.unlink()
        torch.save({"model": Evil()}, path)
        with pytest.raises(ModelMissing, match=r"gpt\.pth"):
            Checkpoint(tiny_folder).gpt()
        assert not marker.exists()

    def test_a_missing_key(self, tiny_folder: Path) -> None:
        replaced(tiny_folder / "gpt.pth", lambda state: {k: v for k, v in state.items() if k != "gpt.h.1.mlp.c_fc.bias"})
        with pytest.raises(ModelMissing, match=r"key 'gpt\.h\.1\.mlp\.c_fc\.bias' \[128\] is missing"):
            Checkpoint(tiny_folder).gpt()

    def test_weights_of_other_sizes_than_the_config(self, tiny_folder: Path) -> None:
        reconfigured(tiny_folder, lambda table: table["gpt"].update(max_text_tokens=41))
        with pytest.raises(ModelMissing, match=r"'text_pos_embedding\.emb\.weight' has shape \[42, 32\], its config asks for \[43, 32\]"):
            Checkpoint(tiny_folder).gpt()

    def test_a_foreign_checkpoint(self, tiny_folder: Path) -> None:
        replaced(tiny_folder / "s2mel.pth", lambda state: {"state_dict": state["net"]})
        with pytest.raises(ModelMissing, match=r"s2mel\.pth: has no table 'net' \(it has: state_dict\)"):
            Checkpoint(tiny_folder).s2mel()

    def test_a_tensor_in_place_of_a_table(self, tiny_folder: Path) -> None:
        replaced(tiny_folder / "gpt.pth", lambda state: torch.ones(3))
        with pytest.raises(ModelMissing, match="expected a table of tensors, found a Tensor"):
            Checkpoint(tiny_folder).gpt()

    def test_a_damaged_safetensors_file(self, tiny_folder: Path) -> None:
        path = tiny_folder / "hf_cache" / "semantic_codec_model.safetensors"
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data[:1000])
        with pytest.raises(ModelMissing, match=r"semantic_codec_model\.safetensors: not readable"):
            Checkpoint(tiny_folder).codec()

    @pytest.mark.parametrize("name", ["gpt.pth", "s2mel.pth", "wav2vec2bert_stats.pt", "feat1.pt", "bpe.model"])
    def test_missing_and_empty_files(self, tiny_folder: Path, name: str) -> None:
        calls = {"gpt.pth": "gpt", "s2mel.pth": "s2mel", "bpe.model": "bpe_model", "wav2vec2bert_stats.pt": "feature_stats"}
        load = getattr(Checkpoint(tiny_folder), calls.get(name, "emotion_matrices"))
        (tiny_folder / name).unlink()
        with pytest.raises(ModelMissing, match=f"{name}: missing"):
            load()
        (tiny_folder / name).touch()
        with pytest.raises(ModelMissing, match=f"{name}: empty"):
            load()

    def test_a_matrix_with_other_rows_than_emo_num(self, tiny_folder: Path) -> None:
        replaced(tiny_folder / "feat2.pt", lambda matrix: matrix[:-1])
        with pytest.raises(ModelMissing, match=r"feat2\.pt: expected 9 rows .* found \[8, 32\]"):
            Checkpoint(tiny_folder).emotion_matrices()


class TestWrongConfig:
    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (None, "config.yaml: No such file"),
            ("gpt: [", "not readable as YAML"),
            ("- 1", "expected a table, found list"),
            ("version: 2.5", "version 2.5, this program reads IndexTTS-2"),
        ],
    )
    def test_the_file_itself(self, tmp_path: Path, content: str | None, words: str) -> None:
        if content is not None:
            (tmp_path / "config.yaml").write_text(content)
        with pytest.raises(ModelMissing, match=words):
            Checkpoint(tmp_path)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda t: t.pop("gpt"), r"config\.yaml\.gpt: missing"),
            (lambda t: t["gpt"].pop("layers"), r"config\.yaml\.gpt\.layers: missing"),
            (lambda t: t["gpt"].update(layers="two"), "expected a whole number >= 0, found 'two'"),
            (lambda t: t["gpt"].update(heads=5), r"model_dim \(32\) must be a multiple of heads \(5\)"),
            (lambda t: t["gpt"].update(condition_type="perceiver"), "only 'conformer_perceiver' is supported"),
            (lambda t: t["gpt"].update(stop_mel_token=99), "must be below number_mel_codes"),
            (lambda t: t["gpt"]["condition_module"].update(input_layer="linear"), r"condition_module\.input_layer"),
        ],
    )
    def test_an_entry(self, tiny_folder: Path, change: Callable[[dict[str, Any]], None], words: str) -> None:
        reconfigured(tiny_folder, change)
        with pytest.raises(ModelMissing, match=words):
            Checkpoint(tiny_folder).gpt()

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda t: t["DiT"].update(final_layer_type="mlp"), r"DiT\.final_layer_type: only 'wavenet'"),
            (lambda t: t["wavenet"].update(hidden_dim=32), "must equal"),
            (lambda t: t["length_regulator"].update(f0_condition=True), r"length_regulator\.f0_condition: only False"),
        ],
    )
    def test_an_entry_of_the_flow(self, tiny_folder: Path, change: Callable[[dict[str, Any]], None], words: str) -> None:
        reconfigured(tiny_folder, lambda table: change(table["s2mel"]))
        with pytest.raises(ModelMissing, match=words):
            Checkpoint(tiny_folder).s2mel()

    def test_no_value_of_any_entry_ends_in_another_error(self) -> None:
        def leaves(table: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
            for key, value in table.items():
                yield (*path, key)
                if isinstance(value, dict):
                    yield from leaves(value, (*path, key))

        readers: list[Callable[[Section], object]] = [
            lambda s: GptConfig.read(s.section("gpt")),
            lambda s: CodecConfig.read(s.section("semantic_codec")),
            lambda s: S2MelConfig.read(s.section("s2mel"), (4, 4)),
            lambda s: MelConfig.read(s.section("s2mel").section("preprocess_params")),
            lambda s: BigVganConfig.read(s.section("bigvgan")),
            lambda s: W2vBertConfig.read(s.section("w2v")),
        ]
        whole = {**official.CONFIG, "bigvgan": official.VOCODER, "w2v": official.W2V_BERT}
        refused = 0
        for path in leaves(whole):
            for odd in (None, -1, "x", [], {}, [1, "a"], 1.5, float("nan"), True, [[1], 2]):
                table = copy.deepcopy(whole)
                inner: Any = table
                for key in path[:-1]:
                    inner = inner[key]
                inner[path[-1]] = odd
                for read in readers:
                    try:
                        read(Section(table, "config"))
                    except ModelMissing:
                        refused += 1
        assert refused > 300

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"upsample_rates": [0, 256]}, "each upsample rate must be at least 1"),
            ({"upsample_rates": [16]}, "differ in length"),
            ({"resblock_kernel_sizes": [-3, 7, 11]}, "sizes make no model"),
        ],
    )
    def test_sizes_that_make_no_vocoder(self, tiny_folder: Path, change: dict[str, Any], words: str) -> None:
        path = tiny_folder / "hf_cache" / "bigvgan" / "config.json"
        table = json.loads(path.read_text()) | change
        path.unlink()
        path.write_text(json.dumps(table))
        with pytest.raises(ModelMissing, match=words):
            Checkpoint(tiny_folder).vocoder()


class TestLayouts:
    def moved(self, folder: Path, moves: dict[str, str]) -> None:
        for source, target in moves.items():
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            (folder / source).rename(folder / target)

    def check(self, checkpoint: Checkpoint, parts: RandomParts) -> None:
        for model in ("codec", "vocoder", "style_encoder", "feature_encoder"):
            assert same(getattr(checkpoint, model)(), getattr(parts, model)())

    def test_a_repackaged_copy_with_plain_subfolders(self, tiny_folder: Path, tiny_parts: RandomParts) -> None:
        self.moved(
            tiny_folder,
            {
                "hf_cache/semantic_codec_model.safetensors": "semantic_codec/model.safetensors",
                "hf_cache/campplus_cn_common.bin": "campplus/campplus_cn_common.bin",
                "hf_cache/bigvgan": "bigvgan",
                "hf_cache/w2v-bert-2.0": "w2v-bert-2.0",
            },
        )
        (tiny_folder / "gpt").mkdir()  # such copies also hold the language model in another program's format
        self.check(Checkpoint(tiny_folder), tiny_parts)

    def test_a_copy_that_nests_the_vocoder(self, tiny_folder: Path, tiny_parts: RandomParts) -> None:
        nested = tiny_folder / "bigvgan" / "bigvgan_v2_22khz_80band_256x"
        nested.parent.mkdir()
        (tiny_folder / "hf_cache" / "bigvgan").rename(nested)
        (nested / "LICENSE").write_text("MIT")
        (tiny_folder / "LICENSE.txt").write_text("terms")
        assert same(Checkpoint(tiny_folder).vocoder(), tiny_parts.vocoder())
        assert Checkpoint(tiny_folder).layout.notices() == {
            "LICENSE.txt": tiny_folder / "LICENSE.txt",
            "LICENSE.bigvgan": nested / "LICENSE",
        }

    def test_the_hub_cache(self, tiny_folder: Path, tiny_parts: RandomParts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def snapshot(repository: str) -> str:
            return f"../hub/models--{repository.replace('/', '--')}/snapshots/0123abcd"

        self.moved(
            tiny_folder,
            {
                "hf_cache/semantic_codec_model.safetensors": snapshot("amphion/MaskGCT") + "/semantic_codec/model.safetensors",
                "hf_cache/campplus_cn_common.bin": snapshot("funasr/campplus") + "/campplus_cn_common.bin",
                "hf_cache/bigvgan": snapshot(layout.VOCODER_REPOSITORY),
                "hf_cache/w2v-bert-2.0": snapshot("facebook/w2v-bert-2.0"),
            },
        )
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
        self.check(Checkpoint(tiny_folder), tiny_parts)
        reconfigured(tiny_folder, lambda table: table["vocoder"].update(name="bigvgan"))  # as repackaged copies have it
        self.check(Checkpoint(tiny_folder), tiny_parts)

    def test_folders_of_the_other_repositories(self, tiny_folder: Path, tiny_parts: RandomParts, tmp_path: Path) -> None:
        self.moved(
            tiny_folder,
            {
                "hf_cache/semantic_codec_model.safetensors": "../a/semantic_codec/model.safetensors",
                "hf_cache/campplus_cn_common.bin": "../b/campplus_cn_common.bin",
                "hf_cache/bigvgan": "../c",
                "hf_cache/w2v-bert-2.0": "../d",
            },
        )
        self.check(Checkpoint(tiny_folder, tuple(tmp_path / n for n in "dcba")), tiny_parts)

    def test_an_absent_repository_is_named(self, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))
        shutil.rmtree(tiny_folder / "hf_cache")
        with pytest.raises(ModelMissing, match=r"bigvgan_generator\.pt of nvidia/bigvgan_v2_22khz_80band_256x is in none of"):
            Checkpoint(tiny_folder).layout.vocoder("bigvgan_generator.pt")
        with pytest.raises(ModelMissing, match="semantic codec"):
            Checkpoint(tiny_folder).codec()

    def test_the_vocoder_with_and_without_weight_norm(self, tiny_folder: Path, tiny_parts: RandomParts) -> None:
        def normed(state: Any) -> Any:
            out = {}
            for key, value in state["generator"].items():
                if key.endswith(".weight"):
                    norm = value.flatten(1).norm(dim=1).reshape(-1, *[1] * (value.dim() - 1))
                    out |= {key + "_g": norm, key + "_v": 2 * value}
                else:
                    out[key] = value
            return {"generator": out}

        replaced(tiny_folder / "hf_cache" / "bigvgan" / "bigvgan_generator.pt", normed)
        ours, theirs = Checkpoint(tiny_folder).vocoder().state_dict(), tiny_parts.vocoder().state_dict()
        assert ours.keys() == theirs.keys()
        for key in ours:
            torch.testing.assert_close(ours[key], theirs[key], msg=key)

    def test_features_may_be_prefixed_and_have_more_layers(self, tiny_folder: Path, tiny_parts: RandomParts) -> None:
        path = tiny_folder / "hf_cache" / "w2v-bert-2.0" / "model.safetensors"
        state = load_file(path)
        path.unlink()
        save_file({"wav2vec2_bert." + k: v for k, v in state.items()} | {"wav2vec2_bert.encoder.layers.9.x": torch.ones(1)}, path)
        assert same(Checkpoint(tiny_folder).feature_encoder(), tiny_parts.feature_encoder())
        config = path.parent / "config.json"
        table = json.loads(config.read_text()) | {"position_embeddings_type": "rotary"}
        config.unlink()
        config.write_text(json.dumps(table))
        with pytest.raises(ModelMissing, match="position_embeddings_type: only 'relative_key'"):
            Checkpoint(tiny_folder).feature_encoder()


def test_the_computed_filter_is_the_specified_one() -> None:
    taps = lowpass_taps().flatten()
    assert taps.sum() == pytest.approx(1.0, abs=1e-6)
    torch.testing.assert_close(taps, taps.flip(0))
    assert taps[5] == pytest.approx(0.4434, abs=1e-3)


def test_the_stand_in_vocabulary_takes_any_text() -> None:
    front = TextFrontEnd(stand_in_vocabulary(12000), 12000)
    unknown = front.processor.unk_id()
    for segment in front.encode("今天天气很好，The quick brown fox，龘靐3.5%。"):
        assert unknown not in [i for p in segment.pieces if p.text.isascii() for i in [p.id]]

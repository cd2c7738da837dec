"""The official files -> our modules, one at a time, strictly, without running anything that a file contains.

Each part is loaded when asked for and kept nowhere, so that an export holds one model in memory (the largest is the GPT: 3.5 GB).
"""

from __future__ import annotations

import hashlib
import json
import pickle
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from realtime.engines.indextts2.checkpoint import layout
from realtime.engines.indextts2.checkpoint.bigvgan import BigVgan
from realtime.engines.indextts2.checkpoint.campplus import CamPlus
from realtime.engines.indextts2.checkpoint.codec import Codec
from realtime.engines.indextts2.checkpoint.configs import (
    BigVganConfig,
    CamPlusConfig,
    CodecConfig,
    GptConfig,
    MelConfig,
    S2MelConfig,
    W2vBertConfig,
)
from realtime.engines.indextts2.checkpoint.gpt import Gpt
from realtime.engines.indextts2.checkpoint.s2mel import S2Mel
from realtime.engines.indextts2.checkpoint.sections import Section
from realtime.engines.indextts2.checkpoint.state import build
from realtime.engines.indextts2.checkpoint.w2vbert import W2vBert
from realtime.errors import ModelMissing

GPT_EXTRAS = (r".*\.attn\.bias", r".*\.attn\.masked_bias", r"inference_model\..*", r"gpt\.wte\.weight")
"""Causal buffers of old transformers versions, and aliases that saving after `post_init` adds (specification section 2)."""
W2V_EXTRAS = (r"masked_spec_embed", r"encoder\.layers\.\d+\..*", r"adapter\..*", r"intermediate_ffn\..*")
"""Layers above the used ones, and what only training or other heads use."""
FEATURE_LAYER = 17
"""The hidden state that the model was trained on; `w2v_layer` in config.yaml overrides it (small test models have fewer layers)."""
DAMAGED = (
    *(RuntimeError, OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, AssertionError),
    *(pickle.UnpicklingError, zipfile.BadZipFile, struct.error),
)
"""What torch was seen to raise on damaged files (thousands of random cuts and changes of both containers)."""
NETS = ("cfm", "length_regulator", "gpt_layer")


class Parts(Protocol):
    """The models of one checkpoint, wherever they come from; each call builds one anew."""

    def gpt(self) -> Gpt: ...

    def s2mel(self) -> S2Mel: ...

    def codec(self) -> Codec: ...

    def vocoder(self) -> BigVgan: ...

    def style_encoder(self) -> CamPlus: ...

    def feature_encoder(self) -> W2vBert: ...

    def feature_stats(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the features [H], [H]."""
        ...

    def emotion_matrices(self) -> tuple[Tensor, Tensor, tuple[int, ...]]:
        """Speaker rows [R, S], emotion rows [R, D], and the size of each emotion's group of rows."""
        ...

    def mel_config(self) -> MelConfig: ...

    def bpe_model(self) -> bytes:
        """The sentencepiece model."""
        ...

    def tables(self) -> dict[str, Mapping[str, Any]]:
        """The sizes, by section: `gpt`, `semantic_codec`, `s2mel`, `bigvgan`."""
        ...

    def fingerprint(self) -> str:
        """Changes when the weights do; cheap."""
        ...


class Checkpoint:
    """An official folder. Every method raises `ModelMissing` naming the file and the first wrong key, shape or setting.

    `others` are folders of auxiliary repositories; `ignored` are patterns of further keys that files may hold in excess.
    """

    def __init__(self, folder: Path, others: tuple[Path, ...] = (), ignored: tuple[str, ...] = ()) -> None:
        self.ignored = ignored
        self.layout = layout.Layout.open(folder, others)
        self.config = self.layout.config

    def gpt(self) -> Gpt:
        """The language model with its condition encoders."""
        config = GptConfig.read(self.config.section("gpt"))
        path = self.layout.named("gpt_checkpoint", "gpt.pth")
        state = read_pickle(path)
        if "model" in state and isinstance(state["model"], Mapping):
            state = state["model"]
        return build(lambda: Gpt(config), without_module(state), str(path), (*GPT_EXTRAS, *self.ignored))

    def s2mel(self) -> S2Mel:
        """Projector, length regulator and flow."""
        path = self.layout.named("s2mel_checkpoint", "s2mel.pth")
        state = self._nets(path)
        linears = sorted(int(k.split(".")[1]) for k in state if k.startswith("gpt_layer.") and k.endswith(".weight"))
        shapes = [state[f"gpt_layer.{i}.weight"].shape for i in linears]
        if not shapes:
            raise ModelMissing(f"{path}: net.gpt_layer has no weights")
        config = S2MelConfig.read(self.config.section("s2mel"), (shapes[0][1], *(s[0] for s in shapes)))
        return build(lambda: S2Mel(config), state, str(path), self.ignored)

    def codec(self) -> Codec:
        """The semantic codec."""
        config = CodecConfig.read(self.config.section("semantic_codec"))
        path = self.layout.auxiliary(layout.CODEC)
        return build(lambda: Codec(config), read_safetensors(path), str(path), self.ignored)

    def vocoder(self) -> BigVgan:
        """BigVGAN, from files with or without weight norm."""
        config = BigVganConfig.read(self._vocoder_table())
        path = self.layout.vocoder(layout.VOCODER_WEIGHTS)
        state = read_pickle(path)
        return build(lambda: BigVgan(config), _table(state, "generator", path), str(path), self.ignored)

    def style_encoder(self) -> CamPlus:
        """CAM++; its style must be as wide as the flow expects."""
        config = CamPlusConfig(embedding=self.config.section("s2mel").section("style_encoder").integer("dim"))
        path = self.layout.auxiliary(layout.CAMPPLUS)
        return build(lambda: CamPlus(config), read_pickle(path), str(path), self.ignored)

    def feature_encoder(self) -> W2vBert:
        """The used layers of w2v-bert."""
        table = Section(read_json(self.layout.auxiliary(layout.W2V_CONFIG)), "w2v-bert-2.0/config.json")
        config = W2vBertConfig.read(table, self.config.integer("w2v_layer", FEATURE_LAYER))
        path = self.layout.auxiliary(layout.W2V_WEIGHTS)
        state = {k.removeprefix("wav2vec2_bert."): v for k, v in read_safetensors(path).items()}
        return build(lambda: W2vBert(config), state, str(path), (*W2V_EXTRAS, *self.ignored))

    def feature_stats(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation that features are normalised with."""
        path = self.layout.named("w2v_stat", "wav2vec2bert_stats.pt")
        state = read_pickle(path)
        for key in ("mean", "var"):
            if not isinstance(state.get(key), Tensor) or state[key].dim() != 1:
                raise ModelMissing(f"{path}: {key!r} must be a vector")
        return state["mean"].float(), torch.sqrt(state["var"].float())

    def emotion_matrices(self) -> tuple[Tensor, Tensor, tuple[int, ...]]:
        """`feat1.pt`, `feat2.pt` and `emo_num`, with equal numbers of rows."""
        groups = self.config.integers("emo_num")
        speakers = _matrix(self.layout.named("spk_matrix", "feat1.pt"), sum(groups))
        emotions = _matrix(self.layout.named("emo_matrix", "feat2.pt"), sum(groups))
        return speakers, emotions, groups

    def mel_config(self) -> MelConfig:
        """The mel spectrogram's settings."""
        return MelConfig.read(self.config.section("s2mel").section("preprocess_params"))

    def bpe_model(self) -> bytes:
        """The text vocabulary's file."""
        return self.layout.bpe().read_bytes()

    def tables(self) -> dict[str, Mapping[str, Any]]:
        """As read from config.yaml and the vocoder's config.json."""
        own = {name: self.config.section(name).table for name in ("gpt", "semantic_codec", "s2mel")}
        return {**own, "bigvgan": self._vocoder_table().table}

    def fingerprint(self) -> str:
        """Names, sizes and times of the files that an export reads."""
        files = [
            self.layout.own("config.yaml"),
            self.layout.named("gpt_checkpoint", "gpt.pth"),
            self.layout.named("s2mel_checkpoint", "s2mel.pth"),
            self.layout.auxiliary(layout.CODEC),
            self.layout.vocoder(layout.VOCODER_WEIGHTS),
            self.layout.bpe(),
        ]
        return hashlib.sha256(repr([(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files]).encode()).hexdigest()

    def _vocoder_table(self) -> Section:
        return Section(read_json(self.layout.vocoder("config.json")), "bigvgan/config.json")

    def _nets(self, path: Path) -> dict[str, Tensor]:
        nets = _table(read_pickle(path), "net", path)
        state: dict[str, Tensor] = {}
        for name in NETS:
            for key, value in without_module(_table(nets, name, path)).items():
                state[f"{name}.{key}"] = value
        return state


def read_pickle(path: Path) -> Mapping[str, Any]:
    """A torch file's mapping, tensors memory-mapped where the format allows; nothing but tensors and plain containers is accepted."""
    state = _unpickled(path)
    if not isinstance(state, Mapping):
        raise ModelMissing(f"{path}: expected a table of tensors, found a {type(state).__name__}")
    return state


def _unpickled(path: Path) -> object:
    if not path.is_file():
        raise ModelMissing(f"{path}: missing")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd pickle protocols; what matters is whether it can be read
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except DAMAGED as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelMissing(f"{path}: not readable as weights (truncated, or holds more than tensors): {first[:200]}") from None


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """A safetensors file."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelMissing(f"{path}: not readable as safetensors (truncated?): {error}") from None


def read_json(path: Path) -> object:
    """A JSON file's value."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelMissing(f"{path}: {error}") from None


def without_module(state: Mapping[str, Any]) -> dict[str, Any]:
    """Keys without the `module.` that data-parallel training puts in front."""
    return {k.removeprefix("module."): v for k, v in state.items()}


def _table(state: Mapping[str, Any], key: str, path: Path) -> Mapping[str, Any]:
    table = state.get(key)
    if not isinstance(table, Mapping):
        raise ModelMissing(f"{path}: has no table {key!r} (it has: {', '.join(map(str, list(state)[:6]))})")
    return table


def _matrix(path: Path, rows: int) -> Tensor:
    matrix = _unpickled(path)
    if not isinstance(matrix, Tensor) or matrix.dim() != 2 or matrix.shape[0] != rows:
        found = list(matrix.shape) if isinstance(matrix, Tensor) else type(matrix).__name__
        raise ModelMissing(f"{path}: expected {rows} rows (the sum of emo_num), found {found}")
    return matrix.float()

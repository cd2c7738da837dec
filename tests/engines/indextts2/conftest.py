"""Shared by the IndexTTS-2 tests: one thread, a small vocabulary trained on the spot, the reference data."""

from __future__ import annotations

import copy
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import torch
from safetensors.numpy import load_file

from realtime.engines.indextts2 import voice_pack
from realtime.engines.indextts2.checkpoint import official
from realtime.engines.indextts2.checkpoint.enrol import Enrolment, enrol
from realtime.engines.indextts2.checkpoint.export import export
from realtime.engines.indextts2.checkpoint.load import Checkpoint
from realtime.engines.indextts2.checkpoint.random_weights import RandomParts, write_folder
from realtime.engines.indextts2.clips import checked
from realtime.engines.indextts2.kernels import Kernels, build
from realtime.engines.indextts2.kernels.fallback import Fallback
from realtime.engines.indextts2.kernels.native import Native
from realtime.engines.indextts2.voice_pack import About

VOCABULARY = 110


@pytest.fixture(scope="session")
def bpe() -> bytes:
    """A sentencepiece model of `VOCABULARY` pieces with the official ids of start and stop, trained on the lines below."""
    lines = [
        "今 天 天 气 很 好 , 我 们 去 公 园 玩 .",
        "THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG .",
        "你 好 , 世 界 ! CHONG2 XIN1 HANG2 LV4",
        "一 二 三 四 五 六 七 八 九 十 点 百 分 之 - 买 了 个 吗 ? '",
    ] * 4
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=out,
        vocab_size=VOCABULARY,
        model_type="bpe",
        bos_id=0,
        eos_id=1,
        unk_id=2,
        pad_id=-1,
        character_coverage=1.0,
        minloglevel=2,
    )
    return out.getvalue()


@pytest.fixture(scope="session")
def golden() -> Path:
    """The IndexTTS-2 reference data; tests that need it are skipped where it is absent."""
    root = Path(__file__).resolve().parents[3]
    folder = Path(os.environ.get("REALTIME_GOLDEN_DIR", root.parent / "shared" / "golden")) / "indextts2"
    if not folder.is_dir():
        pytest.skip(f"no reference data at {folder}; set REALTIME_GOLDEN_DIR")
    return folder


def tiny_config() -> dict[str, Any]:
    """The official configuration at sizes that load in a blink. Feature width and emotion perceiver are 1024 in any checkpoint."""
    config = copy.deepcopy(official.CONFIG)
    small = {"output_size": 8, "linear_units": 16, "attention_heads": 2, "num_blocks": 1}
    config["gpt"] |= {
        "model_dim": 32,
        "layers": 2,
        "heads": 2,
        "max_mel_tokens": 60,
        "max_text_tokens": 40,
        "number_text_tokens": VOCABULARY,
        "number_mel_codes": 52,
        "start_mel_token": 50,
        "stop_mel_token": 51,
        "condition_num_latent": 4,
    }
    config["gpt"]["condition_module"] |= small
    config["gpt"]["emo_condition_module"] |= {**small, "perceiver_mult": 0.03}
    config["semantic_codec"] |= {"codebook_size": 50, "vocos_dim": 8, "vocos_intermediate_dim": 16, "vocos_num_layers": 1}
    config["s2mel"]["style_encoder"]["dim"] = 12
    config["s2mel"]["length_regulator"] |= {"channels": 16, "content_codebook_size": 4}
    config["s2mel"]["DiT"] |= {"hidden_dim": 16, "num_heads": 2, "depth": 3, "content_dim": 16, "content_codebook_size": 4}
    config["s2mel"]["wavenet"] |= {"hidden_dim": 16, "num_layers": 2}
    config["w2v_layer"] = 1
    config["emo_num"] = [1, 2, 1, 1, 1, 1, 1, 1]
    return config


@pytest.fixture(scope="session")
def tiny_parts(bpe: bytes) -> RandomParts:
    """All models of a checkpoint at tiny sizes, seed 3."""
    return RandomParts(
        3,
        tiny_config(),
        official.VOCODER | {"upsample_initial_channel": 32, "upsample_rates": [16, 16], "upsample_kernel_sizes": [32, 32]},
        official.W2V_BERT | {"num_hidden_layers": 1, "intermediate_size": 8},
        (32, 8, 8, 1024),
        bpe=bpe,
    )


@pytest.fixture(scope="session")
def written_folder(tiny_parts: RandomParts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint in the official layout. Shared: tests that change it take `tiny_folder`."""
    folder = tmp_path_factory.mktemp("checkpoint")
    with torch.inference_mode():
        write_folder(tiny_parts, folder)
    return folder


@pytest.fixture
def tiny_folder(written_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny checkpoint whose files may be replaced (linked until then: never write into one)."""
    folder = tmp_path / "IndexTTS-2"
    shutil.copytree(written_folder, folder, copy_function=os.link)
    return folder


@pytest.fixture(scope="session")
def home(written_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory as `models export` and `voices add` leave it."""
    root = tmp_path_factory.mktemp("data")
    export({"x": written_folder}, root / "models" / "indextts2", {"revision": "r1", "onnx": "off"})
    time = np.arange(3 * 22050) / 22050
    wave = 0.4 * np.sin(2 * np.pi * 220 * time) * np.clip(np.sin(2 * np.pi * 3 * time), 0, None)
    about = About("lin", "r1", stand_ins={"espeak": "cmn"})
    clip = checked(wave.astype(np.float32)[:, None], 22050)
    pack = enrol(Checkpoint(written_folder), Enrolment(about, clip, weights={"glad": (0.5, *[0.0] * 7)}, prompt_s=0.5))
    (root / "voices").mkdir()
    voice_pack.write(pack, voice_pack.path_in(root / "voices", "lin"))
    return root


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session", params=["native", "numpy"])
def any_kernels(request: pytest.FixtureRequest) -> Kernels:
    """The compiled kernels, and their stand-in."""
    if request.param == "numpy":
        return Fallback()
    try:
        return Native(build.ensure_built(), 1)
    except build.CompileFailed:
        raise
    except build.CannotBuild as e:
        pytest.skip(f"the kernels can't be compiled here: {e}")


@pytest.fixture(scope="session")
def reference(golden: Path) -> Callable[..., tuple[dict[str, Any], dict[str, Any]]]:
    """`reference(stage)` -> weights widened to float32, inputs and outputs."""

    def read(stage: str, weights: bool = True) -> tuple[dict[str, Any], dict[str, Any]]:
        tensors = load_file(golden / stage / "weights.safetensors") if weights else {}
        widened = {k: x.astype(np.float32) if x.dtype == np.float16 else x for k, x in tensors.items()}
        return widened, load_file(golden / stage / "io.safetensors")

    return read

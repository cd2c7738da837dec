"""Models of any size with random weights: for speed work at official sizes, and for tests at tiny ones.

Scales are chosen so that nothing overflows, codes vary, and the stop code is not drawn before a caller's limit. The sound is noise.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import sentencepiece
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn

from realtime.engines.indextts2.checkpoint import official
from realtime.engines.indextts2.checkpoint.bigvgan import BigVgan, SnakeBeta
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
from realtime.engines.indextts2.checkpoint.dit import AdaptiveNorm
from realtime.engines.indextts2.checkpoint.gpt import Gpt
from realtime.engines.indextts2.checkpoint.load import FEATURE_LAYER
from realtime.engines.indextts2.checkpoint.s2mel import S2Mel
from realtime.engines.indextts2.checkpoint.sections import Section
from realtime.engines.indextts2.checkpoint.w2vbert import W2vBert

M = TypeVar("M", bound=nn.Module)
LOGIT_SCALE = 3.0
"""Standard deviation of the logits over the vocabulary: as peaked as a trained model's in its less certain places (guess)."""
STOP_BIAS = -30.0
"""Ten deviations below: the stop code does not come by itself, so a caller's limit sets the length."""


class RandomParts:
    """All models of a checkpoint from sizes and a seed; the same seed gives the same weights. Implements `load.Parts`."""

    def __init__(
        self,
        seed: int = 0,
        config: Mapping[str, Any] = official.CONFIG,
        vocoder: Mapping[str, Any] = official.VOCODER,
        w2v: Mapping[str, Any] = official.W2V_BERT,
        projector: tuple[int, ...] = official.PROJECTOR,
        campplus: CamPlusConfig | None = None,
        bpe: bytes = b"",
    ) -> None:
        self.seed, self.config, self.bpe = seed, Section(config, "config.yaml"), bpe
        self.vocoder_config, self.w2v_config = Section(vocoder, "bigvgan/config.json"), Section(w2v, "w2v-bert-2.0/config.json")
        self.projector = projector
        style = self.config.section("s2mel").section("style_encoder").integer("dim")
        self.campplus = campplus or CamPlusConfig(embedding=style)
        self.w2v_layers = self.config.integer("w2v_layer", FEATURE_LAYER)

    def gpt(self) -> Gpt:
        """Logits of `LOGIT_SCALE` over the codes, none for stop and start."""
        config = GptConfig.read(self.config.section("gpt"))
        gpt = seeded(lambda: Gpt(config), self.seed + 1)
        gpt.mel_head.weight.mul_(LOGIT_SCALE * 3**0.5)  # a new linear's weights have variance 1 / (3 * inputs)
        gpt.mel_head.bias[[config.start_code, config.stop_code]] = STOP_BIAS
        return gpt

    def s2mel(self) -> S2Mel:
        """Adaptive norms near the identity, so that the layers pass their signal on."""
        config = S2MelConfig.read(self.config.section("s2mel"), self.projector)
        model = seeded(lambda: S2Mel(config), self.seed + 2)
        for module in model.modules():
            if isinstance(module, AdaptiveNorm):
                module.project_layer.bias[: config.dit.width] += 1.0
        return model

    def codec(self) -> Codec:
        """A codec of random codes."""
        config = CodecConfig.read(self.config.section("semantic_codec"))
        return seeded(lambda: Codec(config), self.seed + 3)

    def vocoder(self) -> BigVgan:
        """Snakes of many pitches and strengths."""
        config = BigVganConfig.read(self.vocoder_config)

        def make() -> BigVgan:
            model = BigVgan(config)
            for module in model.modules():
                if isinstance(module, SnakeBeta):
                    nn.init.normal_(module.alpha, 0.0, 0.5)
                    nn.init.normal_(module.beta, 0.0, 0.5)
            return model

        return seeded(make, self.seed + 4)

    def style_encoder(self) -> CamPlus:
        """CAM++."""
        return seeded(lambda: CamPlus(self.campplus), self.seed + 5)

    def feature_encoder(self) -> W2vBert:
        """The used layers of w2v-bert."""
        config = W2vBertConfig.read(self.w2v_config, self.w2v_layers)
        return seeded(lambda: W2vBert(config), self.seed + 6)

    def feature_stats(self) -> tuple[Tensor, Tensor]:
        """Mean 0, deviation 1."""
        width = self.w2v_config.integer("hidden_size")
        return torch.zeros(width), torch.ones(width)

    def emotion_matrices(self) -> tuple[Tensor, Tensor, tuple[int, ...]]:
        """Normal rows."""
        groups = self.config.integers("emo_num")
        random = torch.Generator().manual_seed(self.seed + 7)
        dim = self.config.section("gpt").integer("model_dim")
        return (
            torch.randn(sum(groups), self.campplus.embedding, generator=random),
            torch.randn(sum(groups), dim, generator=random),
            groups,
        )

    def mel_config(self) -> MelConfig:
        """As configured."""
        return MelConfig.read(self.config.section("s2mel").section("preprocess_params"))

    def bpe_model(self) -> bytes:
        """The vocabulary that was given, or a stand-in of single characters."""
        return self.bpe or stand_in_vocabulary(self.config.section("gpt").integer("number_text_tokens"))

    def tables(self) -> dict[str, Mapping[str, Any]]:
        """As given."""
        own = {name: self.config.section(name).table for name in ("gpt", "semantic_codec", "s2mel")}
        return {**own, "bigvgan": self.vocoder_config.table}

    def fingerprint(self) -> str:
        """Of the seed and all sizes."""
        return hashlib.sha256(json.dumps([self.seed, self.tables(), self.projector], default=dict).encode()).hexdigest()


def stand_in_vocabulary(size: int) -> bytes:
    """A sentencepiece model of single characters, `size` pieces: common ideographs, then rarer ones, after letters and marks.

    The real vocabulary cannot be made up; this one lets a random model take any text, at more pieces per English word.
    """
    letters = "".join(chr(c) for c in range(0x21, 0x7F) if not 0x61 <= c <= 0x7A)
    common = bytes(b for row in range(0xB0, 0xF8) for col in range(0xA1, 0xFF) for b in (row, col)).decode("gb2312", "ignore")
    rare = "".join(map(chr, range(0x4E00, 0x9FA6)))
    wanted = list(dict.fromkeys(letters + common + rare))[: size - 4]  # besides <s>, </s>, <unk> and the space mark
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(wanted[i : i + 500]) for i in range(0, len(wanted), 500)]),
        model_writer=out,
        vocab_size=size,
        model_type="char",
        bos_id=0,
        eos_id=1,
        unk_id=2,
        pad_id=-1,
        character_coverage=1.0,
        max_sentence_length=1 << 16,
        minloglevel=2,
    )
    return out.getvalue()


def seeded(make: Callable[[], M], seed: int) -> M:
    """A module with torch's own initial weights, the same for the same seed, in eval mode; other random numbers stay as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = make()
    module.requires_grad_(False)
    return module.eval()


def write_folder(parts: RandomParts, folder: Path, half: bool = False) -> None:
    """Write the models in the official layout: `config.yaml`, the `.pth` files, the rest under `hf_cache/`; `half` stores float16.

    At official sizes this takes 7.5 GB (3.8 GB in half) and 4 GB of memory.
    """
    cache = folder / "hf_cache"
    (cache / "bigvgan").mkdir(parents=True, exist_ok=True)
    (cache / "w2v-bert-2.0").mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(copy.deepcopy(dict(parts.config.table)), sort_keys=False), encoding="utf-8")
    (cache / "bigvgan" / "config.json").write_text(json.dumps(dict(parts.vocoder_config.table)), encoding="utf-8")
    (cache / "w2v-bert-2.0" / "config.json").write_text(json.dumps(dict(parts.w2v_config.table)), encoding="utf-8")
    torch.save(_state(parts.gpt(), half), folder / "gpt.pth")
    nets: dict[str, dict[str, Tensor]] = {}
    for key, value in _state(parts.s2mel(), half).items():
        net, rest = key.split(".", 1)
        nets.setdefault(net, {})[rest] = value
    torch.save({"net": nets}, folder / "s2mel.pth")
    torch.save({"generator": _state(parts.vocoder(), half)}, cache / "bigvgan" / "bigvgan_generator.pt")
    torch.save(_state(parts.style_encoder(), half), cache / "campplus_cn_common.bin")
    save_file(_state(parts.codec(), half), cache / "semantic_codec_model.safetensors")
    save_file(_state(parts.feature_encoder(), half), cache / "w2v-bert-2.0" / "model.safetensors")
    mean, deviation = parts.feature_stats()
    torch.save({"mean": mean, "var": deviation.square()}, folder / "wav2vec2bert_stats.pt")
    speakers, emotions, _ = parts.emotion_matrices()
    torch.save(speakers, folder / "feat1.pt")
    torch.save(emotions, folder / "feat2.pt")
    (folder / "bpe.model").write_bytes(parts.bpe_model())


def _state(module: nn.Module, half: bool) -> dict[str, Tensor]:
    return {k: v.half() if half and v.is_floating_point() else v.contiguous() for k, v in module.state_dict().items()}


def main() -> None:
    """Write a checkpoint of random weights at official sizes: something to try `models export`, `voices add` and the service on."""
    parser = argparse.ArgumentParser(description="write an IndexTTS-2 checkpoint of random weights in the official layout (3.8 GB)")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with torch.inference_mode():
        write_folder(RandomParts(arguments.seed), arguments.folder, half=True)


if __name__ == "__main__":
    main()

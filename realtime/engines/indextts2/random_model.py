"""A model folder and a voice with random weights, of any size: the sound is noise, everything else is real. No torch.

For tests (tiny), for trying the service without weights, and for speed figures (official sizes). The stop code is biased away, so
the length of the speech is `max_codes_per_piece` times the pieces.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece

from realtime.engines.indextts2 import voice_pack
from realtime.engines.indextts2.flow import FlowShape
from realtime.engines.indextts2.lm import LmShape
from realtime.engines.indextts2.model_files import write_model
from realtime.engines.indextts2.store import Tensors
from realtime.engines.indextts2.vocode import VocoderShape
from realtime.models.manifest import Manifest

FREQUENCIES = 128
STOP_BIAS = -1000.0
"""So low because the repetition penalty multiplies negative scores of codes already said."""
REVISION = "random"
DETAILS = {"runtime": {"max_codes_base": 5, "max_codes_per_piece": 4.2}}
"""Options that `load` takes from the manifest where the settings don't say: the length of real speech, as this one never stops."""
PROJECTOR = (256, 128)
TINY_PROJECTOR = (24, 16)

TINY: dict[str, Any] = {
    "gpt": {
        "model_dim": 48, "layers": 2, "heads": 2, "number_mel_codes": 66, "start_mel_token": 64, "stop_mel_token": 65,
        "start_text_token": 0, "stop_text_token": 1, "number_text_tokens": 150, "max_text_tokens": 80, "max_mel_tokens": 400,
    },
    "s2mel": {
        "style_encoder": {"dim": 24},
        "length_regulator": {"channels": 32, "in_channels": 40},
        "DiT": {"in_channels": 20, "hidden_dim": 32, "num_heads": 2, "depth": 3, "content_dim": 32},
        "wavenet": {"hidden_dim": 32, "num_layers": 2, "kernel_size": 5, "dilation_rate": 1},
    },
    "semantic_codec": {"codebook_size": 64, "hidden_size": 40, "codebook_dim": 8},
    "bigvgan": {
        "num_mels": 20, "upsample_initial_channel": 32, "upsample_rates": [8, 4, 4, 2], "upsample_kernel_sizes": [16, 8, 8, 4],
        "resblock": "1", "resblock_kernel_sizes": [3, 5], "resblock_dilation_sizes": [[1, 3], [1, 3]], "activation": "snakebeta",
        "snake_logscale": True, "use_tanh_at_final": False, "sampling_rate": 22050,
    },
}  # fmt: skip

OFFICIAL: dict[str, Any] = {
    "gpt": {
        "model_dim": 1280, "layers": 24, "heads": 20, "number_mel_codes": 8194, "start_mel_token": 8192, "stop_mel_token": 8193,
        "start_text_token": 0, "stop_text_token": 1, "number_text_tokens": 12000, "max_text_tokens": 600, "max_mel_tokens": 1815,
    },
    "s2mel": {
        "style_encoder": {"dim": 192},
        "length_regulator": {"channels": 512, "in_channels": 1024},
        "DiT": {"in_channels": 80, "hidden_dim": 512, "num_heads": 8, "depth": 13, "content_dim": 512},
        "wavenet": {"hidden_dim": 512, "num_layers": 8, "kernel_size": 5, "dilation_rate": 1},
    },
    "semantic_codec": {"codebook_size": 8192, "hidden_size": 1024, "codebook_dim": 8},
    "bigvgan": {
        "num_mels": 80, "upsample_initial_channel": 1536, "upsample_rates": [4, 4, 2, 2, 2, 2],
        "upsample_kernel_sizes": [8, 8, 4, 4, 4, 4], "resblock": "1", "resblock_kernel_sizes": [3, 7, 11],
        "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]], "activation": "snakebeta", "snake_logscale": True,
        "use_tanh_at_final": False, "sampling_rate": 22050,
    },
}  # fmt: skip


class _Random:
    """Collects named tensors; weights keep the size of their input, biases are small."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.tensors: dict[str, Any] = {}

    def normal(self, name: str, *shape: int, scale: float = 1.0, mean: float = 0.0) -> None:
        self.tensors[name] = (self.random.standard_normal(shape, dtype=np.float32) * np.float32(scale) + np.float32(mean)).astype(
            np.float16
        )

    def linear(self, name: str, outputs: int, inputs: int, *taps: int, bias: bool = True, gain: float = 1.0) -> None:
        self.normal(f"{name}.weight", outputs, inputs, *taps, scale=gain / float(np.sqrt(inputs * int(np.prod(taps)))))
        if bias:
            self.normal(f"{name}.bias", outputs, scale=0.05)

    def norm(self, name: str, width: int) -> None:
        self.normal(f"{name}.weight", width, scale=0.1, mean=1.0)
        self.normal(f"{name}.bias", width, scale=0.05)


def gpt_tensors(config: Mapping[str, Any], seed: int) -> Tensors:
    """The language model's serving part."""
    r, s = _Random(seed), LmShape.of(config)
    d = s.model_dim
    for i in range(s.layers):
        for name, width in (("ln_1", d), ("ln_2", d)):
            r.norm(f"gpt.h.{i}.{name}", width)
        for name, inputs, outputs in (("attn.c_attn", d, 3 * d), ("attn.c_proj", d, d), ("mlp.c_fc", d, 4 * d), ("mlp.c_proj", 4 * d, d)):
            r.normal(f"gpt.h.{i}.{name}.weight", inputs, outputs, scale=0.5 / float(np.sqrt(inputs)))
            r.normal(f"gpt.h.{i}.{name}.bias", outputs, scale=0.02)
    r.norm("gpt.ln_f", d)
    r.norm("final_norm", d)
    r.linear("mel_head", s.number_mel_codes, d, gain=3.0)
    r.tensors["mel_head.bias"][s.stop_mel_token] = STOP_BIAS
    r.normal("text_embedding.weight", int(config["number_text_tokens"]) + 1, d, scale=0.3)
    r.normal("mel_embedding.weight", s.number_mel_codes, d, scale=0.3)
    r.normal("text_pos_embedding.emb.weight", s.max_text_tokens + 2, d, scale=0.1)
    r.normal("mel_pos_embedding.emb.weight", s.max_mel_tokens + 3, d, scale=0.1)
    return r.tensors


def s2mel_tensors(config: Mapping[str, Any], model_dim: int, hidden: int, projector: Iterable[int], seed: int) -> Tensors:
    """Projector, regulator and estimator."""
    r, s = _Random(seed), FlowShape.of(config)
    width, channels, e = s.width, int(config["length_regulator"]["channels"]), "cfm.estimator"
    sizes = [model_dim, *projector, hidden]
    for i, (inputs, outputs) in enumerate(pairwise(sizes)):
        r.linear(f"gpt_layer.{i}", outputs, inputs)
    r.linear("length_regulator.content_in_proj", channels, hidden)
    for i in range(0, 12, 3):
        r.linear(f"length_regulator.model.{i}", channels, channels, 3)
        r.norm(f"length_regulator.model.{i + 1}", channels)
    r.linear("length_regulator.model.12", channels, channels, 1)
    for name in ("t_embedder", "t_embedder2"):
        r.tensors[f"{e}.{name}.freqs"] = np.exp(-np.log(1e4) * np.arange(FREQUENCIES) / FREQUENCIES).astype(np.float32)
        r.linear(f"{e}.{name}.mlp.0", width, 2 * FREQUENCIES)
        r.linear(f"{e}.{name}.mlp.2", width, width)
    r.linear(f"{e}.cond_projection", width, int(config["DiT"]["content_dim"]))
    r.linear(f"{e}.cond_x_merge_linear", width, width + 2 * s.mels + s.style)
    r.linear(f"{e}.skip_linear", width, width + s.mels)
    for name in ("conv1", "res_projection"):
        r.linear(f"{e}.{name}", width, width)
    _transformer(r, s, e)
    _wavenet(r, s, e)
    return r.tensors


def _adaptive(r: _Random, name: str, width: int) -> None:
    r.normal(f"{name}.norm.weight", width, scale=0.1, mean=1.0)
    r.linear(f"{name}.project_layer", 2 * width, width, gain=0.1)
    r.tensors[f"{name}.project_layer.bias"][:width] += np.float16(1.0)


def _transformer(r: _Random, s: FlowShape, e: str) -> None:
    inner = -(-(8 * s.width // 3) // 256) * 256
    for i in range(s.depth):
        p = f"{e}.transformer.layers.{i}"
        r.linear(f"{p}.attention.wqkv", 3 * s.width, s.width, bias=False)
        r.linear(f"{p}.attention.wo", s.width, s.width, bias=False, gain=0.3)
        r.linear(f"{p}.feed_forward.w1", inner, s.width, bias=False)
        r.linear(f"{p}.feed_forward.w3", inner, s.width, bias=False)
        r.linear(f"{p}.feed_forward.w2", s.width, inner, bias=False, gain=0.3)
        r.linear(f"{p}.skip_in_linear", s.width, 2 * s.width)
        _adaptive(r, f"{p}.attention_norm", s.width)
        _adaptive(r, f"{p}.ffn_norm", s.width)
    _adaptive(r, f"{e}.transformer.norm", s.width)


def _wavenet(r: _Random, s: FlowShape, e: str) -> None:
    r.linear(f"{e}.wavenet.cond_layer.conv.conv", 2 * s.width * s.wavenet_layers, s.width, 1, gain=0.3)
    for i in range(s.wavenet_layers):
        outputs = s.width if i == s.wavenet_layers - 1 else 2 * s.width
        r.linear(f"{e}.wavenet.in_layers.{i}.conv.conv", 2 * s.width, s.width, s.wavenet_kernel)
        r.linear(f"{e}.wavenet.res_skip_layers.{i}.conv.conv", outputs, s.width, 1, gain=0.5)
    r.linear(f"{e}.final_layer.linear", s.width, s.width)
    r.linear(f"{e}.final_layer.adaLN_modulation.1", 2 * s.width, s.width, gain=0.1)
    r.linear(f"{e}.conv2", s.mels, s.width, 1)


def codec_tensors(config: Mapping[str, Any], seed: int) -> Tensors:
    """Codebook and its projection."""
    r = _Random(seed)
    r.normal("quantizer.quantizers.0.codebook.weight", int(config["codebook_size"]), int(config["codebook_dim"]))
    r.linear("quantizer.quantizers.0.out_project", int(config["hidden_size"]), int(config["codebook_dim"]), 1)
    return r.tensors


def bigvgan_tensors(config: Mapping[str, Any], seed: int) -> Tensors:
    """The vocoder, weight norm folded."""
    r, s = _Random(seed), VocoderShape.of(config)
    lowpass = np.kaiser(12, 4.6638) * np.sinc((np.arange(12) - 5.5) / 2)
    taps = (lowpass / lowpass.sum()).astype(np.float32).reshape(1, 1, 12)

    def snake(name: str, channels: int) -> None:
        r.normal(f"{name}.act.alpha", channels, scale=0.3)
        r.normal(f"{name}.act.beta", channels, scale=0.3)
        r.tensors[f"{name}.upsample.filter"] = r.tensors[f"{name}.downsample.lowpass.filter"] = taps

    channels, count = s.upsample_initial_channel, len(s.resblock_kernel_sizes)
    r.linear("conv_pre", channels, s.num_mels, 7, gain=0.3)
    for i, size in enumerate(s.upsample_kernel_sizes):
        r.linear(f"ups.{i}.0", channels, channels // 2, size)
        channels //= 2
        r.normal(f"ups.{i}.0.bias", channels, scale=0.05)
        for j, (kernel, dilations) in enumerate(zip(s.resblock_kernel_sizes, s.resblock_dilation_sizes, strict=True)):
            name = f"resblocks.{i * count + j}"
            for m in range(len(dilations)):
                r.linear(f"{name}.convs1.{m}", channels, channels, kernel, gain=0.7)
                r.linear(f"{name}.convs2.{m}", channels, channels, kernel, gain=0.2)
                snake(f"{name}.activations.{2 * m}", channels)
                snake(f"{name}.activations.{2 * m + 1}", channels)
    snake("activation_post", channels)
    r.linear("conv_post", 1, channels, 7, bias=False, gain=0.2)
    return r.tensors


def vocabulary(size: int) -> bytes:
    """A sentencepiece model with exactly `size` pieces, start 0 and stop 1, that can write any text by characters or as unknown."""
    words = [f"{a}{b}{c}" for a in "AEIOUSTR" for b in "NLDMKPGB" for c in "AEIOYHWF"]
    chinese = "你好我是的了在有不人这中大来上个国到说们为子和地出道也时年得就那要下以生会自着去之过家学"
    lines = [" ".join(words[i : i + 8]) for i in range(0, len(words), 8)] + [" ".join(chinese), "0 1 2 3 4 5 6 7 8 9 , . ! ? ' -"]
    out = io.BytesIO()
    pieces = min(size, 150)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines * 4), model_writer=out, vocab_size=size, model_type="bpe", bos_id=0, eos_id=1, unk_id=2,
        character_coverage=1.0, minloglevel=2,
        user_defined_symbols=[f"▁fill{i}" for i in range(size - pieces)] if size > pieces else [],
    )  # fmt: skip
    return out.getvalue()


def write_random(models_dir: Path, voices_dir: Path, config: Mapping[str, Any], seed: int = 0, voice: str = "random") -> Path:
    """Write `models_dir/random` and one voice; returns the model folder."""
    gpt, s2mel, codec = config["gpt"], config["s2mel"], config["semantic_codec"]
    is_small = gpt["model_dim"] < PROJECTOR[0]
    parts = {
        "gpt": gpt_tensors(gpt, seed),
        "s2mel": s2mel_tensors(s2mel, gpt["model_dim"], codec["hidden_size"], TINY_PROJECTOR if is_small else PROJECTOR, seed + 1),
        "codec": codec_tensors(codec, seed + 2),
        "bigvgan": bigvgan_tensors(config["bigvgan"], seed + 3),
    }
    about = Manifest(
        "indextts2", "random", REVISION, int(config["bigvgan"]["sampling_rate"]), ("zh", "en"), "none: random numbers", details=DETAILS
    )
    folder = models_dir / "random"
    write_model(folder, about, config, parts, vocabulary(int(gpt["number_text_tokens"])))
    voices_dir.mkdir(parents=True, exist_ok=True)
    pack = voice_pack.random_pack(
        voice, latents=32, dim=gpt["model_dim"], style=s2mel["style_encoder"]["dim"], mels=s2mel["DiT"]["in_channels"],
        content=s2mel["DiT"]["content_dim"], frames=60 if is_small else 258,
    )  # fmt: skip
    voice_pack.write(pack, voice_pack.path_in(voices_dir, voice))
    return folder


def main() -> None:
    """Write `FOLDER/models/indextts2/random` and `FOLDER/voices/random...`: a data directory that the service can run on."""
    parser = argparse.ArgumentParser(description="write an IndexTTS-2 model with random weights, and a voice")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", choices=("tiny", "official"), default="tiny")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    config = TINY if args.size == "tiny" else OFFICIAL
    write_random(args.folder / "models" / "indextts2", args.folder / "voices", config, args.seed)


if __name__ == "__main__":
    main()

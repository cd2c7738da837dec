"""An archive in the published layout with random weights: for benches at the official size and for tests at tiny ones.

What it says is noise, but it takes the time that speech takes: the duration predictor is set to about `FRAMES_PER_PHONE` frames for
every symbol, so plans, word times and deadlines are as real as with a trained voice.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from realtime.engines.sambert.checkpoint.acoustic import AcousticModel
from realtime.engines.sambert.checkpoint.hifigan import Generator
from realtime.engines.sambert.dims import acoustic_dims, vocoder_dims
from realtime.engines.sambert.symbols import BUILT_IN, DICT_FILES, FIELDS

FRAMES_PER_PHONE = 7.0
"""Mandarin at about five syllables a second, two phones and a third of a break each, 80 frames a second."""

OFFICIAL_ACOUSTIC: dict[str, Any] = {
    "max_len": 800,
    "embedding_dim": 512,
    "encoder_num_layers": 8,
    "encoder_num_heads": 8,
    "encoder_num_units": 128,
    "encoder_ffn_inner_dim": 1024,
    "encoder_projection_units": 32,
    "speaker_units": 32,
    "emotion_units": 32,
    "predictor_filter_size": 41,
    "predictor_fsmn_num_layers": 3,
    "predictor_num_memory_units": 128,
    "predictor_ffn_inner_dim": 256,
    "predictor_shift": 0,
    "predictor_lstm_units": 128,
    "dur_pred_prenet_units": [128, 128],
    "dur_pred_lstm_units": 128,
    "decoder_prenet_units": [256, 256],
    "decoder_num_layers": 12,
    "decoder_num_heads": 8,
    "decoder_num_units": 128,
    "decoder_ffn_inner_dim": 1024,
    "outputs_per_step": 3,
    "num_mels": 80,
    "postnet_filter_size": 41,
    "postnet_fsmn_num_layers": 4,
    "postnet_num_memory_units": 256,
    "postnet_ffn_inner_dim": 512,
    "postnet_shift": 17,
    "postnet_lstm_units": 128,
    "MAS": False,
}
OFFICIAL_VOCODER: dict[str, Any] = {
    "in_channels": 80,
    "out_channels": 1,
    "channels": 256,
    "kernel_size": 7,
    "upsample_scales": [10, 5, 2, 2],
    "upsample_kernal_sizes": [20, 10, 4, 4],
    "resblock_kernel_sizes": [3, 7, 11],
    "resblock_dilations": [[1, 3, 5, 7]] * 3,
    "bias": True,
    "causal": True,
    "nonlinear_activation": "LeakyReLU",
    "nonlinear_activation_params": {"negative_slope": 0.1},
    "use_weight_norm": True,
}


def write_random_archive(
    folder: Path,
    names: tuple[str, ...] = ("random",),
    *,
    acoustic: Mapping[str, Any] | None = None,
    vocoder: Mapping[str, Any] | None = None,
    sample_rate: int = 16000,
    speakers: str = "F7",
    seed: int = 0,
) -> Path:
    """Write voices `names` with random weights; `acoustic` and `vocoder` overrides of the official 16 kHz sizes -> `folder`."""
    params, generator = {**OFFICIAL_ACOUSTIC, **(acoustic or {})}, {**OFFICIAL_VOCODER, **(vocoder or {})}
    voices = folder / "voices"
    voices.mkdir(parents=True)
    (voices / "voices.json").write_text(json.dumps({"voices": list(names)}), encoding="utf-8")
    about = {"framework": "pytorch", "task": "text-to-speech", "model": {"type": "sambert-hifigan", "sample_rate": sample_rate}}
    (folder / "configuration.json").write_text(json.dumps(about), encoding="utf-8")
    for i, name in enumerate(names):
        torch.manual_seed(seed + i)
        _write_voice(voices / name, params, generator, sample_rate, speakers)
    return folder


def _write_voice(folder: Path, params: Mapping[str, Any], generator: Mapping[str, Any], sample_rate: int, speakers: str) -> None:
    for part in ("am/ckpt", "voc/ckpt", "dict"):
        (folder / part).mkdir(parents=True)
    tables = {**BUILT_IN, "speaker_category": tuple(speakers.split(","))}
    for name, file in DICT_FILES.items():
        (folder / "dict" / file).write_text("\n".join(tables[name]) + "\n", encoding="utf-8")
    dims_of = {"sy": "sy", "tone": "tone", "syllable_flag": "syllable_flag", "word_segment": "word_segment"}
    dims_of |= {"emotion": "emo_category", "speaker": "speaker_category"}
    acoustic = acoustic_dims({**params, **{dim: len(tables[name]) + 3 for dim, name in dims_of.items()}})
    vocoder = vocoder_dims(generator)
    unit = {"cleaners": "english_cleaners", "lfeat_type_list": ",".join(FIELDS), "speaker_list": speakers}
    _dump(
        folder / "am/config.yaml", {"model_type": "sambert", "Model": {"KanTtsSAMBERT": {"params": dict(params)}}, "linguistic_unit": unit}
    )
    _dump(folder / "voc/config.yaml", {"model_type": "hifigan", "Model": {"Generator": {"params": dict(generator)}}})
    _dump(
        folder / "audio_config.yaml",
        {"audio_config": {"sampling_rate": sample_rate, "hop_length": vocoder.hop, "n_mels": acoustic.mel_bands}},
    )
    torch.save({"model": random_acoustic(AcousticModel(acoustic)).state_dict(), "steps": 0}, folder / "am/ckpt/checkpoint_0.pth")
    torch.save(
        {"model": {"generator": random_generator(Generator(vocoder)).state_dict()}, "steps": 0}, folder / "voc/ckpt/checkpoint_0.pth"
    )
    _extra_arrays(folder / "am", acoustic.SE, acoustic.speaker_units, acoustic.NSF and acoustic.nsf_norm_type == "mean_std")


def _extra_arrays(folder: Path, has_embedding: bool, units: int, has_mvn: bool) -> None:
    import numpy as np

    if has_embedding:
        np.save(folder / "se.npy", torch.randn(1, units).numpy())
    if has_mvn:
        np.save(folder / "mvn.npy", np.array([[180.0], [40.0]], np.float32))


def random_acoustic(model: AcousticModel) -> AcousticModel:
    """torch's own initialisation, with a plausible duration for every symbol."""
    with torch.no_grad():
        predictor = model.variance_adaptor.duration_predictor.fc
        predictor.weight.mul_(0.5)
        predictor.bias.fill_(math.log(FRAMES_PER_PHONE + 1))
        for name, weight in model.named_parameters():
            if name.endswith(("tokenizer.weight", "_emb.weight")) and weight.dim() == 2:
                nn.init.normal_(weight, std=0.05)
    return model.eval()


def random_generator(generator: Generator) -> Generator:
    """Weights that keep the level through the stages, so that the noise is neither silent nor clipped."""
    with torch.no_grad():
        for name, weight in generator.named_parameters():
            if name.endswith("weight_g"):
                weight.fill_(0.6)
            elif name.endswith("bias"):
                nn.init.normal_(weight, std=0.05)
            else:
                nn.init.normal_(weight, std=1.0 / math.sqrt(weight[0].numel()))
    return generator.eval()


def _dump(path: Path, table: Mapping[str, Any]) -> None:
    path.write_text(yaml.safe_dump(dict(table), sort_keys=False), encoding="utf-8")

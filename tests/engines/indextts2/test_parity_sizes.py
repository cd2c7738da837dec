"""Graphs and serving runtime against torch at sizes that no reference set has: even depth, dilated WaveNet, odd widths and heads.

The stages are written in the reference data's format with torch as the reference, and judged by the same command.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from realtime.engines.indextts2.checkpoint import official
from realtime.engines.indextts2.checkpoint.generate import generate, prefill
from realtime.engines.indextts2.checkpoint.parity import run_stage
from realtime.engines.indextts2.checkpoint.random_weights import RandomParts
from realtime.engines.indextts2.sampler import Sampling

SHAPES: list[dict[str, Any]] = [
    {
        "gpt": {"model_dim": 80, "heads": 5, "layers": 2, "condition_num_latent": 5},
        "DiT": {"hidden_dim": 48, "num_heads": 3, "depth": 4, "content_dim": 40},
        "wavenet": {"hidden_dim": 48, "num_layers": 2, "dilation_rate": 2},
        "length_regulator": {"channels": 40, "in_channels": 56, "sampling_ratios": [1, 1, 1, 1]},
        "projector": (80, 24, 12, 56),
        "vocoder": {"upsample_initial_channel": 48, "upsample_rates": [4, 2], "upsample_kernel_sizes": [8, 4]},
    },
    {
        "gpt": {"model_dim": 64, "heads": 2, "layers": 1, "condition_num_latent": 33},
        "DiT": {"hidden_dim": 64, "num_heads": 8, "depth": 7, "content_dim": 24, "in_channels": 20},
        "wavenet": {"hidden_dim": 64, "num_layers": 4, "kernel_size": 3},
        "length_regulator": {"channels": 24, "in_channels": 32, "sampling_ratios": [1, 1, 1, 1]},
        "projector": (64, 9, 7, 32),
        "vocoder": {
            "num_mels": 20,
            "upsample_initial_channel": 32,
            "upsample_rates": [8],
            "upsample_kernel_sizes": [16],
            "resblock_kernel_sizes": [3, 5],
            "resblock_dilation_sizes": [[1, 2], [1, 3]],
        },
    },
]


def parts_of(shape: Mapping[str, Any], base: RandomParts) -> RandomParts:
    """Random models of a shape, the rest as in the tiny checkpoint."""
    config = json.loads(json.dumps(dict(base.config.table)))
    config["gpt"] |= shape["gpt"]
    for section in ("DiT", "wavenet", "length_regulator"):
        config["s2mel"][section] |= shape[section]
    return RandomParts(5, config, official.VOCODER | shape["vocoder"], projector=shape["projector"], bpe=base.bpe)


def write(folder: Path, config: object, module: nn.Module, io: Mapping[str, Tensor]) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_file({k: v.clone().contiguous() for k, v in module.state_dict().items()}, folder / "weights.safetensors")
    save_file({k: v.clone().contiguous() for k, v in io.items()}, folder / "io.safetensors")
    return folder


def write_gpt(folder: Path, parts: RandomParts) -> Path:
    gpt = parts.gpt()
    table = {"UnifiedVoice": dict(parts.config.section("gpt").table), "alpha": 0.6, "max_generate_length": 12}
    features, text, codes = torch.randn(1, 40, 1024), torch.randint(2, 100, (1, 7)), torch.randint(0, 50, (1, 15))
    latents, emotion = gpt.speaker_latents(features), gpt.emotion_vector(features)
    conditions = gpt.conditions(latents, emotion)
    prefix = gpt.prefix(conditions, text)
    steps = prefill(gpt, prefix)
    logits, hidden = [steps.logits], []
    for code in codes[0]:
        steps.feed(code[None])
        logits.append(steps.logits)
        hidden.append(steps.hidden)
    io = {
        "spk_feats": features,
        "emo_feats": features,
        "conds": conditions,
        "text_ids": text,
        "forced_codes": codes,
        "latents": gpt.latents(conditions, text, codes),
        "decode_logits_pos2": torch.stack(logits, dim=1),
        "decode_hidden_pos2": torch.stack(hidden, dim=1),
        "greedy_codes_rp10": torch.tensor([generate(gpt, prefix, Sampling(greedy=True), 12)[0]]),
    }
    return write(folder, table, gpt, io)


def write_s2mel(folder: Path, parts: RandomParts) -> Path:
    model = parts.s2mel()
    dit, regulator = model.config.dit, model.config.regulator
    x, prompt, mu = (torch.randn(2, n, 47) for n in (dit.mels, dit.mels, dit.content))
    t, style, frames = torch.tensor([0.2, 0.9]), torch.randn(2, dit.style), 61
    wide, given, noise = torch.randn(1, frames, dit.content), torch.randn(1, dit.mels, 19), torch.randn(1, dit.mels, frames)
    content = torch.randn(1, 26, regulator.in_channels)
    hidden = torch.randn(1, 9, model.config.projector[0])
    io = {
        "gpt_layer_in": hidden,
        "gpt_layer_out": model.gpt_layer(hidden),
        "lr_b_in": content,
        "lr_b_ylen": torch.tensor([44]),
        "lr_b_out": model.length_regulator(content, 44),
        "dit_x": x,
        "dit_prompt_x": prompt,
        "dit_t": t,
        "dit_style": style,
        "dit_mu": mu.transpose(1, 2),
        "dit_velocity": model.cfm.estimator(x, prompt, t, style, mu.transpose(1, 2)),
        "cfm_mu": wide,
        "cfm_prompt": given,
        "cfm_style": style[:1],
        "cfm_z": noise,
        "cfm_out_s3_r7": model.cfm.solve(wide, given, style[:1], noise, 3, 0.7),
    }
    return write(folder, {"s2mel": dict(parts.config.section("s2mel").table), "gpt_layer_dims": list(parts.projector)}, model, io)


def write_bigvgan(folder: Path, parts: RandomParts) -> Path:
    vocoder = parts.vocoder()
    mel = torch.randn(1, vocoder.config.mels, 17)
    return write(folder, dict(parts.vocoder_config.table), vocoder, {"mel": mel, "wav": vocoder(mel)})


@pytest.mark.parametrize("shape", SHAPES, ids=["even", "narrow"])
def test_every_runtime_agrees_with_torch(shape: dict[str, Any], tiny_parts: RandomParts, tmp_path: Path) -> None:
    torch.manual_seed(8)
    parts = parts_of(shape, tiny_parts)
    with torch.inference_mode():
        folders = [writer(tmp_path / name, parts) for name, writer in STAGES.items()]
    for folder in folders:
        checks, problems = run_stage(folder)
        assert problems == []
        assert [c for c in checks if not c.is_within] == []
        assert {c.runtime.split("/")[0] for c in checks} == {"torch", "onnxruntime", "serving"}


STAGES = {"gpt": write_gpt, "s2mel": write_s2mel, "bigvgan": write_bigvgan}

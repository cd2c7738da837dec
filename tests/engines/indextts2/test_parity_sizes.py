"""Graphs and serving runtime against torch at sizes that no reference set has: even depth, dilated WaveNet, odd widths, heads and layers.

A whole set is written in the reference data's format, with what the torch modules make of random inputs as its outputs, and judged by the
same command.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from realtime.engines.indextts2.checkpoint import official, parity_gpt, parity_sound
from realtime.engines.indextts2.checkpoint.parity import STAGES, parity, run_stage
from realtime.engines.indextts2.checkpoint.random_weights import RandomParts
from realtime.engines.indextts2.checkpoint.sections import Section
from realtime.engines.indextts2.checkpoint.stage import Array, Stage

SHAPES: list[dict[str, Any]] = [
    {
        "gpt": {"model_dim": 80, "heads": 5, "layers": 2, "condition_num_latent": 5, "max_mel_tokens": 60},
        "DiT": {"hidden_dim": 48, "num_heads": 3, "depth": 4, "content_dim": 40},
        "wavenet": {"hidden_dim": 48, "num_layers": 2, "dilation_rate": 2},
        "length_regulator": {"channels": 40, "in_channels": 56, "sampling_ratios": [1, 1]},
        "projector": (80, 24, 12, 56),
        "vocoder": {"upsample_initial_channel": 48, "upsample_rates": [4, 2], "upsample_kernel_sizes": [8, 4]},
    },
    {
        "gpt": {"model_dim": 66, "heads": 2, "layers": 1, "condition_num_latent": 33},
        "DiT": {"hidden_dim": 64, "num_heads": 8, "depth": 7, "content_dim": 24, "in_channels": 20, "uvit_skip_connection": False},
        "wavenet": {"hidden_dim": 64, "num_layers": 4, "kernel_size": 3},
        "length_regulator": {"channels": 24, "in_channels": 33, "sampling_ratios": [1, 1, 1, 1, 1]},
        "projector": (66, 33),
        "vocoder": {
            "num_mels": 20,
            "upsample_initial_channel": 36,
            "upsample_rates": [8, 3],
            "upsample_kernel_sizes": [16, 7],
            "resblock_kernel_sizes": [3, 5],
            "resblock_dilation_sizes": [[1, 2], [1]],
            "use_tanh_at_final": True,
            "use_bias_at_final": True,
            "snake_logscale": False,
        },
    },
]
FRAMES, PROMPT, CODES = 61, 19, 9


class Recorder(Stage):
    """Keeps what the torch modules make as the stage's outputs."""

    def compare(self, name: str, ours: Tensor | Array, tolerance: float, runtime: str = "torch") -> None:
        self.io.setdefault(name, ours if isinstance(ours, Tensor) else torch.from_numpy(np.array(ours)))


def parts_of(shape: Mapping[str, Any], base: RandomParts) -> RandomParts:
    """Random models of a shape, the rest as in the tiny checkpoint."""
    config = json.loads(json.dumps(dict(base.config.table)))
    config["gpt"] |= shape["gpt"]
    config["semantic_codec"] |= {"hidden_size": shape["length_regulator"]["in_channels"]}
    for section in ("DiT", "wavenet", "length_regulator"):
        config["s2mel"][section] |= shape[section]
    return RandomParts(5, config, official.VOCODER | shape["vocoder"], projector=shape["projector"], bpe=base.bpe)


def write(
    folder: Path, config: Mapping[str, Any], module: nn.Module | None, given: Mapping[str, Tensor], run: Callable[[Stage], None]
) -> None:
    """One stage folder: `given` inputs (and outputs that name what is to be computed), the rest by `run`."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    if module is not None:
        save_file({k: v.clone().contiguous() for k, v in module.state_dict().items()}, folder / "weights.safetensors")
    recorder = Recorder(folder.name, folder, Section(config, folder.name), dict(given))
    run(recorder)
    save_file({k: v.clone().contiguous() for k, v in recorder.io.items()}, folder / "io.safetensors")


def write_gpt(root: Path, parts: RandomParts) -> None:
    gpt = parts.gpt()
    config = {"UnifiedVoice": dict(parts.config.section("gpt").table), "alpha": 0.25, "max_generate_length": 12}
    texts = torch.ones(2, 7, dtype=torch.long)
    texts[0], texts[1, :3] = torch.randint(2, 100, (7,)), torch.randint(2, 100, (3,))
    given = {"spk_feats": torch.randn(1, 40, 1024), "emo_feats": torch.randn(1, 11, 1024), "text_ids": torch.randint(2, 100, (1, 7))}
    given |= {"forced_codes": torch.randint(0, 50, (1, 15)), "batch_text_ids": texts, "batch_forced_codes": torch.randint(0, 50, (2, 4))}

    def run(stage: Stage) -> None:
        conditions, prefix = parity_gpt.check_conditions(stage, gpt)
        parity_gpt.check_forced(stage, gpt, conditions, prefix)
        parity_gpt.check_batch(stage, gpt, conditions)
        for name in ("greedy_codes_rp1", "greedy_codes_rp10", "greedy_codes_rp10_min9", "beam2_codes_rp10_lp0"):
            asked = Recorder(stage.name, stage.folder, stage.config, {name: torch.zeros(0)})
            asked.compare = lambda name, ours, tolerance: stage.compare(name, ours, tolerance)  # type: ignore[method-assign, assignment, misc]
            parity_gpt.check_generation(asked, gpt, prefix)

    write(root / "gpt", config, gpt, given, run)


def write_codec(root: Path, parts: RandomParts) -> None:
    table = dict(parts.config.section("semantic_codec").table)
    given = {"x": torch.randn(1, 17, table["hidden_size"]), "codes": torch.randint(0, table["codebook_size"], (1, 5))}
    write(root / "semantic_codec", {"RepCodec": table}, parts.codec(), given, parity_sound.codec)


def write_s2mel(root: Path, parts: RandomParts) -> None:
    model = parts.s2mel()
    dit, regulator = model.config.dit, model.config.regulator
    given = {f"dit_{name}": torch.randn(2, bands, 47) for name, bands in (("x", dit.mels), ("prompt_x", dit.mels))}
    given |= {"dit_mu": torch.randn(2, 47, dit.content), "dit_t": torch.tensor([0.2, 0.9]), "dit_style": torch.randn(2, dit.style)}
    given |= {
        "ditpad_x_lens": torch.tensor([47, 33]),
        "cfm_mu": torch.randn(1, FRAMES, dit.content),
        "cfm_style": torch.randn(1, dit.style),
    }
    given |= {"cfm_prompt": torch.randn(1, dit.mels, PROMPT), "cfm_z": torch.randn(1, dit.mels, FRAMES)}
    given |= {"gpt_layer_in": torch.randn(1, 9, model.config.projector[0])}
    for name, rows, frames in (("a", 26, 44), ("b", 1, 2), ("c", 40, 13)):
        given |= {f"lr_{name}_in": torch.randn(1, rows, regulator.in_channels), f"lr_{name}_ylen": torch.tensor([frames])}
    runs = [{"steps": 3, "cfg_rate": 0.75}, {"steps": 2, "cfg_rate": 0.0}]
    for run in runs:
        solved = model.cfm.solve(*(given[f"cfm_{name}"] for name in ("mu", "prompt", "style", "z")), run["steps"], run["cfg_rate"])
        given[f"cfm_out_s{run['steps']}_r{int(10 * run['cfg_rate'])}"] = solved
    given["ditpad_velocity"] = model.cfm.estimator(
        *(given[f"dit_{name}"] for name in ("x", "prompt_x", "t", "style", "mu")), given["ditpad_x_lens"]
    )
    config = {"s2mel": dict(parts.config.section("s2mel").table), "gpt_layer_dims": list(parts.projector), "cfm_runs": runs}
    write(root / "s2mel", config, model, given, parity_sound.s2mel)


def write_bigvgan(root: Path, parts: RandomParts) -> None:
    vocoder = parts.vocoder()
    given = {"mel": torch.randn(1, vocoder.config.mels, 17), "mel_b2": torch.randn(2, vocoder.config.mels, 3)}
    write(root / "bigvgan", dict(parts.vocoder_config.table), vocoder, given, parity_sound.bigvgan)


def write_chain(root: Path, parts: RandomParts) -> None:
    dit = parts.s2mel().config.dit
    mels, style = dit.mels, dit.style
    given = {"codes": torch.zeros(1, CODES, dtype=torch.long), "ref_mel": torch.randn(1, mels, PROMPT), "style": torch.randn(1, style)}
    given |= {
        "S_ref": torch.randn(1, 11, parts.config.section("semantic_codec").integer("hidden_size")),
        "z": torch.randn(1, mels, PROMPT + CODES * 172 // 100),
    }

    def run(stage: Stage) -> None:
        stage.io["codes"] = parity_sound._chain_codes(stage, parity_sound.sibling(stage, "gpt"))[0]
        parity_sound.chain(stage)

    write(root / "chain", {"steps": 3, "cfg_rate": 0.55}, None, given, run)


WRITERS = (write_gpt, write_codec, write_s2mel, write_bigvgan, write_chain)
SERVED = {"gpt", "s2mel", "bigvgan", "chain"}


@pytest.mark.parametrize("shape", SHAPES, ids=["even", "odd"])
def test_every_runtime_agrees_with_torch(
    shape: dict[str, Any], tiny_parts: RandomParts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(8)
    parts = parts_of(shape, tiny_parts)
    with torch.inference_mode():
        for writer in WRITERS:
            writer(tmp_path, parts)
    for folder in tmp_path.iterdir():
        checks, problems = run_stage(folder)
        assert problems == []
        assert [c for c in checks if not c.is_within] == []
        runtimes = {c.runtime.split("/")[0] for c in checks}
        assert runtimes == ({"torch", "onnxruntime", "serving"} if folder.name in SERVED else {"torch"})
    assert parity(tmp_path) == 0
    said = capsys.readouterr().out.splitlines()
    assert sum("STAGE OK" in line for line in said) == len(WRITERS)
    assert said[-1].endswith(f"this set has no {', '.join(name for name in STAGES if not (tmp_path / name).exists())}")

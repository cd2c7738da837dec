"""What `bench engine indextts2` divides by: the parity-proven torch modules, eager, float32, over the weights of an exported folder.

The published pipeline at beam 1: prefill, decode with a growing cache, a second pass for the latents, 25 flow steps with both branches
of guidance, the whole utterance vocoded at once. Its stages are timed one by one at the sizes they have there and added up; the flow's
25 equal steps and the decoder's equal tokens are timed a few times, not all.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from realtime.engines.indextts2.checkpoint import official
from realtime.engines.indextts2.checkpoint.bigvgan import BigVgan
from realtime.engines.indextts2.checkpoint.configs import BigVganConfig, DitConfig, GptConfig
from realtime.engines.indextts2.checkpoint.dit import Dit
from realtime.engines.indextts2.checkpoint.generate import prefill
from realtime.engines.indextts2.checkpoint.gpt import Gpt
from realtime.engines.indextts2.checkpoint.s2mel import Cfm
from realtime.engines.indextts2.checkpoint.sections import Section
from realtime.engines.indextts2.model_files import ModelFolder

CFG_RATE = 0.7
# A serving folder has no condition encoders: they are built as small as they come and never run.
SMALL_ENCODER = {"output_size": 8, "linear_units": 8, "attention_heads": 1, "num_blocks": 1, "input_layer": "conv2d2", "perceiver_mult": 1}


def tables(folder: ModelFolder) -> dict[str, Any]:
    """The folder's sections with the official values where a serving folder does not need to say them."""
    full = copy.deepcopy(official.CONFIG) | {"bigvgan": copy.deepcopy(official.VOCODER)}
    for name in ("gpt", "s2mel", "bigvgan"):
        for key, value in folder.config[name].items():
            full[name][key] = full[name].get(key, {}) | value if isinstance(value, dict) else value
    full["gpt"] |= {"condition_module": SMALL_ENCODER, "emo_condition_module": SMALL_ENCODER}
    return full


def fill(module: torch.nn.Module, folder: ModelFolder, part: str, prefix: str = "") -> None:
    """Load what the folder has of a module; a serving folder lacks what only training or enrolment uses."""
    tensors = folder.tensors(part)
    state = {k.removeprefix(prefix): torch.from_numpy(tensors[k]) for k in tensors if k.startswith(prefix)}
    wanted = module.state_dict()
    fitting = {k: v for k, v in state.items() if k in wanted and wanted[k].shape == v.shape}
    if not fitting:
        raise ValueError(f"{folder.path}: nothing in {part}.safetensors fits the torch module")
    module.load_state_dict(fitting, strict=False)
    module.requires_grad_(False).eval()


class Baseline:
    """The torch modules and one piece of work per stage. `threads` as many as the runtime under test has."""

    def __init__(self, folder: ModelFolder, threads: int) -> None:
        torch.set_num_threads(threads)
        self.folder, self.tables = folder, tables(folder)
        self._steps: Any = None

    def gpt(self) -> Gpt:
        """The language model; drop it before the other modules are made, it takes 2 GB."""
        gpt = Gpt(GptConfig.read(Section(self.tables["gpt"], "config.json")))
        fill(gpt, self.folder, "gpt")
        return gpt

    def flow(self) -> Cfm:
        """The flow's solver."""
        config = DitConfig.read(Section(self.tables["s2mel"], "config.json"))
        cfm = Cfm.__new__(Cfm)
        torch.nn.Module.__init__(cfm)
        cfm.estimator = Dit(config)
        fill(cfm, self.folder, "s2mel", "cfm.")
        return cfm

    def vocoder(self) -> BigVgan:
        """BigVGAN."""
        vocoder = BigVgan(BigVganConfig.read(Section(self.tables["bigvgan"], "config.json")))
        fill(vocoder, self.folder, "bigvgan")
        return vocoder


def decoding(gpt: Gpt, positions: int) -> Any:
    """A decode that stands at `positions` positions; call its `feed` for one token."""
    return prefill(gpt, torch.randn(1, positions - 1, gpt.config.dim) * 0.3, offset=1)


@torch.inference_mode()
def latent_pass(gpt: Gpt, positions: int) -> Tensor:
    """The second pass over a whole sequence."""
    return gpt.transform(torch.randn(1, positions, gpt.config.dim) * 0.3)


@torch.inference_mode()
def flow_step(cfm: Cfm, frames: int, prompt: int) -> Tensor:
    """One step with both branches of guidance."""
    c = cfm.estimator.config
    x, mel = torch.randn(1, c.mels, frames), torch.zeros(1, c.mels, frames)
    mel[..., :prompt] = torch.randn(1, c.mels, prompt)
    return cfm.guided(x, mel, torch.tensor(0.4), torch.randn(1, c.style), torch.randn(1, frames, c.content), CFG_RATE)


@torch.inference_mode()
def vocode(vocoder: BigVgan, frames: int) -> Tensor:
    """Sound of so many frames."""
    return vocoder(torch.randn(1, vocoder.config.mels, frames))  # type: ignore[no-any-return]

"""Codes and hidden states to mel: projector, length regulator, flow decoder (official file `s2mel.pth`). Sections 10 and 11."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from realtime.engines.indextts2.checkpoint.configs import RegulatorConfig, S2MelConfig
from realtime.engines.indextts2.checkpoint.dit import Dit
from realtime.engines.indextts2.frames import nearest_rows


class Regulator(nn.Module):
    """Stretch codec rows to mel frames. GroupNorm with one group spans all of time, so every frame depends on the whole input."""

    def __init__(self, config: RegulatorConfig) -> None:
        super().__init__()
        width = config.channels
        self.content_in_proj = nn.Linear(config.in_channels, width)
        layers: list[nn.Module] = []
        for _ in range(config.layers):
            layers += [nn.Conv1d(width, width, 3, padding=1), nn.GroupNorm(1, width), nn.Mish()]
        self.model = nn.Sequential(*layers, nn.Conv1d(width, width, 1))
        self.embedding = nn.Embedding(config.codebook, width)  # this and the next are in the file and unused
        self.mask_token = nn.Parameter(torch.zeros(1, width))

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """[B, N, in] -> [B, frames, C]."""
        return self.stretch(x, torch.from_numpy(nearest_rows(x.shape[1], frames)))

    def stretch(self, x: Tensor, rows: Tensor) -> Tensor:
        """The same, with the source row of each frame given as int64 [frames]."""
        y = self.content_in_proj(x).transpose(1, 2)
        return self.model(torch.index_select(y, 2, rows)).transpose(1, 2)  # type: ignore[no-any-return]


class Projector(nn.Sequential):
    """Linears from the GPT's hidden states to the codec's width, without activations (official `gpt_layer`)."""

    def __init__(self, dims: tuple[int, ...]) -> None:
        super().__init__(*(nn.Linear(a, b) for a, b in pairwise(dims)))


class Cfm(nn.Module):
    """The flow: an estimator and its Euler solver."""

    def __init__(self, config: S2MelConfig) -> None:
        super().__init__()
        self.estimator = Dit(config.dit)

    def solve(self, mu: Tensor, prompt: Tensor, style: Tensor, noise: Tensor, steps: int, cfg_rate: float) -> Tensor:
        """Euler from noise to mel (section 11.3).

        mu [1, T, content], prompt [1, mels, Tm], style [1, S], noise [1, mels, T] -> [1, mels, T], zero on the prompt's frames.
        """
        known = prompt.shape[2]
        full_prompt = F.pad(prompt, (0, noise.shape[2] - known))
        times = torch.linspace(0, 1, steps + 1)
        x = noise.clone()
        x[..., :known] = 0
        for k in range(steps):
            velocity = self.guided(x, full_prompt, times[k], style, mu, cfg_rate)
            x = x + (times[k + 1] - times[k]) * velocity
            x[..., :known] = 0
        return x

    def guided(self, x: Tensor, prompt: Tensor, time: Tensor, style: Tensor, mu: Tensor, cfg_rate: float) -> Tensor:
        """Classifier-free guidance: (1 + r) * conditional - r * unconditional, both in one batch; r = 0 runs the first alone."""
        if cfg_rate == 0:
            return self.estimator(x, prompt, time[None], style, mu)  # type: ignore[no-any-return]
        pair = [torch.cat([y, torch.zeros_like(y)]) for y in (prompt, style, mu)]
        both = self.estimator(torch.cat([x, x]), pair[0], time.expand(2), pair[1], pair[2])
        return (1 + cfg_rate) * both[:1] - cfg_rate * both[1:]  # type: ignore[no-any-return]


class S2Mel(nn.Module):
    """The three nets of `s2mel.pth`, keys joined by a dot."""

    def __init__(self, config: S2MelConfig) -> None:
        super().__init__()
        self.config = config
        self.cfm = Cfm(config)
        self.length_regulator = Regulator(config.regulator)
        self.gpt_layer = Projector(config.projector)

"""The learned part of the NSF source: harmonics to one excitation (specification 7.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from realtime.engines.sambert.checkpoint.layers import parts
from realtime.engines.sambert.checkpoint.normed import NormedWeight
from realtime.engines.sambert.dims import VocoderDims
from realtime.engines.sambert.source import NOISE_STD, SINE_AMPLITUDE


class SourceModule(nn.Module):
    """Sines at the harmonics of F0, or noise where unvoiced, mixed to one channel. Key `ffn.0`."""

    def __init__(self, dims: VocoderDims) -> None:
        super().__init__()
        assert dims.nb_harmonics is not None
        self.harmonics = dims.nb_harmonics + 1
        self.rate, self.hop = dims.sampling_rate, dims.hop
        self.ffn = nn.ModuleList([NormedWeight((1, self.harmonics, 1), 1, dims.use_weight_norm, True)])

    def forward(self, f0: Tensor, voiced: Tensor, phase: Tensor, noise: Tensor) -> Tensor:
        """f0 (Hz), voiced [1,1,F]; phase [1,H,1] radians; noise [1,H,F*hop] -> excitation [1,1,F*hop]."""
        f0, voiced = (torch.repeat_interleave(v, self.hop, dim=-1) for v in (f0, voiced))
        order = torch.arange(1, self.harmonics + 1)[None, :, None]
        cycles = torch.cumsum(f0.to(torch.float64) * order / self.rate, dim=-1)
        sines = SINE_AMPLITUDE * torch.sin(2 * torch.pi * (cycles % 1).to(torch.float32) + phase)
        unvoiced = SINE_AMPLITUDE / 3 / NOISE_STD * noise
        mixed = torch.where(voiced > 0, sines + noise, unvoiced)
        (weight,) = parts(self.ffn, NormedWeight)
        return torch.tanh(nn.functional.conv1d(mixed, weight.folded(), weight.bias))

"""The vocoder, BigVGAN v2 (Lee et al. 2023): mel [B, mels, F] to waveform [B, 1, hop * F]. Specification section 12.

The anti-aliased activation is written in its literal form; the faster ones are tested against it.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from realtime.engines.indextts2.checkpoint.configs import BigVganConfig

TAPS = 12
RATIO = 2
BETA_EPS = 1e-9


def lowpass_taps() -> Tensor:
    """The Kaiser-windowed sinc of both resamplers, [1, 1, 12], sum 1: cutoff 0.5 / 2, half-width 0.6 / 2."""
    half_width, half = 0.6 / RATIO, TAPS // 2
    attenuation = 2.285 * (half - 1) * math.pi * 4 * half_width + 7.95
    window = np.kaiser(TAPS, 0.1102 * (attenuation - 8.7))
    place = np.arange(-half, half) + 0.5
    taps = window * np.sinc(2 * (0.5 / RATIO) * place)
    return torch.from_numpy((taps / taps.sum()).astype(np.float32))[None, None]


def replicated(x: Tensor, left: int, right: int) -> Tensor:
    """Repeat the first and last column of [B, C, T]; as a concatenation the vocoder takes 7 % less than with a padding (LOG)."""
    return torch.cat([x[..., :1]] * left + [x] + [x[..., -1:]] * right, dim=-1)


class SnakeBeta(nn.Module):
    """x + sin(a x)^2 / b with a, b per channel, stored as logarithms."""

    def __init__(self, channels: int, log_scale: bool) -> None:
        super().__init__()
        start = torch.zeros(channels) if log_scale else torch.ones(channels)
        self.log_scale = log_scale
        self.alpha, self.beta = nn.Parameter(start.clone()), nn.Parameter(start.clone())

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] -> [B, C, T]."""
        alpha, beta = self.alpha[:, None], self.beta[:, None]
        if self.log_scale:
            alpha, beta = alpha.exp(), beta.exp()
        return x + torch.sin(x * alpha).square() / (beta + BETA_EPS)


class Upsample(nn.Module):
    """Double the rate: replicate the edges, transposed FIR, crop."""

    filter: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.register_buffer("filter", lowpass_taps())

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] -> [B, C, 2T]."""
        edge = TAPS // RATIO - 1
        crop = edge * RATIO + (TAPS - RATIO) // 2
        padded = replicated(x, edge, edge)
        taps = self.filter.repeat(self.channels, 1, 1)
        return RATIO * F.conv_transpose1d(padded, taps, stride=RATIO, padding=crop, groups=self.channels)


class LowPass(nn.Module):
    """Halve the rate: replicate the edges (5 left, 6 right), strided FIR."""

    filter: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.register_buffer("filter", lowpass_taps())

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, 2T] -> [B, C, T]."""
        padded = replicated(x, TAPS // 2 - 1, TAPS // 2)
        return F.conv1d(padded, self.filter.repeat(self.channels, 1, 1), stride=RATIO, groups=self.channels)


class Downsample(nn.Module):
    """Naming level around the filter, as in the official file."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lowpass = LowPass(channels)


class Activation(nn.Module):
    """Snake at the double rate, so that what it adds above the band does not fold back."""

    def __init__(self, channels: int, log_scale: bool) -> None:
        super().__init__()
        self.act = SnakeBeta(channels, log_scale)
        self.upsample, self.downsample = Upsample(channels), Downsample(channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] -> [B, C, T]."""
        return self.downsample.lowpass(self.act(self.upsample(x)))  # type: ignore[no-any-return]


class AmpBlock(nn.Module):
    """Three residual pairs of activation and convolution, the first of a pair dilated."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...], log_scale: bool) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(same_conv(channels, kernel, d) for d in dilations)
        self.convs2 = nn.ModuleList(same_conv(channels, kernel, 1) for _ in dilations)
        self.activations = nn.ModuleList(Activation(channels, log_scale) for _ in range(2 * len(dilations)))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] -> [B, C, T]."""
        for i, (first, second) in enumerate(zip(self.convs1, self.convs2, strict=True)):
            y = first(self.activations[2 * i](x))
            x = x + second(self.activations[2 * i + 1](y))
        return x


def same_conv(channels: int, kernel: int, dilation: int) -> nn.Conv1d:
    """A convolution that keeps width and length."""
    return nn.Conv1d(channels, channels, kernel, dilation=dilation, padding=dilation * (kernel - 1) // 2)


class BigVgan(nn.Module):
    """Transposed convolutions, each followed by the mean of three AMP blocks."""

    def __init__(self, config: BigVganConfig) -> None:
        super().__init__()
        self.config = config
        self.conv_pre = nn.Conv1d(config.mels, config.channels, 7, padding=3)
        widths = [config.channels >> i for i in range(len(config.rates) + 1)]
        self.ups = nn.ModuleList(
            nn.ModuleList([nn.ConvTranspose1d(a, b, k, r, padding=(k - r) // 2)])
            for a, b, k, r in zip(widths, widths[1:], config.kernels, config.rates, strict=False)
        )
        self.resblocks = nn.ModuleList(
            AmpBlock(width, k, d, config.log_scale)
            for width in widths[1:]
            for k, d in zip(config.block_kernels, config.block_dilations, strict=True)
        )
        self.activation_post = Activation(widths[-1], config.log_scale)
        self.conv_post = nn.Conv1d(widths[-1], 1, 7, padding=3, bias=config.final_bias)

    def forward(self, mel: Tensor) -> Tensor:
        """[B, mels, F] -> [B, 1, hop * F] in [-1, 1]."""
        x = self.conv_pre(mel)
        for i in range(len(self.ups)):
            x = self.mix(i, self.up(i, x))
        x = self.conv_post(self.activation_post(x))
        return torch.tanh(x) if self.config.tanh else torch.clamp(x, -1.0, 1.0)

    def up(self, stage: int, x: Tensor) -> Tensor:
        """The transposed convolution of a stage."""
        return self.ups[stage][0](x)  # type: ignore[no-any-return, index]

    def mix(self, stage: int, x: Tensor) -> Tensor:
        """The mean of a stage's AMP blocks."""
        count = len(self.config.block_kernels)
        blocks = [self.resblocks[stage * count + j] for j in range(count)]
        return sum((block(x) for block in blocks[1:]), blocks[0](x)) / count  # type: ignore[no-any-return]

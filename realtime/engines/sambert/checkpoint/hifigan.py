"""HiFi-GAN generator under the published key names, weight normalisation unfolded (specification 7).

The two up-sampling paths per stage stay apart here, as published; the export merges them.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from realtime.engines.sambert.checkpoint.layers import parts
from realtime.engines.sambert.checkpoint.normed import NormedWeight
from realtime.engines.sambert.checkpoint.source_module import SourceModule
from realtime.engines.sambert.dims import VocoderDims

REPEAT_KERNEL = 7
LAST_SLOPE = 0.01
"""Before the last convolution the published generator uses the library's default slope, not its own setting."""


class Conv(nn.Module):
    """Convolution over time, causal (left padding only) or symmetric. Key `conv1d`."""

    def __init__(
        self,
        width_in: int,
        width_out: int,
        size: int,
        dims: VocoderDims,
        *,
        dilation: int = 1,
        stride: int = 1,
        padding: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.conv1d = NormedWeight((width_out, width_in, size), width_out, dims.use_weight_norm, True)
        reach = (size - 1) * dilation
        self.padding = padding if padding is not None else ((reach, 0) if dims.causal else (reach // 2, reach // 2))
        self.dilation, self.stride = dilation, stride

    def forward(self, x: Tensor) -> Tensor:
        """x [1,C_in,T] -> [1,C_out,T / stride]."""
        return F.conv1d(F.pad(x, self.padding), self.conv1d.folded(), self.conv1d.bias, stride=self.stride, dilation=self.dilation)


class TransposedConv(nn.Module):
    """Up-sampling by `scale`. Key `deconv`."""

    def __init__(self, width_in: int, width_out: int, size: int, scale: int, dims: VocoderDims) -> None:
        super().__init__()
        self.deconv = NormedWeight((width_in, width_out, size), width_out, dims.use_weight_norm, True)
        self.scale = scale
        self.cut = 0 if dims.causal else (size - scale) // 2

    def forward(self, x: Tensor) -> Tensor:
        """x [1,C_in,T] -> [1,C_out,>= T * scale]; the caller cuts to T * scale."""
        return F.conv_transpose1d(x, self.deconv.folded(), self.deconv.bias, stride=self.scale, padding=self.cut)


class ResidualBlock(nn.Module):
    """Pairs of convolutions, the first of each pair dilated."""

    def __init__(self, channels: int, size: int, dilations: tuple[int, ...], dims: VocoderDims) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(Conv(channels, channels, size, dims, dilation=d) for d in dilations)
        self.convs2 = nn.ModuleList(Conv(channels, channels, size, dims) for _ in dilations)
        self.slope = dims.slope

    def forward(self, x: Tensor) -> Tensor:
        """x [1,C,T] -> same shape."""
        for first, second in zip(self.convs1, self.convs2, strict=True):
            x = x + second(F.leaky_relu(first(F.leaky_relu(x, self.slope)), self.slope))
        return x


class Generator(nn.Module):
    """Mel (and for NSF voices F0 and voicing) to samples."""

    def __init__(self, dims: VocoderDims) -> None:
        super().__init__()
        self.dims = dims
        self.conv_pre = Conv(dims.in_channels, dims.channels, dims.kernel_size, dims)
        transposed, repeated, blocks = [], [], []
        for i, (scale, size) in enumerate(zip(dims.upsample_scales, dims.upsample_kernal_sizes, strict=True)):
            width_in, width_out = dims.stage_channels(i)
            # nn.Identity stands for the parameter-free steps, to keep the published indices (.1. and .2.).
            transposed.append(nn.Sequential(nn.Identity(), TransposedConv(width_in, width_out, size, scale, dims)))
            repeated.append(nn.Sequential(nn.Identity(), nn.Identity(), Conv(width_in, width_out, REPEAT_KERNEL, dims)))
            blocks += [
                ResidualBlock(width_out, k, d, dims) for k, d in zip(dims.resblock_kernel_sizes, dims.resblock_dilations, strict=True)
            ]
        self.transpose_upsamples = nn.ModuleList(transposed)
        if dims.repeat_upsample:
            self.repeat_upsamples = nn.ModuleList(repeated)
        self.conv_blocks = nn.ModuleList(blocks)
        self.conv_post = Conv(dims.stage_channels(len(transposed) - 1)[1], 1, dims.kernel_size, dims)
        if dims.is_nsf:
            self.source_module = SourceModule(dims)
            self.source_downs = nn.ModuleList(self._source_down(i) for i in range(len(transposed)))

    def prepare_for(self, keys: Collection[str]) -> None:
        """`bias: false` in the configuration leaves open which convolutions it means; those that have none in the file get none."""
        if not self.dims.bias:
            for name, part in self.named_modules():
                if isinstance(part, NormedWeight) and f"{name}.bias" not in keys:
                    part.bias = None

    def _source_down(self, stage: int) -> Conv:
        d = self.dims.later_scale(stage)
        width = self.dims.stage_channels(stage)[1]
        if d == 1:
            return Conv(1, width, 1, self.dims)
        padding = (2 * d - 1, 0) if self.dims.causal else (d // 2, d // 2)
        return Conv(1, width, 2 * d, self.dims, stride=d, padding=padding)

    def upsample(self, stage: int, x: Tensor, excitation: Tensor | None) -> Tensor:
        """Input of the residual blocks of a stage: both up-sampling paths and, for NSF, the excitation [1,1,samples]."""
        scale = self.dims.upsample_scales[stage]
        x = x + torch.sin(x)
        length = x.shape[-1] * scale
        out: Tensor = self.transposed(stage)(F.leaky_relu(x, self.dims.slope))[..., :length]
        if self.dims.repeat_upsample:
            repeated = torch.repeat_interleave(x, scale, dim=-1)
            out = out + self.repeated(stage)(F.leaky_relu(repeated, self.dims.slope))
        if excitation is not None:
            out = out + self.source_downs[stage](excitation)[..., :length]
        return out

    def transposed(self, stage: int) -> TransposedConv:
        """The transposed convolution of a stage."""
        return parts(parts(self.transpose_upsamples, nn.Sequential)[stage], nn.Module)[1]  # type: ignore[return-value]

    def repeated(self, stage: int) -> Conv:
        """The convolution after the nearest-neighbour up-sampling of a stage."""
        return parts(parts(self.repeat_upsamples, nn.Sequential)[stage], nn.Module)[2]  # type: ignore[return-value]

    def blocks(self, stage: int) -> list[ResidualBlock]:
        """The residual blocks of a stage, by kernel size."""
        n = len(self.dims.resblock_kernel_sizes)
        return parts(self.conv_blocks, ResidualBlock)[n * stage : n * (stage + 1)]

    def forward(self, x: Tensor, phase: Tensor | None = None, noise: Tensor | None = None) -> Tensor:
        """x [1,rows,F] -> samples [1,1,F*hop] in (-1,1); NSF takes phase [1,H,1] and noise [1,H,samples]."""
        excitation = None
        if self.dims.is_nsf:
            assert phase is not None and noise is not None
            f0, voiced = x[:, -2:-1], x[:, -1:]
            excitation = self.source_module(f0, voiced, phase, noise)
            x = x[:, :-2]
        x = self.conv_pre(x)
        for stage in range(len(self.dims.upsample_scales)):
            x = self.upsample(stage, x, excitation)
            x = torch.stack([block(x) for block in self.blocks(stage)]).mean(0)
        return torch.tanh(self.conv_post(F.leaky_relu(x, LAST_SLOPE)))

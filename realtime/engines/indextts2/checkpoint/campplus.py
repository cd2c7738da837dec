"""CAM++ (Wang et al. 2023): a clip's style vector from Kaldi filterbanks. Specification section 13."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from realtime.engines.indextts2.checkpoint.configs import CamPlusConfig

HEAD_WIDTH = 32
BLOCKS = ((12, 1), (24, 2), (16, 2))
"""Layers and dilation of the three dense blocks; wired in officially."""
SEGMENT = 100
"""Frames of a pooling segment of the context mask."""


class BasicBlock(nn.Module):
    """Residual block of the 2-D head; the stride is over frequency only."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(HEAD_WIDTH, HEAD_WIDTH, 3, (stride, 1), 1, bias=False)
        self.conv2 = nn.Conv2d(HEAD_WIDTH, HEAD_WIDTH, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(HEAD_WIDTH), nn.BatchNorm2d(HEAD_WIDTH)
        self.shortcut = nn.Sequential()
        if stride != 1:
            self.shortcut = nn.Sequential(nn.Conv2d(HEAD_WIDTH, HEAD_WIDTH, 1, (stride, 1), bias=False), nn.BatchNorm2d(HEAD_WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        """[B, 32, F, T] -> [B, 32, F / stride, T]."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


class Head(nn.Module):
    """2-D convolutions over (frequency, time), flattened to channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, HEAD_WIDTH, 3, 1, 1, bias=False), nn.BatchNorm2d(HEAD_WIDTH)
        self.layer1 = nn.Sequential(BasicBlock(2), BasicBlock(1))
        self.layer2 = nn.Sequential(BasicBlock(2), BasicBlock(1))
        self.conv2, self.bn2 = nn.Conv2d(HEAD_WIDTH, HEAD_WIDTH, 3, (2, 1), 1, bias=False), nn.BatchNorm2d(HEAD_WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 80, T] -> [B, 32 * 10, T]."""
        y = F.relu(self.bn1(self.conv1(x[:, None])))
        y = F.relu(self.bn2(self.conv2(self.layer2(self.layer1(y)))))
        return y.flatten(1, 2)


class NormRelu(nn.Module):
    """BatchNorm, then ReLU where asked."""

    def __init__(self, channels: int, relu: bool = True, affine: bool = True) -> None:
        super().__init__()
        self.batchnorm = nn.BatchNorm1d(channels, affine=affine)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] or [B, C] -> the same."""
        y = self.batchnorm(x)
        return F.relu(y) if self.relu else y


class ContextMask(nn.Module):
    """A dilated convolution, gated by the mean over the clip plus the mean over each segment."""

    def __init__(self, inputs: int, outputs: int, dilation: int) -> None:
        super().__init__()
        self.linear_local = nn.Conv1d(inputs, outputs, 3, padding=dilation, dilation=dilation, bias=False)
        self.linear1, self.linear2 = nn.Conv1d(inputs, inputs // 2, 1), nn.Conv1d(inputs // 2, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, T] -> [B, out, T]."""
        context = x.mean(-1, keepdim=True) + segment_means(x)
        gate = torch.sigmoid(self.linear2(F.relu(self.linear1(context))))
        return self.linear_local(x) * gate  # type: ignore[no-any-return]


def segment_means(x: Tensor) -> Tensor:
    """Each frame's mean over its segment of 100 frames; the last segment's over its own length. [B, C, T] -> [B, C, T]."""
    means = F.avg_pool1d(x, SEGMENT, SEGMENT, ceil_mode=True)
    return means.repeat_interleave(SEGMENT, dim=-1)[..., : x.shape[-1]]


class DenseLayer(nn.Module):
    """Bottleneck, then the masked convolution; its output is appended to the input."""

    def __init__(self, inputs: int, growth: int, bn_size: int, dilation: int) -> None:
        super().__init__()
        inner = bn_size * growth
        self.nonlinear1, self.linear1 = NormRelu(inputs), nn.Conv1d(inputs, inner, 1, bias=False)
        self.nonlinear2, self.cam_layer = NormRelu(inner), ContextMask(inner, growth, dilation)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] -> [B, C + growth, T]."""
        return torch.cat([x, self.cam_layer(self.nonlinear2(self.linear1(self.nonlinear1(x))))], dim=1)


class DenseBlock(nn.Sequential):
    """Dense layers, named from 1."""

    def __init__(self, inputs: int, layers: int, dilation: int, config: CamPlusConfig) -> None:
        super().__init__()
        for i in range(layers):
            self.add_module(f"tdnnd{i + 1}", DenseLayer(inputs + i * config.growth, config.growth, config.bn_size, dilation))


class Unit(nn.Module):
    """A convolution with a norm after it (`first` linear) or before it (transitions)."""

    def __init__(self, conv: nn.Conv1d, norm: NormRelu, conv_first: bool = True) -> None:
        super().__init__()
        self.linear, self.nonlinear, self.conv_first = conv, norm, conv_first

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, T] -> [B, out, T']."""
        return self.nonlinear(self.linear(x)) if self.conv_first else self.linear(self.nonlinear(x))  # type: ignore[no-any-return]


class Xvector(nn.Module):
    """Dense blocks, pooled to mean and deviation, projected to the embedding."""

    def __init__(self, config: CamPlusConfig) -> None:
        super().__init__()
        inputs = HEAD_WIDTH * (config.features // 8)
        channels = config.channels
        self.tdnn = Unit(nn.Conv1d(inputs, channels, 5, 2, 2, bias=False), NormRelu(channels))
        for i, (layers, dilation) in enumerate(BLOCKS, 1):
            self.add_module(f"block{i}", DenseBlock(channels, layers, dilation, config))
            channels += layers * config.growth
            self.add_module(f"transit{i}", Unit(nn.Conv1d(channels, channels // 2, 1, bias=False), NormRelu(channels), conv_first=False))
            channels //= 2
        self.out_nonlinear = NormRelu(channels)
        self.dense = Unit(nn.Conv1d(2 * channels, config.embedding, 1, bias=False), NormRelu(config.embedding, relu=False, affine=False))

    def stats(self, x: Tensor) -> Tensor:
        """Head columns [B, 320, T] -> mean and unbiased deviation over time [B, 2C]."""
        x = self.tdnn(x)
        for i in range(1, len(BLOCKS) + 1):
            x = self.get_submodule(f"transit{i}")(self.get_submodule(f"block{i}")(x))
        x = self.out_nonlinear(x)
        return torch.cat([x.mean(-1), x.std(-1, unbiased=True)], dim=-1)


class CamPlus(nn.Module):
    """Mean-normalised filterbanks [B, T, 80] -> style [B, S]."""

    def __init__(self, config: CamPlusConfig) -> None:
        super().__init__()
        self.head, self.xvector = Head(), Xvector(config)

    def forward(self, fbank: Tensor) -> Tensor:
        """The style vector, not normalised."""
        stats = self.xvector.stats(self.head(fbank.transpose(1, 2)))
        return self.xvector.dense(stats[:, :, None])[:, :, 0]  # type: ignore[no-any-return]

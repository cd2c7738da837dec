"""The two conditioning encoders of the GPT: a conformer over w2v-bert features, and a perceiver that resamples it to few rows.

Specification sections 6.1 and 6.2. Lengths in a batch must be equal: the official mask is all true for clips of up to 15 s.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from realtime.engines.indextts2.checkpoint.configs import FEATURE_DIM, EncoderConfig
from realtime.engines.indextts2.checkpoint.heads import join_heads, split_heads

KERNEL = 15
"""Depthwise kernel of the conformer's convolution; wired in officially."""
POSITIONS = 5000
"""Rows of the sinusoid table in the official file."""
HEAD_DIM = 64
"""Width of a perceiver's head; wired in officially."""


class Positions(nn.Module):
    """The sinusoid table; it enters attention only, it is not added to the input."""

    pe: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        place = torch.arange(POSITIONS, dtype=torch.float32)[:, None]
        rate = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * -(math.log(10000.0) / width))
        table = torch.stack([torch.sin(place * rate), torch.cos(place * rate)], dim=-1).flatten(1)
        self.register_buffer("pe", table[None, :, :width])


class Subsampling(nn.Module):
    """Conv2d over (time, feature) with stride 2, flattened channel-major into one linear layer: [B, T, 1024] -> [B, (T-3)//2+1, d]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, width, 3, 2), nn.ReLU())
        self.out = nn.Sequential(nn.Linear(width * ((FEATURE_DIM - 1) // 2), width))
        self.pos_enc = Positions(width)
        self.scale = math.sqrt(width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scaled rows [B, T', d] and the position rows [1, T', d]."""
        y = self.conv(x[:, None])
        y = self.out(y.permute(0, 2, 1, 3).flatten(2)) * self.scale
        return y, self.pos_enc.pe[:, : y.shape[1]]


class PositionAttention(nn.Module):
    """Self-attention with a content and a position term; the position term uses the key's absolute place, without relative shift."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, width // heads
        self.linear_q, self.linear_k, self.linear_v, self.linear_out = (nn.Linear(width, width) for _ in range(4))
        self.linear_pos = nn.Linear(width, width, bias=False)
        self.pos_bias_u = nn.Parameter(torch.zeros(heads, self.head_dim))
        self.pos_bias_v = nn.Parameter(torch.zeros(heads, self.head_dim))

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        """[B, T, d] and [1, T, d] -> [B, T, d]."""
        q, k, v, p = (
            split_heads(y, self.heads) for y in (self.linear_q(x), self.linear_k(x), self.linear_v(x), self.linear_pos(positions))
        )
        content = (q + self.pos_bias_u[:, None]) @ k.transpose(-1, -2)
        place = (q + self.pos_bias_v[:, None]) @ p.transpose(-1, -2)
        weights = torch.softmax((content + place) / math.sqrt(self.head_dim), dim=-1)
        return self.linear_out(join_heads(weights @ v))  # type: ignore[no-any-return]


class Convolution(nn.Module):
    """Pointwise, GLU, depthwise, LayerNorm, SiLU, pointwise."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pointwise_conv1 = nn.Conv1d(width, 2 * width, 1)
        self.depthwise_conv = nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.pointwise_conv2 = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, d] -> [B, T, d]."""
        y = self.depthwise_conv(F.glu(self.pointwise_conv1(x.transpose(1, 2)), dim=1))
        y = F.silu(self.norm(y.transpose(1, 2)))
        return self.pointwise_conv2(y.transpose(1, 2)).transpose(1, 2)  # type: ignore[no-any-return]


class FeedForward(nn.Module):
    """Linear, SiLU, linear."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.w_1, self.w_2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """[..., d] -> [..., d]."""
        return self.w_2(F.silu(self.w_1(x)))  # type: ignore[no-any-return]


class ConformerBlock(nn.Module):
    """Pre-norm attention, convolution and feed-forward, then a norm over the sum; no half-step feed-forward in front."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.norm_mha, self.norm_conv, self.norm_ff, self.norm_final = (nn.LayerNorm(config.width) for _ in range(4))
        self.self_attn = PositionAttention(config.width, config.heads)
        self.conv_module = Convolution(config.width)
        self.feed_forward = FeedForward(config.width, config.ffn)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        """[B, T, d] -> [B, T, d]."""
        x = x + self.self_attn(self.norm_mha(x), positions)
        x = x + self.conv_module(self.norm_conv(x))
        x = x + self.feed_forward(self.norm_ff(x))
        return self.norm_final(x)  # type: ignore[no-any-return]


class Conformer(nn.Module):
    """Conditioning encoder: w2v-bert features [B, T, 1024] -> [B, (T-3)//2+1, d]."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.embed = Subsampling(config.width)
        self.encoders = nn.ModuleList(ConformerBlock(config) for _ in range(config.blocks))
        self.after_norm = nn.LayerNorm(config.width)

    def forward(self, features: Tensor) -> Tensor:
        """Encode normalised features."""
        x, positions = self.embed(features)
        for block in self.encoders:
            x = block(x, positions)
        return self.after_norm(x)  # type: ignore[no-any-return]


class PerceiverAttention(nn.Module):
    """Cross-attention of the latents over latents and context; the latents come first in keys and values."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, inner = heads, heads * HEAD_DIM
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_kv = nn.Linear(dim, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, dim, bias=False)

    def forward(self, latents: Tensor, context: Tensor) -> Tensor:
        """[B, n, dim], [B, T, dim] -> [B, n, dim]."""
        k, v = self.to_kv(torch.cat([latents, context], dim=1)).chunk(2, dim=-1)
        q, k, v = (split_heads(y, self.heads) for y in (self.to_q(latents), k, v))
        weights = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(HEAD_DIM), dim=-1)
        return self.to_out(join_heads(weights @ v))  # type: ignore[no-any-return]


class GatedGelu(nn.Module):
    """a * gelu(gate), with the value in the first half."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., 2n] -> [..., n]."""
        value, gate = x.chunk(2, dim=-1)
        return value * F.gelu(gate)


class RootMeanSquareNorm(nn.Module):
    """Unit vectors times sqrt(dim) times gamma."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))
        self.scale = math.sqrt(dim)

    def forward(self, x: Tensor) -> Tensor:
        """[..., dim] -> [..., dim]."""
        return F.normalize(x, dim=-1) * self.scale * self.gamma


class Perceiver(nn.Module):
    """Resample a context [B, T, context] to `latents` rows [B, n, dim]; two layers without norms, a norm at the end."""

    def __init__(self, dim: int, context: int, latents: int, heads: int, mult: float) -> None:
        super().__init__()
        inner = int(dim * mult * 2 / 3)
        self.latents = nn.Parameter(torch.randn(latents, dim) * 0.02)
        self.proj_context = nn.Linear(context, dim)
        self.layers = nn.ModuleList(
            nn.ModuleList([PerceiverAttention(dim, heads), nn.Sequential(nn.Linear(dim, 2 * inner), GatedGelu(), nn.Linear(inner, dim))])
            for _ in range(2)
        )
        self.norm = RootMeanSquareNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Resample encoder rows."""
        context = self.proj_context(x)
        latents = self.latents.expand(x.shape[0], -1, -1)
        for pair in self.layers:
            assert isinstance(pair, nn.ModuleList)
            latents = pair[0](latents, context) + latents
            latents = pair[1](latents) + latents
        return self.norm(latents)  # type: ignore[no-any-return]

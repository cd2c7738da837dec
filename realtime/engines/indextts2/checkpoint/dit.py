"""The velocity estimator of the flow decoder: a transformer with time-adaptive norms, then a WaveNet. Specification section 11.

What depends on the time alone (two embeddings, all adaptive norms, the WaveNet's conditions) is computed by `at_time`, so that an
export can take it as tables.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from realtime.engines.indextts2.checkpoint.configs import DitConfig
from realtime.engines.indextts2.checkpoint.heads import attend, join_heads, split_heads
from realtime.engines.indextts2.checkpoint.wavenet import WaveNet

FREQUENCIES = 128
ROPE_BASE = 10000.0
RMS_EPS = 1e-5
FINAL_EPS = 1e-6
CACHED_POSITIONS = 16384
"""Length of the official file's position buffer."""


@dataclass(frozen=True, slots=True)
class TimeTables:
    """All that the estimator needs of one time, for a batch or for one row.

    `norms` [B, 2 * depth + 1, 2, C]: scale and offset of each adaptive norm, in the order attention, feed-forward of layer 0, 1, ...,
    then the last norm. `wavenet` [B, layers, 2 * C]. `final` [B, 2, C]: shift and scale of the last layer.
    """

    norms: Tensor
    wavenet: Tensor
    final: Tensor


class TimeEmbedding(nn.Module):
    """Sinusoids of 1000 t through two linears."""

    freqs: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("freqs", torch.exp(-math.log(10000.0) * torch.arange(FREQUENCIES, dtype=torch.float32) / FREQUENCIES))
        self.mlp = nn.Sequential(nn.Linear(2 * FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        """[B] -> [B, C]."""
        angles = 1000.0 * t[:, None] * self.freqs
        return self.mlp(torch.cat([torch.cos(angles), torch.sin(angles)], dim=-1))  # type: ignore[no-any-return]


class RmsWeight(nn.Module):
    """The learned scale of a root-mean-square norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [..., C] to unit mean square, then scale."""
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + RMS_EPS) * self.weight


class AdaptiveNorm(nn.Module):
    """scale(t) * rms_norm(x) + offset(t); there is no "1 +" on the scale."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = RmsWeight(width)
        self.project_layer = nn.Linear(width, 2 * width)

    def forward(self, x: Tensor, scale_offset: Tensor) -> Tensor:
        """x [B, T, C]; scale_offset [B, 2, C] from `table`."""
        return scale_offset[:, :1] * self.norm(x) + scale_offset[:, 1:]  # type: ignore[no-any-return]

    def table(self, time: Tensor) -> Tensor:
        """Time embedding [B, C] -> [B, 2, C]."""
        return self.project_layer(time).reshape(time.shape[0], 2, -1)  # type: ignore[no-any-return]


class DitAttention(nn.Module):
    """Bidirectional attention with rotary positions in interleaved pairs."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.wqkv = nn.Linear(width, 3 * width, bias=False)
        self.wo = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], bias: Tensor | None) -> Tensor:
        """[B, T, C]; `bias` [B, 1, 1, T] hides padding keys, None where there is none."""
        q, k, v = (split_heads(y, self.heads) for y in self.wqkv(x).chunk(3, dim=-1))
        return self.wo(join_heads(attend(rotate(q, rope), rotate(k, rope), v, bias)))  # type: ignore[no-any-return]


class GatedFeedForward(nn.Module):
    """w2(silu(w1 x) * w3 x)."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.w1, self.w3 = nn.Linear(width, inner, bias=False), nn.Linear(width, inner, bias=False)
        self.w2 = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] -> [..., C]."""
        return self.w2(F.silu(self.w1(x)) * self.w3(x))  # type: ignore[no-any-return]


class DitLayer(nn.Module):
    """One transformer layer; `skip_in_linear` exists in all, is used in the trailing ones."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        self.attention = DitAttention(config.width, config.heads)
        self.feed_forward = GatedFeedForward(config.width, config.ffn)
        self.attention_norm, self.ffn_norm = AdaptiveNorm(config.width), AdaptiveNorm(config.width)
        self.skip_in_linear = nn.Linear(2 * config.width, config.width)


class DitTransformer(nn.Module):
    """Layers with U-shaped skips: leading outputs are popped, last first, by the trailing layers."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        self.skips, self.depth = config.skips, config.depth
        self.layers = nn.ModuleList(DitLayer(config) for _ in range(config.depth))
        self.norm = AdaptiveNorm(config.width)

    def forward(self, x: Tensor, norms: Tensor, rope: tuple[Tensor, Tensor], bias: Tensor | None) -> Tensor:
        """[B, T, C] -> [B, T, C]; `norms` as in TimeTables."""
        kept: list[Tensor] = []
        for i, layer in enumerate(self.layers):
            assert isinstance(layer, DitLayer)
            if self.skips and i > self.depth // 2:
                x = layer.skip_in_linear(torch.cat([x, kept.pop()], dim=-1))
            x = x + layer.attention(layer.attention_norm(x, norms[:, 2 * i]), rope, bias)
            x = x + layer.feed_forward(layer.ffn_norm(x, norms[:, 2 * i + 1]))
            if i < self.skips:
                kept.append(x)
        return self.norm(x, norms[:, -1])  # type: ignore[no-any-return]

    def table(self, time: Tensor) -> Tensor:
        """All adaptive norms at a time [B, C] -> [B, 2 * depth + 1, 2, C]."""
        tables = []
        for layer in self.layers:
            assert isinstance(layer, DitLayer)
            tables += [layer.attention_norm.table(time), layer.ffn_norm.table(time)]
        return torch.stack([*tables, self.norm.table(time)], dim=1)


class FinalLayer(nn.Module):
    """LayerNorm without weights, shifted and scaled by time, then a linear."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.linear = nn.Linear(width, width)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, shift_scale: Tensor) -> Tensor:
        """[B, T, C], [B, 2, C] -> [B, T, C]."""
        y = F.layer_norm(x, (self.width,), eps=FINAL_EPS)
        return self.linear(y * (1 + shift_scale[:, 1:]) + shift_scale[:, :1])  # type: ignore[no-any-return]

    def table(self, time: Tensor) -> Tensor:
        """Time embedding [B, C] -> shift and scale [B, 2, C]."""
        return self.adaLN_modulation(time).reshape(time.shape[0], 2, -1)  # type: ignore[no-any-return]


class Dit(nn.Module):
    """Velocity of the mel at a time, given prompt, style and content (official `estimator`)."""

    input_pos: Tensor

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.register_buffer("input_pos", torch.arange(CACHED_POSITIONS))
        self.x_embedder = nn.Linear(config.mels, width)  # this and the next two are in the file and unused
        self.cond_embedder = nn.Embedding(config.codebook, width)
        self.content_mask_embedder = nn.Embedding(1, width)
        self.cond_projection = nn.Linear(config.content, width)
        self.t_embedder, self.t_embedder2 = TimeEmbedding(width), TimeEmbedding(width)
        self.cond_x_merge_linear = nn.Linear(width + 2 * config.mels + config.style, width)
        self.transformer = DitTransformer(config)
        if config.long_skip:
            self.skip_linear = nn.Linear(width + config.mels, width)
        self.conv1, self.res_projection = nn.Linear(width, width), nn.Linear(width, width)
        self.wavenet = WaveNet(width, config.wavenet_layers, config.wavenet_kernel, config.wavenet_dilation)
        self.final_layer = FinalLayer(width)
        self.conv2 = nn.Conv1d(width, config.mels, 1)

    def forward(self, x: Tensor, prompt: Tensor, t: Tensor, style: Tensor, mu: Tensor, lengths: Tensor | None = None) -> Tensor:
        """x, prompt [B, mels, T]; t [B]; style [B, S]; mu [B, T, content]; lengths [B] or None for no padding -> [B, mels, T]."""
        merged = self.merge(x, prompt, style, mu)
        return self.velocity(merged, x, self.at_time(t), lengths)

    def merge(self, x: Tensor, prompt: Tensor, style: Tensor, mu: Tensor) -> Tensor:
        """All inputs of a frame in one row: [B, T, C]."""
        style_rows = style[:, None].expand(-1, x.shape[2], -1)
        rows = [x.transpose(1, 2), prompt.transpose(1, 2), self.cond_projection(mu), style_rows]
        return self.cond_x_merge_linear(torch.cat(rows, dim=-1))  # type: ignore[no-any-return]

    def at_time(self, t: Tensor) -> TimeTables:
        """Everything that depends on the time [B] alone."""
        first, second = self.t_embedder(t), self.t_embedder2(t)
        return TimeTables(self.transformer.table(first), self.wavenet.table(second), self.final_layer.table(first))

    def velocity(self, merged: Tensor, x: Tensor, tables: TimeTables, lengths: Tensor | None = None) -> Tensor:
        """From merged rows [B, T, C] and the state x [B, mels, T] to the velocity [B, mels, T]."""
        mask = None if lengths is None else frame_mask(lengths, x.shape[2])
        y = self.attend(merged, tables, mask)
        if self.config.long_skip:
            y = self.skip_linear(torch.cat([y, x.transpose(1, 2)], dim=-1))
        out = self.wavenet(self.conv1(y).transpose(1, 2), tables.wavenet, mask)
        y = self.final_layer(out.transpose(1, 2) + self.res_projection(y), tables.final)
        return self.conv2(y.transpose(1, 2))  # type: ignore[no-any-return]

    def attend(self, merged: Tensor, tables: TimeTables, mask: Tensor | None) -> Tensor:
        """The transformer over merged rows [B, T, C]."""
        rope = rope_table(merged.shape[1], self.config.width // self.config.heads, merged.device)
        bias = None if mask is None else torch.zeros_like(mask).masked_fill(mask == 0, float("-inf"))[:, None]
        return self.transformer(merged, tables.norms, rope, bias)  # type: ignore[no-any-return]


def frame_mask(lengths: Tensor, frames: int) -> Tensor:
    """1.0 on the frames below each length: [B, 1, frames]."""
    return (torch.arange(frames, device=lengths.device)[None] < lengths[:, None]).float()[:, None]


def rope_table(rows: int, head_dim: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Cosine and sine of position * rate, each [rows, head_dim / 2] (RoFormer, Su et al. 2021)."""
    rates = 1.0 / (ROPE_BASE ** (torch.arange(0, head_dim, 2, dtype=torch.float32, device=device) / head_dim))
    angles = torch.arange(rows, dtype=torch.float32, device=device)[:, None] * rates
    return torch.cos(angles), torch.sin(angles)


def rotate(x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate the pairs (2j, 2j+1) of [B, heads, T, d] by their position's angles."""
    cos, sin = rope
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1).flatten(-2)

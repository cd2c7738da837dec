"""The first layers of w2v-bert 2.0 with the keys of the published file (Hugging Face `Wav2Vec2BertModel`). Specification section 14.

Written out rather than taken from transformers: 17 of 24 layers are needed, one clip at a time, and the library would be the largest
dependency of the extra.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from realtime.engines.indextts2.checkpoint.configs import W2vBertConfig
from realtime.engines.indextts2.checkpoint.heads import join_heads, split_heads


class FeatureProjection(nn.Module):
    """Filterbanks to the model's width."""

    def __init__(self, c: W2vBertConfig) -> None:
        super().__init__()
        self.layer_norm, self.projection = nn.LayerNorm(c.inputs, eps=c.eps), nn.Linear(c.inputs, c.hidden)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, 160] -> [B, T, H]."""
        return self.projection(self.layer_norm(x))  # type: ignore[no-any-return]


class RelativeAttention(nn.Module):
    """Attention with a learned row per clipped distance, added to the scores."""

    def __init__(self, c: W2vBertConfig) -> None:
        super().__init__()
        self.heads, self.left, self.right = c.heads, c.left, c.right
        self.linear_q, self.linear_k, self.linear_v, self.linear_out = (nn.Linear(c.hidden, c.hidden) for _ in range(4))
        self.distance_embedding = nn.Embedding(c.left + c.right + 1, c.hidden // c.heads)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """[B, T, H] -> [B, T, H]; rows where mask [B, T] is 0 are not looked at."""
        q, k, v = (split_heads(y, self.heads) for y in (self.linear_q(x), self.linear_k(x), self.linear_v(x)))
        place = torch.arange(x.shape[1])
        distance = (place[None] - place[:, None]).clamp(-self.left, self.right) + self.left
        by_distance = q @ self.distance_embedding.weight.T  # [B, heads, T, distances], then picked: T x 73 products instead of T x T
        scores = q @ k.transpose(-1, -2) + by_distance.gather(-1, distance.expand(*q.shape[:2], -1, -1))
        scores = scores / math.sqrt(q.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(mask[:, None, None] == 0, torch.finfo(torch.float32).min)
        return self.linear_out(join_heads(torch.softmax(scores, dim=-1) @ v))  # type: ignore[no-any-return]


class CausalConvolution(nn.Module):
    """LayerNorm, pointwise, GLU, depthwise over the past, LayerNorm, swish, pointwise."""

    def __init__(self, c: W2vBertConfig) -> None:
        super().__init__()
        self.layer_norm, self.depthwise_layer_norm = nn.LayerNorm(c.hidden, eps=c.eps), nn.LayerNorm(c.hidden, eps=c.eps)
        self.pointwise_conv1 = nn.Conv1d(c.hidden, 2 * c.hidden, 1, bias=False)
        self.depthwise_conv = nn.Conv1d(c.hidden, c.hidden, c.kernel, groups=c.hidden, bias=False)
        self.pointwise_conv2 = nn.Conv1d(c.hidden, c.hidden, 1, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """[B, T, H] -> [B, T, H]; rows where mask [B, T] is 0 count as zeros."""
        x = self.layer_norm(x)
        x = x if mask is None else x * mask[..., None]
        y = F.glu(self.pointwise_conv1(x.transpose(1, 2)), dim=1)
        y = self.depthwise_conv(F.pad(y, (self.depthwise_conv.kernel_size[0] - 1, 0)))
        y = F.silu(self.depthwise_layer_norm(y.transpose(1, 2)))
        return self.pointwise_conv2(y.transpose(1, 2)).transpose(1, 2)  # type: ignore[no-any-return]


class SwishFeedForward(nn.Module):
    """Linear, swish, linear."""

    def __init__(self, c: W2vBertConfig) -> None:
        super().__init__()
        self.intermediate_dense, self.output_dense = nn.Linear(c.hidden, c.ffn), nn.Linear(c.ffn, c.hidden)

    def forward(self, x: Tensor) -> Tensor:
        """[..., H] -> [..., H]."""
        return self.output_dense(F.silu(self.intermediate_dense(x)))  # type: ignore[no-any-return]


class W2vLayer(nn.Module):
    """Conformer layer with two half-step feed-forwards."""

    def __init__(self, c: W2vBertConfig) -> None:
        super().__init__()
        self.ffn1_layer_norm, self.self_attn_layer_norm = nn.LayerNorm(c.hidden, eps=c.eps), nn.LayerNorm(c.hidden, eps=c.eps)
        self.ffn2_layer_norm, self.final_layer_norm = nn.LayerNorm(c.hidden, eps=c.eps), nn.LayerNorm(c.hidden, eps=c.eps)
        self.ffn1, self.ffn2 = SwishFeedForward(c), SwishFeedForward(c)
        self.self_attn, self.conv_module = RelativeAttention(c), CausalConvolution(c)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """[B, T, H] -> [B, T, H]."""
        x = x + 0.5 * self.ffn1(self.ffn1_layer_norm(x))
        x = x + self.self_attn(self.self_attn_layer_norm(x), mask)
        x = x + self.conv_module(x, mask)
        x = x + 0.5 * self.ffn2(self.ffn2_layer_norm(x))
        return self.final_layer_norm(x)  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """The stack of layers."""

    def __init__(self, c: W2vBertConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(W2vLayer(c) for _ in range(c.used_layers))


class W2vBert(nn.Module):
    """Seamless filterbanks [B, T, 160] -> the hidden state after the used layers [B, T, H]."""

    def __init__(self, config: W2vBertConfig) -> None:
        super().__init__()
        self.feature_projection, self.encoder = FeatureProjection(config), Encoder(config)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """`mask` [B, T] is 1 on real rows and 0 on padding, None where all are real. A clip with an odd number of frames ends in a
        half-real row that the front end marks as padding; the official pipeline keeps its output."""
        x = self.feature_projection(features)
        x = x if mask is None else x * mask[..., None]
        for layer in self.encoder.layers:
            x = layer(x, mask)
        return x  # type: ignore[no-any-return]

"""The language model of semantic codes (official class `UnifiedVoice`): condition encoders, GPT-2 blocks, heads.

Specification section 6. Position embeddings are added outside the blocks, so left padding shifts nothing. GPT-2's own layers keep
their (in, out) weight layout.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from realtime.engines.indextts2.checkpoint.configs import EMOTION_DIM, GptConfig
from realtime.engines.indextts2.checkpoint.conformer import Conformer, Perceiver
from realtime.engines.indextts2.checkpoint.heads import attend, join_heads, split_heads


class InOutLinear(nn.Module):
    """GPT-2's `Conv1D`: y = x @ W + b with W of shape (in, out)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs) * 0.02)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        return x @ self.weight + self.bias


@dataclass(slots=True)
class KvCache:
    """Keys and values per layer, each [B, heads, P, head_dim]; grows by concatenation (this is the reference, not the fast path)."""

    keys: list[Tensor]
    values: list[Tensor]

    @property
    def length(self) -> int:
        """Positions held."""
        return self.keys[0].shape[2] if self.keys else 0

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values of a layer, the new ones last."""
        if layer == len(self.keys):
            self.keys.append(k)
            self.values.append(v)
        else:
            self.keys[layer] = torch.cat([self.keys[layer], k], dim=2)
            self.values[layer] = torch.cat([self.values[layer], v], dim=2)
        return self.keys[layer], self.values[layer]

    def reordered(self, rows: Tensor) -> KvCache:
        """The cache of the batch rows `rows`, in that order (beam search)."""
        return KvCache([k[rows] for k in self.keys], [v[rows] for v in self.values])


class Attention(nn.Module):
    """Causal multi-head self-attention."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.c_attn, self.c_proj = InOutLinear(dim, 3 * dim), InOutLinear(dim, dim)

    def forward(self, x: Tensor, bias: Tensor, cache: KvCache | None, layer: int) -> Tensor:
        """`bias` is added to the scores [B or 1, 1, T, P]: 0 where attended, -inf where not."""
        q, k, v = (split_heads(y, self.heads) for y in self.c_attn(x).chunk(3, dim=-1))
        if cache is not None:
            k, v = cache.append(layer, k, v)
        return self.c_proj(join_heads(attend(q, k, v, bias)))  # type: ignore[no-any-return]


class Mlp(nn.Module):
    """Linear, tanh-approximated GELU, linear."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.c_fc, self.c_proj = InOutLinear(dim, 4 * dim), InOutLinear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D]."""
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Pre-norm GPT-2 block."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.ln_1, self.attn, self.ln_2, self.mlp = nn.LayerNorm(dim), Attention(dim, heads), nn.LayerNorm(dim), Mlp(dim)

    def forward(self, x: Tensor, bias: Tensor, cache: KvCache | None, layer: int) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        x = x + self.attn(self.ln_1(x), bias, cache, layer)
        return x + self.mlp(self.ln_2(x))  # type: ignore[no-any-return]


class Blocks(nn.Module):
    """The stack and its own last norm."""

    def __init__(self, config: GptConfig) -> None:
        super().__init__()
        self.h = nn.ModuleList(Block(config.dim, config.heads) for _ in range(config.layers))
        self.ln_f = nn.LayerNorm(config.dim)


class PositionTable(nn.Module):
    """Learned position rows."""

    def __init__(self, rows: int, dim: int) -> None:
        super().__init__()
        self.emb = nn.Embedding(rows, dim)


class Gpt(nn.Module):
    """Conditions, text and codes in; hidden states and code logits out."""

    def __init__(self, config: GptConfig) -> None:
        super().__init__()
        self.config = config
        dim, spk, emo = config.dim, config.speaker, config.emotion
        self.conditioning_encoder = Conformer(spk)
        self.perceiver_encoder = Perceiver(dim, spk.width, config.latents, spk.heads, spk.perceiver_mult)
        self.emo_conditioning_encoder = Conformer(emo)
        self.emo_perceiver_encoder = Perceiver(EMOTION_DIM, emo.width, 1, emo.heads, emo.perceiver_mult)
        self.emovec_layer, self.emo_layer = nn.Linear(EMOTION_DIM, dim), nn.Linear(dim, dim)
        self.speed_emb = nn.Embedding(2, dim)
        self.text_embedding = nn.Embedding(config.text_tokens + 1, dim)
        self.mel_embedding = nn.Embedding(config.codes, dim)
        self.text_pos_embedding = PositionTable(config.max_text + 2, dim)
        self.mel_pos_embedding = PositionTable(config.max_codes + 3, dim)
        self.gpt = Blocks(config)
        self.final_norm = nn.LayerNorm(dim)
        self.mel_head = nn.Linear(dim, config.codes)
        self.text_head = nn.Linear(dim, config.text_tokens + 1)  # training only; kept so that the file's keys are all accounted for

    def speaker_latents(self, features: Tensor) -> Tensor:
        """w2v-bert features of the speaker clip [B, T, 1024] -> [B, n, D]."""
        return self.perceiver_encoder(self.conditioning_encoder(features))  # type: ignore[no-any-return]

    def emotion_vector(self, features: Tensor) -> Tensor:
        """w2v-bert features of a clip [B, T, 1024] -> [B, D]."""
        rows = self.emo_perceiver_encoder(self.emo_conditioning_encoder(features))
        return self.emo_layer(self.emovec_layer(rows[:, 0]))  # type: ignore[no-any-return]

    def merged_emotion(self, speaker: Tensor, emotion: Tensor, strength: float) -> Tensor:
        """Emotion vectors of speaker and emotion clip mixed: speaker + strength * (emotion - speaker)."""
        return speaker + strength * (emotion - speaker)

    def conditions(self, latents: Tensor, emotion: Tensor) -> Tensor:
        """Speaker latents [B, n, D] and emotion [B, D] -> the first n+2 positions of a sequence [B, n+2, D].

        Speed row 1 comes before row 0 (specification 6.3); emotion is added to the latents only.
        """
        speed = self.speed_emb.weight[[1, 0]].expand(latents.shape[0], -1, -1)
        return torch.cat([latents + emotion[:, None], speed], dim=1)

    def text_rows(self, text_ids: Tensor) -> Tensor:
        """Text ids without start and stop [B, L] -> embedded [start, text, stop] [B, L+2, D]."""
        c = self.config
        ids = F.pad(F.pad(text_ids, (1, 0), value=c.start_text), (0, 1), value=c.stop_text)
        return self.text_embedding(ids) + self.text_pos_embedding.emb.weight[: ids.shape[1]]  # type: ignore[no-any-return]

    def code_rows(self, codes: Tensor, first_position: int) -> Tensor:
        """Codes [B, N] at table positions first, first+1, ... -> [B, N, D]."""
        positions = self.mel_pos_embedding.emb.weight[first_position : first_position + codes.shape[1]]
        return self.mel_embedding(codes) + positions  # type: ignore[no-any-return]

    def prefix(self, conditions: Tensor, text_ids: Tensor) -> Tensor:
        """What stands before the start code: [B, n+2 + L+2, D]."""
        return torch.cat([conditions, self.text_rows(text_ids)], dim=1)

    def transform(self, rows: Tensor, cache: KvCache | None = None, attended: Tensor | None = None) -> Tensor:
        """Hidden states after both last norms [B, T, D] of new rows that follow what the cache holds.

        `attended` [B, P + T] is False on padding (cached positions included).
        """
        bias = causal_bias(rows.shape[1], 0 if cache is None else cache.length, rows.device, attended)
        for layer, block in enumerate(self.gpt.h):
            rows = block(rows, bias, cache, layer)
        return self.final_norm(self.gpt.ln_f(rows))  # type: ignore[no-any-return]

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states [..., D] -> code logits [..., V]."""
        return self.mel_head(hidden)  # type: ignore[no-any-return]

    def latents(self, conditions: Tensor, text_ids: Tensor, codes: Tensor) -> Tensor:
        """The second pass of the official pipeline: the states that predict each of `codes` [B, N] -> [B, N, D] (section 8)."""
        return self.second_pass(conditions, text_ids, codes)[:, :-2]

    def second_pass(self, conditions: Tensor, text_ids: Tensor, codes: Tensor) -> Tensor:
        """Hidden states at [start, codes, stop] in the training layout, code k at table position k+1: [B, N+2, D]."""
        c = self.config
        ids = F.pad(F.pad(codes, (1, 0), value=c.start_code), (0, 1), value=c.stop_code)
        rows = torch.cat([self.prefix(conditions, text_ids), self.code_rows(ids, 0)], dim=1)
        return self.transform(rows)[:, -ids.shape[1] :]


def causal_bias(new: int, past: int, device: torch.device, attended: Tensor | None = None) -> Tensor:
    """Score bias [1 or B, 1, new, past + new]: 0 where a position may look, a very low number elsewhere.

    Not -inf: a padding row that may look at nothing must stay finite.
    """
    lowest = torch.finfo(torch.float32).min
    place, row = torch.arange(past + new, device=device), torch.arange(new, device=device) + past
    hidden = (place[None] > row[:, None])[None, None]
    if attended is not None:
        hidden = hidden | ~attended[:, None, None, : past + new].bool()
    return torch.zeros(hidden.shape, device=device).masked_fill(hidden, lowest)

"""Text encoder: six id streams' embeddings, position code, FFT blocks (specification 5.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from realtime.engines.sambert.checkpoint.layers import LAYER_NORM_EPS, FeedForward, SelfAttention, sinusoid_table
from realtime.engines.sambert.dims import AcousticDims

FFN_KERNEL = 3


class PositionCode(nn.Module):
    """Holds the table under its published name; rebuilt longer by the same formula for texts beyond it."""

    position_enc: Tensor

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.register_buffer("position_enc", sinusoid_table(rows, width)[None])

    def forward(self, length: int) -> Tensor:
        """Code of the first `length` positions, [1,length,width]."""
        rows, width = self.position_enc.shape[1:]
        if length <= rows:
            return self.position_enc[:, :length]
        return sinusoid_table(length, width)[None].to(self.position_enc)


class FftBlock(nn.Module):
    """One transformer block, pre-norm."""

    def __init__(self, width_in: int, units: int, heads: int, inner: int) -> None:
        super().__init__()
        self.slf_attn = SelfAttention(width_in, units, heads)
        self.pos_ffn = FeedForward(units, inner, FFN_KERNEL)

    def forward(self, x: Tensor, padding: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x [B,T,width_in] -> (out [B,T,units], attention [B,heads,T,T])."""
        out, attention = self.slf_attn(x, padding)
        if padding is not None:
            out = out.masked_fill(padding[:, :, None], 0.0)
        out = self.pos_ffn(out, padding)
        if padding is not None:
            out = out.masked_fill(padding[:, :, None], 0.0)
        return out, attention


class LinguisticEncoder(nn.Module):
    """Position code, blocks, final norm."""

    def __init__(self, dims: AcousticDims) -> None:
        super().__init__()
        self.position_enc = PositionCode(dims.max_len, dims.embedding_dim)
        widths = (dims.embedding_dim,) + (dims.encoder_num_units,) * (dims.encoder_num_layers - 1)
        self.fft = nn.ModuleList(
            FftBlock(width, dims.encoder_num_units, dims.encoder_num_heads, dims.encoder_ffn_inner_dim) for width in widths
        )
        self.ln = nn.LayerNorm(dims.encoder_num_units, eps=LAYER_NORM_EPS)
        self.scale = dims.encoder_num_units**0.5

    def first_block_in(self, embedded: Tensor) -> Tensor:
        """Embedding sums [B,T,E] scaled by sqrt(units) (not sqrt(E)), plus the position code."""
        out: Tensor = embedded * self.scale + self.position_enc(embedded.shape[1])
        return out

    def forward(self, embedded: Tensor, padding: Tensor | None = None) -> Tensor:
        """embedded [B,T,E] -> [B,T,units]."""
        x = self.first_block_in(embedded)
        for block in self.fft:
            x, _ = block(x, padding)
        out: Tensor = self.ln(x)
        return out


class TextEncoder(nn.Module):
    """Symbol ids to hidden text, `encoder_projection_units` wide."""

    def __init__(self, dims: AcousticDims) -> None:
        super().__init__()
        width = dims.embedding_dim
        self.sy_emb = nn.Embedding(dims.sy, width)
        self.tone_emb = nn.Embedding(dims.tone, width)
        self.syllable_flag_emb = nn.Embedding(dims.syllable_flag, width)
        self.ws_emb = nn.Embedding(dims.word_segment, width)
        self.ling_enc = LinguisticEncoder(dims)
        self.ling_proj = nn.Linear(dims.encoder_num_units, dims.encoder_projection_units, bias=False)

    def embed(self, ling: Tensor) -> Tensor:
        """ling [B,T,4] ids (symbol, tone, syllable flag, word segment) -> sums [B,T,E]."""
        sy, tone, flag, word = ling.unbind(-1)
        total: Tensor = self.sy_emb(sy) + self.tone_emb(tone) + self.syllable_flag_emb(flag) + self.ws_emb(word)
        return total

    def forward(self, ling: Tensor, padding: Tensor | None = None) -> Tensor:
        """ling [B,T,4] -> text_hid [B,T,projection]."""
        out: Tensor = self.ling_proj(self.ling_enc(self.embed(ling), padding))
        return out


def padding_mask(lengths: Tensor, total: int) -> Tensor:
    """lengths [B] -> [B,total], true beyond each length."""
    return torch.arange(total)[None, :] >= lengths[:, None]

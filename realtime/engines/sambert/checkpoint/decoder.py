"""PNCA decoder, step-wise, and the postnet (specification 5.6, 5.7)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from realtime.engines.sambert.checkpoint.layers import LAYER_NORM_EPS, FeedForward, Fsmn, Prenet, parts
from realtime.engines.sambert.dims import AcousticDims


class PncaAttention(nn.Module):
    """Attention over the own past steps (x) and over the memory rows ahead (h), both in narrow bands."""

    def __init__(self, units: int, heads: int, memory_units: int) -> None:
        super().__init__()
        self.heads = heads
        self.d_head = units // heads
        self.layer_norm = nn.LayerNorm(units, eps=LAYER_NORM_EPS)
        self.w_x_qkv = nn.Linear(units, 3 * units)
        self.fc_x = nn.Linear(units, units)
        self.w_h_kv = nn.Linear(memory_units, 2 * units)
        self.fc_h = nn.Linear(units, units)

    def memory_kv(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """memory [1,M,width] -> keys and values [heads,M,d_head] for the h-attention of every step."""
        k, v = self.w_h_kv(memory[0]).chunk(2, dim=-1)
        return self._heads(k), self._heads(v)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x [1,units] -> q, k, v [heads,1,d_head] of this step."""
        q, k, v = self.w_x_qkv(self.layer_norm(x)).chunk(3, dim=-1)
        return self._heads(q), self._heads(k), self._heads(v)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """One query [heads,1,d] over W rows -> (context [1,units], weights [heads,W])."""
        weights = torch.softmax(q @ k.transpose(-1, -2) / self.d_head**0.5, dim=-1)
        return (weights @ v).transpose(0, 1).flatten(1), weights[:, 0]

    def _heads(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:-1], self.heads, self.d_head).transpose(0, 1)


class PncaBlock(nn.Module):
    """One decoder layer."""

    def __init__(self, dims: AcousticDims) -> None:
        super().__init__()
        self.pnca_attn = PncaAttention(dims.decoder_num_units, dims.decoder_num_heads, dims.memory_units)
        self.pos_ffn = FeedForward(dims.decoder_num_units, dims.decoder_ffn_inner_dim, 1)


class DecoderTrace:
    """Intermediates of a decode for the parity check: prenet output per step, attention rows per step and layer."""

    def __init__(self) -> None:
        self.prenet_out: list[Tensor] = []
        self.attention_x: list[list[tuple[int, Tensor]]] = []
        self.attention_h: list[list[tuple[int, Tensor]]] = []


class HybridDecoder(nn.Module):
    """The loop over steps; each emits `outputs_per_step` frames and feeds the last one back."""

    def __init__(self, dims: AcousticDims) -> None:
        super().__init__()
        self.mels = dims.num_mels
        self.scale = dims.decoder_num_units**0.5
        self.prenet = Prenet(dims.num_mels, dims.decoder_prenet_units, dims.decoder_num_units)
        self.dec_in_proj = nn.Linear(dims.memory_units + dims.decoder_num_units, dims.decoder_num_units)
        self.pnca = nn.ModuleList(PncaBlock(dims) for _ in range(dims.decoder_num_layers))
        self.ln = nn.LayerNorm(dims.decoder_num_units, eps=LAYER_NORM_EPS)
        self.dec_out_proj = nn.Linear(dims.decoder_num_units, dims.num_mels * dims.outputs_per_step)

    def forward(self, memory: Tensor, x_band: int, h_band: int, trace: DecoderTrace | None = None) -> Tensor:
        """memory [1,M,width] -> frames of every step side by side [1,M,r*mels]."""
        blocks = parts(self.pnca, PncaBlock)
        kv = [block.pnca_attn.memory_kv(memory) for block in blocks]
        past: list[tuple[Tensor, Tensor]] = [(k[:, :0], v[:, :0]) for k, v in kv]
        frame = memory.new_zeros(1, self.mels)
        out = []
        for step in range(memory.shape[1]):
            u = self.prenet(frame)
            x = self.dec_in_proj(torch.cat([memory[:, step], u], dim=-1)) * self.scale
            rows: list[tuple[int, Tensor, Tensor]] = []
            for i, block in enumerate(blocks):
                x, past[i], weights = self._layer(block, x, past[i], (kv[i][0][:, step:], kv[i][1][:, step:]), (x_band, h_band))
                rows.append((step, *weights))
            frames = self.dec_out_proj(self.ln(x))
            frame = frames[:, -self.mels :]
            out.append(frames)
            if trace is not None:
                trace.prenet_out.append(u)
                trace.attention_x.append([(s, wx) for s, wx, _ in rows])
                trace.attention_h.append([(s, wh) for s, _, wh in rows])
        return torch.stack(out, dim=1)

    @staticmethod
    def _layer(
        block: PncaBlock, x: Tensor, past: tuple[Tensor, Tensor], ahead: tuple[Tensor, Tensor], bands: tuple[int, int]
    ) -> tuple[Tensor, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        attn = block.pnca_attn
        q, k, v = attn.project(x)
        # Only steps s - x_band .. s are ever read, so older entries are dropped.
        k = torch.cat([past[0], k], dim=1)[:, -(bands[0] + 1) :]
        v = torch.cat([past[1], v], dim=1)[:, -(bands[0] + 1) :]
        context_x, weights_x = attn.attend(q, k, v)
        context_h, weights_h = attn.attend(q, ahead[0][:, : bands[1] + 1], ahead[1][:, : bands[1] + 1])
        x = x + attn.fc_x(context_x) + attn.fc_h(context_h)
        out: Tensor = block.pos_ffn(x[:, None])[:, 0]
        return out, (k, v), (weights_x, weights_h)


class MelDecoder(nn.Module):
    """Wrapper that gives the decoder its published prefix `mel_dec`."""

    def __init__(self, dims: AcousticDims) -> None:
        super().__init__()
        self.mel_dec = HybridDecoder(dims)

    def forward(self, memory: Tensor, x_band: int, h_band: int) -> Tensor:
        """memory [1,M,width] -> frames [1, M*r, mels]."""
        out: Tensor = self.mel_dec(memory, x_band, h_band)
        return out.reshape(1, -1, self.mel_dec.mels)


class Postnet(nn.Module):
    """Residual over the decoder's frames: FSMN, forward LSTM, projection."""

    def __init__(self, dims: AcousticDims) -> None:
        super().__init__()
        self.fsmn = Fsmn(
            dims.num_mels,
            dims.postnet_num_memory_units,
            dims.postnet_ffn_inner_dim,
            dims.postnet_filter_size,
            dims.postnet_fsmn_num_layers,
            dims.postnet_shift,
        )
        self.lstm = nn.LSTM(dims.postnet_num_memory_units, dims.postnet_lstm_units, batch_first=True)
        self.fc = nn.Linear(dims.postnet_lstm_units, dims.num_mels)

    def forward(self, frames: Tensor, padding: Tensor | None = None) -> Tensor:
        """frames [1,L,mels], zero where padding [1,L] is true -> residual [1,L,mels]."""
        hidden, _ = self.lstm(self.fsmn(frames, padding))
        out: Tensor = self.fc(hidden)
        return out

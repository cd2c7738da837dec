"""The acoustic model cut into the graphs that the runtime calls: each functional, at batch 1 unless it says otherwise.

    text_encoder   ids                      -> hidden text
    variance       hidden text and company  -> pitch, energy, augmented text, what the duration loop needs of it
    memory         packed memory            -> keys and values for every step, memory's share of the decoder input
    decoder_step   one step of B jobs       -> frames, the step's own keys and values
    postnet        n frames with state      -> residuals, delayed by the look-ahead

(The duration loop is built in `duration_graph.py`.) Folded into the weights: sqrt(units) and the last prenet layer into the decoder's
input projection, 1/sqrt(d_head) into the queries, both output projections of an attention layer into one matrix.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from realtime.engines.sambert.checkpoint.decoder import HybridDecoder, PncaBlock, Postnet
from realtime.engines.sambert.checkpoint.encoder import FftBlock, TextEncoder
from realtime.engines.sambert.checkpoint.layers import FeedForward, FsmnFeedForward, MemoryBlock, lstm_weight, parts, sinusoid_table
from realtime.engines.sambert.checkpoint.variance import VarianceAdaptor, VariancePredictor

SPARE_POSITIONS = 256
"""Rows of the position table beyond `max_len`, so that a text somewhat over it still speaks."""


class TextEncoderGraph(nn.Module):
    """ling int64 [1,T,4] -> text_hid [1,T,P], T up to max_len + SPARE_POSITIONS."""

    position: Tensor

    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        given = encoder.ling_enc.position_enc.position_enc[0]
        longer = sinusoid_table(given.shape[0] + SPARE_POSITIONS, given.shape[1])[given.shape[0] :]
        self.register_buffer("position", torch.cat([given, longer])[None])

    def forward(self, ling: Tensor) -> Tensor:
        """See the class."""
        enc = self.encoder.ling_enc
        x = self.encoder.embed(ling) * enc.scale + self.position[:, : ling.shape[1]]
        for block in parts(enc.fft, FftBlock):
            x = _feed_forward(block.pos_ffn, block.slf_attn(x)[0])
        out: Tensor = self.encoder.ling_proj(enc.ln(x))
        return out


class VarianceGraph(nn.Module):
    """text_hid, spk_hid, emo_hid [1,T,*], pitch_offset, energy_offset [1,T] -> pitch, energy [1,T], text_aug [1,T,P], gates [T,4H].

    `gates` is the condition's share of the duration LSTM's first layer, biases included: all of it that does not depend on the loop.
    """

    def __init__(self, adaptor: VarianceAdaptor) -> None:
        super().__init__()
        self.adaptor = adaptor
        lstm = adaptor.duration_predictor.lstm
        condition = parts(adaptor.pitch_predictor.fsmn.ffn_lst, FsmnFeedForward)[0].w_1.in_channels
        self.gates = _linear(
            lstm_weight(lstm, "weight_ih_l0")[:, lstm.input_size - condition :],
            lstm_weight(lstm, "bias_ih_l0") + lstm_weight(lstm, "bias_hh_l0"),
        )

    def forward(
        self, text_hid: Tensor, spk_hid: Tensor, emo_hid: Tensor, pitch_offset: Tensor, energy_offset: Tensor
    ) -> tuple[Tensor, ...]:
        """See the class."""
        given = torch.cat([text_hid, spk_hid, emo_hid], dim=-1)
        pitch = _predict(self.adaptor.pitch_predictor, given) + pitch_offset
        energy = _predict(self.adaptor.energy_predictor, given) + energy_offset
        text_aug = self.adaptor.augment(text_hid, pitch, energy)
        condition = torch.cat([text_aug, spk_hid, emo_hid], dim=-1)
        return pitch, energy, text_aug, self.gates(condition[0])


class MemoryGraph(nn.Module):
    """memory [M,D] -> keys [M,L,H,d], values [M,L,H,d], base [M,U]: the memory's share of every decoder step."""

    def __init__(self, decoder: HybridDecoder) -> None:
        super().__init__()
        blocks = [block.pnca_attn for block in parts(decoder.pnca, PncaBlock)]
        self.shape = (-1, len(blocks), blocks[0].heads, blocks[0].d_head)
        units = blocks[0].heads * blocks[0].d_head
        weights, biases = torch.stack([a.w_h_kv.weight for a in blocks]), torch.stack([a.w_h_kv.bias for a in blocks])
        width = weights.shape[2]
        self.keys = _linear(weights[:, :units].reshape(-1, width), biases[:, :units].reshape(-1))
        self.values = _linear(weights[:, units:].reshape(-1, width), biases[:, units:].reshape(-1))
        self.base = _linear(decoder.dec_in_proj.weight[:, :width] * decoder.scale, decoder.dec_in_proj.bias * decoder.scale)

    def forward(self, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See the class."""
        return self.keys(memory).reshape(self.shape), self.values(memory).reshape(self.shape), self.base(memory)


class DecoderLayerGraph(nn.Module):
    """One layer of one step for B jobs; both attentions run as one of 2 H heads over the same number of slots."""

    def __init__(self, block: PncaBlock) -> None:
        super().__init__()
        attn = block.pnca_attn
        self.norm, self.heads, self.d_head = attn.layer_norm, attn.heads, attn.d_head
        units = self.heads * self.d_head
        scale = torch.ones(3 * units)
        scale[:units] = self.d_head**-0.5
        self.qkv = _linear(attn.w_x_qkv.weight * scale[:, None], attn.w_x_qkv.bias * scale)
        self.out = _linear(torch.cat([attn.fc_x.weight, attn.fc_h.weight], dim=1), attn.fc_x.bias + attn.fc_h.bias)
        self.ffn_norm = block.pos_ffn.layer_norm
        first, second = block.pos_ffn.w_1, block.pos_ffn.w_2
        assert first.bias is not None and second.bias is not None
        self.inner = _linear(first.weight[:, :, 0], first.bias)
        self.outer = _linear(second.weight[:, :, 0], second.bias)

    def forward(self, x: Tensor, windows: tuple[Tensor, Tensor, Tensor, Tensor], mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x [B,U]; windows xk [B,H,d,W-1], xv [B,H,W-1,d], hk [B,H,d,W], hv [B,H,W,d]; mask [B,2,1,1,W] -> (x, k [B,H,d], v [B,H,d])."""
        xk, xv, hk, hv = windows
        q, k, v = self.qkv(self.norm(x)).reshape(-1, 3, self.heads, self.d_head).unbind(1)
        keys = torch.stack([torch.cat([xk, k[..., None]], dim=-1), hk], dim=1)
        values = torch.stack([torch.cat([xv, v[:, :, None]], dim=2), hv], dim=1)
        weights = torch.softmax(q[:, None, :, None] @ keys + mask, dim=-1)
        x = x + self.out((weights @ values).flatten(1))
        return x + self.outer(torch.relu(self.inner(self.ffn_norm(x)))), k, v


class DecoderStepGraph(nn.Module):
    """One decoder step for B jobs.

    frame [B,mels] the last frame of the step before (zeros at the start), base [B,U] of this step; the windows hold slots in any order
    (there is no position code): xk [L,B,H,d,W-1], xv [L,B,H,W-1,d] own past steps, hk [L,B,H,d,W], hv [L,B,H,W,d] memory rows ahead;
    mask [B,2,1,1,W] is 0 for a filled slot and very negative for an empty one (the last slot of the past is this step).
    -> frames [B, r*mels], k and v [L,B,H,d] to be put into the past.
    """

    def __init__(self, decoder: HybridDecoder) -> None:
        super().__init__()
        linears = [part for part in decoder.prenet.fcs if isinstance(part, nn.Linear)]
        self.hidden = nn.ModuleList(linears[:-1])
        memory = decoder.dec_in_proj.in_features - decoder.dec_in_proj.out_features
        own = decoder.dec_in_proj.weight[:, memory:] * decoder.scale
        self.into = _linear(own @ linears[-1].weight, own @ linears[-1].bias)
        self.layers = nn.ModuleList(DecoderLayerGraph(block) for block in parts(decoder.pnca, PncaBlock))
        self.norm, self.out = decoder.ln, decoder.dec_out_proj

    def forward(
        self, frame: Tensor, base: Tensor, xk: Tensor, xv: Tensor, hk: Tensor, hv: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See the class."""
        u = frame
        for linear in self.hidden:
            u = torch.relu(linear(u))
        x = self.into(u) + base
        keys, values = [], []
        for i, layer in enumerate(self.layers):
            x, k, v = layer(x, (xk[i], xv[i], hk[i], hv[i]), mask)
            keys.append(k)
            values.append(v)
        return self.out(self.norm(x)), torch.stack(keys), torch.stack(values)


class PostnetGraph(nn.Module):
    """The postnet over a chunk, with the delay lines of its memory blocks as explicit state.

    Layer i runs `right` frames behind its input, so the residual comes `delay` = sum of the look-aheads behind the frames. Frames
    outside [0, length) count as zeros in the convolutions (after the first feed-forward), which `start` and `length` tell.
    frames [1,n,mels] (their first is frame `start`), cache_i [1,units,left+right], skip_i [1,width,right], LSTM h and c [1,1,H]
    -> residual [1,n-drop,mels] and the states. `drop` cuts leading outputs that lie before frame 0.
    """

    def __init__(self, postnet: Postnet) -> None:
        super().__init__()
        self.postnet = postnet
        self.taps = [(block.left, block.right) for block in parts(postnet.fsmn.memory_block_lst, MemoryBlock)]

    def initial_state(self) -> dict[str, Tensor]:
        """Zeros by input name."""
        state: dict[str, Tensor] = {}
        for i, (ffn, (left, right)) in enumerate(zip(parts(self.postnet.fsmn.ffn_lst, FsmnFeedForward), self.taps, strict=True)):
            width, units = ffn.w_1.in_channels, ffn.w_2.out_channels
            state[f"cache{i}"] = torch.zeros(1, units, 1, left + right)
            if right and width == units:
                state[f"skip{i}"] = torch.zeros(1, width, 1, right)
        hidden = self.postnet.lstm.hidden_size
        return {**state, "h": torch.zeros(1, 1, hidden), "c": torch.zeros(1, 1, hidden)}

    def forward(
        self, frames: Tensor, start: Tensor, length: Tensor, drop: Tensor, state: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See the class; start, length, drop int64 [1]."""
        new: dict[str, Tensor] = {}
        x = frames.transpose(1, 2)[:, :, None]
        at = torch.arange(frames.shape[1]) + start
        fsmn = self.postnet.fsmn
        for i, (ffn, block) in enumerate(zip(parts(fsmn.ffn_lst, FsmnFeedForward), parts(fsmn.memory_block_lst, MemoryBlock), strict=True)):
            left, right = self.taps[i]
            inside = ((at >= 0) & (at < length)).to(x.dtype)[None, None, None]
            c = torch.cat([state[f"cache{i}"], _flat_ffn(ffn, x) * inside], dim=-1)
            new[f"cache{i}"] = c[..., -(left + right) :]
            at = at - right
            m = _conv(block.conv_dw, c) + c[..., left : -right or None]
            if f"skip{i}" in state:
                joined = torch.cat([state[f"skip{i}"], x], dim=-1)
                new[f"skip{i}"] = joined[..., -right:]
                m = m + joined[..., :-right]
            elif m.shape[1] == x.shape[1]:
                m = m + x
            x = m
        hidden, (new["h"], new["c"]) = self.postnet.lstm(x[:, :, 0].transpose(1, 2)[:, drop:], (state["h"], state["c"]))
        return self.postnet.fc(hidden), new


def _feed_forward(ffn: FeedForward, x: Tensor) -> Tensor:
    """The same as `FeedForward`, as convolutions over an image of height 1: ONNX Runtime has blocked kernels for those only."""
    y = ffn.layer_norm(x).transpose(1, 2)[:, :, None]
    y = torch.relu(F.conv2d(y, ffn.w_1.weight[:, :, None], ffn.w_1.bias, padding=(0, ffn.w_1.kernel_size[0] // 2)))
    return x + F.conv2d(y, ffn.w_2.weight[:, :, None], ffn.w_2.bias)[:, :, 0].transpose(1, 2)


def _conv(conv: nn.Conv1d, x: Tensor) -> Tensor:
    """A 1-D convolution without padding on an image of height 1."""
    return F.conv2d(x, conv.weight[:, :, None], conv.bias, groups=conv.groups)


def _flat_ffn(ffn: FsmnFeedForward, x: Tensor) -> Tensor:
    """The feed-forward part of a memory block on [1,C,1,T]."""
    return _conv(ffn.w_2, torch.relu(_conv(ffn.w_1, x)))


def _predict(predictor: VariancePredictor, given: Tensor) -> Tensor:
    """The same as `VariancePredictor`, its convolutions as of images of height 1."""
    x = given.transpose(1, 2)[:, :, None]
    fsmn = predictor.fsmn
    for ffn, block in zip(parts(fsmn.ffn_lst, FsmnFeedForward), parts(fsmn.memory_block_lst, MemoryBlock), strict=True):
        c = _flat_ffn(ffn, x)
        m = _conv(block.conv_dw, F.pad(c, (block.left, block.right))) + c
        x = m + x if m.shape[1] == x.shape[1] else m
    hidden, _ = predictor.blstm(x[:, :, 0].transpose(1, 2))
    out: Tensor = predictor.fc(hidden).squeeze(-1)
    return out


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    out = nn.Linear(weight.shape[1], weight.shape[0])
    out.weight, out.bias = nn.Parameter(weight.clone(), requires_grad=False), nn.Parameter(bias.clone(), requires_grad=False)
    return out

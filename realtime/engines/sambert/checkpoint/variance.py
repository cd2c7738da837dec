"""Variance adaptor: pitch, energy and durations per symbol, and the length regulator (specification 5.4, 5.5)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from realtime.engines.sambert.checkpoint.layers import Fsmn, Prenet
from realtime.engines.sambert.dims import AcousticDims

VARIANCE_KERNEL = 9
POSITION_BASE = 10000.0


class VariancePredictor(nn.Module):
    """FSMN, bidirectional LSTM, one value per symbol."""

    def __init__(self, dims: AcousticDims) -> None:
        super().__init__()
        self.fsmn = Fsmn(
            dims.condition_units,
            dims.predictor_num_memory_units,
            dims.predictor_ffn_inner_dim,
            dims.predictor_filter_size,
            dims.predictor_fsmn_num_layers,
            dims.predictor_shift,
        )
        self.blstm = nn.LSTM(dims.predictor_num_memory_units, dims.predictor_lstm_units, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(2 * dims.predictor_lstm_units, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x [1,T,condition] -> [1,T]."""
        hidden, _ = self.blstm(self.fsmn(x))
        out: Tensor = self.fc(hidden).squeeze(-1)
        return out


class DurationPredictor(nn.Module):
    """Autoregressive LSTM over symbols; its output is log(frames + 1), fed back unrounded."""

    def __init__(self, dims: AcousticDims) -> None:
        super().__init__()
        self.prenet = Prenet(1, dims.dur_pred_prenet_units, None)
        self.lstm = nn.LSTM(dims.dur_pred_prenet_units[-1] + dims.condition_units, dims.dur_pred_lstm_units, 2, batch_first=True)
        self.fc = nn.Linear(dims.dur_pred_lstm_units, 1)

    def forward(self, condition: Tensor, given: Tensor | None = None) -> Tensor:
        """condition [1,T,condition]; `given` [1,T] log durations to feed back instead of the own ones -> log durations [1,T]."""
        state: tuple[Tensor, Tensor] | None = None
        value = condition.new_zeros(1, 1, 1)
        out = []
        for t in range(condition.shape[1]):
            hidden, state = self.lstm(torch.cat([self.prenet(value), condition[:, t : t + 1]], dim=-1), state)
            value = torch.relu(self.fc(hidden))
            out.append(value[:, :, 0])
            if given is not None:
                value = given[:, t : t + 1, None]
        return torch.cat(out, dim=1)


class DurationPosition(nn.Module):
    """Code of a frame's place inside its symbol, counted from 1; padding has place 0, so its cosines are 1, not 0."""

    inv_timescales: Tensor

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.register_buffer("inv_timescales", timescales(depth))

    def forward(self, place: Tensor) -> Tensor:
        """place [B,L] -> [B,L,depth]: sine at even columns, cosine at odd ones."""
        angle = place.to(torch.float32)[..., None] / self.inv_timescales
        even = torch.arange(self.inv_timescales.shape[0]) % 2 == 0
        return torch.where(even, angle.sin(), angle.cos())


def timescales(depth: int) -> Tensor:
    """What the published `inv_timescales` holds: 10000 ** (2 * floor(d / 2) / depth)."""
    d = torch.arange(depth, dtype=torch.float64)
    return (POSITION_BASE ** (2 * torch.floor(d / 2) / depth)).to(torch.float32)


def regulate(x: Tensor, reps: Tensor, multiple: int) -> Tensor:
    """x [1,T,C], reps [1,T] -> each row repeated, padded with zero rows to a multiple: [1,L',C]."""
    out = torch.repeat_interleave(x[0], reps[0], dim=0)
    return nn.functional.pad(out, (0, 0, 0, -out.shape[0] % multiple))[None]


def places(reps: Tensor, multiple: int) -> Tensor:
    """reps [1,T] -> place of each frame inside its symbol, 1-based, 0 for padding: [1,L']."""
    ends = torch.cumsum(reps[0], 0)
    starts = torch.repeat_interleave(ends - reps[0], reps[0])
    out = torch.arange(starts.shape[0]) - starts + 1
    return nn.functional.pad(out, (0, -out.shape[0] % multiple))[None]


@dataclass(frozen=True, eq=False)
class Prosody:
    """What is known of a text before any frame is decoded. Per symbol [1,T]; LR_* per frame [1,L',C]."""

    pitch: Tensor
    energy: Tensor
    text_aug: Tensor
    log_duration: Tensor
    duration: Tensor
    reps: Tensor
    LR_text: Tensor
    LR_emo: Tensor
    LR_spk: Tensor

    @property
    def num_frames(self) -> int:
        """Mel frames of the utterance, without padding."""
        return int(self.reps.sum())


class VarianceAdaptor(nn.Module):
    """From hidden text, speaker and emotion to frames."""

    def __init__(self, dims: AcousticDims) -> None:
        super().__init__()
        width = dims.encoder_projection_units
        self.multiple = dims.outputs_per_step
        self.pitch_predictor = VariancePredictor(dims)
        self.energy_predictor = VariancePredictor(dims)
        self.duration_predictor = DurationPredictor(dims)
        self.dur_position_encoder = DurationPosition(width)
        self.pitch_emb = nn.Conv1d(1, width, VARIANCE_KERNEL, padding=VARIANCE_KERNEL // 2)
        self.energy_emb = nn.Conv1d(1, width, VARIANCE_KERNEL, padding=VARIANCE_KERNEL // 2)

    def augment(self, text_hid: Tensor, pitch: Tensor, energy: Tensor) -> Tensor:
        """Hidden text plus the embedded pitch and energy [1,T] -> text_aug [1,T,C]."""
        out: Tensor = text_hid + (self.pitch_emb(pitch[:, None]) + self.energy_emb(energy[:, None])).transpose(1, 2)
        return out

    def forward(self, text_hid: Tensor, emo_hid: Tensor, spk_hid: Tensor, forced: Tensor | None = None) -> Prosody:
        """All [1,T,C]; `forced` [1,T] integer durations replace the predicted ones (and are fed back as training does)."""
        given = torch.cat([text_hid, spk_hid, emo_hid], dim=-1)
        pitch, energy = self.pitch_predictor(given), self.energy_predictor(given)
        text_aug = self.augment(text_hid, pitch, energy)
        condition = torch.cat([text_aug, spk_hid, emo_hid], dim=-1)
        fed_back = None if forced is None else torch.log(forced.to(torch.float32) + 1)
        log_duration = self.duration_predictor(condition, fed_back)
        duration = torch.exp(log_duration) - 1 if forced is None else forced.to(torch.float32)
        reps = torch.floor(duration + 0.5).to(torch.int64)
        lr_text = regulate(text_aug, reps, self.multiple) + self.dur_position_encoder(places(reps, self.multiple))
        lr_emo, lr_spk = regulate(emo_hid, reps, self.multiple), regulate(spk_hid, reps, self.multiple)
        return Prosody(pitch, energy, text_aug, log_duration, duration, reps, lr_text, lr_emo, lr_spk)


def pack_memory(prosody: Prosody, multiple: int) -> Tensor:
    """Low-frame-rate packing -> memory [1,M,width]: the text of `multiple` frames, then speaker and emotion of the first... in
    the order text, speaker, emotion."""
    text = prosody.LR_text.reshape(1, -1, multiple * prosody.LR_text.shape[-1])
    return torch.cat([text, prosody.LR_spk[:, ::multiple], prosody.LR_emo[:, ::multiple]], dim=-1)


def band_width(duration: Tensor, multiple: int) -> int:
    """Decoder steps that the longest symbol spans, from the unrounded durations [1,T]."""
    return int(float(duration.max()) / multiple + 0.5) if duration.numel() else 0

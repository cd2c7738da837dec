"""The whole acoustic model under the published key names: symbol ids to mel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from realtime.engines.sambert.checkpoint.decoder import MelDecoder, Postnet
from realtime.engines.sambert.checkpoint.encoder import TextEncoder, padding_mask
from realtime.engines.sambert.checkpoint.variance import Prosody, VarianceAdaptor, band_width, pack_memory
from realtime.engines.sambert.dims import AcousticDims


@dataclass(frozen=True, eq=False)
class Spoken:
    """All that the model says about one text; frames are padded to a multiple of `outputs_per_step`."""

    text_hid: Tensor
    prosody: Prosody
    memory: Tensor
    band: int
    dec_outputs: Tensor
    postnet_outputs: Tensor


class AcousticModel(nn.Module):
    """SAM-BERT: text encoder, variance adaptor, PNCA decoder, postnet."""

    def __init__(self, dims: AcousticDims) -> None:
        super().__init__()
        self.dims = dims
        self.text_encoder = TextEncoder(dims)
        if not dims.SE:
            self.spk_tokenizer = nn.Embedding(dims.speaker, dims.speaker_units)
        self.emo_tokenizer = nn.Embedding(dims.emotion, dims.emotion_units)
        self.variance_adaptor = VarianceAdaptor(dims)
        self.mel_decoder = MelDecoder(dims)
        self.mel_postnet = Postnet(dims)

    def speaker(self, spk: Tensor) -> Tensor:
        """Ids [1,T], or for speaker-embedding voices the vectors [1,T,units] themselves -> [1,T,units]."""
        return spk if self.dims.SE else self.spk_tokenizer(spk)

    def forward(self, ling: Tensor, emo: Tensor, spk: Tensor, forced: Tensor | None = None) -> Spoken:
        """ling [1,T,4], emo [1,T], spk [1,T] or [1,T,units]; `forced` [1,T] durations in frames."""
        multiple = self.dims.outputs_per_step
        text_hid = self.text_encoder(ling)
        prosody = self.variance_adaptor(text_hid, self.emo_tokenizer(emo), self.speaker(spk), forced)
        memory = pack_memory(prosody, multiple)
        band = band_width(prosody.duration, multiple)
        padding = padding_mask(torch.tensor([prosody.num_frames]), memory.shape[1] * multiple)
        dec = self.mel_decoder(memory, band, band).masked_fill(padding[..., None], 0.0)
        mel = (dec + self.mel_postnet(dec, padding)).masked_fill(padding[..., None], 0.0)
        return Spoken(text_hid, prosody, memory, band, dec, mel)

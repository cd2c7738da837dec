"""The codecs: one row each. A new one is a row here and a test row in tests/audio.

    encoder = make_encoder(AudioFormat(Codec.OPUS, 24000))
    frames = encoder.encode(samples)      # float32 [n] at 24000 Hz -> list[EncodedFrame]
    frames += encoder.flush()

What each does with the encoder's delay, where packets end and what a decoder may trim is told in the family's file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from realtime.audio.encoder import Decoder, EncodedFrame, Encoder
from realtime.audio.flac import FlacDecoder, make_flac
from realtime.audio.mpeg import AacDecoder, Mp3Decoder, aac_bitrates, make_aac, make_mp3, mp3_bitrates
from realtime.audio.opus import BITRATES as OPUS_BITRATES
from realtime.audio.opus import OggOpusDecoder, OggOpusEncoder, OpusDecoder, make_opus
from realtime.audio.pcm import ALAW, F32, MULAW, S16, PcmDecoder, PcmEncoder, WavDecoder, wav_header
from realtime.errors import BadOption
from realtime.types import AudioFormat, Codec

__all__ = ["CODECS", "SAMPLE_RATES", "CodecRow", "Decoder", "EncodedFrame", "Encoder", "is_supported", "make_decoder", "make_encoder"]

SAMPLE_RATES = (8000, 16000, 22050, 24000, 32000, 44100, 48000)

Bounds = Callable[[int], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class CodecRow:
    """How to write and read one codec. `bitrates` gives the least and most bit/s at a rate; None where there is nothing to choose."""

    encoder: Callable[[AudioFormat], Encoder]
    decoder: Callable[[AudioFormat], Decoder]
    bitrates: Bounds | None = None


CODECS: dict[Codec, CodecRow] = {
    Codec.PCM_S16LE: CodecRow(lambda f: PcmEncoder(f, S16, f"audio/pcm;rate={f.sample_rate}"), lambda f: PcmDecoder(S16)),
    Codec.PCM_F32LE: CodecRow(lambda f: PcmEncoder(f, F32, f"audio/pcm;rate={f.sample_rate};encoding=float"), lambda f: PcmDecoder(F32)),
    Codec.MULAW: CodecRow(lambda f: PcmEncoder(f, MULAW, f"audio/PCMU;rate={f.sample_rate}"), lambda f: PcmDecoder(MULAW)),
    Codec.ALAW: CodecRow(lambda f: PcmEncoder(f, ALAW, f"audio/PCMA;rate={f.sample_rate}"), lambda f: PcmDecoder(ALAW)),
    Codec.WAV: CodecRow(lambda f: PcmEncoder(f, S16, "audio/wav", wav_header(f.sample_rate)), WavDecoder),
    Codec.FLAC: CodecRow(make_flac, FlacDecoder),
    Codec.OPUS: CodecRow(make_opus, OpusDecoder, lambda rate: OPUS_BITRATES),
    Codec.OGG_OPUS: CodecRow(OggOpusEncoder, OggOpusDecoder, lambda rate: OPUS_BITRATES),
    Codec.MP3: CodecRow(make_mp3, Mp3Decoder, mp3_bitrates),
    Codec.AAC: CodecRow(make_aac, AacDecoder, aac_bitrates),
}


def _objection(format: AudioFormat) -> str | None:
    """Why a format can't be had, in words for the caller; None if it can."""
    row = CODECS.get(format.codec)
    if row is None:
        return f"unknown codec {format.codec!r}; there are {', '.join(CODECS)}"
    if format.sample_rate not in SAMPLE_RATES:
        return f"{format.codec} has no {format.sample_rate} Hz here; there are {', '.join(map(str, SAMPLE_RATES))} Hz"
    if format.bitrate is None:
        return None
    if row.bitrates is None:
        return f"{format.codec} has no bitrate to set; leave it out"
    low, high = row.bitrates(format.sample_rate)
    if not low <= format.bitrate <= high:
        return f"{format.codec} at {format.sample_rate} Hz takes {low} to {high} bit/s, not {format.bitrate}"
    return None


def is_supported(format: AudioFormat) -> bool:
    """Whether `make_encoder` and `make_decoder` take this format."""
    return _objection(format) is None


def make_encoder(format: AudioFormat, most_samples: int | None = None) -> Encoder:
    """An encoder for one stream. Raises `BadOption` naming what is possible.

    `most_samples`: codecs without packets cut a longer chunk into frames of so many samples; the others have packets of their own.
    """
    if objection := _objection(format):
        raise BadOption(objection)
    encoder = CODECS[format.codec].encoder(format)
    if isinstance(encoder, PcmEncoder):
        encoder.most_samples = most_samples
    return encoder


def make_decoder(format: AudioFormat) -> Decoder:
    """The decoder that makes `make_encoder`'s stream the source again. Raises `BadOption` naming what is possible."""
    if objection := _objection(format):
        raise BadOption(objection)
    return CODECS[format.codec].decoder(format)

"""Sound as a listener takes it: the bytes as sent and, if wanted, the samples in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from realtime.audio.codecs import make_decoder
from realtime.audio.samples import Samples
from realtime.types import AudioFormat
from realtime.wire.events import Audio

NO_SAMPLES: Samples = np.zeros(0, np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class AudioPiece:
    """Some sound: samples `[offset, offset + samples)` of the utterance at `sample_rate`.

    `payload` is as sent, `pcm` float32 [n] in [-1, 1] (empty unless decoding; with codecs that look ahead, n may differ from
    `samples` piece by piece, never in sum). After a lost connection a piece may start before the end of the last one: drop what
    you hold from `offset` on, if you still can.
    """

    offset: int
    samples: int
    sample_rate: int
    engine: str
    payload: bytes
    pcm: Samples


class Unpacker:
    """Wire audio to pieces, decoding one continuous stream on the way.

    What a decoder gives beyond a piece's end waits for the next one; beyond the last one it is padding and dropped.
    """

    def __init__(self, format: AudioFormat, *, decode: bool) -> None:
        self._rate = format.sample_rate
        self._decoder = make_decoder(format) if decode else None
        self._ahead = NO_SAMPLES
        self._given = 0

    def push(self, audio: Audio) -> AudioPiece:
        """The next piece. Raises `ProtocolViolation` for bytes that are not of the format."""
        pcm = NO_SAMPLES
        if self._decoder is not None:
            start = min(self._given, audio.offset)  # less than was given: the utterance was resumed
            pcm = self._up_to(audio.offset + audio.samples - start, self._decoder.push(audio.payload))
            self._given = start + len(pcm)
        return AudioPiece(audio.offset, audio.samples, self._rate, audio.engine, audio.payload, pcm)

    def flush(self, total_samples: int) -> AudioPiece | None:
        """What the decoder still held, cut at the utterance's length."""
        rest = NO_SAMPLES if self._decoder is None else self._up_to(max(0, total_samples - self._given), self._decoder.flush())
        return AudioPiece(total_samples, 0, self._rate, "", b"", rest) if len(rest) else None

    def _up_to(self, samples: int, decoded: Samples) -> Samples:
        whole = np.concatenate([self._ahead, decoded]) if len(self._ahead) else decoded
        self._ahead = whole[samples:]
        return whole[:samples]

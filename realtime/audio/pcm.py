"""The codecs without packets: linear PCM, G.711 and the WAV stream. Every chunk leaves at once, as one frame or as several; no delay.

Bytes of a stream do not depend on how it was cut.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from realtime.audio import g711
from realtime.audio.encoder import EncodedFrame
from realtime.audio.samples import Samples, Tail, checked, from_int16, to_int16
from realtime.errors import ProtocolViolation
from realtime.types import AudioFormat


@dataclass(frozen=True, slots=True)
class Law:
    """How one sample is written: `width` bytes, both ways."""

    width: int
    write: Callable[[Samples], bytes]
    read: Callable[[bytes], Samples]


S16 = Law(2, lambda x: to_int16(x).astype("<i2", copy=False).tobytes(), lambda b: from_int16(np.frombuffer(b, "<i2").astype(np.int16)))
F32 = Law(4, lambda x: x.astype("<f4", copy=False).tobytes(), lambda b: np.frombuffer(b, "<f4").astype(np.float32))
MULAW = Law(1, lambda x: g711.compress(to_int16(x), g711.MULAW_ENCODE), lambda b: from_int16(g711.expand(b, g711.MULAW_DECODE)))
ALAW = Law(1, lambda x: g711.compress(to_int16(x), g711.ALAW_ENCODE), lambda b: from_int16(g711.expand(b, g711.ALAW_DECODE)))


class PcmEncoder:
    """Samples to bytes one by one; `header` goes before the first of them. `most_samples` bounds a frame; None: a chunk is a frame."""

    delay_samples = 0
    frame_samples = None

    def __init__(self, format: AudioFormat, law: Law, content_type: str, header: bytes = b"") -> None:
        self.format = format
        self.content_type = content_type
        self.most_samples: int | None = None
        self._law = law
        self._header = header
        self._position = 0

    def encode(self, samples: Samples) -> list[EncodedFrame]:
        samples = checked(samples)
        total = len(samples)
        if not total:
            return []
        data, width, most, begin = self._law.write(samples), self._law.width, self.most_samples or total, self._position
        self._position += total
        frames = [EncodedFrame(data[at * width : (at + most) * width], begin + at, min(most, total - at)) for at in range(0, total, most)]
        if self._header:
            frames[0] = EncodedFrame(self._header + frames[0].payload, begin, frames[0].samples)
            self._header = b""
        return frames

    def flush(self) -> list[EncodedFrame]:
        header, self._header = self._header, b""
        return [EncodedFrame(header, 0, 0)] if header else []


class PcmDecoder:
    """The way back, for bytes cut anywhere."""

    def __init__(self, law: Law) -> None:
        self._law = law
        self._tail = Tail(law.width)

    def push(self, data: bytes) -> Samples:
        return self._law.read(self._tail.push(data))

    def flush(self) -> Samples:
        if self._tail.pending:
            raise ProtocolViolation(f"the audio ends {self._tail.pending} bytes into a sample of {self._law.width}")
        return np.zeros(0, np.float32)


def wav_header(sample_rate: int) -> bytes:
    """A WAV header, mono 16 bit, for a stream whose length is not known yet: both sizes say 0xFFFFFFFF.

    Players take that as "until the end" (libsndfile, SoX and FFmpeg do, and write it themselves to a pipe).
    """
    fmt = struct.pack("<HHIIHH", 1, 1, sample_rate, sample_rate * 2, 2, 16)
    return b"RIFF\xff\xff\xff\xffWAVEfmt " + struct.pack("<I", len(fmt)) + fmt + b"data\xff\xff\xff\xff"


_WAV_LAWS = {(1, 16): S16, (3, 32): F32, (6, 8): ALAW, (7, 8): MULAW}  # (format tag, bits) of RFC 2361


class WavDecoder:
    """Reads the header chunk by chunk, then the samples, to the stated size or the end. Mono; any of our sample formats."""

    def __init__(self, format: AudioFormat) -> None:
        self._rate = format.sample_rate
        self._buffer = b""
        self._law: Law | None = None
        self._data: PcmDecoder | None = None
        self._left = 0

    def push(self, data: bytes) -> Samples:
        self._buffer += data
        if self._data is None and not self._read_header():
            return np.zeros(0, np.float32)
        assert self._data is not None
        taken, self._buffer = self._buffer[: self._left], b""  # chunks after the data (LIST, ...) are not sound
        self._left -= len(taken)
        return self._data.push(taken)

    def flush(self) -> Samples:
        if self._data is None:
            raise ProtocolViolation(f"the WAV stream ends in its header, after {len(self._buffer)} bytes")
        return self._data.flush()

    def _read_header(self) -> bool:
        """Walk the RIFF chunks up to `data`; False while more bytes are needed."""
        if len(self._buffer) < 12:
            return False
        if self._buffer[:4] != b"RIFF" or self._buffer[8:12] != b"WAVE":
            raise ProtocolViolation(f"not a WAV stream: it starts with {self._buffer[:12]!r}")
        at = 12
        while len(self._buffer) >= at + 8:
            name, size = self._buffer[at : at + 4], struct.unpack_from("<I", self._buffer, at + 4)[0]
            if name == b"data":
                self._start_data(at + 8, size)
                return True
            if len(self._buffer) < at + 8 + size:
                return False
            if name == b"fmt ":
                self._law = self._read_format(self._buffer[at + 8 : at + 8 + size])
            at += 8 + size + size % 2
        return False

    def _start_data(self, at: int, size: int) -> None:
        if self._law is None:
            raise ProtocolViolation("the WAV stream has no fmt chunk before its data")
        self._data = PcmDecoder(self._law)
        self._left = size if size < 0xFFFFFFFF else 1 << 62
        self._buffer = self._buffer[at:]

    def _read_format(self, chunk: bytes) -> Law:
        if len(chunk) < 16:
            raise ProtocolViolation(f"the WAV fmt chunk has {len(chunk)} bytes, expected 16 or more")
        tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
        law = _WAV_LAWS.get((tag, bits))
        if law is None or channels != 1 or rate != self._rate:
            raise ProtocolViolation(f"expected mono WAV at {self._rate} Hz, got format {tag}, {bits} bit, {channels} channels at {rate} Hz")
        return law

"""Sound into a file while it comes: what to ask the service for, by the file's name, and how to write it."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from realtime.audio.pcm import wav_header
from realtime.errors import BadOption
from realtime.types import AudioFormat, Codec
from realtime_client.inbox import SAMPLE_BYTES
from realtime_client.pieces import AudioPiece

SUFFIXES = {
    ".wav": Codec.WAV,
    ".mp3": Codec.MP3,
    ".flac": Codec.FLAC,
    ".aac": Codec.AAC,
    ".ogg": Codec.OGG_OPUS,
    ".opus": Codec.OGG_OPUS,
    ".pcm": Codec.PCM_S16LE,
    ".raw": Codec.PCM_S16LE,
    ".f32": Codec.PCM_F32LE,
    ".ulaw": Codec.MULAW,
    ".alaw": Codec.ALAW,
}


def file_codec(path: Path, asked: str | None) -> Codec:
    """The codec of a file: as asked, else by its suffix, else WAV. Raises `BadOption` for raw Opus packets, which no file holds."""
    codec = SUFFIXES.get(path.suffix.lower(), Codec.WAV) if asked is None else Codec(asked)
    if codec is Codec.OPUS:
        raise BadOption("raw opus packets make no file; use --format ogg_opus")
    return codec


FLAC_LENGTH_AT = 21
"""The byte whose lower half begins the number of samples: 4 of magic, 4 of block header, then RFC 9639 section 8.2."""


class SoundFile:
    """A file being written. `format` is what to ask the service for: WAV is asked for as PCM, its header is ours and tells the length."""

    def __init__(self, path: Path, codec: Codec, sample_rate: int) -> None:
        self._is_wav = codec is Codec.WAV
        self.format = AudioFormat(Codec.PCM_S16LE if self._is_wav else codec, sample_rate)
        self._sample_bytes = SAMPLE_BYTES.get(self.format.codec)
        self._header = wav_header(sample_rate) if self._is_wav else b""
        self._end = 0
        try:
            self._file: BinaryIO = path.open("w+b")
        except OSError as error:
            raise BadOption(f"can't write {path}: {error.strerror}") from None
        self._file.write(self._header)

    def write(self, piece: AudioPiece) -> None:
        """Add a piece; one that starts before the end replaces what is there (after a lost connection)."""
        if self._sample_bytes is not None and piece.offset != self._end:
            self._file.seek(len(self._header) + piece.offset * self._sample_bytes)
            self._file.truncate()
        self._file.write(piece.payload)
        self._file.flush()  # whoever watches the file hears it grow
        self._end = piece.offset + piece.samples

    async def finish(self) -> None:
        """A file has what was written."""

    def close(self) -> None:
        """Write the length where the container has one, and close."""
        if self._is_wav:
            data = self._file.tell() - len(self._header)
            self._patch(4, struct.pack("<I", len(self._header) - 8 + data))
            self._patch(len(self._header) - 4, struct.pack("<I", data))
        elif self.format.codec is Codec.FLAC and self._file.tell() > FLAC_LENGTH_AT + 5:
            self._patch_flac()
        self._file.close()

    def _patch(self, at: int, data: bytes) -> None:
        self._file.seek(at)
        self._file.write(data)

    def _patch_flac(self) -> None:
        """RFC 9639 section 8.2: the lower 36 bits of the eight bytes from 18 on are the number of samples, 0 in a stream."""
        self._file.seek(FLAC_LENGTH_AT)
        kept = self._file.read(1)[0] & 0xF0
        self._patch(FLAC_LENGTH_AT, bytes([kept | (self._end >> 32) & 0x0F]) + struct.pack(">I", self._end & 0xFFFFFFFF))

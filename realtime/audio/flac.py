"""FLAC (RFC 9639) as one stream of unknown length: the STREAMINFO block says 0 samples and no MD5, as the format allows. 16 bit, exact.

FFmpeg, libFLAC and SoX play it; Python's `soundfile` can't, it seeks after each read and libsndfile refuses that without a length.
"""

from __future__ import annotations

import numpy as np

from realtime.audio.encoder import Framing, PacketEncoder
from realtime.audio.libav import LibavDecoder, LibavPackets, LibavSettings
from realtime.audio.samples import Samples
from realtime.errors import ProtocolViolation
from realtime.types import AudioFormat

STREAMINFO_BYTES = 34
_HEADER_BYTES = 4 + 4 + STREAMINFO_BYTES


class FlacPackets:
    """FLAC frames, the stream's header in front of the first; a stream of no samples is the header alone."""

    def __init__(self, packets: LibavPackets) -> None:
        self._packets = packets
        # Block type 0 (STREAMINFO), flagged as the last metadata block, 24-bit length (RFC 9639 section 8.1).
        self._header = b"fLaC" + b"\x80" + STREAMINFO_BYTES.to_bytes(3, "big") + packets.extradata[:STREAMINFO_BYTES]

    def push(self, samples: Samples) -> list[bytes]:
        return self._opened(self._packets.push(samples))

    def finish(self) -> list[bytes]:
        return self._opened(self._packets.finish() or ([b""] if self._header else []))

    def _opened(self, packets: list[bytes]) -> list[bytes]:
        if packets:
            packets[0] = self._header + packets[0]
            self._header = b""
        return packets


def make_flac(format: AudioFormat) -> PacketEncoder:
    """Level 2, for its blocks of 16 to 26 ms; level 5's are 105 ms, that a listener would wait for, and save some 2 % of the bytes."""
    packets = LibavPackets(LibavSettings("flac", format.sample_rate, "s16", options={"compression_level": "2"}))
    return PacketEncoder(format, FlacPackets(packets), Framing("audio/flac", format.sample_rate, packets.packet_samples, 0, trimmed=True))


class FlacDecoder:
    """A FLAC stream cut anywhere. Frames come out one late: only the next one's sync code proves a frame's end."""

    def __init__(self, format: AudioFormat) -> None:
        self._rate = format.sample_rate
        self._buffer = b""
        self._codec: LibavDecoder | None = None

    def push(self, data: bytes) -> Samples:
        self._buffer += data
        if self._codec is None and not self._read_header():
            return np.zeros(0, np.float32)
        data, self._buffer = self._buffer, b""
        return self._decode(data) if data else np.zeros(0, np.float32)

    def flush(self) -> Samples:
        if self._codec is None:
            raise ProtocolViolation(f"the FLAC stream ends in its header, after {len(self._buffer)} bytes")
        return self._decode(None)

    def _decode(self, data: bytes | None) -> Samples:
        assert self._codec is not None
        packets = self._codec.parse(data)
        return np.concatenate([np.zeros(0, np.float32), *(self._codec.decode(packet) for packet in packets)])

    def _read_header(self) -> bool:
        """True once all metadata blocks are read; False while more bytes are needed."""
        if len(self._buffer) < _HEADER_BYTES:
            return False
        if self._buffer[:4] != b"fLaC" or self._buffer[4] & 0x7F:
            raise ProtocolViolation(f"not a FLAC stream: it starts with {self._buffer[:5]!r}")
        info = self._buffer[8:_HEADER_BYTES]
        rate, channels = int.from_bytes(info[10:13], "big") >> 4, (info[12] >> 1 & 7) + 1
        if channels != 1 or rate != self._rate:
            raise ProtocolViolation(f"expected mono FLAC at {self._rate} Hz, got {channels} channels at {rate} Hz")
        at, is_last = 4, False
        while not is_last:
            if len(self._buffer) < at + 4:
                return False
            is_last = bool(self._buffer[at] & 0x80)
            at += 4 + int.from_bytes(self._buffer[at + 1 : at + 4], "big")
        if len(self._buffer) < at:
            return False
        self._codec = LibavDecoder("flac", rate, info)
        self._buffer = self._buffer[at:]
        return True

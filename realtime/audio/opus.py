"""Opus (RFC 6716): raw 20 ms packets, and the same packets as one Ogg stream (RFC 7845).

Coded at 8, 16, 24 or 48 kHz as asked; 22.05 and 44.1 kHz, which Opus does not have, are coded at 48 kHz (20 ms are a whole number of
samples at those rates too, so packets and positions stay exact). Every decoder gives 48 kHz if asked to, ours turns that into the
format's rate. libopus looks 6.5 ms ahead: 312 samples at 48 kHz, that an Ogg stream states (pre-skip) and a reader of raw packets drops.
"""

from __future__ import annotations

import numpy as np

from realtime.audio.encoder import EncodedFrame, Framing, PacketEncoder
from realtime.audio.libav import LibavDecoder, LibavPackets, LibavSettings
from realtime.audio.ogg import OggPacket, OggReader, OggWriter, opus_head, opus_tags
from realtime.audio.resample import StreamResampler
from realtime.audio.samples import Samples
from realtime.errors import ProtocolViolation
from realtime.types import AudioFormat

NATIVE_RATES = (8000, 16000, 24000, 48000)
BITRATES = (6_000, 256_000)  # RFC 6716 section 2.1.1; the upper one is FFmpeg's limit for one channel
DECODED_RATE = 48_000
PACKET_MS = 20
PRE_SKIP = 312  # at 48 kHz: libopus' look-ahead for application=audio, as its OpusHead states
OGG_SERIAL = 0x52545631  # one stream per response, so it only has to be constant
VENDOR = "realtime-voice"


def default_bitrate(sample_rate: int) -> int:
    """Nominal bit/s for speech, free to vary: a harsh voice takes up to 1.7 times that, pauses a tenth.

    Measured on espeak: with these the log-spectral distance after decoding is 3.0 to 3.3 dB at each rate, as complexity 10 has with 0.6 of
    the bits.
    """
    return {8000: 16_000, 16000: 32_000, 24000: 40_000}.get(sample_rate, 48_000)


def coded_rate(sample_rate: int) -> int:
    """The rate that the codec runs at for a format's rate."""
    return sample_rate if sample_rate in NATIVE_RATES else DECODED_RATE


def make_opus(format: AudioFormat, content_type: str = "audio/opus", *, is_trimmed: bool = False) -> PacketEncoder:
    """The encoder of raw packets. A bitrate that was asked for is kept (constrained VBR), the default one may vary.

    Complexity 5 costs 3 to 6 ms of CPU per second of sound, 10 costs 7 to 12 (measured): bits are cheaper here than cores.
    """
    rate = coded_rate(format.sample_rate)
    vbr = "on" if format.bitrate is None else "constrained"
    options = {"frame_duration": str(PACKET_MS), "application": "audio", "vbr": vbr, "compression_level": "5"}
    packets = LibavPackets(LibavSettings("libopus", rate, "flt", format.bitrate or default_bitrate(rate), options))
    delay = PRE_SKIP * rate // DECODED_RATE
    return PacketEncoder(format, packets, Framing(content_type, rate, packets.packet_samples, delay, is_trimmed))


class OggOpusEncoder:
    """The packets of `make_opus`, each in a page of its own; headers travel with the first, the last states the exact length."""

    def __init__(self, format: AudioFormat) -> None:
        self._packets = make_opus(format, "audio/ogg; codecs=opus", is_trimmed=True)
        self.format = format
        self._writer = OggWriter(OGG_SERIAL)
        self._pages = 0
        self._total = 0  # source samples
        head = self._writer.page(opus_head(PRE_SKIP, format.sample_rate), 0)
        self._header = head + self._writer.page(opus_tags(VENDOR), 0)

    @property
    def content_type(self) -> str:
        return self._packets.content_type

    @property
    def coded_rate(self) -> int:
        """The rate inside the stream."""
        return self._packets.coded_rate

    @property
    def delay_samples(self) -> int:
        return 0

    @property
    def frame_samples(self) -> int | None:
        return self._packets.frame_samples

    def encode(self, samples: Samples) -> list[EncodedFrame]:
        self._total += len(samples)
        return [self._wrap(frame) for frame in self._packets.encode(samples)]

    def flush(self) -> list[EncodedFrame]:
        frames = self._packets.flush()
        if not frames:  # nothing was ever encoded: a valid, empty stream
            return [EncodedFrame(self._header + self._writer.page(None, 0, is_last=True), 0, 0)]
        return [self._wrap(frame, is_last=frame is frames[-1]) for frame in frames]

    def _wrap(self, frame: EncodedFrame, *, is_last: bool = False) -> EncodedFrame:
        self._pages += 1
        granule = self._pages * DECODED_RATE * PACKET_MS // 1000
        if is_last:  # RFC 7845 section 4.5: a last page that says less than its packet holds trims the end
            granule = PRE_SKIP + round(self._total * DECODED_RATE / self.format.sample_rate)
        page = self._header + self._writer.page(frame.payload, granule, is_last=is_last)
        self._header = b""
        return EncodedFrame(page, frame.start, frame.samples)


class OpusDecoder:
    """Raw packets, one per push, to sound at the format's rate."""

    def __init__(self, format: AudioFormat, *, skip: int = PRE_SKIP) -> None:
        self._codec = LibavDecoder("libopus", DECODED_RATE)
        self._resampler = StreamResampler(DECODED_RATE, format.sample_rate)
        self._skip = skip

    def skip(self, samples: int) -> None:
        """Drop that many samples, at 48 kHz, of what comes next."""
        self._skip = samples

    def push(self, data: bytes) -> Samples:
        return self._resampler.push(self.decode(data)) if data else np.zeros(0, np.float32)

    def push_samples(self, samples: Samples) -> Samples:
        """Decoded 48 kHz sound to the format's rate."""
        return self._resampler.push(samples)

    def decode(self, packet: bytes) -> Samples:
        """One packet to 48 kHz, what is to be skipped taken off."""
        samples = self._codec.decode(packet)
        dropped = min(self._skip, len(samples))
        self._skip -= dropped
        return samples[dropped:]

    def flush(self) -> Samples:
        return self._resampler.flush()


class OggOpusDecoder:
    """An Ogg Opus stream cut anywhere; pre-skip and end trimming as the stream states them."""

    def __init__(self, format: AudioFormat) -> None:
        self._reader = OggReader()
        self._opus = OpusDecoder(format, skip=0)
        self._headers = 0
        self._pre_skip = 0
        self._given = 0  # at 48 kHz

    def push(self, data: bytes) -> Samples:
        parts = [self._packet(packet) for packet in self._reader.push(data)]
        return np.concatenate([np.zeros(0, np.float32), *parts])

    def flush(self) -> Samples:
        if self._reader.pending:
            raise ProtocolViolation(f"the Ogg stream ends {self._reader.pending} bytes into a page")
        return self._opus.flush()

    def _packet(self, packet: OggPacket) -> Samples:
        if self._headers < 2:
            self._read_header(packet.data)
            return np.zeros(0, np.float32)
        samples = self._opus.decode(packet.data)
        if packet.is_last and packet.granule is not None:
            samples = samples[: max(0, packet.granule - self._pre_skip - self._given)]
        self._given += len(samples)
        return self._opus.push_samples(samples)

    def _read_header(self, data: bytes) -> None:
        if not data.startswith((b"OpusHead", b"OpusTags")[self._headers]) or len(data) < 16:
            raise ProtocolViolation(f"not an Opus stream: header {self._headers} starts with {data[:8]!r}")
        if self._headers == 0:
            if data[9] != 1:
                raise ProtocolViolation(f"expected a mono Opus stream, got {data[9]} channels")
            self._pre_skip = int.from_bytes(data[10:12], "little")
            self._opus.skip(self._pre_skip)
        self._headers += 1

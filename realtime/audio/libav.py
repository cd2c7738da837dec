"""libavcodec, held by its packets: mono float in, packets out, and back. Shared by the codecs that PyAV brings."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext

from realtime.audio.samples import Samples, from_int16, to_int16
from realtime.errors import BadOption, ProtocolViolation


@dataclass(frozen=True, slots=True)
class LibavSettings:
    """What an encoder is opened with. `sample_format` is a libav name: `flt`, `fltp` or `s16`."""

    codec: str
    sample_rate: int
    sample_format: str
    bitrate: int | None = None
    options: dict[str, str] = field(default_factory=dict)


class LibavPackets:
    """One libavcodec encoder. `packet_samples` is the length that `push` expects (the last one may be shorter)."""

    def __init__(self, settings: LibavSettings) -> None:
        context = av.CodecContext.create(settings.codec, "w")
        assert isinstance(context, AudioCodecContext), f"{settings.codec} is an audio codec"
        context.sample_rate = settings.sample_rate
        context.layout = "mono"
        context.format = settings.sample_format
        context.time_base = Fraction(1, settings.sample_rate)
        context.options = settings.options
        context.thread_count = 1  # a stream is small and there are many: no threads of libav's own
        if settings.bitrate is not None:
            context.bit_rate = settings.bitrate
        try:
            context.open()
        except (av.FFmpegError, ValueError) as error:
            raise BadOption(f"{settings.codec} can't run at {settings.sample_rate} Hz, {settings.bitrate} bit/s: {error}") from error
        self._context = context
        self._settings = settings
        self._position = 0

    @property
    def packet_samples(self) -> int:
        """Samples per packet."""
        return self._context.frame_size

    @property
    def extradata(self) -> bytes:
        """The codec's out-of-band header."""
        return bytes(self._context.extradata or b"")

    def push(self, samples: Samples) -> list[bytes]:
        """Feed one packet of samples."""
        data = to_int16(samples) if self._settings.sample_format == "s16" else samples
        frame = av.AudioFrame.from_ndarray(data[np.newaxis, :], format=self._settings.sample_format, layout="mono")
        frame.sample_rate = self._settings.sample_rate
        frame.time_base = self._context.time_base
        frame.pts = self._position
        self._position += len(samples)
        return [bytes(packet) for packet in self._context.encode(frame)]

    def finish(self) -> list[bytes]:
        """What is left in the codec. Empty packets (libav's way to update headers) are left out."""
        if not self._position:
            return []
        return [payload for packet in self._context.encode(None) if (payload := bytes(packet))]


class LibavDecoder:
    """One libavcodec decoder. `parse` cuts a byte stream into packets, `decode` turns a packet into samples."""

    def __init__(self, codec: str, sample_rate: int, extradata: bytes | None = None) -> None:
        context = av.CodecContext.create(codec, "r")
        assert isinstance(context, AudioCodecContext), f"{codec} is an audio codec"
        context.sample_rate = sample_rate
        context.layout = "mono"
        context.thread_count = 1
        if extradata is not None:
            context.extradata = extradata
        self._context = context
        self._codec = codec

    def parse(self, data: bytes | None) -> list[bytes]:
        """Whole packets; None at the end of the stream gives those that the parser kept."""
        packets = self._parse(data)
        if data is None:
            while more := self._parse(None):  # a parser gives up one packet per call
                packets += more
        return packets

    def _parse(self, data: bytes | None) -> list[bytes]:
        return [payload for packet in self._context.parse(data) if (payload := bytes(packet))]

    def decode(self, packet: bytes) -> Samples:
        """Float32 [n] at the codec's own rate. Raises `ProtocolViolation` if the packet is damaged."""
        try:
            frames = self._context.decode(av.Packet(packet))
        except av.FFmpegError as error:
            raise ProtocolViolation(f"damaged {self._codec} packet of {len(packet)} bytes: {error}") from error
        return np.concatenate([np.zeros(0, np.float32), *(mono_samples(frame) for frame in frames)])


def mono_samples(frame: av.AudioFrame) -> Samples:
    """The frame's first channel as float32 [n]."""
    data = frame.to_ndarray()
    first = data[0] if frame.format.is_planar else data.reshape(-1, len(frame.layout.channels))[:, 0]
    if first.dtype == np.int16:
        return from_int16(first.astype(np.int16))
    if first.dtype == np.int32:
        return (first / np.float64(2**31)).astype(np.float32)
    return np.ascontiguousarray(first, dtype=np.float32)

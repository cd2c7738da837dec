"""What every codec looks like to the rest of the service, and the frame maker that the packet codecs share.

Positions: a stream's timeline counts samples of the *source*, at the format's rate. A frame `[start, start + samples)` is the part of
the timeline that a decoder has in full once it got the frame, after it dropped the codec's delay. Frames are in order and leave no
gap; together they cover exactly what was encoded, padding left out. A frame of 0 samples carries only headers or priming.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from realtime.audio.packetize import Packetizer
from realtime.audio.resample import StreamResampler
from realtime.audio.samples import Samples, checked
from realtime.types import AudioFormat


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """Bytes to send, and the range of the source that they complete."""

    payload: bytes
    start: int
    samples: int

    @property
    def end(self) -> int:
        """Position after the frame's last sample."""
        return self.start + self.samples


class Encoder(Protocol):
    """One stream of one utterance. Not to be used again after `flush`."""

    format: AudioFormat

    @property
    def content_type(self) -> str:
        """The media type of the stream, with parameters where raw bytes need them."""
        ...

    @property
    def delay_samples(self) -> int:
        """Samples of silence, at the format's rate, that a decoder puts before the source; 0 if the stream makes it drop them."""
        ...

    @property
    def frame_samples(self) -> int | None:
        """Source samples per packet; None where a packet is as long as the chunk."""
        ...

    def encode(self, samples: Samples) -> list[EncodedFrame]:
        """What is complete now. Raises `EngineFailed` for NaN and infinity."""
        ...

    def flush(self) -> list[EncodedFrame]:
        """The rest of the stream."""
        ...


class Decoder(Protocol):
    """Bytes of one stream back to sound at the format's rate, the codec's delay dropped: sample n is source sample n.

    At the end some codecs leave up to two packets of silence that the stream does not mark (raw Opus, MP3, AAC); who knows the length
    cuts there. Raises `ProtocolViolation` for bytes that are not such a stream.
    """

    def push(self, data: bytes) -> Samples:
        """What `data` completes. Cut anywhere, but for raw Opus, where it is one packet."""
        ...

    def flush(self) -> Samples:
        """What was held back; the stream is over."""
        ...


class Packets(Protocol):
    """A codec proper: a packet of samples in, finished packets of bytes out."""

    def push(self, samples: Samples) -> list[bytes]:
        """Feed one packet of samples; the last one of a stream may be short."""
        ...

    def finish(self) -> list[bytes]:
        """The packets that still wait for more samples than will come."""
        ...


@dataclass(frozen=True, slots=True)
class Framing:
    """How a packet codec's packets lie on the timeline; lengths in samples at `coded_rate`.

    Packet k stands for source samples [k * packet - delay, (k + 1) * packet - delay). `trimmed` says that the stream tells its
    decoders to drop the delay.
    """

    content_type: str
    coded_rate: int
    packet: int
    delay: int
    trimmed: bool = False


class PacketEncoder:
    """An `Encoder` over `Packets`: checks and cuts samples, changes the rate where the codec has another, places packets in time."""

    def __init__(self, format: AudioFormat, packets: Packets, framing: Framing) -> None:
        self.format = format
        self._packets = packets
        self._framing = framing
        self._cutter = Packetizer(framing.packet)
        self._resampler = StreamResampler(format.sample_rate, framing.coded_rate)
        self._received = 0  # source samples, at the format's rate
        self._made = 0  # packets
        self._position = 0  # end of the last frame, at the format's rate
        self._is_over = False

    @property
    def content_type(self) -> str:
        return self._framing.content_type

    @property
    def coded_rate(self) -> int:
        """The rate inside the stream, where a decoder's output is aligned to the sample."""
        return self._framing.coded_rate

    @property
    def delay_samples(self) -> int:
        return 0 if self._framing.trimmed else round(self._framing.delay * self.format.sample_rate / self._framing.coded_rate)

    @property
    def frame_samples(self) -> int | None:
        return self._framing.packet * self.format.sample_rate // self._framing.coded_rate

    def encode(self, samples: Samples) -> list[EncodedFrame]:
        assert not self._is_over, "a flushed encoder takes no more samples: make a new one"
        samples = checked(samples)
        self._received += len(samples)
        return self._feed(self._resampler.push(samples))

    def flush(self) -> list[EncodedFrame]:
        frames = self._feed(self._resampler.flush())
        self._is_over = True
        rest = self._cutter.flush()
        last = self._packets.push(rest.content) if rest else []
        return frames + self._place([*last, *self._packets.finish()], is_end=True)

    def _feed(self, samples: Samples) -> list[EncodedFrame]:
        packets = (packet for cut in self._cutter.push(samples) for packet in self._packets.push(cut))
        return self._place(packets)

    def _place(self, packets: Iterable[bytes], *, is_end: bool = False) -> list[EncodedFrame]:
        frames = []
        for payload in packets:
            if is_end and self._made and self._position >= self._received:
                break  # a codec may flush whole packets of padding; nothing of the source needs them
            self._made += 1
            end = self._made * self._framing.packet - self._framing.delay
            position = min(max(0, end * self.format.sample_rate // self._framing.coded_rate), self._received)
            frames.append(EncodedFrame(payload, self._position, position - self._position))
            self._position = position
        return frames

"""Decoders that are not ours read our streams: SoX, libsndfile and FFmpeg, whole and from a pipe that gives a few bytes at a time."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Callable

import av
import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import soxr

from realtime.audio.codecs import SAMPLE_RATES, make_encoder
from realtime.types import AudioFormat, Codec

Samples = npt.NDArray[np.float32]
CONTAINERS = (Codec.OGG_OPUS, Codec.MP3, Codec.AAC, Codec.FLAC, Codec.WAV)
SOX = shutil.which("sox")
needs_sox = pytest.mark.skipif(SOX is None, reason="no sox on this machine: its view of our streams goes unheard")


def stream_of(format: AudioFormat, source: Samples) -> bytes:
    encoder = make_encoder(format)
    frames = [frame for at in range(0, len(source), 500) for frame in encoder.encode(source[at : at + 500])] + encoder.flush()
    return b"".join(frame.payload for frame in frames)


class Pipe:
    """A file that can't seek and gives at most `most` bytes per read."""

    def __init__(self, data: bytes, most: int) -> None:
        self._data, self._most = io.BytesIO(data), most

    def read(self, size: int = -1) -> bytes:
        return self._data.read(min(size, self._most) if size >= 0 else self._most)


def ffmpeg_reads(source: object) -> tuple[Samples, int]:
    with av.open(source) as container:  # type: ignore[call-overload]
        frames = list(container.decode(audio=0))
    parts = [frame.to_ndarray().reshape(-1) for frame in frames]
    scale = {"i": 32768.0, "f": 1.0}[parts[0].dtype.kind]
    return np.concatenate(parts).astype(np.float32) / np.float32(scale), frames[0].sample_rate


def is_same_in_place(decoded: Samples, source: Samples, off: int = 0) -> bool:
    """The correlation is best at lag 0 (at most `off` samples from it) and high there."""
    shared = min(len(decoded), len(source)) - 200
    score = [np.corrcoef(decoded[100 + lag : shared + lag], source[100:shared])[0, 1] for lag in range(-50, 51)]
    return abs(int(np.argmax(score)) - 50) <= off and max(score) > 0.95


@pytest.mark.parametrize("rate", SAMPLE_RATES)
@pytest.mark.parametrize("codec", CONTAINERS)
@pytest.mark.parametrize("most", [1 << 30, 97])
def test_ffmpeg_plays_every_stream_in_place(codec: Codec, rate: int, most: int, voice: Callable[..., Samples]) -> None:
    format = AudioFormat(codec, rate)
    source = voice(rate, rate + 11)
    data = stream_of(format, source)
    decoded, decoded_rate = ffmpeg_reads(io.BytesIO(data) if most > len(data) else Pipe(data, most))
    if codec is Codec.OGG_OPUS:
        assert decoded_rate == 48000
        assert len(decoded) == round(len(source) * 48000 / rate)
        source = soxr.resample(source, rate, 48000)
    else:
        assert decoded_rate == rate
        # libav's demuxers drop the delay that a stream states; ADTS can't state it, so the encoder does.
        decoded = decoded[make_encoder(format).delay_samples :]
        assert len(source) <= len(decoded) < len(source) + 2 * (make_encoder(format).frame_samples or 1)
    # FFmpeg's own decoder, unlike libopus, is one 8 kHz sample late with narrow-band packets.
    assert is_same_in_place(decoded, source, off=6 if codec is Codec.OGG_OPUS and rate == 8000 else 0)


@pytest.mark.parametrize("rate", SAMPLE_RATES)
def test_libsndfile_reads_our_wav_to_the_bit(rate: int, voice: Callable[..., Samples]) -> None:
    source = voice(rate, 5000)
    decoded, decoded_rate = soundfile.read(io.BytesIO(stream_of(AudioFormat(Codec.WAV, rate), source)), dtype="int16")
    assert decoded_rate == rate
    assert np.array_equal(decoded, np.rint(source * 32768).astype(np.int16))


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 48000])
def test_libsndfile_finds_the_exact_length_of_ogg_opus(rate: int, voice: Callable[..., Samples]) -> None:
    source = voice(rate, rate // 2 + 5)
    decoded, decoded_rate = soundfile.read(io.BytesIO(stream_of(AudioFormat(Codec.OGG_OPUS, rate), source)), dtype="float32")
    assert decoded_rate == rate
    assert len(decoded) == len(source)
    assert is_same_in_place(decoded, source)


@pytest.mark.parametrize("rate", [16000, 24000, 48000])
def test_libsndfile_plays_our_mp3(rate: int, voice: Callable[..., Samples], capfd: pytest.CaptureFixture[str]) -> None:
    source = voice(rate, rate // 2)
    decoded, decoded_rate = soundfile.read(io.BytesIO(stream_of(AudioFormat(Codec.MP3, rate), source)), dtype="float32")
    assert decoded_rate == rate
    assert len(decoded) >= len(source)


@needs_sox
@pytest.mark.parametrize("rate", SAMPLE_RATES)
@pytest.mark.parametrize(
    ("codec", "arguments"),
    [
        (Codec.WAV, ["-t", "wav"]),
        (Codec.FLAC, ["-t", "flac"]),
        (Codec.MULAW, ["-t", "raw", "-e", "mu-law", "-b", "8", "-c", "1"]),
        (Codec.ALAW, ["-t", "raw", "-e", "a-law", "-b", "8", "-c", "1"]),
        (Codec.PCM_S16LE, ["-t", "raw", "-e", "signed", "-b", "16", "-c", "1"]),
        (Codec.PCM_F32LE, ["-t", "raw", "-e", "float", "-b", "32", "-c", "1"]),
    ],
)
def test_sox_reads_our_streams_from_a_pipe(codec: Codec, arguments: list[str], rate: int, voice: Callable[..., Samples]) -> None:
    source = voice(rate, 4321)
    raw_rate = ["-r", str(rate)] if "raw" in arguments else []
    command = [str(SOX), "-V1", "-D", *arguments, *raw_rate, "-", "-t", "raw", "-e", "signed", "-b", "16", "-r", str(rate), "-"]
    stream = stream_of(AudioFormat(codec, rate), source)
    done = subprocess.run(command, input=stream, capture_output=True, timeout=20, check=True)
    decoded = np.frombuffer(done.stdout, "<i2").astype(np.int32)
    assert len(decoded) == len(source)
    coarse = 1024 if codec in (Codec.MULAW, Codec.ALAW) else 1
    assert np.abs(decoded - np.rint(source * 32768).astype(np.int32)).max() <= coarse

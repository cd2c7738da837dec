"""Our decoders on streams that others made, and what they say of streams that are not what they were told."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from realtime.audio.codecs import make_decoder, make_encoder
from realtime.audio.encoder import PacketEncoder
from realtime.audio.libav import LibavPackets, LibavSettings
from realtime.audio.ogg import OggWriter, opus_head
from realtime.audio.opus import OggOpusEncoder
from realtime.audio.pcm import wav_header
from realtime.audio.samples import checked
from realtime.errors import BadOption, ProtocolViolation
from realtime.types import AudioFormat, Codec

Samples = npt.NDArray[np.float32]
RATE = 24000


def written(source: npt.NDArray[np.float32], container: str, subtype: str, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, source, rate, format=container, subtype=subtype)
    return file.getvalue()


def decoded(codec: Codec, data: bytes, rate: int = RATE, cut: int = 333) -> Samples:
    decoder = make_decoder(AudioFormat(codec, rate))
    return np.concatenate([*(decoder.push(data[at : at + cut]) for at in range(0, len(data), cut)), decoder.flush()])


@pytest.mark.parametrize("cut", [1, 7, 333, 1 << 20])
@pytest.mark.parametrize(
    ("codec", "container", "subtype", "error"),
    [
        (Codec.WAV, "WAV", "PCM_16", 1 / 32768),
        (Codec.WAV, "WAV", "FLOAT", 0),
        (Codec.WAV, "WAV", "ULAW", 0.02),
        (Codec.WAV, "WAV", "ALAW", 0.02),
        (Codec.FLAC, "FLAC", "PCM_16", 0.6 / 32768),
        (Codec.FLAC, "FLAC", "PCM_24", 1e-6),
    ],
)
def test_files_of_libsndfile_are_read(
    codec: Codec, container: str, subtype: str, error: float, cut: int, voice: Callable[..., Samples]
) -> None:
    source = voice(RATE, 4801)
    got = decoded(codec, written(source, container, subtype), cut=cut)
    assert len(got) == len(source)
    assert np.abs(got - source).max() <= error


def test_a_foreign_mp3_loses_its_lame_delay(voice: Callable[..., Samples]) -> None:
    source = voice(RATE, RATE)
    got = decoded(Codec.MP3, written(source, "MP3", "MPEG_LAYER_III"))
    score = [np.corrcoef(got[100 + lag : 20000 + lag], source[100:20000])[0, 1] for lag in range(-50, 51)]
    assert int(np.argmax(score)) == 50
    assert max(score) > 0.98


def test_a_foreign_mp3_without_a_tag_is_left_as_it_is(voice: Callable[..., Samples]) -> None:
    source = voice(RATE, RATE)
    packets = LibavPackets(LibavSettings("libmp3lame", RATE, "fltp", 64_000))
    data = b"".join(packet for at in range(0, RATE, 576) for packet in packets.push(source[at : at + 576])) + b"".join(packets.finish())
    got = decoded(Codec.MP3, data)
    score = [np.corrcoef(got[lag : 20000 + lag], source[:20000])[0, 1] for lag in range(1100, 1110)]
    assert int(np.argmax(score)) == 5  # the 1105 samples of encoder and decoder


def test_an_mp3_tag_of_an_unknown_writer_is_skipped_and_trusted_no_further() -> None:
    data = b"".join(f.payload for f in _frames(Codec.MP3, np.zeros(5000, np.float32)))
    plain = decoded(Codec.MP3, data)
    assert len(decoded(Codec.MP3, data.replace(b"LAME3.100", b"NONE\0\0\0\0\0"))) == len(plain) + 1105


def test_a_foreign_ogg_opus_has_its_exact_length(voice: Callable[..., Samples]) -> None:
    source, file = voice(RATE, RATE + 7), io.BytesIO()
    with av.open(file, "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(source[None, :], format="flt", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    got = decoded(Codec.OGG_OPUS, file.getvalue())
    assert len(got) == len(source)
    assert np.corrcoef(got, source)[0, 1] > 0.9


def test_chunks_around_the_wav_data_are_no_sound() -> None:
    sound = np.array([1, -2, 3], "<i2").tobytes()
    head = wav_header(8000)
    fmt = head[12:36]
    data = (
        b"RIFF\0\0\0\0WAVE" + b"LIST" + struct.pack("<I", 3) + b"odd\0" + fmt + b"data" + struct.pack("<I", 6) + sound + b"LIST\4\0\0\0more"
    )
    got = decoded(Codec.WAV, data, 8000, cut=5)
    assert np.rint(got * 32768).tolist() == [1, -2, 3]


@pytest.mark.parametrize(
    ("codec", "data", "says"),
    [
        (Codec.WAV, b"RIFX" + bytes(20), "not a WAV"),
        (Codec.WAV, b"RIFF\0\0\0\0WAVEdata\0\0\0\0", "no fmt chunk"),
        (Codec.WAV, b"RIFF\0\0\0\0WAVEfmt \x02\0\0\0\1\0data\0\0\0\0", "has 2 bytes"),
        (Codec.WAV, wav_header(8000), "expected mono WAV at 24000 Hz"),
        (Codec.FLAC, b"fLaX" + bytes(60), "not a FLAC"),
        (Codec.OGG_OPUS, OggWriter(1).page(b"\x01vorbis" + bytes(30), 0), "not an Opus stream"),
        (Codec.OGG_OPUS, OggWriter(1).page(opus_head(312, 48000)[:9] + b"\2" + opus_head(312, 48000)[10:], 0), "2 channels"),
        (Codec.MP3, b"nothing of the kind" * 20, "not an MP3"),
        (Codec.OPUS, b"\xff\xff\xff\xff", "damaged"),
    ],
)
def test_a_wrong_stream_is_named(codec: Codec, data: bytes, says: str) -> None:
    decoder = make_decoder(AudioFormat(codec, RATE))
    with pytest.raises(ProtocolViolation, match=says):
        decoder.push(data)
        decoder.flush()


@pytest.mark.parametrize(("shape", "rate", "says"), [((900, 2), RATE, "2 channels"), ((900,), 8000, "at 8000 Hz")])
def test_a_flac_of_another_shape_is_named(shape: tuple[int, ...], rate: int, says: str) -> None:
    data = written(np.zeros(shape, np.float32), "FLAC", "PCM_16", rate)
    with pytest.raises(ProtocolViolation, match=says):
        decoded(Codec.FLAC, data)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 24000, 44100, 48000])
def test_the_stated_delay_is_what_a_plain_decoder_adds(rate: int, voice: Callable[..., Samples]) -> None:
    format = AudioFormat(Codec.OPUS, rate)
    encoder = make_encoder(format)
    assert isinstance(encoder, PacketEncoder)
    assert encoder.coded_rate == (rate if rate in (8000, 16000, 24000, 48000) else 48000)
    assert encoder.delay_samples == round(312 * rate / 48000)
    assert encoder.frame_samples == rate // 50
    source = voice(rate, rate)
    plain = make_decoder(format)
    plain.skip(0)  # type: ignore[attr-defined]
    got = np.concatenate([plain.push(frame.payload) for frame in encoder.encode(source)])
    lags = range(encoder.delay_samples - 40, encoder.delay_samples + 41)
    shared = len(got) - encoder.delay_samples - 50
    score = [np.corrcoef(got[lag : lag + shared], source[:shared])[0, 1] if lag >= 0 else 0.0 for lag in lags]
    assert int(np.argmax(score)) == 40


@pytest.mark.parametrize("codec", Codec)
def test_the_delay_is_stated_where_the_stream_does_not_tell(codec: Codec) -> None:
    encoder = make_encoder(AudioFormat(codec, 48000))
    assert encoder.delay_samples == {Codec.OPUS: 312, Codec.AAC: 1024}.get(codec, 0)
    assert encoder.frame_samples == {"opus": 960, "ogg_opus": 960, "mp3": 1152, "aac": 1024, "flac": 1152}.get(codec)
    assert "/" in encoder.content_type
    if isinstance(encoder, OggOpusEncoder):
        assert encoder.coded_rate == 48000


def test_stereo_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \[2, 3\]"):
        checked(np.zeros((2, 3), np.float32))


def test_settings_libav_can_not_have_are_refused_by_name() -> None:
    with pytest.raises(BadOption, match="libopus can't run at 22050 Hz"):
        LibavPackets(LibavSettings("libopus", 22050, "flt", 24_000))


def _frames(codec: Codec, source: Samples) -> list[object]:
    encoder = make_encoder(AudioFormat(codec, RATE))
    return [*encoder.encode(source), *encoder.flush()]

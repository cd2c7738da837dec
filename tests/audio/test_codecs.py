"""Every codec at every rate: what is decoded is what was encoded, in place, however either stream was cut."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from realtime.audio.codecs import CODECS, SAMPLE_RATES, EncodedFrame, is_supported, make_decoder, make_encoder
from realtime.errors import BadOption, EngineFailed, ProtocolViolation
from realtime.types import AudioFormat, Codec

Samples = npt.NDArray[np.float32]
EXACT = (Codec.PCM_S16LE, Codec.PCM_F32LE, Codec.MULAW, Codec.ALAW, Codec.FLAC, Codec.WAV)
LOSSY = (Codec.OPUS, Codec.OGG_OPUS, Codec.MP3, Codec.AAC)
# Streams that mark where the source ends; the others leave up to two packets of padding.
MARKED_END = (*EXACT, Codec.OGG_OPUS)
# What the loss may be, signal over error in dB, at each codec's default bitrate on this voice (measured, then 3 dB off).
LEAST_SNR_DB = {Codec.OPUS: 10.0, Codec.OGG_OPUS: 10.0, Codec.MP3: 21.0, Codec.AAC: 16.0, Codec.MULAW: 34.0, Codec.ALAW: 34.0}
ALL = [pytest.param(codec, rate, id=f"{codec}-{rate}") for codec in Codec for rate in SAMPLE_RATES]


def encode(format: AudioFormat, chunks: list[Samples]) -> list[EncodedFrame]:
    encoder = make_encoder(format)
    return [frame for chunk in chunks for frame in encoder.encode(chunk)] + encoder.flush()


def decode(format: AudioFormat, pieces: list[bytes]) -> Samples:
    decoder = make_decoder(format)
    return np.concatenate([*(decoder.push(piece) for piece in pieces), decoder.flush()])


def cut_bytes(format: AudioFormat, frames: list[EncodedFrame], seed: int) -> list[bytes]:
    """The stream cut anywhere; raw Opus packets stay whole, as its decoder asks."""
    if format.codec is Codec.OPUS:
        return [frame.payload for frame in frames]
    data, rng, out = b"".join(frame.payload for frame in frames), np.random.default_rng(seed), []
    while data:
        length = int(rng.integers(0, 700))
        out.append(data[:length])
        data = data[length:]
    return out


def lag_of(decoded: Samples, source: Samples) -> int:
    """By how many samples `decoded` is late, from the peak of the cross-correlation."""
    size = 1 << (len(decoded) + len(source)).bit_length()
    product = np.fft.rfft(decoded, size) * np.conj(np.fft.rfft(source, size))
    at = int(np.argmax(np.fft.irfft(product, size)))
    return at if at < size // 2 else at - size


def snr_db(decoded: Samples, source: Samples) -> float:
    gain = float(np.dot(decoded, source) / np.dot(source, source))
    return float(10 * np.log10(np.mean(source**2) / (np.mean((decoded / gain - source) ** 2) + 1e-20)))


@pytest.mark.parametrize(("codec", "rate"), ALL)
def test_decoded_sound_is_the_source_in_its_place(
    codec: Codec, rate: int, voice: Callable[..., Samples], pieces: Callable[..., object]
) -> None:
    format = AudioFormat(codec, rate)
    source = voice(rate, rate + 77)
    frames = encode(format, list(pieces(source, 1, rate // 10)))
    decoded = decode(format, cut_bytes(format, frames, 2))
    if codec in MARKED_END:
        assert len(decoded) == len(source)
    else:
        packet = make_encoder(format).frame_samples
        assert packet is not None
        assert len(source) <= len(decoded) <= len(source) + 2 * packet
    decoded = decoded[: len(source)]
    assert lag_of(decoded, source) == 0
    if codec in LEAST_SNR_DB:
        assert snr_db(decoded, source) > LEAST_SNR_DB[codec]
    else:
        assert np.abs(decoded - source).max() <= (0 if codec is Codec.PCM_F32LE else 0.5 / 32768)


@pytest.mark.parametrize(("codec", "rate"), ALL)
def test_frames_cover_the_source_once_and_in_order(
    codec: Codec, rate: int, voice: Callable[..., Samples], pieces: Callable[..., object]
) -> None:
    source = voice(rate, rate // 2 + 3)
    position = 0
    for frame in encode(AudioFormat(codec, rate), list(pieces(source, 3, rate // 20))):
        assert frame.start == position
        assert frame.samples >= 0
        position = frame.end
    assert position == len(source)


@pytest.mark.parametrize(("codec", "rate"), ALL)
def test_a_frame_is_only_claimed_when_it_can_be_decoded(codec: Codec, rate: int, voice: Callable[..., Samples]) -> None:
    format = AudioFormat(codec, rate)
    encoder = make_encoder(format)
    decoder = make_decoder(format)
    source = voice(rate, rate // 2)
    resampled_back = 3 * rate // 100 if codec in (Codec.OPUS, Codec.OGG_OPUS) else 0  # our decoder's resampler waits for its future
    late = {Codec.MP3: 1, Codec.AAC: 1, Codec.FLAC: 11}.get(codec, 0) * (encoder.frame_samples or 0)  # parsers see an end by what follows
    decoded = 0
    for at in range(0, len(source), rate // 50):
        for frame in encoder.encode(source[at : at + rate // 50]):
            decoded += len(decoder.push(frame.payload))
            assert frame.end <= decoded + resampled_back + late
            assert frame.end <= at + rate // 50


@pytest.mark.parametrize("codec", Codec)
@settings(max_examples=12, deadline=None)
@given(lengths=st.lists(st.integers(0, 4000), min_size=1, max_size=12), rate=st.sampled_from(SAMPLE_RATES))
def test_bytes_do_not_depend_on_the_cutting(codec: Codec, lengths: list[int], rate: int) -> None:
    # Opus at these two is coded at 48 kHz and the resampler's last bits depend on the cutting: see the next test.
    assume(codec not in (Codec.OPUS, Codec.OGG_OPUS) or rate not in (22050, 44100))
    rng = np.random.default_rng(5)
    source = (0.3 * rng.standard_normal(sum(lengths))).astype(np.float32)
    chunks = np.split(source, np.cumsum(lengths)[:-1])
    format = AudioFormat(codec, rate)
    whole = b"".join(frame.payload for frame in encode(format, [source]))
    assert b"".join(frame.payload for frame in encode(format, chunks)) == whole


@pytest.mark.parametrize("rate", [22050, 44100])
def test_resampled_opus_differs_by_less_than_the_codec_hears(
    rate: int, voice: Callable[..., Samples], pieces: Callable[..., object]
) -> None:
    format = AudioFormat(Codec.OPUS, rate)
    source = voice(rate, rate)
    whole = decode(format, [frame.payload for frame in encode(format, [source])])
    parts = decode(format, [frame.payload for frame in encode(format, list(pieces(source, 4, 999)))])
    assert len(whole) == len(parts)
    assert snr_db(parts, whole) > 20


@pytest.mark.parametrize("codec", LOSSY)
def test_a_sweep_in_random_chunks_sounds_as_encoded_whole(codec: Codec, pieces: Callable[..., object]) -> None:
    format = AudioFormat(codec, 24000)
    time = np.arange(24000) / 24000
    sweep = (0.4 * np.sin(2 * np.pi * (200 * time + 900 * time**2))).astype(np.float32)
    whole = decode(format, [frame.payload for frame in encode(format, [sweep])])
    parts = decode(format, [frame.payload for frame in encode(format, list(pieces(sweep, 9, 1500)))])
    assert np.array_equal(whole, parts)
    assert lag_of(whole[:24000], sweep) == 0


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("samples", [0, 1, 100, 959, 961])
def test_very_short_sounds_come_through_whole(codec: Codec, samples: int) -> None:
    format = AudioFormat(codec, 24000)
    source = (0.5 * np.sin(np.arange(samples) / 20)).astype(np.float32)
    frames = encode(format, [source])
    assert sum(frame.samples for frame in frames) == samples
    if frames:
        decoded = decode(format, cut_bytes(format, frames, 1))
        assert len(decoded) >= samples
        if codec in MARKED_END:
            assert len(decoded) == samples


@pytest.mark.parametrize("codec", Codec)
def test_silence_stays_silent(codec: Codec) -> None:
    format = AudioFormat(codec, 16000)
    frames = encode(format, [np.zeros(8000, np.float32)])
    assert np.abs(decode(format, cut_bytes(format, frames, 1))).max() < 1e-3


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_number_are_refused_by_name(codec: Codec, poison: float) -> None:
    samples = np.zeros(500, np.float32)
    samples[123] = poison
    with pytest.raises(EngineFailed, match="sample 123 of 500"):
        make_encoder(AudioFormat(codec, 24000)).encode(samples)


@pytest.mark.parametrize("codec", Codec)
def test_too_loud_is_clipped_and_not_wrapped(codec: Codec) -> None:
    format = AudioFormat(codec, 24000)
    loud = (2.0 * np.sin(2 * np.pi * 200 * np.arange(12000) / 24000)).astype(np.float32)
    decoded = decode(format, cut_bytes(format, encode(format, [loud]), 1))[:12000]
    assert np.corrcoef(decoded, np.clip(loud, -1, 1))[0, 1] > 0.99


def test_pcm_rounds_to_nearest_and_clips() -> None:
    values = np.array([0.0, 1.4 / 32768, 1.6 / 32768, -1.6 / 32768, 1.0, -1.0, 1.5, -1.5], np.float32)
    (frame,) = make_encoder(AudioFormat(Codec.PCM_S16LE, 8000)).encode(values)
    assert np.frombuffer(frame.payload, "<i2").tolist() == [0, 1, 2, -2, 32767, -32768, 32767, -32768]


def test_sixteen_bit_values_survive_the_way_through_float() -> None:
    values = np.arange(-32768, 32768).astype("<i2")
    format = AudioFormat(Codec.PCM_S16LE, 8000)
    samples = decode(format, [values.tobytes()])
    assert b"".join(frame.payload for frame in encode(format, [samples])) == values.tobytes()


def test_the_table_has_a_row_for_every_codec() -> None:
    assert set(CODECS) == set(Codec)


@pytest.mark.parametrize(
    ("format", "says"),
    [
        (AudioFormat(Codec.OPUS, 11025), "8000, 16000, 22050, 24000, 32000, 44100, 48000"),
        (AudioFormat(Codec.MP3, 24000, 500_000), "8000 to 160000"),
        (AudioFormat(Codec.MP3, 8000, 128_000), "8000 to 64000"),
        (AudioFormat(Codec.AAC, 8000, 64_000), "8000 to 48000"),
        (AudioFormat(Codec.OPUS, 24000, 5_000), "6000 to 256000"),
        (AudioFormat(Codec.FLAC, 24000, 64_000), "no bitrate"),
        (AudioFormat("speex", 24000), "pcm_s16le"),  # type: ignore[arg-type]
    ],
)
def test_what_can_not_be_had_is_refused_with_what_can(format: AudioFormat, says: str) -> None:
    assert not is_supported(format)
    for make in (make_encoder, make_decoder):
        with pytest.raises(BadOption, match=says):
            make(format)


@pytest.mark.parametrize("rate", SAMPLE_RATES)
@pytest.mark.parametrize("codec", LOSSY)
def test_the_ends_of_the_bitrate_range_work_and_differ(codec: Codec, rate: int, voice: Callable[..., Samples]) -> None:
    bounds = CODECS[codec].bitrates
    assert bounds is not None
    low, high = bounds(rate)
    source = voice(rate, rate // 2)
    size = [sum(len(f.payload) for f in encode(AudioFormat(codec, rate, bitrate), [source])) for bitrate in (low, None, high)]
    assert size[0] < size[1] < size[2]


@pytest.mark.parametrize("codec", [Codec.OGG_OPUS, Codec.MP3, Codec.AAC, Codec.FLAC, Codec.WAV, Codec.OPUS])
@settings(max_examples=25, deadline=None)
@given(data=st.binary(min_size=0, max_size=300))
def test_bytes_of_something_else_give_the_one_error_or_nothing(codec: Codec, data: bytes) -> None:
    decoder = make_decoder(AudioFormat(codec, 24000))
    try:
        decoder.push(data)
        decoder.flush()
    except ProtocolViolation:
        pass


@pytest.mark.parametrize("codec", [Codec.PCM_S16LE, Codec.PCM_F32LE, Codec.OGG_OPUS, Codec.FLAC, Codec.WAV])
def test_a_stream_that_breaks_off_says_so(codec: Codec) -> None:
    format = AudioFormat(codec, 24000)
    data = b"".join(frame.payload for frame in encode(format, [np.full(2400, 0.25, np.float32)]))
    decoder = make_decoder(format)
    with pytest.raises(ProtocolViolation):
        decoder.push(data[:33])
        decoder.flush()

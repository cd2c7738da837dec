"""Sound between its forms on this side: 16-bit samples, files, and the bytes of a call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from realtime_ivr.call import RATE

from realtime.audio.g711 import ALAW_DECODE, ALAW_ENCODE, MULAW_DECODE, MULAW_ENCODE, compress, expand
from realtime.audio.samples import Int16, to_int16
from realtime.audio.wavfile import read_wav
from realtime.types import Codec


def to_call(samples: Int16, encoding: Codec) -> bytes:
    """16-bit samples at 8 kHz as a call's bytes."""
    if encoding is Codec.MULAW:
        return compress(samples, MULAW_ENCODE)
    return compress(samples, ALAW_ENCODE) if encoding is Codec.ALAW else samples.astype("<i2").tobytes()


def from_call(payload: bytes, encoding: Codec) -> Int16:
    """A call's bytes as 16-bit samples."""
    if encoding is Codec.PCM_S16LE:
        return np.frombuffer(payload[: len(payload) // 2 * 2], "<i2").astype(np.int16, copy=False)
    return expand(payload, MULAW_DECODE if encoding is Codec.MULAW else ALAW_DECODE)


def read_prompt(path: Path) -> Int16:
    """A sound file at 8 kHz, whatever it was. Raises `BadOption`."""
    return to_int16(read_wav(path, RATE)[0])


def attention_tone() -> Int16:
    """Two short soft tones: better than silence when nothing can speak."""
    time = np.arange(int(0.25 * RATE)) / RATE
    envelope = np.minimum(1, np.minimum(time, time[::-1]) / 0.02)
    tones = [np.sin(2 * np.pi * hertz * time) * envelope for hertz in (440.0, 350.0)]
    return (np.concatenate(tones) * 4000).astype(np.int16)

"""The house form of sound (mono float32 [n], full scale 1.0) and its exact ways to and from 16-bit integers."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from realtime.errors import EngineFailed

Samples = npt.NDArray[np.float32]
Int16 = npt.NDArray[np.int16]

# 2**15, as libsndfile, SoX and FFmpeg scale: a 16-bit file read to float and written back is the same file. +1.0 clips to 32767.
FULL_SCALE = 32768.0


def checked(samples: npt.ArrayLike) -> Samples:
    """`samples` as contiguous mono float32 [n] in [-1, 1]; louder ones are clipped.

    Raises `EngineFailed` for NaN or infinity (no codec can carry them) and `ValueError` for anything that is not one-dimensional.
    """
    array = np.ascontiguousarray(samples, dtype=np.float32)
    if array.ndim != 1:
        raise ValueError(f"expected mono samples of shape [n], got shape {list(array.shape)}")
    if array.size == 0:
        return array
    low, high = float(array.min()), float(array.max())  # NaN and infinity both reach one of the two
    if not (math.isfinite(low) and math.isfinite(high)):
        at = int(np.flatnonzero(~np.isfinite(array))[0])
        raise EngineFailed(f"sample {at} of {array.size} is {array[at]}; an engine must give finite samples")
    if low < -1.0 or high > 1.0:
        return np.clip(array, -1.0, 1.0)
    return array


def to_int16(samples: Samples) -> Int16:
    """Nearest 16-bit value (halves to even), clipped to -32768..32767."""
    scaled = samples * np.float32(FULL_SCALE)
    np.rint(scaled, out=scaled)
    np.minimum(scaled, np.float32(32767), out=scaled)  # two ufuncs in place cost half of np.clip
    np.maximum(scaled, np.float32(-32768), out=scaled)
    values: Int16 = scaled.astype(np.int16)
    return values


def from_int16(values: Int16) -> Samples:
    """The inverse of `to_int16` for every 16-bit value."""
    return values.astype(np.float32) / np.float32(FULL_SCALE)


class Tail:
    """Bytes cut anywhere -> whole words of `width` bytes; the rest waits for the next push."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._rest = b""

    def push(self, data: bytes) -> bytes:
        """All whole words that are there now."""
        data = self._rest + data
        whole = len(data) - len(data) % self._width
        self._rest = data[whole:]
        return data[:whole]

    @property
    def pending(self) -> int:
        """Bytes of an unfinished word."""
        return len(self._rest)

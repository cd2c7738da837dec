"""Spoken segments as bytes, for a store that other programs and other versions of this one may write to as well. Pure.

A value is `RTS1 <crc32 u32, little endian> <msgpack [rate, samples int16 little endian, [[start, end, start_ms, end_ms], ...]]>`. The
checksum covers the name as well, so that a value under another's name is none; whatever does not fit is none, never an error. A name
is a digest: the text itself is in neither.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from dataclasses import astuple
from typing import Any

import msgpack
import numpy as np

from realtime.pipeline.cache import CacheKey, SpokenSegment
from realtime.pipeline.outputs import Word
from realtime.types import Span

# Changes with the meaning of a value; older ones are then misses and run out by their time to live.
MAGIC = b"RTS1"
HEAD = len(MAGIC) + 4
RATES = range(8_000, 192_001)
DIGEST_BYTES = 16  # 128 bits: no two texts of the world's phone menus meet


def name_of(key: CacheKey, level: str) -> bytes:
    """The name of a rendering in the store: `realtime:1:<digest>:<level>`."""
    content = msgpack.packb(astuple(key), unicode_errors="surrogatepass")
    digest = hashlib.blake2b(content, digest_size=DIGEST_BYTES).hexdigest()
    return f"realtime:1:{digest}:{level}".encode()


def encode(name: bytes, entry: SpokenSegment) -> bytes:
    """The value to be kept under `name`."""
    words = [[w.span.start, w.span.end, w.start_ms, w.end_ms] for w in entry.words]
    body: bytes = msgpack.packb([entry.rate, entry.samples.astype("<i2", copy=False).tobytes(), words])
    return MAGIC + _checksum(name, body) + body


def decode(name: bytes, value: bytes) -> SpokenSegment | None:
    """What was kept under `name`; None if it is not whole, not of this version, or not ours."""
    body = value[HEAD:]
    if value[: len(MAGIC)] != MAGIC or value[len(MAGIC) : HEAD] != _checksum(name, body):
        return None
    try:
        rate, sound, words = msgpack.unpackb(body)
        samples = np.frombuffer(sound, "<i2")
        entry = SpokenSegment(samples, rate, tuple(_word(*word) for word in words))
    except (ValueError, TypeError, msgpack.UnpackException):
        return None
    return entry if isinstance(rate, int) and rate in RATES and len(samples) else None


def _word(start: Any, end: Any, start_ms: Any, end_ms: Any) -> Word:
    if not (isinstance(start, int) and isinstance(end, int) and 0 <= start <= end):
        raise ValueError("not a span")
    if not (math.isfinite(start_ms) and math.isfinite(end_ms)):
        raise ValueError("not a time")
    return Word(Span(start, end), float(start_ms), float(end_ms))


def _checksum(name: bytes, body: bytes) -> bytes:
    return zlib.crc32(body, zlib.crc32(name)).to_bytes(4, "little")

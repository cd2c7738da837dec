"""ITU-T G.711 mu-law and A-law, as tables of all 65,536 and 256 values, built from the Recommendation's segment rule.

Input is the 16-bit value; a value halfway between two outputs goes the way of the ITU-T G.191 tools (one's complement of negatives).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from realtime.audio.samples import Int16

Codes = npt.NDArray[np.uint8]
Wide = npt.NDArray[np.int32]

MU_BIAS = 33  # G.711 table 2: on the 14-bit scale the segments start at powers of two once 33 is added
MU_MOST = 0x1FFF


def _magnitude(values: Wide, shift: int) -> Wide:
    return np.where(values < 0, ~values, values) >> shift


def _segment(magnitude: Wide, first: int) -> Wide:
    """Number of the highest set bit above bit `first`: 0 for anything below 2**(first + 1)."""
    return np.asarray(sum((magnitude >> bit) > 0 for bit in range(first + 1, 13)), dtype=np.int32)


def _encode_mulaw(values: Wide) -> Wide:
    biased = np.minimum(_magnitude(values, 2) + MU_BIAS, MU_MOST)
    segment = _segment(biased, 5)
    step = (biased >> (segment + 1)) & 0xF
    code: Wide = ~((segment << 4) | step | np.where(values < 0, 0x80, 0)) & 0xFF  # sent inverted (G.711 section 3.2)
    return code


def _decode_mulaw(codes: Wide) -> Wide:
    inverted = ~codes & 0xFF
    segment, step = (inverted >> 4) & 7, inverted & 0xF
    magnitude = (((2 * step + MU_BIAS) << segment) - MU_BIAS) << 2
    signed: Wide = np.where(inverted & 0x80, -magnitude, magnitude)
    return signed


def _encode_alaw(values: Wide) -> Wide:
    magnitude = _magnitude(values, 4)
    segment = _segment(magnitude, 4)
    # The two lowest segments share one step size; from there on each doubles it.
    high = (magnitude >> 4 > 0).astype(np.int32) + segment
    step = (magnitude >> np.maximum(high - 1, 0)) & 0xF
    code: Wide = ((high << 4) | step | np.where(values < 0, 0, 0x80)) ^ 0x55  # even bits inverted (G.711 table 1, note 2)
    return code


def _decode_alaw(codes: Wide) -> Wide:
    plain = codes ^ 0x55
    segment, step = (plain >> 4) & 7, plain & 0xF
    magnitude: Wide = np.where(segment == 0, 2 * step + 1, (2 * step + 33) << np.maximum(segment - 1, 0)) << 3
    signed: Wide = np.where(plain & 0x80, magnitude, -magnitude)
    return signed


_BY_BITS = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32)  # index: the value's bits as unsigned
_CODES = np.arange(256, dtype=np.int32)
MULAW_ENCODE: Codes = _encode_mulaw(_BY_BITS).astype(np.uint8)
ALAW_ENCODE: Codes = _encode_alaw(_BY_BITS).astype(np.uint8)
MULAW_DECODE: Int16 = _decode_mulaw(_CODES).astype(np.int16)
ALAW_DECODE: Int16 = _decode_alaw(_CODES).astype(np.int16)


def compress(values: Int16, table: Codes) -> bytes:
    """One byte per 16-bit value."""
    return table[values.view(np.uint16)].tobytes()


def expand(data: bytes, table: Int16) -> Int16:
    """The 16-bit value of each byte."""
    return table[np.frombuffer(data, np.uint8)]

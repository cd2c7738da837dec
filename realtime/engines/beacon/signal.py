"""How one character becomes sound: a burst of five 8 ms slots inside the telephone band.

Slot 0 is the *marker*: six tones at once, which no data slot has, and which of eight sets they are says which layout (voice) speaks.
Slots 1 to 4 carry 9 bits each: in each of three groups of eight tones exactly one sounds (3 bits). The 36 bits are

    code point (21) | turn (3): position in the job's text modulo 8 | check (12): CRC over layout, code point and turn

The burst has the same length at every tempo and speed: these only change the pause after it, which a weak tone fills. So a
receiver needs to know nothing but the layouts, and a burst that was cut anywhere fails its check or misses its marker.

Few tones at once, because low-rate codecs spend their bits on peaks: six groups of four tones in three slots, which is a fifth
shorter, lost eight times as many characters in Opus at 8 kHz (measured).

Tones are 125 Hz apart, the inverse of a slot: they are orthogonal over a slot, and each falls on a bin of a 64-point transform
at 8 kHz. The band is 375..3250 Hz, inside ITU-T G.712's 300..3400 Hz for telephone channels.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SLOT_S = 0.008
SLOTS = 5
BURST_S = SLOT_S * SLOTS
TONES = 24
GROUPS = 3
TONES_PER_GROUP = TONES // GROUPS
BITS = 3  # of a group
FIRST_TONE_HZ = 375.0
SPACING_HZ = 125.0
LAYOUTS = 8
TURNS = 8
TURN_BITS = 3
CHECK_BITS = 12
LARGEST_CODE_POINT = 0x10FFFF

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


def tone_hz() -> npt.NDArray[np.float64]:
    """Frequencies of the tones, shape [TONES]."""
    return np.asarray(FIRST_TONE_HZ + SPACING_HZ * np.arange(TONES), dtype=np.float64)


def markers() -> Bools:
    """Which tones sound in slot 0 of each layout, shape [LAYOUTS, TONES].

    Two tones in each group. Layouts 0..3 use pairs three steps apart, 4..7 pairs four apart, turned on from layout to layout, so
    that any two layouts share at most three tones.
    """
    table = np.zeros((LAYOUTS, TONES), dtype=np.bool_)
    for layout in range(LAYOUTS):
        for group in range(GROUPS):
            first = (layout + 3 * group * (layout // 4 + 1)) % 8
            for tone in (first, (first + 3 + layout // 4) % 8):
                table[layout, group * TONES_PER_GROUP + tone] = True
    return table


MARKERS = markers()


def _crc_table() -> Ints:
    """CRC-12 (generator 0x80F, 3GPP's choice), one byte at a time, shape [256]."""
    table = []
    for byte in range(256):
        value = byte << (CHECK_BITS - 8)
        for _ in range(8):
            value = (value << 1) ^ (0x180F if value & 0x800 else 0)
        table.append(value & 0xFFF)
    return np.array(table, dtype=np.int64)


_CRC = _crc_table()


def check(message: Ints, layout: Ints | int) -> Ints:
    """The check of 24-bit messages spoken in a layout; same shape as `message`. Finds every error of up to 12 adjacent bits."""
    value = np.full(np.shape(message), 0xACE, dtype=np.int64)  # not zero, so that an all-zero burst has a check too
    for shift in (24, 16, 8, 0):
        byte = ((message | (np.asarray(layout, dtype=np.int64) << 24)) >> shift) & 0xFF
        value = ((value << 8) & 0xFFF) ^ _CRC[((value >> (CHECK_BITS - 8)) ^ byte) & 0xFF]
    return value


def symbols(code_points: Ints, turns: Ints, layout: int) -> Ints:
    """Which tone sounds in each data slot and group, shape [n, SLOTS - 1, GROUPS], values 0..TONES-1."""
    message = (code_points << TURN_BITS) | turns
    word = (message << CHECK_BITS) | check(message, layout)
    count = (SLOTS - 1) * GROUPS
    shifts = BITS * (count - 1 - np.arange(count))
    pairs = (word[:, None] >> shifts) & (TONES_PER_GROUP - 1)
    return pairs.reshape(-1, SLOTS - 1, GROUPS) + TONES_PER_GROUP * np.arange(GROUPS)


def unpack(choices: Ints, layouts: Ints) -> tuple[Ints, Ints, Bools]:
    """Code points, turns and whether the check holds, from the tone chosen (0..7) per slot and group; shape [n, SLOTS-1, GROUPS]
    or flat."""
    count = (SLOTS - 1) * GROUPS
    shifts = BITS * (count - 1 - np.arange(count))
    word = (choices.reshape(-1, count) << shifts).sum(axis=1)
    message = word >> CHECK_BITS
    code_points, turns = message >> TURN_BITS, message & (TURNS - 1)
    holds = (check(message, layouts) == (word & 0xFFF)) & (code_points <= LARGEST_CODE_POINT)
    return code_points, turns, holds

"""Codes to mel frames: how many, and which code each frame comes from. Specification section 10."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def frames_for_codes(codes: int) -> int:
    """Mel frames that a number of codes becomes: 1.72 per code, rounded down."""
    return 172 * codes // 100


def nearest_rows(rows: int, frames: int) -> npt.NDArray[np.int64]:
    """Source row of each of `frames` frames, [frames].

    Computed in float32 as the reference does: the integer formula i * rows // frames differs for about a tenth of all lengths
    (first at 26 rows, 44 frames).
    """
    scale = np.float32(rows) / np.float32(frames)
    index: npt.NDArray[np.int64] = np.floor(np.arange(frames, dtype=np.float32) * scale).astype(np.int64)
    return np.minimum(index, rows - 1)

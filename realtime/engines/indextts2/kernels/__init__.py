"""Compiled kernels (C through ctypes) and their numpy stand-in; nothing here knows what a voice is.

`load_kernels` gives the compiled ones, or the stand-in with a warning where they can't be compiled or the processor lacks AVX-512 VNNI.
May import numpy only. A new kernel is a function in a C header, a line in native.c, a method in native.py and the same method in
fallback.py; the test compares the two.
"""

from __future__ import annotations

import logging
from pathlib import Path

from realtime.engines.indextts2.kernels.build import CannotBuild, ensure_built
from realtime.engines.indextts2.kernels.fallback import Fallback
from realtime.engines.indextts2.kernels.native import Native

Kernels = Native | Fallback

log = logging.getLogger(__name__)


def load_kernels(threads: int, cache: Path | None = None) -> Kernels:
    """The compiled kernels, built now if need be; else numpy, with a warning that says what that costs."""
    try:
        return Native(ensure_built(cache), threads)
    except CannotBuild as e:
        log.warning("IndexTTS-2 runs on numpy, about ten times slower and far from real time: %s", e)
        return Fallback()

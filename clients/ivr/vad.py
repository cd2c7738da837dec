"""Does the caller speak? WebRTC's detector where it is installed, else the energy above the line's own noise. Frames of 20 ms at 8 kHz.

A caller's first word must stop the machine, a cough or a click must not: `START` of the last `WINDOW` frames have to be voiced. Echo of
our own voice in a bad line is a voice too; `gate` (an estimate of the echo's level) holds against it.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

import numpy as np
from realtime_ivr.call import RATE

from realtime.audio.samples import Int16

WINDOW, START = 8, 6
"""120 ms of voice within 160 ms. Guess; LiveKit and Pipecat default to 50 to 200 ms."""
END = 25
"""Half a second without voice ends a turn. Guess between the 0.3 to 0.8 s that voice agents use."""
MIN_LEVEL = 100.0
"""RMS of 16-bit samples (about -50 dBov) under which nothing is speech. Guess from G.711's idle noise (8 to 20)."""
OVER_NOISE = 4.0
"""12 dB over the noise floor is speech, for the energy detector. Precedent: common practice, G.729 annex B starts at 10 dB."""


class Detector(Protocol):
    """Is this frame speech?"""

    def is_speech(self, frame: Int16) -> bool:
        """160 samples at 8 kHz."""
        ...


class EnergyDetector:
    """Louder than the line's own noise: the floor follows quiet frames quickly and loud ones slowly."""

    def __init__(self) -> None:
        self._floor = MIN_LEVEL / OVER_NOISE

    def is_speech(self, frame: Int16) -> bool:
        """Whether the frame stands out of the noise."""
        level = rms(frame)
        rate = 0.2 if level < self._floor else 0.005
        self._floor += (level - self._floor) * rate
        return level > max(MIN_LEVEL, self._floor * OVER_NOISE)


class WebRtcDetector:
    """The Gaussian mixture detector of WebRTC (library `webrtcvad`), aggressiveness 0..3."""

    def __init__(self, aggressiveness: int = 2) -> None:
        import webrtcvad

        self._vad = webrtcvad.Vad(aggressiveness)

    def is_speech(self, frame: Int16) -> bool:
        """Whether the library calls it speech, and it is loud enough to be any."""
        return rms(frame) > MIN_LEVEL and bool(self._vad.is_speech(frame.tobytes(), RATE))


def make_detector(aggressiveness: int = 2) -> Detector:
    """The best there is on this machine."""
    try:
        return WebRtcDetector(aggressiveness)
    except ImportError:
        return EnergyDetector()


class VoiceGate:
    """Frames in, beginnings and ends of speech out."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._recent: deque[bool] = deque(maxlen=WINDOW)
        self._quiet = 0
        self.is_speaking = False

    def push(self, frame: Int16) -> bool:
        """True at the frame where speech begins."""
        is_voiced = self._detector.is_speech(frame)
        self._recent.append(is_voiced)
        self._quiet = 0 if is_voiced else self._quiet + 1
        if self.is_speaking:
            self.is_speaking = self._quiet < END
            return False
        self.is_speaking = sum(self._recent) >= START
        return self.is_speaking


def rms(frame: Int16) -> float:
    """Level of a frame, on the 16-bit scale."""
    return float(np.sqrt(np.mean(np.square(frame, dtype=np.float32)))) if len(frame) else 0.0

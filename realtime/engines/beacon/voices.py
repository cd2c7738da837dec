"""Who speaks: everything about a beacon voice but the text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from realtime.engines import checks
from realtime.engines.base import VoiceInfo
from realtime.engines.beacon.signal import BURST_S, LAYOUTS
from realtime.errors import BadOption
from realtime.types import EngineName

PITCH_S = 0.080
"""Time from one character to the next at tempo 1 and speed 1: twice a burst, so that speed 2 still fits. Speech takes 150 to 250 ms."""


@dataclass(frozen=True, slots=True)
class BeaconVoice:
    """One voice. `tempo` 0.25..1 scales its rate of characters, `level` is its peak (1 = full scale), `layout` 0..7 its tones.

    Voices are told apart by their layouts. `is_tone` makes a voice that says nothing and costs nothing: a plain tone as long as
    the text would be.
    """

    id: str
    layout: int = 0
    sample_rate: int = 24000
    tempo: float = 1.0
    level: float = 0.5
    is_tone: bool = False
    languages: tuple[str, ...] = ("zh", "en")
    stand_ins: dict[EngineName, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.layout < LAYOUTS:
            raise BadOption(f"beacon voice {self.id}: layout is 0..{LAYOUTS - 1}, not {self.layout}")
        if not 8000 <= self.sample_rate <= 192000:
            raise BadOption(f"beacon voice {self.id}: sample_rate is 8000..192000 Hz, not {self.sample_rate}")
        if not 0.25 <= self.tempo <= 1.0:
            raise BadOption(f"beacon voice {self.id}: tempo is 0.25..1, not {self.tempo}")
        if not 0.0 < self.level <= 1.0:
            raise BadOption(f"beacon voice {self.id}: level is 0..1, not {self.level}")

    def pitch(self, speed: float) -> float:
        """Samples from one character to the next. Raises `BadOption` when bursts would overlap."""
        seconds = PITCH_S / (self.tempo * speed)
        if seconds < BURST_S - 1e-9:
            raise BadOption(f"beacon voice {self.id} can't speak {self.tempo * speed:.2f} times as fast as usual; 2 is the most")
        return seconds * self.sample_rate

    @property
    def info(self) -> VoiceInfo:
        """As the engine lists it."""
        what = "plain tone" if self.is_tone else f"layout {self.layout}"
        about = f"test voice, {what}, tempo {self.tempo:g}, {self.sample_rate} Hz"
        return VoiceInfo(self.id, self.languages, about, stand_ins=dict(self.stand_ins))


BUILT_IN = (
    BeaconVoice("beacon-a", layout=0, sample_rate=24000, tempo=1.0, level=0.6),
    BeaconVoice("beacon-b", layout=1, sample_rate=16000, tempo=0.8, level=0.35),
    BeaconVoice("beacon-null", sample_rate=24000, is_tone=True),
)
"""Two voices that differ in everything a handover has to bridge, and the one that costs nothing."""


def voice_from(entry: str | Mapping[str, Any]) -> BeaconVoice:
    """A voice from the settings: a built-in's id, or a table. Raises `BadOption` for unknown keys, ids and values out of range."""
    return checks.voice_from("beacon", _with_tuples(entry), BeaconVoice, BUILT_IN)


def _with_tuples(entry: str | Mapping[str, Any]) -> str | Mapping[str, Any]:
    return entry if isinstance(entry, str) or "languages" not in entry else {**entry, "languages": tuple(entry["languages"])}

"""The `[engines.sambert]` table of the settings, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from realtime.engines.sambert.frontend.lexicon import Lexicon
from realtime.errors import BadOption

MAX_OFFSET = 3.0
"""Pitch and energy are normalised per voice; three deviations is beyond any voice's range."""


@dataclass(frozen=True)
class VoiceManner:
    """Lasting adjustments of one voice: offsets to its normalised pitch and energy."""

    pitch: float = 0.0
    energy: float = 0.0


@dataclass(frozen=True)
class SambertOptions:
    """`models_dir` holds one exported voice per folder; `voices` limits which are loaded (empty: all), the first is the default one.
    `threads` are for encoder and vocoder, the loops always run on one. `lexicon` is a file or a table word -> reading.
    `adjust`: voice -> `{pitch, energy}`."""

    models_dir: Path
    voices: tuple[str, ...] = ()
    threads: int = 1
    capacity: int = 8
    lexicon: Lexicon = field(default_factory=Lexicon)
    adjust: Mapping[str, VoiceManner] = field(default_factory=dict)

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> SambertOptions:
        """Raises `BadOption` for unknown keys and values out of range."""
        known = [one.name for one in fields(cls)]
        for key in table:
            if key not in known:
                raise BadOption(f"unknown option of engine sambert: {key}; there are: {', '.join(known)}")
        if not table.get("models_dir"):
            raise BadOption("engine sambert needs models_dir, the folder with its exported voices")
        given = dict(table)
        given["models_dir"] = Path(str(given["models_dir"])).expanduser()
        given["voices"] = _names(given.get("voices", ()))
        given["lexicon"] = _lexicon(given.get("lexicon"))
        given["adjust"] = {str(voice): _manner(voice, values) for voice, values in dict(given.get("adjust", {})).items()}
        for key, low, high in (("threads", 1, 64), ("capacity", 1, 256)):
            value = given.get(key, low)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise BadOption(f"engine sambert: {key} is {low}..{high}, not {value!r}")
        return cls(**given)


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not all(isinstance(one, str) for one in value):
        raise BadOption(f"engine sambert: voices is a list of voice names, not {value!r}")
    return tuple(value)


def _lexicon(value: Any) -> Lexicon:
    if value is None:
        return Lexicon()
    return Lexicon(value) if isinstance(value, Mapping) else Lexicon.read(Path(str(value)).expanduser())


def _manner(voice: str, values: Any) -> VoiceManner:
    if not isinstance(values, Mapping) or set(values) - {"pitch", "energy"}:
        raise BadOption(f"engine sambert: adjust.{voice} takes pitch and energy, got {values!r}")
    for key, value in values.items():
        if not isinstance(value, (int, float)) or not -MAX_OFFSET <= value <= MAX_OFFSET:
            raise BadOption(f"engine sambert: adjust.{voice}.{key} is -{MAX_OFFSET}..{MAX_OFFSET}, not {value!r}")
    return VoiceManner(**{key: float(value) for key, value in values.items()})

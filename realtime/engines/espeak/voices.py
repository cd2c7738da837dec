"""Who speaks: espeak-ng's voices for Chinese and English with a variant for the speaker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from realtime.engines import checks
from realtime.engines.base import VoiceInfo
from realtime.errors import BadOption
from realtime.types import EngineName

LANGUAGES = {"zh": "cmn", "en": "en-us"}


@dataclass(frozen=True, slots=True)
class EspeakVoice:
    """One voice. `language` reads what belongs to no script (digits); `variant` is espeak-ng's name of a speaker, as `f2`, `m3` or
    `steph`; `pitch` 0..100 (50 is the variant's own); `tempo` 0.5..2 scales its rate."""

    id: str
    language: str = "zh"
    variant: str = ""
    gender: str | None = None
    pitch: int = 50
    tempo: float = 1.0
    stand_ins: dict[EngineName, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.language not in LANGUAGES:
            raise BadOption(f"espeak voice {self.id}: language is {' or '.join(LANGUAGES)}, not {self.language!r}")
        if not 0 <= self.pitch <= 100:
            raise BadOption(f"espeak voice {self.id}: pitch is 0..100, not {self.pitch}")
        if not 0.5 <= self.tempo <= 2.0:
            raise BadOption(f"espeak voice {self.id}: tempo is 0.5..2, not {self.tempo}")

    def espeak_name(self, language: str) -> str:
        """The library's name for this speaker in a language."""
        name = LANGUAGES[language]
        return f"{name}+{self.variant}" if self.variant else name

    @property
    def info(self) -> VoiceInfo:
        """As the engine lists it; every voice reads both languages."""
        both = tuple(sorted(LANGUAGES, key=lambda name: name != self.language))
        about = f"espeak-ng {self.espeak_name(self.language)}, reads Chinese and English"
        return VoiceInfo(self.id, both, about, self.gender, stand_ins=dict(self.stand_ins))


BUILT_IN = (
    EspeakVoice("espeak-zh", "zh", "", "male"),
    EspeakVoice("espeak-zh-f", "zh", "f2", "female"),
    EspeakVoice("espeak-zh-m", "zh", "m3", "male"),
    EspeakVoice("espeak-en", "en", "", "male"),
    EspeakVoice("espeak-en-f", "en", "f2", "female"),
    EspeakVoice("espeak-en-m", "en", "m3", "male"),
)


def voice_from(entry: str | Mapping[str, Any]) -> EspeakVoice:
    """A voice from the settings: a built-in's id, or a table. Raises `BadOption` for unknown keys, ids and values out of range."""
    return checks.voice_from("espeak", entry, EspeakVoice, BUILT_IN)

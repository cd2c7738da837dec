"""Which voices there are, and who speaks when a voice's own engine can't.

Filled from what the workers say when they are ready; an engine that is down keeps its voices, because its stand-ins can serve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from realtime.engines.base import EngineInfo, VoiceInfo
from realtime.errors import BadOption, Overloaded, UnknownVoice
from realtime.types import EngineName


@dataclass(frozen=True, slots=True)
class Part:
    """One engine's role for an utterance: the voice it uses."""

    engine: EngineName
    voice: str


class VoiceBook:
    """Engines from best to last resort, and the voices each has."""

    def __init__(
        self, chain: Sequence[EngineName], default_voice: str | None = None, stand_ins: Mapping[str, Mapping[str, str]] | None = None
    ) -> None:
        self._chain = tuple(chain)
        self._default = default_voice
        self._stand_ins = stand_ins or {}
        self._infos: dict[EngineName, EngineInfo] = {}

    def learn(self, info: EngineInfo) -> None:
        """Take over what a worker said of its engine."""
        self._infos[info.name] = info

    @property
    def engines(self) -> tuple[EngineInfo, ...]:
        """Engines known so far, best first."""
        return tuple(self._infos[name] for name in self._chain if name in self._infos)

    def info(self, engine: EngineName) -> EngineInfo:
        """What an engine said of itself."""
        return self._infos[engine]

    def voices(self) -> tuple[tuple[EngineInfo, VoiceInfo], ...]:
        """Every voice with the engine that has it first."""
        seen: set[str] = set()
        found = []
        for info in self.engines:
            for voice in info.voices:
                if voice.id not in seen:
                    seen.add(voice.id)
                    found.append((info, voice))
        return tuple(found)

    def cast(self, voice_id: str | None, language: str | None) -> tuple[Part, ...]:
        """The engines that will speak for a request, best first, each with its voice.

        Raises `UnknownVoice` when nobody has the voice, `BadOption` when nobody speaks the language, `Overloaded` before any engine
        was ready.
        """
        home, voice = self._find(voice_id, language)
        parts = [Part(home.name, voice.id)]
        later = self.engines[self.engines.index(home) + 1 :]
        for info in later:
            stand_in = self._stand_in(voice, info, language)
            if stand_in is not None:
                parts.append(Part(info.name, stand_in))
        if language is not None and not any(self._speaks(self.info(part.engine), part.voice, language) for part in parts):
            raise BadOption(f"voice {voice.id!r} does not speak {language!r}; it speaks {', '.join(voice.languages)}")
        return tuple(parts)

    def _find(self, voice_id: str | None, language: str | None) -> tuple[EngineInfo, VoiceInfo]:
        everything = self.voices()
        if not everything:
            raise Overloaded("the engines are warming up; nobody can speak yet", retry_after_ms=1000)
        wanted = voice_id or self._default
        if wanted is not None:
            for info, voice in everything:
                if voice.id == wanted:
                    return info, voice
            raise UnknownVoice(f"no voice {wanted!r}; GET /v1/voices lists the {len(everything)} there are")
        fitting = [pair for pair in everything if language is None or _matches(pair[1].languages, language)]
        if not fitting:
            raise BadOption(f"no voice speaks {language!r}")
        return fitting[0]

    def _stand_in(self, voice: VoiceInfo, info: EngineInfo, language: str | None) -> str | None:
        named = self._stand_ins.get(voice.id, {}).get(info.name) or voice.stand_ins.get(info.name)
        ids = {v.id for v in info.voices}
        if named in ids:
            return named
        if info.is_test_voice != self._is_test(voice):
            return None
        if voice.id in ids:
            return voice.id
        wanted = language or (voice.languages[0] if voice.languages else "")
        fitting = [v for v in info.voices if _matches(v.languages, wanted)] or list(info.voices)
        same_gender = [v for v in fitting if v.gender and v.gender == voice.gender]
        return (same_gender or fitting)[0].id if fitting else None

    def _is_test(self, voice: VoiceInfo) -> bool:
        return any(info.is_test_voice for info, v in self.voices() if v.id == voice.id)

    def _speaks(self, info: EngineInfo, voice_id: str, language: str) -> bool:
        return any(_matches(v.languages, language) for v in info.voices if v.id == voice_id)


def _matches(languages: Sequence[str], wanted: str) -> bool:
    base = wanted.split("-")[0].lower()
    return "*" in languages or any(language.split("-")[0].lower() == base for language in languages)

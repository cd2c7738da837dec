"""What every engine refuses: options it does not have, jobs that no engine can speak. One wording for all of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from typing import Any, Protocol, TypeVar

from realtime.engines.base import Job
from realtime.errors import BadOption, UnknownVoice
from realtime.types import SPEEDS

MOST_JOBS = 1024
LONGEST_CHUNK_MS = 10_000.0


class Named(Protocol):
    """A voice."""

    @property
    def id(self) -> str:
        """Its name."""
        ...


Voice = TypeVar("Voice", bound=Named)


def check_keys(what: str, table: Mapping[str, Any], known: Collection[str]) -> None:
    """Raises `BadOption` for keys that are not `known`, naming those that are."""
    if wrong := sorted(set(table) - set(known)):
        raise BadOption(f"unknown option of {what}: {', '.join(wrong)}; there are: {', '.join(known)}")


def check_options(engine: str, voices: Sequence[Named], chunk_ms: float, least_chunk_ms: float, capacity: int) -> None:
    """Raises `BadOption` for the values that engines have in common."""
    if not voices or len({voice.id for voice in voices}) < len(voices):
        raise BadOption(f"engine {engine} needs at least one voice, and ids that differ")
    if not least_chunk_ms <= chunk_ms <= LONGEST_CHUNK_MS:
        raise BadOption(f"engine {engine}: chunk_ms is {least_chunk_ms:g}..{LONGEST_CHUNK_MS:g}, not {chunk_ms}")
    if not 1 <= capacity <= MOST_JOBS:
        raise BadOption(f"engine {engine}: capacity is 1..{MOST_JOBS}, not {capacity}")


def voice_from(engine: str, entry: str | Mapping[str, Any], kind: type[Voice], built_in: Sequence[Voice]) -> Voice:
    """A voice from the settings: a built-in's id, or a table with an `id` and what differs from that built-in or the defaults.

    Raises `BadOption` for unknown keys, ids and values out of range.
    """
    table: dict[str, Any] = {"id": entry} if isinstance(entry, str) else dict(entry)
    known = [f.name for f in fields(kind)]  # type: ignore[arg-type]  # both kinds of voice are dataclasses
    check_keys(f"a voice of {engine}", table, known)
    if "id" not in table:
        raise BadOption(f"a voice of {engine} needs an id")
    base = next((voice for voice in built_in if voice.id == table["id"]), None)
    if base is None and isinstance(entry, str):
        raise BadOption(f"unknown {engine} voice {entry!r}; there are: {', '.join(voice.id for voice in built_in)}")
    inherited = {} if base is None else {name: getattr(base, name) for name in known}
    return kind(**{**inherited, **table})


def find_voice(engine: str, voices: Mapping[str, Voice], voice_id: str) -> Voice:
    """Raises `UnknownVoice` that names those there are."""
    try:
        return voices[voice_id]
    except KeyError:
        raise UnknownVoice(f"engine {engine} has no voice {voice_id!r}; it has {', '.join(voices)}") from None


def check_job(engine: str, job: Job, levels: Collection[str]) -> None:
    """Raises `BadOption` for a level, a start or a speed that can't be."""
    if job.level and job.level not in levels:
        raise BadOption(f"engine {engine} has no quality level {job.level!r}; it has: {', '.join(levels)}")
    if not 0 <= job.start <= len(job.text):
        raise BadOption(f"start {job.start} is outside a text of {len(job.text)} characters")
    check_speed(job.speed)


def check_speed(speed: float) -> None:
    """Raises `BadOption`."""
    slowest, fastest = SPEEDS
    if not slowest <= speed <= fastest:  # also refuses not-a-number
        raise BadOption(f"speed is {slowest:g}..{fastest:g}, not {speed}")

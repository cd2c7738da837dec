"""Prompts spoken ahead into the cache, so that a caller never waits for them.

A prompt file has a line per prompt: voice, language, text, divided by tabs; an empty voice or language takes the default; `#` begins
a comment.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from realtime.errors import BadOption, RealtimeError
from realtime.pipeline.outputs import DoneOut, Ending
from realtime.pipeline.requests import Request
from realtime.types import Budget, EngineName, Priority


@dataclass(frozen=True, slots=True)
class Prompt:
    """One text to keep ready."""

    voice: str | None
    language: str | None
    text: str


def read_prompts(path: Path) -> list[Prompt]:
    """The prompts of a file. Raises `BadOption` that names file and line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadOption(f"{path}: can't be read as UTF-8 text: {error}") from None
    prompts = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) != 3 or not fields[2].strip():
            raise BadOption(f"{path}, line {number}: a prompt is VOICE, a tab, LANGUAGE, a tab, TEXT")
        prompts.append(Prompt(fields[0].strip() or None, fields[1].strip() or None, fields[2].strip()))
    return prompts


async def prewarm(
    prompts: Sequence[Prompt],
    budget: Budget,
    speak: Callable[[Request, str], Awaitable[Ending | None]],
    home: Callable[[Prompt], EngineName],
    on_progress: Callable[[int, Prompt, str], None],
) -> int:
    """Speak every prompt, one after the other so that live work goes first. Returns how many are ready.

    `home` names the engine whose sound is kept for a prompt. `on_progress(number, prompt, trouble)` once for each; one that fails is
    tried again after the others, since the reason may have gone by then, and then told; it costs nothing else.
    """
    ready, left = 0, list(enumerate(prompts, 1))
    for is_last in (False, True):
        again = []
        for number, prompt in left:
            trouble = await _trouble_with(prompt, budget, speak, home)
            if trouble and not is_last:
                again.append((number, prompt))
                continue
            ready += not trouble
            on_progress(number, prompt, trouble)
        left = again
    return ready


async def _trouble_with(
    prompt: Prompt, budget: Budget, speak: Callable[[Request, str], Awaitable[Ending | None]], home: Callable[[Prompt], EngineName]
) -> str:
    """Speak a prompt; empty if its sound is kept now, else why it is not."""
    try:
        engine = home(prompt)
        ending = await speak(Request(prompt.voice, prompt.language, priority=Priority.BATCH, budget=budget), prompt.text)
    except RealtimeError as error:
        return error.message
    if not isinstance(ending, DoneOut):
        return getattr(ending, "message", "cancelled")
    others = sorted(name for name, ms in ending.usage.audio_ms_by_engine.items() if ms > 0 and name != engine)
    return f"{', '.join(others)} had to speak for {engine}, whose sound alone is kept" if others else ""

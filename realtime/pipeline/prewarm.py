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
from realtime.types import Budget, Priority


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
    on_progress: Callable[[int, Prompt, str], None],
) -> int:
    """Speak every prompt, one after the other so that live work goes first. Returns how many are ready.

    `on_progress(number, prompt, trouble)` after each; one that fails is told there and costs nothing else.
    """
    ready = 0
    for number, prompt in enumerate(prompts, 1):
        trouble = ""
        try:
            ending = await speak(Request(prompt.voice, prompt.language, priority=Priority.BATCH, budget=budget), prompt.text)
            trouble = "" if isinstance(ending, DoneOut) else getattr(ending, "message", "cancelled")
        except RealtimeError as error:
            trouble = error.message
        ready += not trouble
        on_progress(number, prompt, trouble)
    return ready

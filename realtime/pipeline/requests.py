"""What the dispatcher knows of an utterance: how it wants to be spoken, and whom to tell."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from realtime.errors import RealtimeError
from realtime.types import Budget, Emotion, Priority, UtteranceId


@dataclass(frozen=True, slots=True)
class Request:
    """How an utterance wants to be spoken. `is_never_silent`: text of which nothing can be spoken is a moment of silence, not no sound."""

    voice: str | None = None
    language: str | None = None
    speed: float = 1.0
    emotion: Emotion | None = None
    priority: Priority = Priority.NORMAL
    budget: Budget = field(default_factory=Budget)
    ladder: tuple[str, ...] = ()
    seed: int = 0
    has_cache: bool = True
    has_words: bool = True
    is_never_silent: bool = False
    api_key: str = ""


class Listener(Protocol):
    """What the dispatcher needs of an utterance."""

    id: UtteranceId

    @property
    def request(self) -> Request:
        """How it wants to be spoken."""
        ...

    @property
    def unsent_s(self) -> float:
        """Seconds of sound that could be sent at once."""
        ...

    def nudge(self) -> None:
        """There is something new to send."""
        ...

    def fail(self, error: RealtimeError) -> None:
        """The utterance can't go on."""
        ...

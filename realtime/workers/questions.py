"""What a worker was asked and has not yet answered, by number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import anyio

from realtime import errors

Reply = TypeVar("Reply")


@dataclass(slots=True)
class _Question(Generic[Reply]):
    answered: anyio.Event
    answer: Reply | errors.RealtimeError | None = None


@dataclass(slots=True)
class Questions(Generic[Reply]):
    """Whoever asks waits until an answer or a loss; who stops waiting leaves nothing behind."""

    _open: dict[int, _Question[Reply]] = field(default_factory=dict)
    _number: int = 0

    def __len__(self) -> int:
        return len(self._open)

    async def ask(self, send: Callable[[int], None]) -> Reply:
        """Send a question of a new number and wait for its answer. Raises the error that was answered with."""
        self._number += 1
        number = self._number
        question = self._open[number] = _Question[Reply](anyio.Event())
        try:
            send(number)
            await question.answered.wait()
        finally:
            del self._open[number]
        if isinstance(question.answer, errors.RealtimeError):
            raise question.answer
        if question.answer is None:
            raise errors.EngineFailed("the answer came back empty")
        return question.answer

    def answer(self, number: int, answer: Reply | errors.RealtimeError) -> None:
        """An answer came; ignored if nobody waits for it any more."""
        if question := self._open.get(number):
            question.answer = answer
            question.answered.set()

    def fail(self, error: errors.RealtimeError) -> None:
        """Nobody will answer."""
        for number in self._open:
            self.answer(number, error)

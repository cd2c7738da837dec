"""Plans asked for and not yet answered, by number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import anyio

from realtime import errors
from realtime.engines.base import PlanReply

Answer = PlanReply | errors.RealtimeError


@dataclass(slots=True)
class _Question:
    answered: anyio.Event
    answer: Answer | None = None


@dataclass(slots=True)
class Questions:
    """Whoever asks waits until an answer or a loss; who stops waiting leaves nothing behind."""

    _open: dict[int, _Question] = field(default_factory=dict)
    _number: int = 0

    def __len__(self) -> int:
        return len(self._open)

    async def ask(self, send: Callable[[int], None]) -> PlanReply:
        """Send a question of a new number and wait for its answer. Raises the error that was answered with."""
        self._number += 1
        number, question = self._number, _Question(anyio.Event())
        self._open[number] = question
        try:
            send(number)
            await question.answered.wait()
        finally:
            del self._open[number]
        if isinstance(question.answer, PlanReply):
            return question.answer
        raise question.answer or errors.EngineFailed("a plan came back empty")

    def answer(self, number: int, answer: Answer) -> None:
        """An answer came; ignored if nobody waits for it any more."""
        if question := self._open.get(number):
            question.answer = answer
            question.answered.set()

    def fail(self, error: errors.RealtimeError) -> None:
        """Nobody will answer."""
        for number in self._open:
            self.answer(number, error)

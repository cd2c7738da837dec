"""Text on its way to be spoken, kept so that it can be read twice: by the service, and from where that stopped by whoever steps in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable

from realtime_ivr.errors import CallFailed

TextSource = str | Iterable[str] | AsyncIterable[str]
MAX_CHARS = 200_000
"""Limit of the service's protocol for one utterance; a source that writes more is stopped with an error."""


class TextFeed:
    """A source, pulled by one task of its owner (`run`), readable from any position any number of times."""

    def __init__(self, source: TextSource) -> None:
        self.text = source if isinstance(source, str) else ""
        self.has_ended = isinstance(source, str)
        self.error: Exception | None = None
        self._source = source
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Pull the source until it ends. What it raises is kept in `error`; what came before is still spoken."""
        if isinstance(self._source, str):
            return
        try:
            async for piece in _pieces(self._source):
                if len(self.text) + len(piece) > MAX_CHARS:
                    raise CallFailed(f"more than {MAX_CHARS} characters to be said in one go")
                self.text += piece
                self._wake()
        except Exception as error:  # the flow's code or a webhook: its owner decides, the caller hears what there is
            self.error = error
        finally:
            self.has_ended = True
            self._wake()

    async def read(self, start: int = 0) -> AsyncIterator[str]:
        """All text from position `start` on, as it comes."""
        at = start
        while True:
            if at < len(self.text):
                piece, at = self.text[at:], len(self.text)
                yield piece
            elif self.has_ended:
                return
            else:
                await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


async def _pieces(source: Iterable[str] | AsyncIterable[str]) -> AsyncIterator[str]:
    if isinstance(source, AsyncIterable):
        async for piece in source:
            yield piece
        return
    for piece in source:
        yield piece
        await asyncio.sleep(0)

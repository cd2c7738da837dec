"""One utterance as its owner sees it: an async iterator of sound, with words, events, cancel and the figures at the end."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

from realtime.errors import RealtimeError
from realtime.types import Usage
from realtime.wire.events import (
    Audio,
    Cancel,
    Cancelled,
    Done,
    Error,
    Open,
    Opened,
    Played,
    ServerEvent,
    Switch,
    TextPaused,
    TextResumed,
    Underruns,
    Word,
)
from realtime_client.errors import ConnectionLost, error_from
from realtime_client.inbox import Inbox
from realtime_client.pieces import AudioPiece, Unpacker
from realtime_client.playout import PlayoutClock
from realtime_client.transcript import ResumePoint, Transcript
from realtime_client.writer import Home, Now, TextSource, Writer

MAX_EVENTS = 10_000
"""Events remembered for `Utterance.events`; older ones are forgotten."""
CANCEL_S = 5.0
"""How long `cancel` waits for the service's answer before it settles for its own estimate. Guess."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How an utterance is handled on this side.

    `decode`: pieces carry samples. `position`: asked a few times per second for the samples heard so far; without it the listener is
    taken to play by the clock, until somebody calls `played`. `patience_s`: how long a lost service is waited for. `on_event`:
    called with each event but audio, as it comes.
    """

    decode: bool = True
    position: Callable[[], int] | None = None
    patience_s: float = 30.0
    on_event: Callable[[ServerEvent], None] | None = None


class Utterance:
    """Made by `Client.speak`. Iterate it (once) for sound; leave early by `cancel`, or use `async with`."""

    def __init__(self, home: Home, template: Open, source: TextSource, manner: Manner, now: Now) -> None:
        self.events: deque[ServerEvent] = deque(maxlen=MAX_EVENTS)
        self.result: Done | Cancelled | None = None
        self.error: Exception | None = None
        self.first_audio_at: float | None = None
        self._format, self._manner, self._now = template.format, manner, now
        self._clock = PlayoutClock(template.format.sample_rate)
        self._transcript = Transcript(template.format.sample_rate)
        self._inbox = Inbox(template.format.codec)
        self._writer = Writer(home, self, template, self._transcript, manner.patience_s, now)
        self._mark: int | None = None
        self._mark_sent = 0
        self._is_cancelling = False
        self._over = asyncio.Event()
        # Owned: cancelled when the utterance is over, awaited by the client's `aclose`.
        self.task = asyncio.create_task(self._drive(source))

    def __repr__(self) -> str:
        state = type(self.result or self.error).__name__ if self.is_over else "open"
        return f"<Utterance {self._writer.id or '(unsent)'} {state}, {len(self.text)} characters, {self.audio_s:.2f} s>"

    # ---- for the listener ----

    async def __aiter__(self) -> AsyncIterator[AudioPiece]:
        unpacker = Unpacker(self._format, decode=self._manner.decode)
        while (audio := await self._inbox.get()) is not None:
            yield unpacker.push(audio)
        rest = unpacker.flush(self._transcript.received_samples) if isinstance(self.result, Done) else None
        if rest is not None:
            yield rest

    async def __aenter__(self) -> Utterance:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cancel()

    async def wait(self) -> Done | Cancelled:
        """Wait for the end, dropping the sound that nobody took. Raises the error that it ended in."""
        while await self._inbox.get() is not None:
            pass
        await self._over.wait()
        if self.error is not None:
            raise self.error
        assert self.result is not None  # over, and not in an error
        return self.result

    async def cancel(self) -> Done | Cancelled | None:
        """Barge-in: the iteration ends at once. Returns how it ended: what was heard, or `Done`, or None after an error."""
        if not self.is_over:
            self._is_cancelling = True
            self._inbox.close()
            self._inbox.clear()
            if await self._writer.send(Cancel(self._writer.id)):
                try:
                    async with asyncio.timeout(CANCEL_S):
                        await self._over.wait()
                except TimeoutError:
                    pass  # settled by our own estimate
            self._finish(self._cancelled_here())
        self._inbox.clear()
        return self.result

    async def played(self, sample: int) -> None:
        """Tell how far the listener is, in samples of the utterance: from whoever plays, a few times per second."""
        self._mark = sample
        await self._tell_played(sample)

    # ---- for the writer ----

    def flush(self, flush_id: str = "flush") -> None:
        """Have everything fed so far spoken at once. A `Flushed` among the events answers."""
        self._transcript.flush(flush_id)
        self._writer.wake()

    # ---- figures ----

    @property
    def is_over(self) -> bool:
        """Whether it ended: done, cancelled or in an error. Sound may still wait to be taken."""
        return self._over.is_set()

    @property
    def text(self) -> str:
        """All text taken so far."""
        return self._transcript.text

    @property
    def words(self) -> list[Word]:
        """Word times known so far: characters of `text`, milliseconds of the sound."""
        return self._transcript.words

    @property
    def audio_s(self) -> float:
        """Seconds of sound received."""
        return self._transcript.received_samples / self._format.sample_rate

    @property
    def audio_s_by_engine(self) -> dict[str, float]:
        """Seconds of sound received, by engine."""
        return self._transcript.audio_s_by_engine

    @property
    def switches(self) -> int:
        """How often the engine changed in the middle."""
        return sum(isinstance(event, Switch) for event in self.events)

    @property
    def ttfa_ms(self) -> float | None:
        """First text taken to first sound received, on this client's clock; None before that."""
        if self.first_audio_at is None or self._writer.first_text_at is None:
            return None
        return (self.first_audio_at - self._writer.first_text_at) * 1000

    @property
    def underruns(self) -> Underruns:
        """Silences of a listener with a 100 ms start buffer, on this client's clock."""
        return self._clock.underruns

    @property
    def lead_ms(self) -> float:
        """Sound received but not heard, by the clock or the last mark."""
        return self.audio_s * 1000 - self._heard_ms

    @property
    def played_samples(self) -> int:
        """What the listener has heard: as the player says, as last told by `played`, or by the clock."""
        if self._manner.position is not None:
            return self._manner.position()
        return self._clock.position(self._now()) if self._mark is None else self._mark

    # ---- for the client ----

    async def take(self, event: ServerEvent) -> None:
        """An event of this utterance. Waits while the inbox is full."""
        if isinstance(event, Error):
            self._take_error(error_from(event))
            return
        event = self._transcript.receive(event)
        if isinstance(event, Audio):
            await self._take_audio(event)
            return
        self.events.append(event)
        if isinstance(event, Opened):
            self._writer.opened()
        elif isinstance(event, TextPaused | TextResumed):
            self._writer.pause(isinstance(event, TextPaused))
        elif isinstance(event, Done):
            self._take_done(event)
        elif isinstance(event, Cancelled):
            self._finish(event)
        if self._manner.on_event is not None:
            self._manner.on_event(event)

    def lose(self) -> None:
        """The connection is gone. Goes on behind the last word that came, on the next one, if its codec can be cut."""
        if self.is_over or self._writer.link is None:
            return
        if self._is_cancelling:
            self._finish(self._cancelled_here())
        elif self._transcript.received_samples and not self._inbox.can_cut:
            self.fail(ConnectionLost(f"the connection was lost, and {self._format.codec} can't be resumed in the middle of a stream"))
        else:
            self._rewind()
            self._writer.lost()

    def wake(self) -> None:
        """There is a connection again."""
        self._writer.wake()

    def fail(self, error: Exception) -> None:
        """End it with an error; a `ConnectionLost` gets told what was heard."""
        if isinstance(error, ConnectionLost):
            heard = self._transcript.heard_characters(self.played_samples)
            error = ConnectionLost(error.message, heard_characters=heard, heard_ms=self._heard_ms)
        self._finish(None, error)

    async def tick(self) -> None:
        """Let the listener's clock run and tell the service where the listener is. Called a few times per second."""
        self._clock.advance(self._now(), self._transcript.has_text_due)
        await self._tell_played(self.played_samples)

    # ---- private ----

    async def _drive(self, source: TextSource) -> None:
        try:
            await self._writer.run(source)
        except* Exception as group:  # the source's error belongs to whoever listens
            await self._writer.send(Cancel(self._writer.id))
            self.fail(_first(group))
        else:
            self._finish(self._whole(Done(self._writer.id, Usage())))

    def _take_done(self, done: Done) -> None:
        """The end, unless the service only took a long silence of ours for it: then the text from there on is a new part."""
        if self._transcript.is_end_sent or self._is_cancelling:
            self._finish(self._whole(done))
            return
        self._transcript.rewind(ResumePoint(self._transcript.bases.char + done.usage.characters, self._transcript.received_samples))
        self._mark_sent = 0
        self._writer.rested()

    def _take_error(self, error: RealtimeError) -> None:
        if self._writer.can_ask_again(error):
            self._rewind()
        else:
            self._finish(None, error)

    async def _tell_played(self, sample: int) -> None:
        relative = sample - self._transcript.bases.sample
        if relative > self._mark_sent and not self.is_over:
            self._mark_sent = relative
            await self._writer.send(Played(self._writer.id, relative))

    async def _take_audio(self, audio: Audio) -> None:
        now = self._now()
        if self.first_audio_at is None and audio.samples:
            self.first_audio_at = now
        self._clock.received(now, audio.offset + audio.samples, self._transcript.has_text_due)
        await self._inbox.put(audio)

    def _rewind(self) -> None:
        point = self._transcript.resume_point()
        self._inbox.cut(point.sample)
        self._clock.rewound(point.sample)
        self._transcript.rewind(point)
        self._mark_sent = 0

    def _whole(self, done: Done) -> Done:
        """The end of the last connection's part as the end of all of it."""
        if self._transcript.bases.char == 0:
            return done
        audio_ms = {engine: seconds * 1000 for engine, seconds in self.audio_s_by_engine.items()}
        usage = Usage(self._transcript.bases.char + done.usage.characters, audio_ms)
        return replace(done, usage=usage, ttfa_ms=None, switches=self.switches)

    def _cancelled_here(self) -> Cancelled:
        return Cancelled(self._writer.id, self._transcript.heard_characters(self.played_samples), self._heard_ms)

    @property
    def _heard_ms(self) -> float:
        return self.played_samples / self._format.sample_rate * 1000

    def _finish(self, result: Done | Cancelled | None, error: Exception | None = None) -> None:
        if self.is_over:
            return
        self.result, self.error = result, error
        self._clock.finished(self._now())
        self._inbox.close(error)
        self._over.set()
        if self.task is not asyncio.current_task():
            self.task.cancel()


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner

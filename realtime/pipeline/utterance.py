"""One stream of text spoken as one line: text in, outputs in order, cancellable at any moment.

`Utterance` is the machine and its one task: callers feed it synchronously from the same event loop, `run` sends what comes of it
through an awaited sink (which is where a slow reader holds it up) and returns with the ending.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum, auto

from realtime.clock import Clock
from realtime.errors import BadText, RealtimeError
from realtime.pipeline.dispatcher import Dispatcher
from realtime.pipeline.emitter import Emitter
from realtime.pipeline.outputs import (
    AudioOut,
    CancelledOut,
    DoneOut,
    Ending,
    FailedOut,
    Output,
    TextPausedOut,
    TextResumedOut,
    Underruns,
)
from realtime.pipeline.requests import Request
from realtime.pipeline.segment_run import SegmentRun
from realtime.text.markup import MarkupFilter
from realtime.text.segmenter import Segmenter, SegmenterOptions
from realtime.types import AudioFormat, Segment, Usage, UtteranceId

# How far below `max_lead_ms` the lead sinks before frames go out again (LOG: at 0.5 s a stream costs half of what it does at 0.1 s).
MAX_QUANTUM_S = 0.5
QUANTUM_SHARE = 0.25
# Streams that wait for room wake at multiples of this, many at once: a process that goes to sleep and wakes pays for it.
WAKE_EVERY_S = 0.02
# Silence instead of no sound at all, where that is asked for (guess: whoever loses a codec's first packet still has some).
UNSPEAKABLE_MS = 200

Send = Callable[[Output], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class UtteranceLimits:
    """Bounds of one utterance. Beyond `text_chars` feeding raises `BadText`; over `pending_chars` unspoken the client is asked to wait."""

    text_chars: int = 100_000
    pending_chars: int = 4_000
    text_idle_s: float = 60.0


@dataclass(frozen=True, slots=True)
class UtteranceOptions:
    """What `Open` settles."""

    request: Request
    format: AudioFormat
    limits: UtteranceLimits = field(default_factory=UtteranceLimits)
    segmenter: SegmenterOptions = field(default_factory=SegmenterOptions)


class State(Enum):
    """`OPEN` takes text, `ENDING` has all of it; the rest are over."""

    OPEN = auto()
    ENDING = auto()
    CANCELLED = auto()
    FAILED = auto()
    DONE = auto()


class Utterance:
    """See the module's header. `id` is unique in the process, unlike the client's own id."""

    def __init__(self, utterance_id: UtteranceId, options: UtteranceOptions, dispatcher: Dispatcher, clock: Clock) -> None:
        self.id = utterance_id
        self.state = State.OPEN
        self.ttfa_ms: float | None = None
        self.began = clock.now()
        self._options = options
        self._dispatcher = dispatcher
        self._clock = clock
        self._segmenter = Segmenter(options.segmenter)
        self._markup = MarkupFilter()
        self._emitter = Emitter(options.format, has_words=options.request.has_words)
        self._notices: deque[Output] = deque()
        self._wake = asyncio.Event()
        self._fed_chars = 0
        self._segments = 0
        self._first_text_at: float | None = None
        self._last_text_at = self.began
        self._is_paused = False
        self._room_at_s: float | None = None
        self._begins_at: float | None = None
        self._ending: CancelledOut | FailedOut | None = None

    def __repr__(self) -> str:
        sent_s = self._emitter.sent_samples / self._options.format.sample_rate
        held = len(self._emitter.runs)
        return f"<Utterance {self.id} {self.state.name}: {self._fed_chars} characters in, {sent_s:.1f} s out, {held} segments held>"

    # ---- from the client ----

    def open(self) -> None:
        """Ask for admission. Raises `Overloaded`, `UnknownVoice` or `BadOption`; nothing is left behind then."""
        self._dispatcher.open(self)

    def feed(self, text: str) -> None:
        """More text, cut anywhere. Raises `BadText` past the limits; the utterance should be failed then."""
        limits = self._options.limits
        self._fed_chars += len(text)
        if self._fed_chars > limits.text_chars:
            raise BadText(f"an utterance takes {limits.text_chars} characters; open another one for the rest")
        now = self._clock.now()
        self._last_text_at = now
        if self._first_text_at is None and not text.isspace():
            self._first_text_at = now
        for segment in self._segmenter.push(text, now):
            self._speak(segment)
        self._balance_input()
        self._wake.set()

    def flush(self, flush_id: str) -> None:
        """Speak everything held back; `FlushedOut` follows once it is sent."""
        for segment in self._segmenter.flush(self._clock.now()):
            self._speak(segment)
        self._emitter.flush_after(self._segments, flush_id)
        self._wake.set()

    def end(self) -> None:
        """No more text; `DoneOut` follows once all is sent."""
        if self.state is State.OPEN:
            for segment in self._segmenter.flush(self._clock.now()):
                self._speak(segment)
            self.state = State.ENDING
            self._dispatcher.ended(self)
            self._wake.set()

    def cancel(self) -> None:
        """Barge-in: forget all unsent sound and stop its jobs, now. `run` then ends with `CancelledOut`."""
        if self.state in (State.OPEN, State.ENDING):
            self.state = State.CANCELLED
            self._stop(CancelledOut(*self._heard(), self.usage(), self.ttfa_ms))

    def played(self, sample: int) -> None:
        """A mark of the listener's own playout, in samples of the output timeline."""
        self._dispatcher.played(self, sample / self._options.format.sample_rate)
        self._wake.set()

    @property
    def has_more(self) -> bool:
        """Another output follows at once the one that is being sent."""
        return self._ending is None and self._emitter.has_queued

    @property
    def voice(self) -> str:
        """The voice that speaks, known once it is open."""
        return self._dispatcher.voice_of(self)

    # ---- from the dispatcher ----

    @property
    def request(self) -> Request:
        """How this utterance wants to be spoken."""
        return self._options.request

    @property
    def rate(self) -> int:
        """The output timeline's sample rate in Hz."""
        return self._options.format.sample_rate

    @property
    def unsent_s(self) -> float:
        """Seconds of sound that could follow at once what was sent."""
        return self._emitter.unsent_samples / self.rate

    def nudge(self) -> None:
        """Something changed: let the sending task look. More sound changes nothing while sound waits for room."""
        if self._room_at_s is None or not self._emitter.has_waiting:
            self._wake.set()

    def fail(self, error: RealtimeError) -> None:
        """End with an error; what was sent stays sent. The first error wins."""
        if self.state in (State.OPEN, State.ENDING):
            self.state = State.FAILED
            self._stop(FailedOut(error.code, error.message, error.retryable, error.retry_after_ms, *self._heard()))

    # ---- the task ----

    async def run(self, send: Send) -> Ending:
        """Send everything through `send` until the utterance is over; returns how it ended, having sent that too."""
        try:
            while True:
                output = self._next()
                if output is None:
                    await self._wait()
                    continue
                if isinstance(output, AudioOut):
                    self._count(output)
                await send(output)
                if isinstance(output, CancelledOut | DoneOut | FailedOut):
                    return output
        finally:
            self._dispatcher.close(self)

    def _next(self) -> Output | None:
        if self._ending is not None:
            return self._ending
        if self._emitter.has_queued:
            return self._emitter.next(0)
        self._release_due()
        if self._notices:
            return self._notices.popleft()
        now = self._clock.now()
        lead_s = self._dispatcher.lead_s(self, now)
        output = self._emitter.next(0 if self._is_too_soon(now, lead_s) else self._find_room(now, lead_s), lead_s)
        self._balance_input()
        if output is None and self.state is State.ENDING and not self._emitter.runs:
            self._emitter.finish(UNSPEAKABLE_MS if self.request.is_never_silent and self._segments else 0)
            output = self._emitter.next(0)
            if output is None:
                self.state = State.DONE
                return DoneOut(self.usage(), self.ttfa_ms, self._underruns(), self._emitter.switches)
        return output

    async def _wait(self) -> None:
        times = []
        if self.state is State.OPEN:
            times.append(self._last_text_at + self._options.limits.text_idle_s)
            if (due := self._segmenter.next_due()) is not None:
                times.append(due)
        if self._room_at_s is not None and self._emitter.runs:
            times.append(self._room_at_s)
        if self._begins_at is not None:
            times.append(self._begins_at)
        if (due_in_s := self._emitter.due_in_s) is not None:
            times.append(self._clock.now() + max(due_in_s, WAKE_EVERY_S))
        self._wake = asyncio.Event()
        await self._clock.wait(self._wake, min(times, default=None))
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        idle_since = self._last_text_at + self._options.limits.text_idle_s
        if self.state is State.OPEN and not self._emitter.runs and self._clock.now() >= idle_since:
            self.end()

    # ---- private ----

    def _speak(self, segment: Segment) -> None:
        run = SegmentRun(segment, self.rate, self._markup.push(segment))
        self._segments = segment.index + 1
        self._emitter.add(run)
        self._dispatcher.submit(self, run)

    def _release_due(self) -> None:
        if self.state is not State.OPEN:
            return
        now = self._clock.now()
        due = self._segmenter.next_due()
        if due is not None and due <= now:
            for segment in self._segmenter.due(now):
                self._speak(segment)

    def _balance_input(self) -> None:
        pending = self._fed_chars - self._emitter.chars_done
        limit = self._options.limits.pending_chars
        if not self._is_paused and pending > limit and self.state is State.OPEN:
            self._is_paused = True
            self._notices.append(TextPausedOut(pending))
        elif self._is_paused and pending <= limit // 2 and self.state is State.OPEN:
            self._is_paused = False
            self._notices.append(TextResumedOut(pending))

    def _is_too_soon(self, now: float, lead_s: float) -> bool:
        """The listener hears nothing, and what will follow is not near enough for the sound that is there to begin."""
        begins_at = self._dispatcher.begins_at(self, now) if lead_s <= 0 and self._emitter.has_waiting else now
        self._begins_at = begins_at if begins_at > now else None
        return self._begins_at is not None

    def _find_room(self, now: float, lead_s: float) -> int:
        """Samples that may go out: up to about the lead's limit, then none until it has sunk by a quantum. Fewer wake-ups, shared
        writes: what time makes room for while a quantum is being sent is left for the next one."""
        limit_s = self.request.budget.max_lead_ms / 1000
        quantum_s = min(MAX_QUANTUM_S, limit_s * QUANTUM_SHARE)
        room_s = limit_s - lead_s
        if room_s >= (quantum_s / 2 if self._room_at_s is None else quantum_s * 0.99):
            self._room_at_s = None
            return max(1, int(min(MAX_QUANTUM_S, room_s) * self.rate))
        self._room_at_s = math.ceil((now + quantum_s - room_s) / WAKE_EVERY_S) * WAKE_EVERY_S
        return 0

    def _count(self, audio: AudioOut) -> None:
        if self.ttfa_ms is None and audio.samples:
            self.ttfa_ms = (self._clock.now() - (self._first_text_at or self.began)) * 1000
        elif self._emitter.has_queued:
            return  # frames of one batch are reported with its last one
        self._dispatcher.sent(self, (audio.start + audio.samples) / self.rate, self.unsent_s)

    def _stop(self, ending: CancelledOut | FailedOut) -> None:
        self._ending = ending
        self._emitter.clear()
        self._notices.clear()
        self._dispatcher.cancel(self)
        self._wake.set()

    def _heard(self) -> tuple[int, float]:
        position_s = self._dispatcher.position_s(self, self._clock.now())
        return self._emitter.char_at(round(position_s * self.rate)), position_s * 1000

    def _underruns(self) -> Underruns:
        return self._dispatcher.underruns(self, self._clock.now())

    def usage(self) -> Usage:
        """Characters spoken and audio sent by each engine so far."""
        by_engine = {engine: samples * 1000 / self.rate for engine, samples in self._emitter.samples_by_engine.items()}
        return Usage(self._emitter.chars_done, by_engine)

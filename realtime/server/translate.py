"""Pipeline outputs to wire events, and an `open` to the pipeline's request; the only place that knows both vocabularies."""

from __future__ import annotations

from collections.abc import Sequence

from realtime.pipeline import outputs as out
from realtime.pipeline.requests import Request
from realtime.types import Budget, Priority, UtteranceId
from realtime.wire import events as wire

Told = (
    out.SegmentOut
    | out.SwitchOut
    | out.FlushedOut
    | out.TextPausedOut
    | out.TextResumedOut
    | out.CancelledOut
    | out.DoneOut
    | out.FailedOut
)
"""Outputs but sound."""


def to_request(event: wire.Open, budget: Budget, api_key: str, *, is_never_silent: bool = False) -> Request:
    """What an `open` asks of the pipeline, under the budget that was settled for it."""
    return Request(
        event.voice,
        event.language,
        event.speed,
        event.emotion,
        event.priority or Priority.NORMAL,
        budget,
        seed=event.seed,
        has_cache=event.cache,
        has_words=event.words,
        is_never_silent=is_never_silent,
        api_key=api_key,
    )


def to_events(utterance: UtteranceId, output: out.Output) -> Sequence[wire.ServerEvent]:
    """The events that tell the client about an output, whatever it is."""
    return to_audio(utterance, output) if isinstance(output, out.AudioOut) else (to_event(utterance, output),)


def to_audio(utterance: UtteranceId, output: out.AudioOut) -> list[wire.Audio]:
    """The pieces of sound that tell of an output, one for each frame. `utterance` is the client's own id."""
    first, engine = output.sequence, output.engine
    return [wire.Audio(utterance, first + k, f.start, f.samples, engine, f.payload) for k, f in enumerate(output.frames)]


def to_event(utterance: UtteranceId, output: Told) -> wire.ServerEvent:
    """The event that tells of an output, but for sound."""
    match output:
        case out.SegmentOut():
            words = tuple(wire.Word(w.span.start, w.span.end, round(w.start_ms, 1), round(w.end_ms, 1)) for w in output.words)
            span = output.span
            return wire.SegmentStarted(utterance, output.index, span.start, span.end, output.start, output.engine, output.language, words)
        case out.SwitchOut():
            return wire.Switch(utterance, output.from_engine, output.to_engine, output.reason, output.character, output.sample)
        case out.FlushedOut():
            return wire.Flushed(utterance, output.flush_id, output.chars, output.samples)
        case out.TextPausedOut():
            return wire.TextPaused(utterance, output.pending_chars)
        case out.TextResumedOut():
            return wire.TextResumed(utterance)
        case out.CancelledOut():
            return wire.Cancelled(utterance, output.heard_chars, round(output.heard_ms, 1))
        case out.DoneOut():
            lost = output.underruns
            return wire.Done(
                utterance,
                output.usage,
                None if output.ttfa_ms is None else round(output.ttfa_ms, 2),
                wire.Underruns(lost.count, round(lost.total_ms, 1), round(lost.worst_ms, 1)),
                output.switches,
            )
        case out.FailedOut():
            return wire.Error(
                output.code,
                output.message,
                output.retryable,
                output.retry_after_ms,
                utterance,
                output.heard_chars,
                round(output.heard_ms, 1),
            )

"""A run's text in the form an engine wants, with its way back to the utterance's original text.

Markup is filtered as segments come (a code fence spans several), numbers and dates are written out only for an engine that asks.
"""

from __future__ import annotations

import logging

from realtime import metrics
from realtime.engines.base import EngineInfo
from realtime.pipeline.segment_run import SegmentRun
from realtime.text.boundaries import is_speakable
from realtime.text.normalize import NormalizationFailure, normalize
from realtime.types import SpokenText

log = logging.getLogger("realtime.forms")


def spoken_for(run: SegmentRun, info: EngineInfo) -> SpokenText:
    """What the engine is given; origins are positions in the utterance. Made once per form and run."""
    form = run.forms.get(info.text_form)
    if form is None:
        form = run.forms[info.text_form] = _shifted(_made(run, info), run.segment.span.start)
    return form


def has_something_to_say(run: SegmentRun, info: EngineInfo) -> bool:
    """Whether the engine would make a sound: test voices speak every character, others what is left without markup."""
    return bool(run.segment.text) if info.text_form == "raw" else is_speakable(run.plain.text)


def _made(run: SegmentRun, info: EngineInfo) -> SpokenText:
    if info.text_form == "raw":
        return SpokenText.verbatim(run.segment.text)
    return run.plain if info.text_form == "plain" else normalize(run.plain, run.segment.language, _on_failure)


def _on_failure(failure: NormalizationFailure) -> None:
    metrics.normalize_failures.inc()
    log.warning("a segment is spoken without its numbers written out: %s", failure.reason)


def _shifted(spoken: SpokenText, by: int) -> SpokenText:
    return SpokenText(spoken.text, tuple(at + by for at in spoken.origin)) if by else spoken

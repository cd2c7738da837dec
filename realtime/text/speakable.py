"""Segments in the form an engine wants them."""

from __future__ import annotations

from realtime.text.boundaries import is_speakable as _is_speakable
from realtime.types import Segment, SpokenText


def is_speakable(text: str) -> bool:
    """Whether anything in the text makes a sound."""
    return _is_speakable(text)


def prepare(segment: Segment, form: str) -> SpokenText:
    """The segment's text, raw."""
    return SpokenText.verbatim(segment.text, segment.span.start)

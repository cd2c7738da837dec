"""From a segment to what an engine is given, in the form it asks for."""

from __future__ import annotations

from typing import Literal

from realtime.text import normalize as _normalize
from realtime.text import words
from realtime.text.boundaries import is_speakable
from realtime.text.edits import PRONUNCIATION
from realtime.text.markup import MarkupFilter, MarkupOptions
from realtime.text.normalize import OnFailure
from realtime.types import Segment, Span, SpokenText

TextForm = Literal["raw", "plain", "spoken"]
"""The same three words as `engines.base.TextForm`, which this package may not import."""

__all__ = ["Preparer", "is_speakable", "prepare", "warm_up"]


def warm_up() -> None:
    """Load dictionaries and grammars (about a second), so that no utterance pays for it."""
    words.warm_up()
    _normalize.warm_up()
    MarkupFilter().push(Segment(0, Span(0, 4), "\N{GRINNING FACE} 1."))


class Preparer:
    """One utterance's segments, in order, made ready to speak. `on_failure` hears of text that could not be normalised."""

    def __init__(self, options: MarkupOptions | None = None, on_failure: OnFailure | None = None) -> None:
        self._markup = MarkupFilter(options)
        self._on_failure = on_failure

    def push(self, segment: Segment) -> dict[TextForm, SpokenText]:
        """All forms of the next segment; origins count from the segment's first character. A form may have nothing to say
        (`is_speakable` tells): code, a table's rule, emoji."""
        plain = trimmed(self._markup.push(segment))
        return {
            "raw": SpokenText.verbatim(segment.text),
            "plain": plain,
            "spoken": _normalize.normalize(plain, segment.language, self._on_failure),
        }


def prepare(segment: Segment, form: TextForm, on_failure: OnFailure | None = None) -> SpokenText:
    """One segment by itself, outside any stream. Use a `Preparer` for an utterance: code fences span segments."""
    if form == "raw":
        return SpokenText.verbatim(segment.text)
    plain = trimmed(MarkupFilter().push(segment))
    return plain if form == "plain" else _normalize.normalize(plain, segment.language, on_failure)


def trimmed(spoken: SpokenText) -> SpokenText:
    """Without blanks at the ends: a segment starts with the space that came after the sentence before it."""
    first = len(spoken.text) - len(spoken.text.lstrip())
    last = max(first, len(spoken.text.rstrip()))
    return SpokenText(spoken.text[first:last], spoken.origin[first : last + 1])


def spoken_words(text: str) -> str:
    """A prepared text without pronunciation marks: the bare words, for captions and logs."""
    return PRONUNCIATION.sub(lambda match: match.group()[1:].split("|", 1)[0], text)

"""What a field of a message may hold: one `Rule` beside each annotation, read by the decoder, the schema and the reference page.

A rule says nothing about types (the annotation does); it bounds values, names the error that breaking it raises, and carries the
sentence that the reference page prints.
"""

from __future__ import annotations

from dataclasses import dataclass

from realtime.errors import BadOption, BadText, ClientError, ProtocolViolation

MAX_ID_CHARS = 64
"""Precedent: ElevenLabs context ids and DashScope task ids are UUIDs (36 characters); twice that leaves room for prefixes."""

ID_PATTERN = r"[A-Za-z0-9._:~-]{1,64}"
NAME_PATTERN = r"\S{1,128}"
"""Voices are named by whoever added them, in any script."""

LANGUAGE_PATTERN = r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,3}"
"""The shape of RFC 5646 tags, as far as speech needs them: `zh`, `en`, `en-GB`, `zh-Hant-TW`."""

REASON_PATTERN = r"[a-z][a-z0-9_]{0,39}"

MAX_SAFE_INTEGER = 2**53 - 1
"""The largest integer that a JavaScript number holds exactly (ECMA-262, Number.MAX_SAFE_INTEGER)."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Bounds of one field. `low`/`high` bound numbers (inclusive), `max_items` arrays and maps, `pattern` whole strings;
    `is_prose` marks text for the ear: no lone surrogates, no control characters but tab and line ends."""

    doc: str
    low: float | None = None
    high: float | None = None
    min_chars: int = 0
    max_chars: int | None = None
    max_items: int | None = None
    exact_items: int | None = None
    pattern: str | None = None
    is_prose: bool = False
    error: type[ClientError] = ProtocolViolation


def identifier(doc: str) -> Rule:
    """An id chosen by the client."""
    return Rule(doc, pattern=ID_PATTERN, max_chars=MAX_ID_CHARS)


def position(doc: str) -> Rule:
    """A count of samples or characters: a whole number that every language of client can hold."""
    return Rule(doc, low=0, high=MAX_SAFE_INTEGER)


def milliseconds(doc: str) -> Rule:
    """A duration or a moment on the utterance's timeline."""
    return Rule(doc, low=0, high=MAX_SAFE_INTEGER)


def option(
    doc: str, *, low: float | None = None, high: float | None = None, pattern: str | None = None, exact_items: int | None = None
) -> Rule:
    """A setting of `open`; breaking it is `bad_option`."""
    return Rule(doc, low=low, high=high, pattern=pattern, exact_items=exact_items, error=BadOption)


def prose(doc: str, min_chars: int = 0) -> Rule:
    """Text to be spoken; breaking it is `bad_text`."""
    return Rule(doc, min_chars=min_chars, is_prose=True, error=BadText)


def note(doc: str) -> Rule:
    """Something that a person reads: a message, a description."""
    return Rule(doc, max_chars=2000)

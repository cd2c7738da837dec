"""The shape of every message, read once from the dataclasses: what the decoder, the JSON Schema and the reference page walk.

A shape is a small tree. `shape_of(Open)` is an `Object` with a `Field` per dataclass field; leaves are `Scalar`s and `Choice`s.
Shared values (`AudioFormat`, `Emotion`, `Budget`, `Usage`) carry no rules of their own, because the wire is not their business;
theirs stand in `SHARED_RULES`.
"""

from __future__ import annotations

import types
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from realtime.types import AudioFormat, Budget, Emotion, Usage
from realtime.wire.rules import NAME_PATTERN, Rule, milliseconds, option, position

SHARED_RULES: dict[type, dict[str, Rule]] = {
    AudioFormat: {
        "codec": option("The codec"),
        "sample_rate": option(
            "Samples per second. Positions count at this rate even where a decoder gives another (Opus: 48000 in browsers)",
            low=8000,
            high=48000,
        ),
        "bitrate": option("Bits per second, for codecs that have one; absent: the codec's default", low=6000, high=512_000),
    },
    Emotion: {
        "name": option("One of the voice's emotions", pattern=NAME_PATTERN),
        "vector": option("Eight weights: happy, angry, sad, afraid, disgusted, melancholic, surprised, calm", low=0, high=1, exact_items=8),
        "strength": option("0 is neutral, 1 is full", low=0, high=1),
    },
    Budget: {
        "first_audio_ms": milliseconds("First audio is due within this time of the first text"),
        "start_buffer_ms": milliseconds("The listener is taken to start playing with this much"),
        "max_lead_ms": milliseconds("Never more audio ahead of the listener than this"),
        "sticky": Rule("Once switched, stay with that engine"),
    },
    Usage: {
        "characters": position("Characters spoken"),
        "audio_ms_by_engine": Rule("Milliseconds of audio sent, by engine", low=0, high=2**53 - 1, max_items=100),
    },
}

ScalarKind = Literal["string", "integer", "number", "boolean", "bytes"]
SCALARS: dict[Any, ScalarKind] = {str: "string", int: "integer", float: "number", bool: "boolean", bytes: "bytes"}


@dataclass(frozen=True, slots=True)
class Scalar:
    """One plain value."""

    kind: ScalarKind


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the members of an enumeration, as its string."""

    enum: type[StrEnum]


@dataclass(frozen=True, slots=True)
class Array:
    """Any number of the same."""

    item: Shape


@dataclass(frozen=True, slots=True)
class Row:
    """An array whose places have names: a named tuple."""

    make: Any
    names: tuple[str, ...]
    items: tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A map from names to numbers."""


@dataclass(frozen=True, slots=True)
class Field:
    """A named place in an object. `default` is MISSING where the field is required."""

    name: str
    shape: Shape
    rule: Rule
    is_nullable: bool
    default: Any

    @property
    def is_required(self) -> bool:
        """Whether a message without it is malformed."""
        return self.default is MISSING


@dataclass(frozen=True, slots=True)
class Object:
    """A dataclass: a message or a part of one."""

    make: Any
    fields: tuple[Field, ...]


Shape = Scalar | Choice | Array | Row | Table | Object

_SHAPES: dict[type[Any], Object] = {}


def shape_of(kind: type[Any]) -> Object:
    """The shape of a dataclass. Raises `TypeError` for annotations that no shape stands for: a bug in `events.py`."""
    if kind in _SHAPES:
        return _SHAPES[kind]
    hints = get_type_hints(kind, include_extras=True)
    shared = SHARED_RULES.get(kind, {})
    shape = Object(kind, tuple(_field(spec, hints[spec.name], shared.get(spec.name)) for spec in fields(kind)))
    return _SHAPES.setdefault(kind, shape)


def _field(spec: Any, hint: Any, rule: Rule | None) -> Field:
    if get_origin(hint) is Annotated:
        hint, rule = get_args(hint)
    if rule is None:
        raise TypeError(f"field {spec.name!r} has no rule")
    is_nullable = False
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = (part for part in get_args(hint) if part is not type(None))
        is_nullable = True
    default = spec.default if spec.default_factory is MISSING else spec.default_factory()
    return Field(spec.name, _shape(hint), rule, is_nullable, default)


def _shape(hint: Any) -> Shape:
    if hint in SCALARS:
        return Scalar(SCALARS[hint])
    if get_origin(hint) is tuple:
        return Array(_shape(get_args(hint)[0]))
    if get_origin(hint) is dict:
        return Table()
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return Choice(hint)
    if isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields"):
        hints = get_type_hints(hint)
        return Row(hint, hint._fields, tuple(_shape(hints[name]) for name in hint._fields))
    if is_dataclass(hint) and isinstance(hint, type):
        return shape_of(hint)
    raise TypeError(f"no shape stands for {hint!r}")

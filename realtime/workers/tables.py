"""Values as plain tables and back, by the type hints of their dataclasses: what two processes tell each other needs no code of its own.

A table holds what msgpack knows: numbers, texts, bytes, lists and tables. Hints may be dataclasses, enums, `tuple[X, ...]`,
`Mapping[str, X]`, `X | None` and plain types; a plain type is passed as it is, not checked. Pure; no pickle.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

Value = TypeVar("Value")


def to_table(value: Any) -> dict[str, Any]:
    """A dataclass as a table, with everything in it. `dataclasses.asdict` takes three times as long: it copies what can't change."""
    return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}


def from_table(kind: type[Value], table: Any) -> Value:
    """The value of a class. Raises `TypeError`, `ValueError`, `LookupError` or `AttributeError` for a table of another shape."""
    hint: Any = kind
    value: Value = _reader(hint)(table)
    return value


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return to_table(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


@cache
def _reader(hint: Any) -> Callable[[Any], Any]:
    """What makes a value of a hint out of its plain form."""
    origin, inner = get_origin(hint), get_args(hint)
    if isinstance(hint, type) and is_dataclass(hint):
        return _dataclass_reader(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint
    if origin is tuple:
        item = _reader(inner[0])
        return lambda items: tuple(map(item, items))
    if origin in (Mapping, dict):
        entry = _reader(inner[1])
        return lambda table: {key: entry(value) for key, value in table.items()}
    if origin in (Union, types.UnionType):
        (there,) = (_reader(kind) for kind in inner if kind is not type(None))
        return lambda value: None if value is None else there(value)
    return lambda value: value


def _dataclass_reader(kind: type[Any]) -> Callable[[Any], Any]:
    hints = get_type_hints(kind)
    readers = {field.name: _reader(hints[field.name]) for field in fields(kind)}

    def read(table: Any) -> Any:
        return kind(**{name: readers[name](value) for name, value in table.items()})

    return read

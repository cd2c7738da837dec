"""Plain values to dataclasses, by shape: every bound checked, every refusal named by its path (`open.format.sample_rate`).

A reader is compiled once per message type from closures, so that a message costs one call per field. Readers raise what the field's
rule names (`ProtocolViolation`, `BadOption`, `BadText`) and nothing else, whatever they are given.
"""

from __future__ import annotations

import binascii
import math
import re
from collections.abc import Callable
from typing import Any

from realtime.errors import ProtocolViolation
from realtime.wire.rules import Rule
from realtime.wire.shapes import Array, Choice, Object, Row, Scalar, Shape, Table

Reader = Callable[[Any, str], Any]
"""(plain value, path for the error) -> the typed value."""

LONE_SURROGATE = re.compile("[\ud800-\udfff]")
NOT_PROSE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""C0 and C1 controls but tab, line feed and carriage return; and lone surrogates, which no UTF-8 can carry."""


def quoted(value: object) -> str:
    """A peer's value for an error message: ASCII, and short whatever it is."""
    if isinstance(value, (str, bytes)):
        value = value[:64]
    elif not isinstance(value, (int, float, bool, type(None))) or (isinstance(value, int) and value.bit_length() > 128):
        return f"a {type(value).__name__}"
    text = ascii(value)
    return text if len(text) <= 40 else text[:37] + "..."


def object_reader(shape: Object, *, is_lenient: bool, is_base64: bool) -> Reader:
    """A reader for a message or a part of one. `is_lenient` lets unknown fields pass; `is_base64` takes bytes as base64 strings."""
    readers = {field.name: (field, _reader(field.shape, field.rule, is_lenient, is_base64)) for field in shape.fields}
    required = frozenset(field.name for field in shape.fields if field.is_required)
    make = shape.make

    def read(value: Any, path: str) -> Any:
        if type(value) is not dict:
            raise ProtocolViolation(f"{path} must be a map, not {quoted(value)}")
        found: dict[str, Any] = {}
        for name, part in value.items():
            known = readers.get(name) if isinstance(name, str) else None
            if known is None:
                if is_lenient:
                    continue
                raise ProtocolViolation(f"{path} has no field {quoted(name)}; it has: {', '.join(readers)}")
            field, reader = known
            if part is None and field.is_nullable:
                continue
            found[name] = reader(part, f"{path}.{name}")
        if not required <= found.keys():
            missing = ", ".join(sorted(required - found.keys()))
            raise ProtocolViolation(f"{path} lacks {missing}")
        return make(**found)

    return read


def _reader(shape: Shape, rule: Rule, is_lenient: bool, is_base64: bool) -> Reader:
    if isinstance(shape, Scalar):
        return _base64_reader(rule) if shape.kind == "bytes" and is_base64 else SCALAR_READERS[shape.kind](rule)
    if isinstance(shape, Choice):
        return _choice_reader(shape, rule)
    if isinstance(shape, Object):
        return object_reader(shape, is_lenient=is_lenient, is_base64=is_base64)
    if isinstance(shape, Array):
        return _array_reader(_reader(shape.item, rule, is_lenient, is_base64), rule)
    if isinstance(shape, Row):
        return _row_reader(shape, rule)
    assert isinstance(shape, Table)
    return _table_reader(rule)


def _string_reader(rule: Rule) -> Reader:
    pattern = re.compile(rule.pattern) if rule.pattern else None
    forbidden = NOT_PROSE if rule.is_prose else LONE_SURROGATE

    def read(value: Any, path: str) -> str:
        if type(value) is not str:
            raise rule.error(f"{path} must be a string, not {quoted(value)}")
        if len(value) < rule.min_chars:
            raise rule.error(f"{path} is empty")
        if rule.max_chars is not None and len(value) > rule.max_chars:
            raise rule.error(f"{path} has {len(value)} characters, the limit is {rule.max_chars}")
        if pattern is not None and not pattern.fullmatch(value):
            raise rule.error(f"{path} is {quoted(value)}, it must match {rule.pattern}")
        wrong = forbidden.search(value)
        if wrong is not None:
            raise rule.error(f"{path} holds U+{ord(wrong.group()):04X} at character {wrong.start()}, which can't be spoken or encoded")
        return value

    return read


def _integer_reader(rule: Rule) -> Reader:
    low, high = _bounds(rule)

    def read(value: Any, path: str) -> int:
        if type(value) is not int:
            raise rule.error(f"{path} must be a whole number, not {quoted(value)}")
        if not low <= value <= high:
            raise rule.error(f"{path} is {quoted(value)}, it must lie in {rule.low}..{rule.high}")
        return value

    return read


def _number_reader(rule: Rule) -> Reader:
    low, high = _bounds(rule)

    def read(value: Any, path: str) -> float:
        if type(value) is not float and type(value) is not int:
            raise rule.error(f"{path} must be a number, not {quoted(value)}")
        if not low <= value <= high:  # also says no to NaN
            raise rule.error(f"{path} is {quoted(value)}, it must lie in {rule.low}..{rule.high}")
        return float(value)

    return read


def _bounds(rule: Rule) -> tuple[float, float]:
    return (-math.inf if rule.low is None else rule.low, math.inf if rule.high is None else rule.high)


def _boolean_reader(rule: Rule) -> Reader:
    def read(value: Any, path: str) -> bool:
        if type(value) is not bool:
            raise rule.error(f"{path} must be true or false, not {quoted(value)}")
        return value

    return read


def _bytes_reader(rule: Rule) -> Reader:
    def read(value: Any, path: str) -> bytes:
        if type(value) is not bytes:
            raise rule.error(f"{path} must be binary, not {quoted(value)}")
        return value

    return read


def _base64_reader(rule: Rule) -> Reader:
    def read(value: Any, path: str) -> bytes:
        if type(value) is not str:
            raise rule.error(f"{path} must be a base64 string, not {quoted(value)}")
        try:
            return binascii.a2b_base64(value, strict_mode=True)
        except ValueError as error:  # binascii.Error, or not ASCII
            raise rule.error(f"{path} is not base64: {error}") from None

    return read


SCALAR_READERS: dict[str, Callable[[Rule], Reader]] = {
    "string": _string_reader,
    "integer": _integer_reader,
    "number": _number_reader,
    "boolean": _boolean_reader,
    "bytes": _bytes_reader,
}


def _choice_reader(shape: Choice, rule: Rule) -> Reader:
    members = {member.value: member for member in shape.enum}

    def read(value: Any, path: str) -> Any:
        member = members.get(value) if type(value) is str else None
        if member is None:
            raise rule.error(f"{path} is {quoted(value)}, it must be one of: {', '.join(members)}")
        return member

    return read


def _array_reader(item: Reader, rule: Rule) -> Reader:
    most = rule.exact_items if rule.exact_items is not None else rule.max_items

    def read(value: Any, path: str) -> tuple[Any, ...]:
        if type(value) is not list:
            raise rule.error(f"{path} must be an array, not {quoted(value)}")
        if (most is not None and len(value) > most) or (rule.exact_items is not None and len(value) != rule.exact_items):
            raise rule.error(f"{path} has {len(value)} items, it may have {most}")
        return tuple(item(part, f"{path}[{index}]") for index, part in enumerate(value))

    return read


def _row_reader(shape: Row, rule: Rule) -> Reader:
    readers = tuple(_reader(item, rule, False, False) for item in shape.items)

    def read(value: Any, path: str) -> Any:
        if type(value) is not list or len(value) != len(readers):
            raise rule.error(f"{path} must be an array of {len(readers)}: {', '.join(shape.names)}")
        return shape.make(*(reader(part, path) for reader, part in zip(readers, value, strict=True)))

    return read


def _table_reader(rule: Rule) -> Reader:
    number, most = _number_reader(rule), rule.max_items or 0

    def read(value: Any, path: str) -> dict[str, float]:
        if type(value) is not dict:
            raise rule.error(f"{path} must be a map, not {quoted(value)}")
        if len(value) > most or not all(type(key) is str for key in value):
            raise rule.error(f"{path} must have at most {most} entries, keyed by strings")
        return {key: number(part, path) for key, part in value.items()}

    return read

"""JSON Schema (draft 2020-12) of the native protocol's JSON messages, made from the dataclasses. MessagePack carries the same maps,
with `bin` where this says base64."""

from __future__ import annotations

from typing import Any

from realtime.wire.events import CLIENT_EVENTS, SERVER_EVENTS
from realtime.wire.rules import Rule
from realtime.wire.shapes import Array, Choice, Field, Object, Row, Scalar, Shape, Table, shape_of

PROSE_PATTERN = r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]*$"


def protocol_schema() -> dict[str, Any]:
    """The whole protocol: `$defs` has every message by name, and `client_message` and `service_message` for the two directions."""
    definitions: dict[str, Any] = {}
    definitions.update({name: _message(name, shape_of(kind), is_closed=True) for name, kind in CLIENT_EVENTS.items()})
    definitions.update({name: _message(name, shape_of(kind), is_closed=False) for name, kind in SERVER_EVENTS.items()})
    definitions["client_message"] = {"oneOf": [{"$ref": f"#/$defs/{name}"} for name in CLIENT_EVENTS]}
    definitions["service_message"] = {"oneOf": [{"$ref": f"#/$defs/{name}"} for name in SERVER_EVENTS]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "realtime.v1.json",
        "description": "One WebSocket text message of the native protocol. Clients ignore fields and types they do not know.",
        "anyOf": [{"$ref": "#/$defs/client_message"}, {"$ref": "#/$defs/service_message"}],
        "$defs": definitions,
    }


def _message(name: str, shape: Object, *, is_closed: bool) -> dict[str, Any]:
    schema = _object(shape, is_closed)
    schema["description"] = " ".join(str(shape.make.__doc__).split())
    schema["properties"] = {"type": {"const": name}, **schema["properties"]}
    schema["required"] = ["type", *schema.get("required", [])]
    return schema


def _object(shape: Object, is_closed: bool) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": {field.name: _field(field, is_closed) for field in shape.fields}}
    required = [field.name for field in shape.fields if field.is_required]
    if required:
        schema["required"] = required
    if is_closed:
        schema["additionalProperties"] = False
    return schema


def _field(field: Field, is_closed: bool) -> dict[str, Any]:
    schema = _value(field.shape, field.rule, is_closed)
    if field.is_nullable:
        schema = {"anyOf": [schema, {"type": "null"}]}
    schema["description"] = field.rule.doc
    if isinstance(field.default, (str, int, float)):
        schema["default"] = field.default
    return schema


def _value(shape: Shape, rule: Rule, is_closed: bool) -> dict[str, Any]:
    if isinstance(shape, Scalar):
        return _scalar(shape, rule)
    if isinstance(shape, Choice):
        return {"enum": [member.value for member in shape.enum]}
    if isinstance(shape, Object):
        return _object(shape, is_closed)
    if isinstance(shape, Array):
        sizes = {"minItems": rule.exact_items, "maxItems": rule.exact_items or rule.max_items}
        return {"type": "array", "items": _value(shape.item, rule, is_closed), **_given(sizes)}
    if isinstance(shape, Row):
        places = [{**_value(item, rule, is_closed), "title": name} for item, name in zip(shape.items, shape.names, strict=True)]
        return {"type": "array", "prefixItems": places, "minItems": len(places), "maxItems": len(places)}
    assert isinstance(shape, Table)
    return {"type": "object", "additionalProperties": {"type": "number", **_given({"minimum": rule.low, "maximum": rule.high})}}


def _scalar(shape: Scalar, rule: Rule) -> dict[str, Any]:
    if shape.kind == "bytes":
        return {"type": "string", "contentEncoding": "base64"}
    if shape.kind == "string":
        pattern = PROSE_PATTERN if rule.is_prose else f"^(?:{rule.pattern})$" if rule.pattern else None
        return {"type": "string", **_given({"minLength": rule.min_chars or None, "maxLength": rule.max_chars, "pattern": pattern})}
    return {"type": shape.kind, **_given({"minimum": rule.low, "maximum": rule.high})}


def _given(parts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parts.items() if value is not None}

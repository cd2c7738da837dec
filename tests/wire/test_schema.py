"""The JSON Schema says what the decoder does: checked both ways with a validator that is not ours."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realtime.errors import ClientError
from realtime.wire.dialects.native import NativeJson
from realtime.wire.events import CLIENT_EVENTS, EVENT_NAMES, Event
from realtime.wire.schema import protocol_schema
from realtime.wire.shapes import Scalar, shape_of
from realtime.wire.transitions import Role

SCHEMA = protocol_schema()
FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def validator(direction: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({"$ref": f"#/$defs/{direction}", "$defs": SCHEMA["$defs"]})


CLIENT, SERVICE = validator("client_message"), validator("service_message")


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@FUZZ
@given(data=st.data())
def test_every_client_message_is_valid(data: st.DataObject, client_events: st.SearchStrategy[Event]) -> None:
    CLIENT.validate(json.loads(NativeJson(Role.CLIENT).encode(data.draw(client_events))))


@FUZZ
@given(data=st.data())
def test_every_service_message_is_valid(data: st.DataObject, server_events: st.SearchStrategy[Event]) -> None:
    SERVICE.validate(json.loads(NativeJson(Role.SERVER).encode(data.draw(server_events))))


ODD = (
    st.none()
    | st.booleans()
    | st.integers(-5, 10**6)
    | st.sampled_from([0.75, "", "x", "a b", "normal", "zh", [], {}, [0] * 8, {"codec": "flac"}])
)


@FUZZ
@given(data=st.data())
def test_decoder_and_schema_agree(data: st.DataObject, client_events: st.SearchStrategy[Event]) -> None:
    """A client's message with any one field replaced: valid for both or for neither."""
    raw = json.loads(NativeJson(Role.CLIENT).encode(data.draw(client_events)))
    raw[data.draw(st.sampled_from([*sorted(raw), "stranger"]))] = data.draw(ODD)
    assert CLIENT.is_valid(raw) == is_taken(raw)


def is_taken(raw: Any) -> bool:
    try:
        NativeJson().decode(json.dumps(raw))
    except ClientError:
        return False
    return True


@pytest.mark.parametrize("kind", EVENT_NAMES, ids=EVENT_NAMES.values())
def test_every_number_is_bounded_and_every_field_explained(kind: type[Event]) -> None:
    for field in shape_of(kind).fields:
        assert field.rule.doc, field.name
        if isinstance(field.shape, Scalar) and field.shape.kind in ("integer", "number"):
            assert field.rule.low is not None and field.rule.high is not None, field.name


def test_client_messages_are_closed_and_service_messages_open() -> None:
    for name, schema in SCHEMA["$defs"].items():
        if "properties" in schema:
            assert schema.get("additionalProperties", True) is (name not in CLIENT_EVENTS)

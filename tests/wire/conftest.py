"""Random events of every kind, made from the shapes, and sessions brought into a given state."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st

from realtime.types import AudioFormat, Budget, Usage
from realtime.wire.events import (
    CLIENT_EVENTS,
    SERVER_EVENTS,
    AppendText,
    Audio,
    Cancel,
    Cancelled,
    Done,
    End,
    Error,
    Event,
    Flush,
    Flushed,
    Open,
    Opened,
    Ping,
    Played,
    Pong,
    Ready,
    SegmentStarted,
    Switch,
    TextPaused,
    TextResumed,
)
from realtime.wire.rules import Rule
from realtime.wire.session import Session
from realtime.wire.shapes import Array, Choice, Object, Row, Scalar, Shape, shape_of
from realtime.wire.transitions import Role, UtteranceState

U = UtteranceState

PROSE = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), include_characters="\t\n\r")


def scalars(shape: Scalar, rule: Rule) -> st.SearchStrategy[Any]:
    if shape.kind == "boolean":
        return st.booleans()
    if shape.kind == "bytes":
        return st.binary(max_size=64)
    if shape.kind == "integer":
        return st.integers(math.ceil(rule.low or 0), int(rule.high or 10**6))
    if shape.kind == "number":
        return st.floats(rule.low, rule.high, allow_nan=False)
    if rule.pattern:
        return st.from_regex(rule.pattern, fullmatch=True).filter(lambda text: text.isprintable())
    return st.text(PROSE, min_size=rule.min_chars, max_size=min(rule.max_chars or 50, 50))


def values(shape: Shape, rule: Rule) -> st.SearchStrategy[Any]:
    if isinstance(shape, Scalar):
        return scalars(shape, rule)
    if isinstance(shape, Choice):
        return st.sampled_from(list(shape.enum))
    if isinstance(shape, Object):
        return objects(shape)
    if isinstance(shape, Array):
        exact = rule.exact_items
        return st.lists(values(shape.item, rule), min_size=exact or 0, max_size=exact or 4).map(tuple)
    if isinstance(shape, Row):
        return st.tuples(*(values(item, rule) for item in shape.items)).map(lambda row: shape.make(*row))
    return st.dictionaries(st.text(PROSE, max_size=8), st.floats(0, 1e6), max_size=4)


def objects(shape: Object) -> st.SearchStrategy[Any]:
    parts = {}
    for field in shape.fields:
        part = values(field.shape, field.rule)
        parts[field.name] = st.none() | part if field.is_nullable else part
    return st.builds(shape.make, **parts)


def events_of(*tables: dict[str, type[Event]]) -> st.SearchStrategy[Event]:
    return st.one_of([objects(shape_of(kind)) for table in tables for kind in table.values()])


@pytest.fixture(scope="session")
def client_events() -> st.SearchStrategy[Event]:
    return events_of(dict(CLIENT_EVENTS))


@pytest.fixture(scope="session")
def server_events() -> st.SearchStrategy[Event]:
    return events_of(dict(SERVER_EVENTS))


@pytest.fixture
def samples() -> Callable[[str], dict[str, Event]]:
    """One legal event of each kind about an utterance, by name."""

    def make(utterance: str) -> dict[str, Event]:
        return {
            "open": Open(utterance),
            "text": AppendText(utterance, "x"),
            "flush": Flush(utterance, "f"),
            "end": End(utterance),
            "cancel": Cancel(utterance),
            "played": Played(utterance, 5),
            "ping": Ping("p"),
            "ready": Ready("1"),
            "opened": Opened(utterance, "v", AudioFormat(), Budget()),
            "segment": SegmentStarted(utterance, 0, 0, 1, 0, "e", "en"),
            "audio": Audio(utterance, 0, 0, 1, "e", b""),
            "switch": Switch(utterance, "e", "f", "stalled", 0, 0),
            "flushed": Flushed(utterance, "f", 1, 1),
            "text_paused": TextPaused(utterance),
            "text_resumed": TextResumed(utterance),
            "cancelled": Cancelled(utterance, 0, 0.0),
            "done": Done(utterance, Usage()),
            "error": Error("overloaded", "later", utterance=utterance),
            "pong": Pong("p"),
        }

    return make


PATHS: dict[UtteranceState, tuple[str, ...]] = {
    U.FREE: (),
    U.REQUESTED: ("open",),
    U.REQUESTED_WHOLE: ("open", "end"),
    U.SPEAKING: ("open", "opened"),
    U.FINISHING: ("open", "opened", "end"),
    U.CANCELLING: ("open", "opened", "cancel"),
    U.DONE: ("open", "opened", "end", "done"),
    U.CANCELLED: ("open", "opened", "cancel", "cancelled"),
    U.FAILED: ("open", "error"),
}


@pytest.fixture
def session_in(samples: Callable[[str], dict[str, Event]]) -> Callable[[Role, UtteranceState], Session]:
    """An active session with utterance `a` in a state, and one flush of it unanswered where text was open."""

    def make(role: Role, state: UtteranceState) -> Session:
        session = Session(role)
        by_name = samples("a")
        path = ["ready", *PATHS[state]]
        if state in (U.SPEAKING, U.FINISHING, U.CANCELLING):
            path.insert(3, "flush")
        for name in path:
            is_ours = (name in SERVER_EVENTS) == (role is Role.SERVER)
            if is_ours:
                session.send(by_name[name])
            else:
                session.receive(by_name[name])
        assert session.state_of("a") is state
        return session

    return make

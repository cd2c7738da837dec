"""The clocks behind `inactivity_timeout`, by a clock that the tests move."""

from __future__ import annotations

from typing import Any

from realtime.pipeline.utterance import State
from realtime.server.inactivity import Inactivity
from realtime.types import Usage
from realtime.wire.events import AppendText, Open


class Speaking:
    """What the clocks ask of an utterance."""

    def __init__(self) -> None:
        self.state = State.OPEN
        self.spoken_ms = 0.0

    def usage(self) -> Usage:
        return Usage(0, {"beacon": self.spoken_ms})


def late(clocks: Inactivity, now: float, utterances: dict[str, Any]) -> list[str | None]:
    return [error.utterance for error in clocks.due(now, utterances)]


def test_an_utterance_waits_from_its_last_message_or_its_last_sound() -> None:
    clocks, a, b = Inactivity(20, 0), Speaking(), Speaking()
    both: dict[str, Any] = {"a": a, "b": b}
    clocks.heard([Open("a"), AppendText("a", "x")], 0)
    clocks.heard([Open("b")], 0)
    clocks.heard([AppendText("b", "x")], 15)
    assert late(clocks, 20, both) == []
    assert late(clocks, 21, both) == ["a"]
    a.spoken_ms = 500
    assert late(clocks, 22, both) == []
    assert late(clocks, 36, both) == ["b"]
    assert late(clocks, 43, both) == ["a", "b"]


def test_a_message_that_names_nobody_keeps_everybody() -> None:
    clocks = Inactivity(20, 0)
    both: dict[str, Any] = {"a": Speaking(), "b": Speaking()}
    clocks.heard([Open("a"), Open("b")], 0)
    clocks.heard([], 19)
    assert late(clocks, 39, both) == []
    assert late(clocks, 39.5, both) == ["a", "b"]


def test_whose_text_has_ended_is_not_late_and_the_connection_waits_from_its_last_utterance() -> None:
    clocks, ending = Inactivity(20, 0), Speaking()
    ending.state = State.ENDING
    clocks.heard([Open("a")], 0)
    assert late(clocks, 1000, {"a": ending}) == []
    assert late(clocks, 1020, {}) == []
    assert late(clocks, 1021, {}) == [None]

"""Every (state, event) pair for both sides, and the limits that the table can't hold."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable

import pytest

from realtime.errors import BadOption, BadText, EngineFailed, Overloaded, ProtocolViolation
from realtime.types import AudioFormat, Budget, Usage
from realtime.wire.events import (
    CLIENT_EVENTS,
    SERVER_EVENTS,
    AppendText,
    Audio,
    Cancel,
    Done,
    End,
    Error,
    Event,
    Flush,
    Flushed,
    Limits,
    Open,
    Opened,
    Ping,
    Played,
    Pong,
    Ready,
)
from realtime.wire.session import MAX_REFUSALS_IN_ROW, MAX_REMEMBERED, LocalProtocolError, Session
from realtime.wire.transitions import ConnectionState, Role, UtteranceState

U = UtteranceState
Samples = Callable[[str], dict[str, Event]]
SessionIn = Callable[[Role, UtteranceState], Session]

SPOKEN = "segment audio switch flushed text_paused text_resumed"
# What each side may say, state by state, written down independently of the code.
CLIENT_MAY: dict[UtteranceState, str] = {
    U.FREE: "open",
    U.REQUESTED: "text flush end cancel played",
    U.REQUESTED_WHOLE: "cancel played",
    U.SPEAKING: "text flush end cancel played",
    U.FINISHING: "cancel played",
    U.CANCELLING: "cancel played",
    U.DONE: "open cancel played",
    U.CANCELLED: "open cancel played",
    U.FAILED: "open cancel played",
}
SERVER_MAY: dict[UtteranceState, str] = {
    U.FREE: "error",
    U.REQUESTED: "opened error",
    U.REQUESTED_WHOLE: "opened error",
    U.SPEAKING: f"{SPOKEN} done error",
    U.FINISHING: f"{SPOKEN} done error",
    U.CANCELLING: "cancelled error",
    U.DONE: "",
    U.CANCELLED: "",
    U.FAILED: "",
}
# What is taken but not acted upon: it crossed something of ours, or comes after the end.
LATE_TO_SERVER: dict[UtteranceState, str] = {
    U.CANCELLING: "text flush end",
    U.DONE: "played cancel text flush end",
    U.CANCELLED: "played cancel text flush end",
    U.FAILED: "played cancel text flush end",
}
LATE_TO_CLIENT: dict[UtteranceState, str] = {
    U.CANCELLING: f"opened {SPOKEN}",
    U.DONE: "error",
    U.CANCELLED: "error",
    U.FAILED: "error",
}
LEADS_TO = {
    ("open", None): U.REQUESTED,
    ("end", U.REQUESTED): U.REQUESTED_WHOLE,
    ("end", U.SPEAKING): U.FINISHING,
    ("opened", U.REQUESTED): U.SPEAKING,
    ("opened", U.REQUESTED_WHOLE): U.FINISHING,
    ("done", None): U.DONE,
    ("cancelled", None): U.CANCELLED,
    ("error", None): U.FAILED,
}
ABOUT_UTTERANCES = [name for name in (*CLIENT_EVENTS, *SERVER_EVENTS) if name not in ("ping", "pong", "ready")]
PAIRS = list(itertools.product(UtteranceState, ABOUT_UTTERANCES))


def expected_target(state: UtteranceState, name: str) -> UtteranceState:
    if name == "cancel":
        return state if state in (U.DONE, U.CANCELLED, U.FAILED) else U.CANCELLING
    return LEADS_TO.get((name, state)) or LEADS_TO.get((name, None)) or state


@pytest.mark.parametrize(("state", "name"), PAIRS)
@pytest.mark.parametrize("role", Role)
def test_receiving_each_event_in_each_state(role: Role, state: UtteranceState, name: str, session_in: SessionIn, samples: Samples) -> None:
    session, event = session_in(role, state), samples("a")[name]
    theirs, may = (CLIENT_EVENTS, CLIENT_MAY) if role is Role.SERVER else (SERVER_EVENTS, SERVER_MAY)
    late = (LATE_TO_SERVER if role is Role.SERVER else LATE_TO_CLIENT).get(state, "").split()
    if name not in theirs:
        with pytest.raises(ProtocolViolation, match="does not take"):
            session.receive(event)
    elif name in late:
        assert session.receive(event) is False
        assert session.state_of("a") is state
    elif role is Role.CLIENT and (state, name) == (U.CANCELLING, "done"):
        assert session.receive(event) is True  # the end crossed our cancel
        assert session.state_of("a") is U.DONE
    elif name in may[state].split():
        assert session.receive(event) is True
        assert session.state_of("a") is expected_target(state, name)
    else:
        with pytest.raises(ProtocolViolation) as raised:
            session.receive(event)
        assert raised.value.utterance == "a"
        assert session.state_of("a") is state


@pytest.mark.parametrize(("state", "name"), PAIRS)
@pytest.mark.parametrize("role", Role)
def test_sending_each_event_in_each_state(role: Role, state: UtteranceState, name: str, session_in: SessionIn, samples: Samples) -> None:
    session, event = session_in(role, state), samples("a")[name]
    ours, may = (SERVER_EVENTS, SERVER_MAY) if role is Role.SERVER else (CLIENT_EVENTS, CLIENT_MAY)
    is_legal = name in ours and name in may[state].split()
    assert session.can_send(event) is is_legal
    if is_legal:
        session.send(event)
        assert session.state_of("a") is expected_target(state, name)
    else:
        with pytest.raises(LocalProtocolError):
            session.send(event)
        assert session.state_of("a") is state


@pytest.mark.parametrize("name", [*CLIENT_EVENTS, *SERVER_EVENTS])
def test_before_ready_a_server_says_nothing_but_errors(name: str, samples: Samples) -> None:
    session = Session(Role.SERVER)
    session.receive(Open("a"))
    is_legal = name in ("ready", "error")
    assert session.can_send(samples("a")[name]) is is_legal
    if not is_legal:
        with pytest.raises(LocalProtocolError):
            session.send(samples("a")[name])


def test_a_client_need_not_wait_for_ready_but_takes_nothing_else_before_it() -> None:
    session = Session(Role.CLIENT)
    session.send(Open("a"))
    session.send(AppendText("a", "early"))
    with pytest.raises(ProtocolViolation, match="while the connection is greeting"):
        session.receive(Opened("a", "v", AudioFormat(), Budget()))
    assert session.receive(Ready("1", Limits(max_open_utterances=1)))
    assert session.state is ConnectionState.ACTIVE
    with pytest.raises(LocalProtocolError, match="its limit"):
        session.send(Open("b"))


def test_ready_comes_once() -> None:
    session = Session(Role.SERVER)
    session.send(Ready("1"))
    with pytest.raises(LocalProtocolError):
        session.send(Ready("1"))


def test_ping_and_pong_leave_utterances_alone(session_in: SessionIn) -> None:
    session = session_in(Role.SERVER, U.SPEAKING)
    assert session.receive(Ping("1")) is True
    session.send(Pong("1"))
    assert session.can_send(Pong()) and not session.can_send(Ready("1"))
    assert session.state_of("a") is U.SPEAKING


def test_connection_errors_leave_utterances_alone(session_in: SessionIn) -> None:
    session = session_in(Role.SERVER, U.SPEAKING)
    event = session.refuse(ProtocolViolation("garbage"))
    assert event == Error("protocol_violation", "garbage")
    assert session.state_of("a") is U.SPEAKING


class TestRefusal:
    def test_an_error_ends_the_utterance_it_names_and_no_other(self, session_in: SessionIn) -> None:
        session = session_in(Role.SERVER, U.SPEAKING)
        session.receive(Open("b"))
        with pytest.raises(ProtocolViolation) as raised:
            session.receive(Open("b"))
        assert session.refuse(raised.value) == Error("protocol_violation", raised.value.message, utterance="b")
        assert (session.state_of("a"), session.state_of("b")) == (U.SPEAKING, U.FAILED)

    def test_text_of_an_utterance_whose_open_was_refused_passes_in_silence(self) -> None:
        session = Session(Role.SERVER)
        session.send(Ready("1"))
        assert session.refuse(BadOption("speed", utterance="a")) is not None
        assert session.receive(AppendText("a", "x")) is False
        assert session.receive(End("a")) is False
        assert session.refuse(BadText("controls", utterance="a")) is None  # told already

    def test_a_bad_message_after_done_is_told_without_a_second_end(self, session_in: SessionIn) -> None:
        session = session_in(Role.SERVER, U.DONE)
        event = session.refuse(ProtocolViolation("sample is -1", utterance="a"))
        assert event is not None and event.utterance is None and "'a' is done" in event.message
        assert session.state_of("a") is U.DONE

    def test_retry_hints_travel(self) -> None:
        session = Session(Role.SERVER)
        session.send(Ready("1"))
        session.receive(Open("a"))
        event = session.refuse(Overloaded("full", retry_after_ms=700, utterance="a"))
        assert event == Error("overloaded", "full", True, 700, "a")

    def test_a_peer_that_sends_only_nonsense_is_hopeless(self, session_in: SessionIn) -> None:
        session = session_in(Role.SERVER, U.SPEAKING)
        for _ in range(MAX_REFUSALS_IN_ROW - 1):
            session.refuse(ProtocolViolation("?"))
        assert not session.is_hopeless
        session.receive(Ping())
        for _ in range(MAX_REFUSALS_IN_ROW):
            session.refuse(ProtocolViolation("?"))
        assert session.is_hopeless

    def test_our_own_failures_are_not_held_against_the_peer(self) -> None:
        session = Session(Role.SERVER)
        session.send(Ready("1"))
        for number in range(MAX_REFUSALS_IN_ROW * 2):
            session.refuse(EngineFailed("boom", utterance=f"u{number}"))
        assert not session.is_hopeless


class TestLimits:
    def session(self, limits: Limits) -> Session:
        session = Session(Role.SERVER, limits)
        session.send(Ready("1", limits))
        return session

    def test_too_many_open_utterances_are_refused_and_come_back_after_an_end(self) -> None:
        session = self.session(Limits(max_open_utterances=2))
        session.receive(Open("a"))
        session.receive(Open("b"))
        with pytest.raises(Overloaded) as raised:
            session.receive(Open("c"))
        assert raised.value.utterance == "c"
        session.refuse(raised.value)
        assert session.open_utterances == ("a", "b")
        session.refuse(EngineFailed("boom", utterance="a"))
        assert session.receive(Open("c")) is True

    def test_text_is_bounded_by_message_and_by_utterance(self) -> None:
        session = self.session(Limits(max_text_chars=5, max_utterance_chars=8))
        session.receive(Open("a"))
        with pytest.raises(BadText, match="6 characters, the limit is 5"):
            session.receive(AppendText("a", "123456"))
        session.receive(AppendText("a", "12345"))
        with pytest.raises(BadText, match="exceeds 8"):
            session.receive(AppendText("a", "6789"))
        assert session.receive(AppendText("a", "678")) is True

    def test_context_is_bounded(self) -> None:
        session = self.session(Limits(max_context_chars=3))
        with pytest.raises(BadText, match="context has 4"):
            session.receive(Open("a", context="1234"))
        assert not session.is_open("a")

    def test_unanswered_flushes_are_bounded(self) -> None:
        session = self.session(Limits(max_pending_flushes=1))
        session.receive(Open("a"))
        session.receive(Flush("a", "1"))
        with pytest.raises(ProtocolViolation, match="unanswered"):
            session.receive(Flush("a", "2"))
        session.send(Opened("a", "v", AudioFormat(), Budget()))
        session.send(Flushed("a", "1", 0, 0))
        assert session.receive(Flush("a", "2")) is True

    def test_flushed_answers_a_flush(self, session_in: SessionIn) -> None:
        session = session_in(Role.SERVER, U.SPEAKING)
        session.send(Flushed("a", "f", 0, 0))
        with pytest.raises(LocalProtocolError, match="without a flush"):
            session.send(Flushed("a", "f", 0, 0))

    def test_audio_pieces_join(self, session_in: SessionIn) -> None:
        session = session_in(Role.SERVER, U.SPEAKING)
        session.send(Audio("a", 0, 0, 480, "e", b""))
        for seq, offset in ((0, 480), (2, 480), (1, 0), (1, 481)):
            with pytest.raises(LocalProtocolError, match="due was piece 1 at sample 480"):
                session.send(Audio("a", seq, offset, 480, "e", b""))
        session.send(Audio("a", 1, 480, 480, "e", b""))

    def test_pieces_that_go_out_together_join_each_other_and_those_before(self, session_in: SessionIn) -> None:
        session = session_in(Role.SERVER, U.SPEAKING)
        assert session.send_audio([Audio("a", 0, 0, 480, "e", b""), Audio("a", 1, 480, 20, "e", b"")])
        with pytest.raises(LocalProtocolError, match="due was piece 3 at sample 980"):
            session.send_audio([Audio("a", 2, 500, 480, "e", b""), Audio("a", 4, 980, 480, "e", b"")])

    @pytest.mark.parametrize("state", UtteranceState)
    def test_pieces_go_out_together_where_one_may(self, state: UtteranceState, session_in: SessionIn) -> None:
        session, piece = session_in(Role.SERVER, state), Audio("a", 0, 0, 480, "e", b"")
        assert session.send_audio([piece]) is ("audio" in SERVER_MAY[state].split())
        assert session.state_of("a") is state


class TestMemory:
    def finish(self, session: Session, utterance: str) -> None:
        session.receive(Open(utterance))
        session.send(Opened(utterance, "v", AudioFormat(), Budget()))
        session.receive(End(utterance))
        session.send(Done(utterance, Usage()))

    def test_ended_utterances_are_forgotten_oldest_first(self) -> None:
        session = Session(Role.SERVER)
        session.send(Ready("1"))
        for number in range(MAX_REMEMBERED + 1):
            self.finish(session, f"u{number}")
        assert session.state_of("u0") is U.FREE
        assert session.state_of("u1") is U.DONE
        assert session.receive(Cancel("u1")) is False
        with pytest.raises(ProtocolViolation, match="never opened"):
            session.receive(Played("u0", 1))

    def test_ten_thousand_utterances_leave_nothing_behind(self) -> None:
        session = Session(Role.SERVER)
        session.send(Ready("1"))
        for number in range(1000):
            self.finish(session, f"u{number}")
        tracemalloc.start()
        try:
            before = tracemalloc.take_snapshot()
            for number in range(1000, 10_000):
                self.finish(session, f"u{number}")
            after = tracemalloc.take_snapshot()
        finally:
            tracemalloc.stop()
        grown = sum(entry.size_diff for entry in after.compare_to(before, "filename") if entry.size_diff > 0)
        assert grown < 100_000  # the ring turns over (its new strings are counted), nothing else stays
        assert session.open_utterances == ()

    def test_an_id_is_free_again_after_its_end(self) -> None:
        session = Session(Role.SERVER)
        session.send(Ready("1"))
        for _ in range(3):
            self.finish(session, "same")
        assert session.receive(Open("same")) is True
        assert session.state_of("same") is U.REQUESTED


def test_closing_names_what_was_open_and_ends_everything(session_in: SessionIn) -> None:
    session = session_in(Role.SERVER, U.SPEAKING)
    session.receive(Open("b"))
    assert session.close() == ("a", "b")
    assert session.close() == ()
    assert session.receive(AppendText("a", "x")) is False
    assert session.refuse(EngineFailed("boom", utterance="a")) is None
    assert not session.can_send(Pong())
    with pytest.raises(LocalProtocolError):
        session.send(Done("a", Usage()))


def test_a_session_shows_its_state(session_in: SessionIn) -> None:
    assert repr(Session(Role.CLIENT)) == "<Session client, greeting, no utterances>"
    session = session_in(Role.SERVER, U.SPEAKING)
    session.receive(Open("b"))
    assert repr(session) == "<Session server, active, 1 requested, 1 speaking>"

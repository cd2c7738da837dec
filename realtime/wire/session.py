"""One connection's protocol state: the machine that walks `transitions.TABLE`. No dialect, no socket, no clock.

Ends are remembered for the last `MAX_REMEMBERED` utterances, so that late messages and the rest of a refused utterance's text pass
in silence, while memory stays bounded however many utterances a connection carries. Limits that a table of types can't hold
(sizes, counts, the order of audio pieces) are checked here too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from realtime.errors import BadText, ClientError, Overloaded, ProtocolViolation, RealtimeError
from realtime.types import UtteranceId
from realtime.wire.events import (
    CLIENT_EVENTS,
    EVENT_NAMES,
    SERVER_EVENTS,
    AppendText,
    Audio,
    Error,
    Event,
    Flush,
    Flushed,
    Limits,
    Open,
    Ready,
)
from realtime.wire.transitions import CONNECTION_TABLE, CROSSING, ENDS, TABLE, ConnectionState, Role, UtteranceState

C, U = ConnectionState, UtteranceState

MAX_REMEMBERED = 256
"""Guess: several times the utterances that can end while the tail of one is still being played."""
MAX_REFUSALS_IN_ROW = 32
"""Guess: a client that sends nothing legal that often is broken; its connection is closed."""


class LocalProtocolError(RuntimeError):
    """Raised when our own side wants to send what the table forbids: a bug of ours, never the peer's fault."""


@dataclass(slots=True)
class _Utterance:
    state: UtteranceState = U.REQUESTED
    characters: int = 0
    pending_flushes: int = 0
    next_seq: int = 0
    next_offset: int = 0


class Session:
    """The protocol state of one connection. Costs: a dict lookup or two per event; memory O(open utterances)."""

    def __init__(self, role: Role = Role.SERVER, limits: Limits | None = None) -> None:
        self.role = role
        self.limits = limits or Limits()
        self.state = C.GREETING
        self._open: dict[UtteranceId, _Utterance] = {}
        self._ended: dict[UtteranceId, UtteranceState] = {}
        self._refusals_in_row = 0
        ours, theirs = (SERVER_EVENTS, CLIENT_EVENTS) if role is Role.SERVER else (CLIENT_EVENTS, SERVER_EVENTS)
        self._sends: frozenset[type[Event]] = frozenset(ours.values())
        self._receives: frozenset[type[Event]] = frozenset(theirs.values())

    def __repr__(self) -> str:
        states = Counter(utterance.state.name.lower() for utterance in self._open.values())
        inside = ", ".join(f"{count} {name}" for name, count in sorted(states.items())) or "no utterances"
        return f"<Session {self.role.value}, {self.state.value}, {inside}>"

    # ---- receive events ----

    def receive(self, event: Event) -> bool:
        """Take a peer's event. True: act on it. False: legal but late (its utterance is over or cancelled), let it go.

        Raises `ProtocolViolation`, `BadText` (too long) or `Overloaded` (too many utterances open). Their `utterance` names the
        one concerned, None means the connection; states are as before, until `refuse` is called with the error.
        """
        if self.state is C.CLOSED:
            return False
        if type(event) not in self._receives:
            raise ProtocolViolation(f"a {self.role.value} does not take {EVENT_NAMES[type(event)]!r}")
        acted = self._receive_checked(event)
        self._refusals_in_row = 0
        return acted

    def refuse(self, error: RealtimeError) -> Error | None:
        """Turn an error into the event that tells the client, and end the utterance it names. Sent already as far as the session knows.

        None: the client was told before that this utterance failed, or is gone; say nothing. What the utterance had running is the caller's
        to stop. Also for a decoder's errors, and for the service's own (`Overloaded`, `EngineFailed`, `Draining`).
        """
        if self.state is C.CLOSED:
            return None
        self._refusals_in_row += isinstance(error, ClientError)
        utterance, message = error.utterance, error.message
        if utterance is not None:
            state = self.state_of(utterance)
            if state is U.FAILED:
                return None
            if state in ENDS:
                utterance, message = None, f"utterance {utterance!r} {state.value}; {message}"
        event = Error(error.code, message, error.retryable, error.retry_after_ms, utterance)
        self.send(event)
        return event

    # ---- send events ----

    def send(self, event: Event) -> None:
        """Record that our side sends `event`. Raises `LocalProtocolError` if it must not; nothing has changed then."""
        if type(event) not in self._sends:
            raise LocalProtocolError(f"a {self.role.value} does not send {EVENT_NAMES[type(event)]!r}")
        try:
            self._apply(event)
        except RealtimeError as error:
            raise LocalProtocolError(error.message) from error

    def send_audio(self, pieces: Sequence[Audio]) -> bool:
        """Record pieces of one utterance that go out together, of which most of a stream consists: the table is asked once. False where
        `can_send` says no; nothing goes out then. Raises `LocalProtocolError` for pieces out of order."""
        if not self.can_send(pieces[0]):
            return False
        try:
            for piece in pieces:
                self._count_audio(piece)
        except RealtimeError as error:
            raise LocalProtocolError(error.message) from error
        return True

    def can_send(self, event: Event) -> bool:
        """Whether the table lets our side send `event` now: asked before sending what may have crossed a cancel."""
        if type(event) not in self._sends:
            return False
        utterance = _utterance_of(event)
        if utterance is None:
            return type(event) in CONNECTION_TABLE[self.state]
        return self._may_speak(event) and type(event) in TABLE[self.state_of(utterance)]

    def close(self) -> tuple[UtteranceId, ...]:
        """The connection is gone. Returns the utterances that were open, for their work to be stopped."""
        left = tuple(self._open)
        self.state = C.CLOSED
        self._open.clear()
        self._ended.clear()
        return left

    # ---- ask ----

    def state_of(self, utterance: UtteranceId) -> UtteranceState:
        """Where an utterance stands; FREE for ids that are unknown or forgotten."""
        held = self._open.get(utterance)
        return held.state if held is not None else self._ended.get(utterance, U.FREE)

    def is_open(self, utterance: UtteranceId) -> bool:
        """Whether an utterance was opened and has not ended."""
        return utterance in self._open

    @property
    def open_utterances(self) -> tuple[UtteranceId, ...]:
        """The utterances that have not ended, in the order of their opening."""
        return tuple(self._open)

    @property
    def is_hopeless(self) -> bool:
        """Whether the peer has sent nothing legal for so long that the connection should be closed (code 1008)."""
        return self._refusals_in_row >= MAX_REFUSALS_IN_ROW

    # ---- private ----

    def _receive_checked(self, event: Event) -> bool:
        utterance = _utterance_of(event)
        if utterance is not None:
            state = self.state_of(utterance)
            crossed = CROSSING[self.role].get(state, {}).get(type(event))
            if crossed is not None:
                return self._move(utterance, state, crossed)
            self._apply(event)
            return state not in ENDS or self.is_open(utterance)
        self._apply(event)
        return True

    def _apply(self, event: Event) -> None:
        """Walk one step for an event of either side; a limit or the table says no by raising before anything changes."""
        utterance = _utterance_of(event)
        if utterance is None:
            self._apply_to_connection(event)
            return
        if not self._may_speak(event):
            raise ProtocolViolation(f"{EVENT_NAMES[type(event)]!r} while the connection is {self.state.value}", utterance=utterance)
        state = self.state_of(utterance)
        target = TABLE[state].get(type(event))
        if target is None:
            raise ProtocolViolation(
                f"{EVENT_NAMES[type(event)]!r} is not allowed: utterance {utterance!r} {state.value}", utterance=utterance
            )
        if isinstance(event, Open):
            self._check_open(event)
        else:
            self._check_counts(event)
        self._move(utterance, state, target)

    def _apply_to_connection(self, event: Event) -> None:
        target = CONNECTION_TABLE[self.state].get(type(event))
        if target is None:
            raise ProtocolViolation(f"{EVENT_NAMES[type(event)]!r} is not allowed while the connection is {self.state.value}")
        self.state = target
        if isinstance(event, Ready):
            self.limits = event.limits

    def _may_speak(self, event: Event) -> bool:
        """A client need not wait for `ready`; a server says nothing about utterances before it, but that one is refused."""
        if self.state is C.GREETING:
            return type(event) is Error or EVENT_NAMES[type(event)] in CLIENT_EVENTS
        return self.state is C.ACTIVE

    def _move(self, utterance: UtteranceId, state: UtteranceState, target: UtteranceState) -> bool:
        """Put an utterance into a state; True if that changed it."""
        if state is target:
            return False
        if target in ENDS:
            self._open.pop(utterance, None)
            self._ended[utterance] = target
            if len(self._ended) > MAX_REMEMBERED:
                del self._ended[next(iter(self._ended))]
        elif target is U.REQUESTED and utterance not in self._open:
            self._ended.pop(utterance, None)
            self._open[utterance] = _Utterance()
        else:
            self._open[utterance].state = target
        return True

    def _check_open(self, event: Open) -> None:
        most = self.limits.max_open_utterances
        if len(self._open) >= most:
            raise Overloaded(f"{most} utterances are open on this connection, its limit: end or cancel one", utterance=event.utterance)
        if len(event.context) > self.limits.max_context_chars:
            raise BadText(
                f"the context has {len(event.context)} characters, the limit is {self.limits.max_context_chars}: send the end of it",
                utterance=event.utterance,
            )

    def _check_counts(self, event: Event) -> None:
        """Sizes and sequence numbers, which a table of types can't hold; counts the event if all is well."""
        if isinstance(event, Audio):
            self._count_audio(event)
        elif isinstance(event, AppendText):
            self._count_text(event)
        elif isinstance(event, Flush):
            held = self._open[event.utterance]
            if held.pending_flushes >= self.limits.max_pending_flushes:
                raise ProtocolViolation(
                    f"{held.pending_flushes} flushes are unanswered, the limit: wait for 'flushed'", utterance=event.utterance
                )
            held.pending_flushes += 1
        elif isinstance(event, Flushed):
            held = self._open[event.utterance]
            if held.pending_flushes == 0:
                raise ProtocolViolation("'flushed' without a flush", utterance=event.utterance)
            held.pending_flushes -= 1

    def _count_text(self, event: AppendText) -> None:
        held, limits, added = self._open[event.utterance], self.limits, len(event.text)
        if added > limits.max_text_chars:
            raise BadText(
                f"a text message of {added} characters, the limit is {limits.max_text_chars}: send it in pieces", utterance=event.utterance
            )
        if held.characters + added > limits.max_utterance_chars:
            raise BadText(
                f"the text exceeds {limits.max_utterance_chars} characters, the limit of an utterance: open another one",
                utterance=event.utterance,
            )
        held.characters += added

    def _count_audio(self, event: Audio) -> None:
        held = self._open[event.utterance]
        if event.seq != held.next_seq or event.offset != held.next_offset:
            raise ProtocolViolation(
                f"audio piece {event.seq} at sample {event.offset}, due was piece {held.next_seq} at sample {held.next_offset}",
                utterance=event.utterance,
            )
        held.next_seq += 1
        held.next_offset += event.samples


def _utterance_of(event: Event) -> UtteranceId | None:
    return getattr(event, "utterance", None)

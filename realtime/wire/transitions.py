"""The legal moves, as data: what may be sent in which state, and what may have crossed on the way.

Two rules. (1) Everything that moves a state lies in `TABLE`; an event that a state's row lacks is illegal. (2) The table does not
know which side we play: it is what somebody who sees both ends would allow. What a peer sent before our last message reached it
lies in `CROSSING`: no mistake, only late, so it is taken and not acted upon.

Theory: an utterance's state is the product of "has the client ended its text" and "has the service admitted it", plus cancelling
and the three ends. An id is free for a new `open` as soon as its utterance ended; `played` and `cancel` stay legal after the end,
because sound goes on for seconds after `done`.
"""

from __future__ import annotations

from enum import Enum

from realtime.wire.events import (
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


class Role(Enum):
    """Which side this session plays."""

    CLIENT = "client"
    SERVER = "server"


class ConnectionState(Enum):
    """The connection as a whole."""

    GREETING = "greeting"
    ACTIVE = "active"
    CLOSED = "closed"


class UtteranceState(Enum):
    """One utterance. The value completes the sentence "it ..."."""

    FREE = "was never opened"
    REQUESTED = "waits for admission"
    REQUESTED_WHOLE = "waits for admission and its text has ended"
    SPEAKING = "is open"
    FINISHING = "is open but its text has ended"
    CANCELLING = "is being cancelled"
    DONE = "is done"
    CANCELLED = "is cancelled"
    FAILED = "ended in an error"


C, U = ConnectionState, UtteranceState

CONNECTION_TABLE: dict[ConnectionState, dict[type[Event], ConnectionState]] = {
    C.GREETING: {Ping: C.GREETING, Ready: C.ACTIVE, Error: C.GREETING},
    C.ACTIVE: {Ping: C.ACTIVE, Pong: C.ACTIVE, Error: C.ACTIVE},
    C.CLOSED: {},
}

TABLE: dict[UtteranceState, dict[type[Event], UtteranceState]] = {
    U.FREE: {Open: U.REQUESTED, Error: U.FAILED},
    U.REQUESTED: {
        AppendText: U.REQUESTED,
        Flush: U.REQUESTED,
        Played: U.REQUESTED,
        End: U.REQUESTED_WHOLE,
        Cancel: U.CANCELLING,
        Opened: U.SPEAKING,
        Error: U.FAILED,
    },
    U.REQUESTED_WHOLE: {Played: U.REQUESTED_WHOLE, Cancel: U.CANCELLING, Opened: U.FINISHING, Error: U.FAILED},
    U.SPEAKING: {
        AppendText: U.SPEAKING,
        Flush: U.SPEAKING,
        Played: U.SPEAKING,
        End: U.FINISHING,
        Cancel: U.CANCELLING,
        SegmentStarted: U.SPEAKING,
        Audio: U.SPEAKING,
        Switch: U.SPEAKING,
        Flushed: U.SPEAKING,
        TextPaused: U.SPEAKING,
        TextResumed: U.SPEAKING,
        Done: U.DONE,
        Error: U.FAILED,
    },
    U.FINISHING: {
        Played: U.FINISHING,
        Cancel: U.CANCELLING,
        SegmentStarted: U.FINISHING,
        Audio: U.FINISHING,
        Switch: U.FINISHING,
        Flushed: U.FINISHING,
        TextPaused: U.FINISHING,
        TextResumed: U.FINISHING,
        Done: U.DONE,
        Error: U.FAILED,
    },
    U.CANCELLING: {Played: U.CANCELLING, Cancel: U.CANCELLING, Cancelled: U.CANCELLED, Error: U.FAILED},
    U.DONE: {Open: U.REQUESTED, Played: U.DONE, Cancel: U.DONE},
    U.CANCELLED: {Open: U.REQUESTED, Played: U.CANCELLED, Cancel: U.CANCELLED},
    U.FAILED: {Open: U.REQUESTED, Played: U.FAILED, Cancel: U.FAILED},
}

CROSSING: dict[Role, dict[UtteranceState, dict[type[Event], UtteranceState]]] = {
    # To a server. Barge-in often comes from another task than the one that feeds text, so text may also trail a cancel; and a service
    # that waited long enough for text may be done without an `end`.
    Role.SERVER: {state: {AppendText: state, Flush: state, End: state} for state in (U.CANCELLING, U.DONE, U.CANCELLED, U.FAILED)},
    # To a client: what was under way when its cancel left; and an error about an utterance that it knows to be over.
    Role.CLIENT: {
        U.CANCELLING: {
            **{kind: U.CANCELLING for kind in (Opened, SegmentStarted, Audio, Switch, Flushed, TextPaused, TextResumed)},
            Done: U.DONE,
        },
        **{state: {Error: state} for state in (U.DONE, U.CANCELLED, U.FAILED)},
    },
}

ENDS = frozenset({U.DONE, U.CANCELLED, U.FAILED})

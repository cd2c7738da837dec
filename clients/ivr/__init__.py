"""Phone calls to and from the service: `realtime-ivr`.

    call.py          what a call is to everyone else; transports/ make calls, one network per file, sip/ is what SIP needs
    playout.py pacer.py jitter.py vad.py    PURE but for the pacer's timer: sound out at an even pace, sound in, the caller's voice
    service.py saying.py prompts.py feed.py local_voice.py    one thing said: by the service, or by what is at hand
    session.py       the Python API of a flow
    flow_schema.py flow.py runner.py webhook.py    flows as TOML files
    desk.py          serves calls; record.py mos.py recording.py metrics.py table.py keep and show what happened
    cli.py           serve, dial, check, bench

May import of the project: realtime.wire, realtime.audio, realtime.types, realtime.errors, realtime_client.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from realtime_ivr.call import Call, CallInfo, Digit, Direction, HungUp
    from realtime_ivr.errors import CallEnded, CallFailed, FlowError
    from realtime_ivr.flow import Flow, load_flow
    from realtime_ivr.prompts import Manners
    from realtime_ivr.saying import Said
    from realtime_ivr.session import Question, Session

_HOMES = {
    "call": ("Call", "CallInfo", "Digit", "Direction", "HungUp"),
    "errors": ("CallEnded", "CallFailed", "FlowError"),
    "flow": ("Flow", "load_flow"),
    "prompts": ("Manners",),
    "saying": ("Said",),
    "session": ("Question", "Session"),
}
"""Loaded when asked for: the local voice's process starts in a third of the time without them."""


def __getattr__(name: str) -> object:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"realtime_ivr.{module}"), name)
    raise AttributeError(f"realtime_ivr has no {name}")


__all__ = [
    "Call",
    "CallEnded",
    "CallFailed",
    "CallInfo",
    "Digit",
    "Direction",
    "Flow",
    "FlowError",
    "HungUp",
    "Manners",
    "Question",
    "Said",
    "Session",
    "load_flow",
]

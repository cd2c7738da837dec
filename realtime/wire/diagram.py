"""The transition tables as a Mermaid picture, so that picture and code agree."""

from __future__ import annotations

from realtime.wire.events import CLIENT_EVENTS, EVENT_NAMES, Event
from realtime.wire.transitions import ENDS, TABLE, UtteranceState


def utterance_diagram() -> str:
    """A Mermaid state diagram of one utterance. `▸` is said by the client, `◂` by the service."""
    lines = ["stateDiagram-v2", "    direction TB", "    [*] --> FREE"]
    for state, row in TABLE.items():
        targets: dict[UtteranceState, list[type[Event]]] = {}
        for kind, target in row.items():
            targets.setdefault(target, []).append(kind)
        lines += [f"    {state.name} --> {target.name}: {_label(kinds)}" for target, kinds in targets.items()]
    lines += [f"    {state.name} --> [*]" for state in UtteranceState if state in ENDS]
    return "\n".join(lines)


def _label(kinds: list[type[Event]]) -> str:
    names = [EVENT_NAMES[kind] for kind in kinds]
    said = {"▸": [n for n in names if n in CLIENT_EVENTS], "◂": [n for n in names if n not in CLIENT_EVENTS]}
    return " ".join(f"{mark} {', '.join(group)}" for mark, group in said.items() if group)

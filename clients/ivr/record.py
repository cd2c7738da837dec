"""What is kept of a call: one JSON object on one line, written when it is over.

Times are wall clock (ISO 8601, UTC) for the beginning, seconds since then for the rest. Figures that were not measured are absent. What
the caller keyed in is not in it (account numbers, PINs); the path of steps is."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from realtime_ivr.call import Call, CallInfo
from realtime_ivr.mos import mos, r_factor


@dataclass(slots=True)
class PromptRecord:
    """One thing said. `ttfa_ms`: from the wish to say it until its first sound was there for the
    caller, who hears it with the next frame. `source`: service, prompt, local."""

    step: str
    at_s: float
    characters: int = 0
    heard_characters: int = 0
    heard_ms: float = 0.0
    source: str = ""
    ttfa_ms: float | None = None
    underruns: int = 0
    underrun_ms: float = 0.0
    switches: int = 0
    takeovers: int = 0
    resumes: int = 0
    interrupted_by: str = ""
    stop_ms: float | None = None
    engines: dict[str, float] = field(default_factory=dict)


class CallRecord:
    """Filled while the call lasts."""

    def __init__(self, info: CallInfo, flow: str) -> None:
        self.info, self.flow = info, flow
        self.began = time.monotonic()
        self.began_at = datetime.now(UTC)
        self.answered_s: float | None = None
        self.ended_s: float | None = None
        self.path: list[tuple[float, str]] = []
        self.prompts: list[PromptRecord] = []
        self.errors: list[str] = []
        self.recordings: list[str] = []
        self.language = ""

    @property
    def now_s(self) -> float:
        """Seconds since the call began."""
        return time.monotonic() - self.began

    @property
    def step(self) -> str:
        """Where the call is."""
        return self.path[-1][1] if self.path else ""

    def entered(self, step: str) -> None:
        """The flow came to a step. The last thousand are kept: a flow may go round all day."""
        self.path.append((round(self.now_s, 3), step))
        del self.path[:-1000]

    def said(self, step: str) -> PromptRecord:
        """Something is about to be said; the last thousand are kept."""
        self.prompts.append(PromptRecord(step, round(self.now_s, 3)))
        del self.prompts[:-1000]
        return self.prompts[-1]

    def line(self, call: Call) -> dict[str, Any]:
        """The object, when the call is over."""
        self.ended_s = self.now_s if self.ended_s is None else self.ended_s
        found: dict[str, Any] = {
            "call": self.info.id,
            "transport": self.info.transport,
            "direction": str(self.info.direction),
            "caller": self.info.caller,
            "callee": self.info.callee,
            "flow": self.flow,
            "language": self.language,
            "began_at": self.began_at.isoformat(timespec="milliseconds"),
            "duration_s": round(self.ended_s, 3),
            "path": [{"at_s": at, "step": step} for at, step in self.path],
            "prompts": [_compact(prompt) for prompt in self.prompts],
            "underruns": sum(prompt.underruns for prompt in self.prompts),
            "switches": sum(prompt.switches for prompt in self.prompts),
            "barge_ins": sum(bool(prompt.interrupted_by) for prompt in self.prompts),
            "media": media_figures(call),
        }
        if self.answered_s is not None:
            found["answered_s"] = round(self.answered_s, 3)
        if call.hung_up is not None:
            found["ended_by"], found["reason"] = str(call.hung_up.side), call.hung_up.reason
        for name in ("errors", "recordings"):
            if getattr(self, name):
                found[name] = getattr(self, name)
        return found


def media_figures(call: Call) -> dict[str, Any]:
    """Packets and what they sounded like. Where the other side reported nothing, our own receiving direction stands for both."""
    quality = call.quality
    if not quality.packets_sent and not quality.packets_received:
        return {}
    expected = quality.packets_received + quality.packets_lost
    figures: dict[str, Any] = {
        "packets_sent": quality.packets_sent,
        "packets_received": quality.packets_received,
        "packets_lost": quality.packets_lost,
        "packets_refused": quality.packets_refused,
        "frames_skipped": quality.late_ticks,
        "jitter_ms": round(quality.jitter_ms, 2),
        "mos_in": round(mos(r_factor(quality.packets_lost / expected if expected else 0, quality.round_trip_ms / 2, quality.jitter_ms)), 2),
    }
    if quality.packets_sent and (quality.round_trip_ms or quality.jitter_there_ms or quality.lost_there):
        lost = quality.lost_there / quality.packets_sent
        figures |= {"lost_there": quality.lost_there, "jitter_there_ms": round(quality.jitter_there_ms, 2)}
        figures["round_trip_ms"] = round(quality.round_trip_ms, 1)
        figures["mos_out"] = round(mos(r_factor(lost, quality.round_trip_ms / 2, quality.jitter_there_ms)), 2)
    return figures


def _compact(prompt: PromptRecord) -> dict[str, Any]:
    found = {name: getattr(prompt, name) for name in PromptRecord.__slots__}
    found = {name: round(value, 2) if isinstance(value, float) else value for name, value in found.items()}
    return {name: value for name, value in found.items() if value not in (None, "", {}) and not (value == 0 and name in _QUIET)}


_QUIET = {"underruns", "underrun_ms", "switches", "takeovers", "resumes"}


class RecordFile:
    """Appends a line per call. A full disk loses records, never calls: it is logged and counted."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.failed = 0
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, line: dict[str, Any]) -> str:
        """Append; returns an error message, empty if it went well."""
        if self._path is None:
            return ""
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        except OSError as error:
            self.failed += 1
            return f"can't write {self._path}: {error}"
        return ""

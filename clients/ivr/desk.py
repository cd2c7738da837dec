"""Where calls are taken: each gets a session, its flow, a record, a recording if wanted; every transport hands its calls to `serve`."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from realtime_ivr.call import Call, Direction
from realtime_ivr.errors import CallEnded
from realtime_ivr.flow import Flow
from realtime_ivr.metrics import Metrics
from realtime_ivr.record import CallRecord, RecordFile
from realtime_ivr.recording import Recording, file_name
from realtime_ivr.runner import Program, program_of
from realtime_ivr.saying import SayOptions, Voices
from realtime_ivr.session import Session
from realtime_ivr.transports.sip import SipCall

from realtime.errors import RealtimeError

log = logging.getLogger("realtime_ivr")


@dataclass(frozen=True, slots=True)
class DeskOptions:
    """`recordings`: folder for WAV files, None records nothing unless the flow says so (then into `recordings` beside it)."""

    records: Path | None = None
    recordings: Path | None = None


@dataclass(slots=True)
class Served:
    """A call in progress, for the table."""

    session: Session
    record: CallRecord


@dataclass(slots=True)
class Desk:
    """Made with what speaks and what is to be said."""

    voices: Voices
    program: Program | Flow
    options: DeskOptions = field(default_factory=DeskOptions)
    metrics: Metrics = field(default_factory=Metrics)
    calls: dict[str, Served] = field(default_factory=dict)
    finished: int = 0
    _file: RecordFile | None = None

    def __post_init__(self) -> None:
        self._file = RecordFile(self.options.records)

    @property
    def name(self) -> str:
        """Of the flow."""
        return self.program.table.name if isinstance(self.program, Flow) else getattr(self.program, "__module__", "program")

    async def serve(self, call: Call) -> dict[str, Any]:
        """From the first ring to the record, which is returned. What a flow does wrong is logged, and the call hung up."""
        record = CallRecord(call.info, self.name)
        flow = self.program if isinstance(self.program, Flow) else None
        say = SayOptions(budget_s=flow.table.budget_ms / 1000) if flow else SayOptions()
        session = Session(call, self.voices, record, say)
        self.calls[call.info.id] = Served(session, record)
        up = self.metrics.calls_up.labels(call.info.transport)
        up.inc()
        recording: Recording | None = None
        try:
            if call.info.direction is Direction.INCOMING:
                await call.answer()
            record.answered_s = record.now_s
            recording = self._record(call, record, flow)
            await (program_of(flow) if flow else self.program)(session)  # type: ignore[operator]  # not a Flow: a Program
        except CallEnded:
            pass
        except RealtimeError as error:
            record.errors.append(error.message)
            log.warning("call %s: %s", call.info.id, error.message)
        except Exception as error:  # the flow's own code: one call's bug is no other call's
            record.errors.append(f"{type(error).__name__}: {error}")
            self.metrics.failed_flows.inc()
            log.exception("call %s: its flow failed", call.info.id)
        finally:
            up.dec()
            await call.hang_up("the flow is over")
            if recording is not None:
                await recording.aclose()
                record.errors += [recording.error] if recording.error else []
            line = self._finish(call, record)
        return line

    def _finish(self, call: Call, record: CallRecord) -> dict[str, Any]:
        line = record.line(call)
        self.metrics.over(call, record)
        self.calls.pop(call.info.id, None)
        self.finished += 1
        assert self._file is not None  # made with the desk
        if problem := self._file.write(line):
            log.error("%s", problem)
        prompts, ended_by = len(line["prompts"]), line.get("ended_by")
        log.info("call %s from %s: %.1f s, %d prompts, ended by %s", call.info.id, call.info.caller, line["duration_s"], prompts, ended_by)
        return line

    def _record(self, call: Call, record: CallRecord, flow: Flow | None) -> Recording | None:
        folder = self.options.recordings
        if folder is None and flow is not None and flow.table.record:
            folder = flow.folder / "recordings"
        if folder is None:
            return None
        recording = Recording(folder / file_name(call.info.id), call.encoding)
        record.recordings.append(str(recording.path))
        call.on_sent.append(recording.sent)
        if isinstance(call, SipCall):
            call.media.on_played_in = recording.heard
        else:
            call.listeners.append(recording.heard)
        return recording

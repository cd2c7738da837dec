"""Speech plans for segments: asked of an engine that can plan, estimated until the answer is there.

One request at a time per segment, all bounded by `PLAN_TIMEOUT_S`; a plan that does not come costs nothing but word times.
"""

from __future__ import annotations

import logging

import anyio
from anyio.abc import TaskGroup

from realtime.engines.base import EngineInfo, PlanRequest
from realtime.errors import RealtimeError
from realtime.pipeline.forms import spoken_for
from realtime.pipeline.pauses import pause_ms
from realtime.pipeline.plan import RateModel, project_plan
from realtime.pipeline.requests import Request
from realtime.pipeline.segment_run import SegmentRun
from realtime.pipeline.tempo import TempoBook
from realtime.pipeline.voices import Part, VoiceBook
from realtime.workers.interface import WorkerPool

log = logging.getLogger("realtime.planning")

# A plan later than this is of no use to a segment that is already sounding (guess: ten times Sambert's own target).
PLAN_TIMEOUT_S = 0.5


class Planner:
    """Estimates at once, better ones soon after."""

    def __init__(self, voices: VoiceBook) -> None:
        self._voices = voices
        self._rates = RateModel()
        self._tempi = TempoBook()
        self._pool: WorkerPool | None = None
        self._tasks: TaskGroup | None = None

    def attach(self, pool: WorkerPool, tasks: TaskGroup | None = None) -> None:
        """The pool to ask, and the task group in which to wait for it."""
        self._pool, self._tasks = pool, tasks or self._tasks

    def estimate(self, run: SegmentRun, part: Part, request: Request) -> float:
        """Seconds that the segment should sound; asks for a real plan where an engine can give one."""
        plan = self._rates.plan(run.segment.text, part.voice, run.segment.language, request.speed)
        run.plan = plan
        return plan.duration_s

    def ask(self, run: SegmentRun, parts: tuple[Part, ...], request: Request) -> None:
        """Have the first engine of the chain that can plan time this segment; the run gets the answer.

        Not asked where the speaking engine plans itself: its chunks carry the words then.
        """
        if self._voices.info(parts[0].engine).can_plan:
            return
        info = next((i for i in (self._voices.info(p.engine) for p in parts) if i.can_plan), None)
        if info is not None and self._tasks is not None:
            voice = next(part.voice for part in parts if part.engine == info.name)
            run.tempo = self._tempi.tempo(parts[0].voice, voice, run.segment.language)
            run.follow()
            self._tasks.start_soon(self._fetch, run, info, voice, request)

    def spoken(self, run: SegmentRun, request: Request) -> None:
        """Learn from a segment that is complete."""
        if run.buffer.total and run.voicings:
            self._rates.learn(run.segment.text, request.voice or "", run.segment.language, run.buffer.total / run.rate * request.speed)
            if run.reference is not None and run.plan is not None and len(run.voicings) == 1:
                self._tempi.learn(run.tempo, run.plan.duration_s, run.buffer.total / run.rate - pause_ms(run.segment) / 1000)

    async def _fetch(self, run: SegmentRun, info: EngineInfo, voice: str, request: Request) -> None:
        spoken = spoken_for(run, info)
        ask = PlanRequest(spoken.text, voice, request.language or run.segment.language, request.speed, with_features=True)
        try:
            with anyio.move_on_after(PLAN_TIMEOUT_S):
                assert self._pool is not None
                reply = await self._pool.plan(info.name, ask)
                run.plan = project_plan(reply.plan, spoken, run.segment)
                run.reference = reply.features
        except RealtimeError as error:
            log.debug("no plan for segment %d from %s: %s", run.segment.index, info.name, error.message)

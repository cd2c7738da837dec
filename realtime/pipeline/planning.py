"""Speech plans for segments: asked of an engine that can plan, estimated until the answer is there.

One request at a time per segment, all bounded by `PLAN_TIMEOUT_S`; a plan that does not come costs nothing but word times.
"""

from __future__ import annotations

import logging

import anyio
from anyio.abc import TaskGroup

from realtime.audio.features import HOP_S
from realtime.audio.features import RATE as FULL_RATE
from realtime.engines.base import EngineInfo, PlanRequest
from realtime.errors import RealtimeError
from realtime.pipeline.forms import spoken_for
from realtime.pipeline.pauses import pause_ms
from realtime.pipeline.plan import RateModel, project_plan
from realtime.pipeline.requests import Request
from realtime.pipeline.segment_run import SegmentRun
from realtime.pipeline.tempo import Pair, TempoBook
from realtime.pipeline.timbre import Key, TimbreBook
from realtime.pipeline.voices import Part, VoiceBook
from realtime.types import EngineName
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
        self._timbres = TimbreBook()
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
            pair = _name(parts[0].engine, parts[0].voice), _name(info.name, voice), run.segment.language
            timbres = self._timbres.timbre(sound_of(pair, run.rate)), self._timbres.timbre(features_of(pair))
            run.expect(parts[0].engine, self._tempi.tempo(*pair), timbres)
            run.follow()
            self._tasks.start_soon(self._fetch, run, info, voice, request)

    def spoken(self, run: SegmentRun, part: Part, request: Request) -> None:
        """Learn from a segment that is complete, if it was spoken by the voice it was meant for: `part`."""
        if not run.buffer.total or [voicing.engine for voicing in run.voicings] != [part.engine]:
            return
        spoken_s = run.buffer.total / run.rate - pause_ms(run.segment) / 1000
        self._rates.learn(run.segment.text, part.voice, run.segment.language, run.buffer.total / run.rate * request.speed)
        ear, pair = run.buffer.ear, run.tempo.pair
        if run.reference is not None and run.plan is not None and ear is not None and ear.is_whole and pair is not None:
            self._tempi.learn(run.tempo, run.plan.duration_s, spoken_s)
            self._timbres.learn(sound_of(pair, run.rate), ear.rows()[: round(spoken_s / HOP_S)])
            self._timbres.learn(features_of(pair), run.reference)

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


def _name(engine: EngineName, voice: str) -> str:
    """Of one engine's voice: another's may have the same id."""
    return f"{engine}/{voice}"


def sound_of(pair: Pair, rate: int) -> Key:
    """The first voice of a pair as it sounds at a listener's rate."""
    return pair[0], pair[2], min(rate, FULL_RATE)


def features_of(pair: Pair) -> Key:
    """The second voice of a pair as its plans describe it."""
    return pair[1], pair[2], 0

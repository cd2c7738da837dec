"""Speech plans for segments: asked of an engine that can plan, estimated until the answer is there.

One request at a time per segment, all bounded by `PLAN_TIMEOUT_S`; a plan that does not come costs nothing but word times.
"""

from __future__ import annotations

import logging

import anyio
import numpy as np
from anyio.abc import TaskGroup

from realtime.audio.features import HOP_S, log_mel
from realtime.audio.features import RATE as FULL_RATE
from realtime.audio.resample import resample
from realtime.engines.base import PlanRequest
from realtime.errors import RealtimeError
from realtime.pipeline.forms import spoken_for
from realtime.pipeline.pauses import pause_ms
from realtime.pipeline.plan import RateModel, project_plan
from realtime.pipeline.requests import Request
from realtime.pipeline.segment_run import SegmentRun
from realtime.pipeline.tempo import Pair, Tempo, TempoBook
from realtime.pipeline.timbre import Key, TimbreBook
from realtime.pipeline.voices import Part, VoiceBook
from realtime.types import EngineName
from realtime.workers.interface import Sample, WorkerPool, WorkerReady

log = logging.getLogger("realtime.planning")

# A plan later than this is of no use to a segment that is already sounding (guess: ten times Sambert's own target).
PLAN_TIMEOUT_S = 0.5
SAMPLE_TIMEOUT_S = 10.0  # of the warm-up's sentence nobody waits for the plan (guess)
TELEPHONE_RATE = 8000  # listeners' other bandwidth


class Planner:
    """Estimates at once, better ones soon after."""

    def __init__(self, voices: VoiceBook) -> None:
        self._voices = voices
        self._rates = RateModel()
        self._tempi = TempoBook()
        self._timbres = TimbreBook()
        self._samples: dict[EngineName, Sample] = {}  # that wait for an engine that plans; a few hundred kB each
        self._pool: WorkerPool | None = None
        self._tasks: TaskGroup | None = None

    def attach(self, pool: WorkerPool, tasks: TaskGroup | None = None) -> None:
        """The pool to ask, and the task group in which to wait for it."""
        self._pool, self._tasks = pool, tasks or self._tasks
        self._learn_samples()

    def met(self, ready: WorkerReady) -> None:
        """A worker is there; what it said when it warmed up is learned from as soon as another engine's plan of the same can be had, so
        that the first sentence in earnest finds the first voice known."""
        if ready.sample is not None:
            self._samples[ready.engine] = ready.sample
        self._learn_samples()

    def estimate(self, run: SegmentRun, part: Part, request: Request) -> float:
        """Seconds that the segment should sound; asks for a real plan where an engine can give one."""
        plan = self._rates.plan(run.segment.text, part.voice, run.segment.language, request.speed)
        run.plan = plan
        return plan.duration_s

    def ask(self, run: SegmentRun, parts: tuple[Part, ...], request: Request) -> None:
        """Have the first engine of the chain that can plan time this segment; the run gets the answer.

        Not asked where the speaking engine plans itself: its chunks carry the words then.
        """
        planner = self._planner_of(parts)
        if planner is not None and self._tasks is not None:
            pair = _pair(parts[0], planner, run.segment.language)
            timbres = self._timbres.timbre(sound_of(pair, run.rate)), self._timbres.timbre(features_of(pair))
            run.expect(parts[0].engine, self._tempi.tempo(*pair), timbres)
            run.follow()
            self._tasks.start_soon(self._fetch, run, planner, request)

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

    def _planner_of(self, parts: tuple[Part, ...]) -> Part | None:
        """Who plans for the first of these; None where it does that itself, or nobody can."""
        if self._voices.info(parts[0].engine).can_plan:
            return None
        return next((part for part in parts if self._voices.info(part.engine).can_plan), None)

    def _learn_samples(self) -> None:
        if self._tasks is None or self._pool is None:
            return
        for engine, sample in list(self._samples.items()):
            spoken = sample.sentence
            parts = self._voices.cast(spoken.voice, None)
            planner = self._planner_of(parts)
            if planner is not None and parts[0].engine == engine:
                del self._samples[engine]
                self._tasks.start_soon(self._learn_sample, _pair(parts[0], planner, spoken.language), planner, sample)

    async def _learn_sample(self, pair: Pair, planner: Part, sample: Sample) -> None:
        said, rate = sample.sentence, sample.chunks[0].sample_rate
        sound = np.concatenate([chunk.samples for chunk in sample.chunks])
        tempo = self._tempi.tempo(*pair)
        if tempo.doubt < Tempo().doubt:
            return  # listened to in earnest already
        with anyio.move_on_after(SAMPLE_TIMEOUT_S):
            try:
                assert self._pool is not None
                reply = await self._pool.plan(planner.engine, PlanRequest(said.text, planner.voice, said.language, with_features=True))
            except RealtimeError as error:
                log.debug("no plan of the warm-up's sentence from %s: %s", planner.engine, error.message)
                return
            self._tempi.learn(tempo, reply.plan.duration_s, len(sound) / rate)
            for listeners in (FULL_RATE, TELEPHONE_RATE):
                self._timbres.learn(sound_of(pair, listeners), log_mel(resample(sound, rate, listeners), listeners))
            if reply.features is not None:
                self._timbres.learn(features_of(pair), reply.features)

    async def _fetch(self, run: SegmentRun, planner: Part, request: Request) -> None:
        info = self._voices.info(planner.engine)
        spoken = spoken_for(run, info)
        ask = PlanRequest(spoken.text, planner.voice, request.language or run.segment.language, request.speed, with_features=True)
        try:
            with anyio.move_on_after(PLAN_TIMEOUT_S):
                assert self._pool is not None
                reply = await self._pool.plan(info.name, ask)
                run.plan = project_plan(reply.plan, spoken, run.segment)
                run.reference = reply.features
        except RealtimeError as error:
            log.debug("no plan for segment %d from %s: %s", run.segment.index, info.name, error.message)


def _pair(speaker: Part, planner: Part, language: str) -> Pair:
    """Two engines' voices, which may have the same id."""
    return f"{speaker.engine}/{speaker.voice}", f"{planner.engine}/{planner.voice}", language


def sound_of(pair: Pair, rate: int) -> Key:
    """The first voice of a pair as it sounds at a listener's rate."""
    return pair[0], pair[2], min(rate, FULL_RATE)


def features_of(pair: Pair) -> Key:
    """The second voice of a pair as its plans describe it."""
    return pair[1], pair[2], 0

"""IndexTTS-2 behind the engine contract: many jobs, one step at a time.

Each `step` does one bounded piece for the most urgent job: a few codes (for all jobs that are decoding, in one batch), part of a flow
step, or one block of the vocoder. Urgency is the job's deadline plus the sound it has out. The flow's and vocoder's buffers are
shared: a run may be left for another only at a boundary (flow: between estimator calls; vocoder: between windows).
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping

import numpy as np

from realtime.engines.base import Chunk, Done, EngineEvent, EngineInfo, Failed, Job, PlanReply, PlanRequest
from realtime.engines.indextts2 import voice_pack
from realtime.engines.indextts2.acoustic import AcousticStream, Prompt
from realtime.engines.indextts2.chunks import ChunkPlan, Costs
from realtime.engines.indextts2.decode import Prefix
from realtime.engines.indextts2.kernels.packing import Floats
from realtime.engines.indextts2.kv_pages import NoPages
from realtime.engines.indextts2.levels import LEVELS, level_named
from realtime.engines.indextts2.options import Options
from realtime.engines.indextts2.speaking import Need, Speaking, Steps
from realtime.engines.indextts2.stages import PREFIXES, Stages
from realtime.engines.indextts2.tokens import TextFrontEnd
from realtime.engines.indextts2.voice_pack import VoicePack
from realtime.errors import BadOption, EngineFailed, ModelMissing, Overloaded, UnknownVoice

SPEEDS = (0.5, 2.0)
LANGUAGES = ("zh", "en")
PROMPT_ROWS = 48
"""Prompt positions per step: about 45 ms at official size on two cores."""
CODES_PER_STEP = 4
"""Codes per step while one or two jobs decode: 30 to 45 ms."""
CLIPPED_SHARE = 0.5
"""More samples than this at full scale is garbage, not speech (guess; speech at a limiter has below 0.01)."""

log = logging.getLogger(__name__)


class IndexTts2:
    """The engine. `front_end`, `stages` and `packs` are loaded by `load.load`; tests build it from small ones."""

    def __init__(
        self, stages: Stages, front_end: TextFrontEnd, packs: Mapping[str, VoicePack], options: Options, costs: Costs, revision: str = ""
    ) -> None:
        self.stages, self.front_end, self.options, self.costs, self.revision = stages, front_end, options, costs, revision
        self.packs = dict(packs)
        self._jobs: dict[str, Speaking] = {}
        self._ready: list[EngineEvent] = []
        self._prefixes: OrderedDict[str, Prefix] = OrderedDict()
        self._vocoding: Speaking | None = None
        self._in_call: Speaking | None = None
        self._count = 0
        self.info = self._info()

    def _info(self) -> EngineInfo:
        return EngineInfo(
            name="indextts2",
            sample_rate=self.stages.sample_rate,
            languages=LANGUAGES,
            voices=tuple(pack.info() for _, pack in sorted(self.packs.items())),
            levels=tuple(level.public() for level in LEVELS),
            capacity=self.options.capacity,
            text_form="plain",
            can_adjust=True,
            revision=self.revision,
        )

    # -- the contract

    def start(self, job: Job) -> None:
        """Take a job. Raises `UnknownVoice`, `BadOption`, `BadText`; `Overloaded` when `capacity` jobs are in progress."""
        pack = self._pack(job.voice)
        level = level_named(job.level)
        if level is None:
            raise BadOption(f"unknown quality level {job.level!r}; there are: {', '.join(known.name for known in LEVELS)}")
        if job.language not in pack.about.languages:
            raise BadOption(f"voice {job.voice!r} speaks {', '.join(pack.about.languages)}, not {job.language!r}")
        if not SPEEDS[0] <= job.speed <= SPEEDS[1]:
            raise BadOption(f"speed must be between {SPEEDS[0]} and {SPEEDS[1]}, got {job.speed}")
        if not 0 <= job.start <= len(job.text):
            raise BadOption(f"start must be between 0 and {len(job.text)}, got {job.start}")
        if job.id in self._jobs:
            raise BadOption(f"job {job.id!r} is in progress already")
        if len(self._jobs) >= self.options.capacity:
            raise Overloaded(f"{len(self._jobs)} jobs are in progress, which is this engine's capacity")
        pack.conditions(job.emotion)
        parts = [segment.ids for segment in self.front_end.encode(job.text[job.start :])]
        if not parts:
            self._ready.append(Done(job.id, 0))
            return
        self._count += 1
        self._jobs[job.id] = Speaking(job, self._count, parts, level, ChunkPlan(self.costs, pack.prompt_frames))

    def step(self) -> list[EngineEvent]:
        """One bounded piece of work for the most urgent job."""
        events, self._ready = self._ready, []
        if events or not self._jobs:
            return events
        for job in sorted(self._jobs.values(), key=lambda s: s.due(self.stages.sample_rate)):
            found = self._guarded(job)
            if found is not None:
                return found
        raise AssertionError("some job holds cache pages, or a waiting one fails")

    def _guarded(self, job: Speaking) -> list[EngineEvent] | None:
        """Advance one job; what goes wrong is its failure and nobody else's."""
        try:
            return self._advance(job)
        except (FloatingPointError, EngineFailed, Overloaded, ValueError) as error:
            code = error.code if isinstance(error, EngineFailed | Overloaded) else EngineFailed.code
            self._forget(job)
            return [Failed(job.job.id, code, str(error))]

    def cancel(self, job_id: str) -> None:
        """Forget a job at once."""
        self._ready = [event for event in self._ready if event.job_id != job_id]
        if job_id in self._jobs:
            self._forget(self._jobs[job_id])

    def adjust(self, job_id: str, level: str) -> None:
        """Another level from the job's next chunk on. Unknown jobs are ignored, unknown levels are `BadOption`."""
        found = level_named(level)
        if found is None:
            raise BadOption(f"unknown quality level {level!r}")
        if job_id in self._jobs:
            speaking = self._jobs[job_id]
            speaking.level = found
            if speaking.flow is None and speaking.vocoding is None and speaking.chunk_codes:
                self._size_chunk(speaking)

    def plan(self, request: PlanRequest) -> PlanReply:
        """Not offered (`can_plan` is false)."""
        raise BadOption("indextts2 makes no plans")

    def reload(self) -> EngineInfo:
        """Read the voices' folder again. Jobs in progress keep the pack they started with."""
        fresh = voice_pack.read_folder(self.options.voices_dir)
        changed = {name for name in self._voices_of_prefixes() if fresh.get(name) is not self.packs.get(name)}
        for key in [key for key in self._prefixes if key.split("\0")[0] in changed]:
            self.stages.decoder.forget_prefix(self._prefixes.pop(key))
        self.packs = self.accepted(fresh, self.stages, self.revision, self.options.prompt_frames)
        self.info = self._info()
        return self.info

    def close(self) -> None:
        """Forget all jobs."""
        for speaking in list(self._jobs.values()):
            self._forget(speaking)

    @staticmethod
    def accepted(packs: Mapping[str, VoicePack], stages: Stages, revision: str, prompt_frames: int) -> dict[str, VoicePack]:
        """Packs enrolled with these weights, capped; the others are logged and left out."""
        good = {}
        estimator = stages.acoustic.solver.estimator
        for name, pack in packs.items():
            try:
                pack.require(revision, stages.decoder.model.shape.model_dim, estimator.shape.style, estimator.in_content.shape[0])
            except ModelMissing as error:
                log.warning("voice left out: %s", error)
                continue
            good[name] = pack.capped(prompt_frames)
        return good

    @property
    def is_busy(self) -> bool:
        """Whether there are jobs in progress or events to be fetched."""
        return bool(self._jobs or self._ready)

    # -- private: one step

    def _pack(self, voice: str) -> VoicePack:
        if voice not in self.packs:
            raise UnknownVoice(f"indextts2 has no voice {voice!r}; it has: {', '.join(sorted(self.packs)) or 'none'}")
        return self.packs[voice]

    def _advance(self, job: Speaking) -> list[EngineEvent] | None:
        """One piece for this job, or for whoever holds what it needs; None if it waits for pages that others hold."""
        need = job.need
        if need is Need.VOCODE:
            return self._vocode(self._vocoding or job)
        if need is Need.FLOW:
            self._flow(self._in_call or job)
            return []
        if need is Need.PLACE:
            return [] if self._place(job) else None
        return self._decode(job)

    def _place(self, job: Speaking) -> bool:
        """Find pages for the job's next part; False if others must end first. Raises `Overloaded` if nobody else holds any."""
        pack = self._pack(job.job.voice)
        ids = job.parts[0]
        limit = self.options.max_codes_base + int(self.options.max_codes_per_piece * len(ids))
        seed = job.job.seed + job.parts_done
        try:
            prefix = self._prefix(job, pack)
            sequence = self.stages.decoder.start(prefix, ids, self.options.sampling, seed, limit)
        except NoPages as error:
            if any(other.sequence is not None for other in self._jobs.values()):
                return False
            raise Overloaded(f"the K/V cache is too small for this text: {error}") from None
        prompt = Prompt(np.ascontiguousarray(pack.ref_mel.T), pack.prompt_condition, pack.style)
        job.begin_part(sequence, AcousticStream(self.stages.acoustic, prompt, seed, job.job.speed))
        self._size_chunk(job)
        return True

    def _prefix(self, job: Speaking, pack: VoicePack) -> Prefix:
        """The voice's condition rows in the cache, run now if this voice and emotion are new."""
        key = f"{job.job.voice}\0{job.job.emotion!r}"
        if key in self._prefixes:
            self._prefixes.move_to_end(key)
            return self._prefixes[key]
        while len(self._prefixes) >= PREFIXES:
            self.stages.decoder.forget_prefix(self._prefixes.popitem(last=False)[1])
        self._prefixes[key] = self.stages.decoder.prefix(pack.conditions(job.job.emotion).rows)
        return self._prefixes[key]

    def _voices_of_prefixes(self) -> set[str]:
        return {key.split("\0")[0] for key in self._prefixes}

    def _size_chunk(self, job: Speaking) -> None:
        """Codes of the chunk that comes next; 0 for the rest of the part, however long."""
        codes = None if self.stages.decoder.offset == 2 else job.plan.next_codes(job.level, len(self._jobs))
        job.chunk_codes = codes or 0

    def _decode(self, job: Speaking) -> list[EngineEvent]:
        wanted = [s.sequence for s in self._jobs.values() if s.sequence is not None and not s.sequence.is_finished]
        assert job.sequence is not None
        rounds = CODES_PER_STEP if len(wanted) <= 2 else 1
        for _ in range(rounds):
            had_prompt = len(job.sequence.pending) > 1
            self.stages.decoder.step(wanted, PROMPT_ROWS)
            if had_prompt or job.sequence.is_finished or job.has_codes:
                break
        if job.sequence.fault:
            raise EngineFailed(job.sequence.fault)
        return []

    # -- private: sound

    def _flow(self, job: Speaking) -> None:
        assert job.sequence is not None and job.stream is not None
        if job.flow is None:
            job.flow = self._begin_chunk(job)
        try:
            is_boundary = next(job.flow)
            self._in_call = None if is_boundary else job
        except StopIteration:
            job.flow, self._in_call = None, None
            job.vocoding = self._begin_window(job)

    def _begin_chunk(self, job: Speaking) -> Steps:
        sequence, stream = job.sequence, job.stream
        assert sequence is not None and stream is not None
        have = len(sequence.codes)
        if have == 0:
            raise EngineFailed("the language model stopped before its first code")
        fresh = slice(stream.codes, have)
        latents = self.stages.decoder.latent_pass(sequence) if self.stages.decoder.offset == 2 else np.stack(sequence.latents)
        if fresh.start < have:
            stream.push(sequence.codes[fresh], latents[fresh])
        until = min(job.codes_made + job.chunk_codes, have) if job.chunk_codes else have
        job.is_last_chunk = sequence.is_finished and have - until <= job.level.window.look_ahead_codes
        until = have if job.is_last_chunk else until
        job.chunk_codes, job.codes_made = until - job.codes_made, until
        return stream.steps(until, job.level.schedule, job.level.window)

    def _begin_window(self, job: Speaking) -> Steps:
        stream = job.stream
        assert stream is not None
        left = min(job.frames_vocoded, self.stages.vocoder.shape.context)
        ahead = stream.ahead[:0] if job.is_last_chunk else stream.ahead
        mel = np.concatenate([stream.mel[job.frames_vocoded - left :], ahead])
        job.frames_vocoded = len(stream.mel)
        # one frame of the look-ahead is kept as the tail that the next window fades in over
        return self.stages.vocoder.steps(mel, left, max(0, len(ahead) - 1))

    def _vocode(self, job: Speaking) -> list[EngineEvent]:
        assert job.vocoding is not None and job.stream is not None
        self._vocoding = job
        try:
            next(job.vocoding)
            return []
        except StopIteration as stop:
            self._vocoding, job.vocoding = None, None
            return self._sound(job, stop.value)

    def _sound(self, job: Speaking, samples: Floats) -> list[EngineEvent]:
        assert job.stream is not None
        has_tail = not job.is_last_chunk and len(job.stream.ahead) > 0
        samples = checked(job.joined(samples, self.stages.vocoder.shape.hop if has_tail else 0))
        job.plan.sent(job.chunk_codes, job.level, len(self._jobs))
        events: list[EngineEvent] = []
        if job.is_last_chunk:
            self._end_part(job)
            if job.parts:
                silence = int(self.stages.sample_rate * self.options.interval_silence_ms / 1000)
                samples = np.concatenate([samples, np.zeros(silence, dtype=np.float32)])
        else:
            self._size_chunk(job)
        job.samples += len(samples)
        if len(samples):
            events.append(Chunk(job.job.id, samples, self.stages.sample_rate))
        if job.need is Need.NOTHING:
            self._forget(job)
            events.append(Done(job.job.id, job.samples))
        return events

    def _end_part(self, job: Speaking) -> None:
        assert job.sequence is not None
        if job.sequence.is_cut:
            log.warning("job %s: the language model did not stop within %d codes; its text ends there", job.job.id, job.sequence.max_codes)
        self.stages.decoder.end(job.sequence)
        job.sequence, job.stream = None, None
        job.parts_done += 1

    def _forget(self, job: Speaking) -> None:
        self._jobs.pop(job.job.id, None)
        if job.sequence is not None and job.sequence.pages:
            self.stages.decoder.end(job.sequence)
        job.sequence, job.flow, job.vocoding, job.parts = None, None, None, []
        self._vocoding = None if self._vocoding is job else self._vocoding
        self._in_call = None if self._in_call is job else self._in_call


def checked(samples: Floats) -> Floats:
    """The samples, if they can be sound. Raises `EngineFailed` for values that aren't finite, and for mostly full scale."""
    if not np.isfinite(samples).all():
        raise EngineFailed("the vocoder's samples are not finite")
    if len(samples) and float((np.abs(samples) >= 1).mean()) > CLIPPED_SHARE:
        raise EngineFailed("the vocoder's samples are mostly at full scale")
    return samples


def load(options: Mapping[str, object]) -> IndexTts2:
    """Build the engine from `[engines.indextts2.options]`. Raises `BadOption` for unknown keys, `ModelMissing` for files."""
    from realtime.engines.indextts2.load import load_engine

    return load_engine(options)

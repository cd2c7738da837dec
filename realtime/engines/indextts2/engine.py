"""IndexTTS-2 behind the engine contract: many jobs, one step at a time.

Each `step` does one bounded piece for the most urgent job: a few codes (for all jobs that are decoding, in one batch), a layer of a flow
step, or a pair of the vocoder's convolutions; after any piece a job may be cancelled, and a more urgent one go first. Urgency is the
job's deadline plus the sound it has out. Once a job is heard, its next codes are decoded in the background, on one core, while the
others make its sound.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping

import numpy as np

from realtime.engines.base import Chunk, Done, EngineEvent, EngineInfo, Failed, Job, PlanReply, PlanRequest
from realtime.engines.checks import check_job
from realtime.engines.indextts2 import voice_pack
from realtime.engines.indextts2.acoustic import AcousticStream, Prompt
from realtime.engines.indextts2.background import Background
from realtime.engines.indextts2.chunks import ChunkPlan, Costs
from realtime.engines.indextts2.decode import Prefix
from realtime.engines.indextts2.kernels.native import Native
from realtime.engines.indextts2.kernels.packing import Floats
from realtime.engines.indextts2.kv_pages import NoPages
from realtime.engines.indextts2.levels import ALL, LEVELS, level_named
from realtime.engines.indextts2.options import Options
from realtime.engines.indextts2.sound import SoundMaker
from realtime.engines.indextts2.speaking import Need, Speaking
from realtime.engines.indextts2.stages import PREFIXES, Stages
from realtime.engines.indextts2.tokens import TextFrontEnd
from realtime.engines.indextts2.voice_pack import VoicePack
from realtime.errors import BadOption, EngineFailed, ModelMissing, Overloaded, UnknownVoice

LANGUAGES = ("zh", "en")
PROMPT_ROWS = 32
"""Prompt positions per step: about 30 ms at official size on two cores."""
CODES_PER_STEP = 4
"""Codes per step while one or two jobs decode: 25 to 35 ms."""

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
        self._maker = SoundMaker(stages)
        self._background = self._second_thread()
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

    def _second_thread(self) -> Background | None:
        """Decoding beside the sound stages, where there are compiled kernels and cores for both."""
        kernels = self.stages.vocoder.kernels
        if not isinstance(kernels, Native) or kernels.threads < 2:
            return None
        return Background(self.stages.decoder, kernels)

    # -- the contract

    def start(self, job: Job) -> None:
        """Take a job. Raises `UnknownVoice`, `BadOption`, `BadText`; `Overloaded` when `capacity` jobs are in progress."""
        pack = self._pack(job.voice)
        check_job(self.info.name, job, [known.name for known in LEVELS])
        level = level_named(job.level)
        assert level is not None
        if job.language not in pack.about.languages:
            raise BadOption(f"voice {job.voice!r} speaks {', '.join(pack.about.languages)}, not {job.language!r}")
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
        """One bounded piece of work, for the most urgent job first."""
        events, self._ready = self._ready, []
        if events or not self._jobs:
            return events
        if self._background is not None:
            self._background.settle()
        if faults := self._faults():
            return faults
        order = sorted(self._jobs.values(), key=lambda s: s.due(self.stages.sample_rate))
        for job in order:
            if job.need is Need.PLACE and (found := self._guarded(job, self._place)) is not None:
                return found
        sound = next((job for job in order if job.need in (Need.FLOW, Need.VOCODE)), None)
        decoding = [job for job in order if job.is_decoding]
        if sound is not None and decoding and self._may_decode_aside(decoding, sound):
            return self._sound_beside(decoding, sound)
        self._pause()
        if sound is None or (decoding and order[0].need is Need.CODES):
            return self._decode(decoding)
        return self._sound_piece(sound)

    def _guarded(self, job: Speaking, work: Callable[[Speaking], list[EngineEvent] | None]) -> list[EngineEvent] | None:
        """Do a job's work; what goes wrong is its failure and nobody else's."""
        try:
            return work(job)
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
        """Forget all jobs and end the second thread."""
        for speaking in list(self._jobs.values()):
            self._forget(speaking)
        if self._background is not None:
            self._background.close()

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

    def _place(self, job: Speaking) -> list[EngineEvent] | None:
        """Find pages for the job's next part; None if others must end first. Raises `Overloaded` if nobody else holds any."""
        pack = self._pack(job.job.voice)
        ids = job.parts[0]
        limit = self.options.max_codes_base + int(self.options.max_codes_per_piece * len(ids))
        seed = job.job.seed + job.parts_done
        try:
            prefix = self._prefix(job, pack)
            sequence = self.stages.decoder.start(prefix, ids, self.options.sampling, seed, limit)
        except NoPages as error:
            if any(other.sequence is not None for other in self._jobs.values()):
                return None
            raise Overloaded(f"the K/V cache is too small for this text: {error}") from None
        self._pause()  # so that the next run has this job in it
        prompt = Prompt(np.ascontiguousarray(pack.ref_mel.T), pack.prompt_condition, pack.style)
        job.begin_part(sequence, AcousticStream(self.stages.acoustic, prompt, seed, job.job.speed))
        self._size_chunk(job)
        return []

    def _prefix(self, job: Speaking, pack: VoicePack) -> Prefix:
        """The voice's condition rows in the cache; if voice and emotion are new, from the pack, or run now where that has none for them."""
        key = f"{job.job.voice}\0{job.job.emotion!r}"
        if key in self._prefixes:
            self._prefixes.move_to_end(key)
            return self._prefixes[key]
        while len(self._prefixes) >= PREFIXES:
            self.stages.decoder.forget_prefix(self._prefixes.popitem(last=False)[1])
        self._pause()
        conditions = pack.conditions(job.job.emotion)
        self._prefixes[key] = self.stages.decoder.prefix(conditions.rows, conditions.cached)
        return self._prefixes[key]

    def _voices_of_prefixes(self) -> set[str]:
        return {key.split("\0")[0] for key in self._prefixes}

    def _size_chunk(self, job: Speaking) -> None:
        """Codes of the chunk that comes next; 0 for the rest of the part, however long."""
        codes = None if self.stages.decoder.offset == 2 else job.plan.next_codes(job.level, len(self._jobs))
        job.chunk_codes = codes or 0

    def _decode(self, jobs: list[Speaking]) -> list[EngineEvent]:
        """Some codes for all jobs that decode, in one batch on all cores."""
        sequences = [job.sequence for job in jobs if job.sequence is not None]
        waiting = [job for job in jobs if job.need is Need.CODES]
        for _ in range(CODES_PER_STEP if len(sequences) <= 2 else 1):
            has_prompt = any(len(sequence.pending) > 1 for sequence in sequences)
            self.stages.decoder.step(sequences, PROMPT_ROWS)
            if has_prompt or any(job.need is not Need.CODES for job in waiting):
                break
        return self._faults()

    def _faults(self) -> list[EngineEvent]:
        """Failures of the jobs whose decoding went wrong."""
        faulty = [(job, job.sequence.fault) for job in self._jobs.values() if job.sequence is not None and job.sequence.fault]
        for job, _ in faulty:
            self._forget(job)
        return [Failed(job.job.id, EngineFailed.code, fault) for job, fault in faulty]

    def _pause(self) -> None:
        """Whoever touches sequences calls this first."""
        if self._background is not None:
            self._background.pause()

    def _may_decode_aside(self, jobs: list[Speaking], sound: Speaking) -> bool:
        """Whether codes are decoded while a job's sound is made: it is heard already, and has time to spare or others wait for codes."""
        if self._background is None or not sound.samples:
            return False
        return self._background.is_running or sound.codes_aside > 0 or any(job.need is Need.CODES for job in jobs)

    def _sound_beside(self, jobs: list[Speaking], sound: Speaking) -> list[EngineEvent]:
        """A piece of sound while codes are decoded in the background."""
        assert self._background is not None
        events = self._sound_piece(sound)
        if events or sound.need not in (Need.FLOW, Need.VOCODE) or self._background.is_running:
            return events
        wanted = ALL if any(job.need is Need.CODES for job in jobs) else sound.codes_aside
        if wanted:  # a run of no codes would take a core all the same
            sequences = [job.sequence for job in jobs if job.sequence is not None]
            sound.codes_aside = max(0, sound.codes_aside - self._background.begin(sequences, wanted))
        return events

    # -- private: sound

    def _sound_piece(self, job: Speaking) -> list[EngineEvent]:
        """Part of a flow step or of a window, for this job or for one that must go first."""
        return self._guarded(self._maker.turn(job), self._make) or []

    def _make(self, job: Speaking) -> list[EngineEvent]:
        is_new = self._maker.begins_chunk(job)
        if is_new:
            self._pause()
        samples = self._maker.piece(job)
        if is_new:
            job.codes_aside = job.plan.codes_aside(job.chunk_codes, job.level, len(self._jobs))
        return [] if samples is None else self._sound(job, samples)

    def _sound(self, job: Speaking, samples: Floats) -> list[EngineEvent]:
        """Account for a window's samples, and go on to the next chunk, part or the end."""
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
        self._pause()
        self._jobs.pop(job.job.id, None)
        if job.sequence is not None and job.sequence.pages:
            self.stages.decoder.end(job.sequence)
        job.sequence, job.flow, job.vocoding, job.parts = None, None, None, []
        self._maker.forget(job)


def load(options: Mapping[str, object]) -> IndexTts2:
    """Build the engine from `[engines.indextts2.options]`. Raises `BadOption` for unknown keys, `ModelMissing` for files."""
    from realtime.engines.indextts2.load import load_engine

    return load_engine(options)

"""Sambert as an engine: jobs interleaved by who will run dry first, decoder steps of all of them in one call.

A step does one thing for the most urgent job: read its text, time a line, or decode what its next chunk needs and vocode that. Decoding
takes the other jobs along that will want frames soon: a step's cost is reading the weights, so a second job is nearly free.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cachetools import LRUCache

from realtime.engines.base import Done, EngineEvent, EngineInfo, Failed, Job, PlanReply, PlanRequest, QualityLevel, VoiceInfo
from realtime.engines.checks import check_speed
from realtime.engines.sambert.frontend.frontend import Frontend
from realtime.engines.sambert.frontend.lines import Line, Reading
from realtime.engines.sambert.job_speech import JobSpeech, Stage
from realtime.engines.sambert.line_speech import LineSpeech
from realtime.engines.sambert.options import SambertOptions, VoiceManner
from realtime.engines.sambert.plan import make_plan
from realtime.engines.sambert.voice import LEVELS, NEUTRAL, Manner, Score, Voice
from realtime.errors import BadOption, BadText, ModelMissing, RealtimeError, UnknownVoice
from realtime.models import manifest
from realtime.types import Emotion, JobId

log = logging.getLogger(__name__)

LANGUAGES = ("zh", "en")
ABOUT_LEVEL = {"standard": "float32", "fast": "vocoder in int8"}
CACHED_READINGS = 128
CACHED_SCORE_BYTES = 16 << 20
"""About a hundred lines: a plan and the job that follows it need the same ones."""
MAX_STEPS = 16
"""Decoder steps in one engine step, some 8 ms of work at the official size."""
TOGETHER_S = 0.05
"""Jobs whose deadlines are this close arrived together. Guess: two pings."""
MAX_TEXT = 20_000
"""Characters of one job. Segments are far shorter; a longer text is a caller's error."""
# Weights of an emotion vector, in its order, as the names that voices have.
VECTOR_NAMES = ("happy", "angry", "sad", "fear", "disgust", "sad", "surprise", "neutral")


def load(options: Mapping[str, Any]) -> SambertEngine:
    """Build the engine. Raises `BadOption` for unknown options, `ModelMissing` when voices are absent or broken."""
    return SambertEngine(SambertOptions.from_table(options))


class SambertEngine:
    """Implements `engines.base.Engine`."""

    def __init__(self, options: SambertOptions) -> None:
        self._options = options
        self._frontend = Frontend(options.lexicon)
        self._frontend.warm_up()
        self._voices: dict[str, Voice] = {}
        self._speeches: dict[JobId, JobSpeech] = {}
        self._readings: LRUCache[tuple[str, str], Reading] = LRUCache(CACHED_READINGS)
        self._scores: LRUCache[Any, Score] = LRUCache(CACHED_SCORE_BYTES, getsizeof=lambda score: score.nbytes + 1000)
        self._unspoken = 0
        self._load_voices()
        self.info = self._describe()

    @property
    def unspoken(self) -> int:
        """Characters that no rule could speak, over all jobs so far."""
        return self._unspoken

    # --- jobs ---

    def start(self, job: Job) -> None:
        """Take a job. Raises `UnknownVoice`, `BadOption` or `BadText` for what it can't speak."""
        voice = self._check(job.voice, job.language, job.speed)
        if job.level and job.level not in voice.levels:
            raise BadOption(f"voice {voice.name} has no quality level {job.level!r}; there are: {', '.join(voice.levels)}")
        if len(job.text) > MAX_TEXT:
            raise BadText(f"a text of {len(job.text)} characters; engine sambert takes {MAX_TEXT} at once")
        if not 0 <= job.start <= len(job.text):
            raise BadOption(f"start {job.start} is outside a text of {len(job.text)} characters")
        if job.id in self._speeches:
            raise BadOption(f"job {job.id!r} is running already")
        # Without a deadline a job queues behind what is already promised: at the least urgent end of nobody's lead.
        order = job.deadline if job.deadline is not None else min((s.urgency for s in self._speeches.values()), default=0.0)
        self._speeches[job.id] = JobSpeech(job, voice, self._manner(voice, job.speed, job.emotion), order)

    def step(self) -> list[EngineEvent]:
        """One bounded piece of work for the most urgent job."""
        if not self._speeches:
            return []
        speech = self._next()
        try:
            return self._work(speech)
        except RealtimeError as error:
            del self._speeches[speech.job.id]
            return [Failed(speech.job.id, error.code, error.message)]

    def cancel(self, job_id: JobId) -> None:
        """Forget a job."""
        self._speeches.pop(job_id, None)

    def adjust(self, job_id: JobId, level: str) -> None:
        """Change a running job's level from its next chunk on; levels that its voice lacks are ignored."""
        speech = self._speeches.get(job_id)
        if speech is not None and level in speech.voice.levels:
            speech.use_level(level)

    def _next(self) -> JobSpeech:
        """The most urgent job. Jobs that arrived together are all timed before the first of them is decoded, because they are then
        decoded together: the last of them is heard earlier, the first one later."""
        speech = min(self._speeches.values(), key=lambda one: one.urgency)
        if speech.stage is not Stage.SPEAK or speech.emitted:
            return speech
        untimed = (one for one in self._speeches.values() if one.stage in (Stage.READ, Stage.SCORE) and not one.emitted)
        return next((one for one in untimed if one.urgency <= speech.urgency + TOGETHER_S), speech)

    def _work(self, speech: JobSpeech) -> list[EngineEvent]:
        events: list[EngineEvent] = []
        if speech.stage is Stage.READ:
            reading = self.read(speech.job.text, speech.job.language)
            speech.read(reading.lines, reading.unspoken.total())
            self._count_unspoken(reading)
        elif speech.stage is Stage.SCORE:
            speech.begin_line(self._score(speech.voice, speech.current, speech.manner))
        elif speech.line is not None:
            if self._decode(speech):
                chunk = speech.next_chunk()
                events += [chunk] if chunk is not None else []
        if speech.stage is Stage.OVER:
            del self._speeches[speech.job.id]
            events.append(Done(speech.job.id, speech.emitted, speech.unspoken))
        return events

    def _decode(self, speech: JobSpeech) -> bool:
        """Decode what the next chunk needs, with the other jobs of the voice alongside -> whether it is there."""
        line = speech.line
        assert line is not None
        decoder = speech.voice.decoder
        for _ in range(MAX_STEPS):
            if not line.wants_frames(speech.chunk_frames):
                return True
            batch = [line, *(other for other in self._others(speech) if other is not line)]
            for one, frames in zip(batch, decoder.step([one.state for one in batch]), strict=True):
                one.take_frames(frames)
        return not line.wants_frames(speech.chunk_frames)

    def _others(self, speech: JobSpeech) -> list[LineSpeech]:
        return [
            other.line
            for other in self._speeches.values()
            if other.line is not None and other.voice is speech.voice and other.line.wants_frames(other.chunk_frames)
        ]

    def _count_unspoken(self, reading: Reading) -> None:
        if reading.unspoken:
            self._unspoken += reading.unspoken.total()
            log.warning("%d characters can't be spoken and were left out", reading.unspoken.total())
            log.debug("left out: %s", dict(reading.unspoken))

    # --- plan ---

    def plan(self, request: PlanRequest) -> PlanReply:
        """Time a text without speaking it: front end, encoder and duration loop; exact for the job that follows."""
        voice = self._check(request.voice, request.language, request.speed)
        if len(request.text) > MAX_TEXT:
            raise BadText(f"a text of {len(request.text)} characters; engine sambert takes {MAX_TEXT} at once")
        lines = self.read(request.text, request.language).lines
        manner = self._manner(voice, request.speed, None)
        scores = [self._score(voice, line, manner) for line in lines]
        return make_plan(voice, request, lines, scores)

    def read(self, text: str, language: str) -> Reading:
        """The front end's lines of a text; kept for a while."""
        key = (text, language)
        found = self._readings.get(key)
        if found is None:
            found = self._readings[key] = self._frontend.read(text, language)
        return found

    def _score(self, voice: Voice, line: Line, manner: Manner) -> Score:
        key = (voice.name, line, manner)
        found = self._scores.get(key)
        if found is None:
            emotion = f"emotion_{manner.emotion}" if manner.emotion else NEUTRAL
            found = voice.score(line.symbols(emotion, voice.vocabulary.default_speaker), manner)
            if found.nbytes < CACHED_SCORE_BYTES:
                self._scores[key] = found
        return found

    # --- for benches and tests ---

    def voice(self, name: str) -> Voice:
        """A loaded voice. Raises `UnknownVoice`."""
        return self._check(name, "zh", 1.0)

    def score_of(self, text: str, voice: str) -> tuple[Line, Score]:
        """First line of a text and its score, in the voice's own manner."""
        line = self.read(text, "zh").lines[0]
        return line, self._score(self.voice(voice), line, self._manner(self.voice(voice), 1.0, None))

    def forget(self) -> None:
        """Empty the caches of readings and scores."""
        self._readings.clear()
        self._scores.clear()

    # --- what can be asked for ---

    def _check(self, name: str, language: str, speed: float) -> Voice:
        voice = self._voices.get(name)
        if voice is None:
            raise UnknownVoice(f"engine sambert has no voice {name!r}; there are: {', '.join(self._voices)}")
        if language not in LANGUAGES:
            raise BadOption(f"engine sambert speaks {', '.join(LANGUAGES)}, not {language!r}")
        check_speed(speed)
        return voice

    def _manner(self, voice: Voice, speed: float, emotion: Emotion | None) -> Manner:
        lasting = self._options.adjust.get(voice.name, VoiceManner())
        manner = Manner(speed, lasting.pitch, lasting.energy)
        name = emotion.name if emotion is not None else None
        if emotion is not None and name is None and emotion.vector is not None:
            # An engine before this one took weights: the strongest that the voice has, else its own manner.
            best = max(range(len(emotion.vector)), key=lambda i: emotion.vector[i] if emotion.vector else 0.0)
            name = VECTOR_NAMES[best] if best < len(VECTOR_NAMES) and VECTOR_NAMES[best] in voice.emotions else None
        if emotion is None or name in (None, "neutral"):
            return manner
        if name not in voice.emotions:
            has = ", ".join(voice.emotions) or "no emotions but neutral"
            raise BadOption(f"voice {voice.name} has no emotion {name!r}; it has {has}")
        return replace(manner, emotion=name, strength=min(1.0, max(0.0, emotion.strength)))

    # --- voices ---

    def _load_voices(self) -> None:
        """Voices that are there now; those loaded already stay as they are. Changes nothing when it raises."""
        folder = self._options.models_dir
        found = sorted(path.parent.name for path in folder.glob(f"*/{manifest.FILE_NAME}") if not path.parent.name.startswith("."))
        names = self._options.voices or tuple(found)
        if not names:
            raise ModelMissing(f"{folder}: no exported Sambert voices; get one with `realtime models pull sambert`")
        voices = {name: self._voices.get(name) or Voice.load(folder / name, self._options.threads) for name in names}
        rates = {voice.sample_rate for voice in voices.values()}
        if len(rates) > 1:
            listed = ", ".join(f"{voice.name} {voice.sample_rate} Hz" for voice in voices.values())
            raise BadOption(f"engine sambert: voices of one engine share one sample rate ({listed}); choose with the option `voices`")
        self._voices = voices

    def _describe(self) -> EngineInfo:
        voices = tuple(
            VoiceInfo(voice.name, LANGUAGES, description=f"Sambert, {voice.sample_rate // 1000} kHz", emotions=voice.emotions)
            for voice in self._voices.values()
        )
        first = next(iter(self._voices.values()))
        # A level is offered if every voice has it.
        levels = [level for level in LEVELS if all(level in voice.levels for voice in self._voices.values())]
        return EngineInfo(
            name="sambert",
            sample_rate=first.sample_rate,
            languages=LANGUAGES,
            voices=voices,
            levels=tuple(QualityLevel(level, description=ABOUT_LEVEL[level]) for level in levels),
            can_adjust=len(levels) > 1,
            capacity=self._options.capacity,
            text_form="plain",
            can_plan=True,
            revision="+".join(sorted({voice.revision for voice in self._voices.values()})),
        )

    def reload(self) -> EngineInfo:
        """Look for voices added or removed; running jobs keep theirs."""
        self._load_voices()
        self.info = self._describe()
        return self.info

    def close(self) -> None:
        """Let go of sessions and jobs."""
        self._speeches.clear()
        self._voices.clear()

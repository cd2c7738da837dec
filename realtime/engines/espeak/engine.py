"""The engine around espeak-ng: clause by clause, so that a step is one clause at most (1 to 40 ms of work).

Clauses are kept for a while after they were made, because a plan and the job that follows it need the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from cachetools import LRUCache

from realtime.audio.features import HOP_S, log_mel
from realtime.engines.base import Chunk, Done, EngineEvent, EngineInfo, Job, PlanReply, PlanRequest, QualityLevel
from realtime.engines.checks import check_job, check_keys, check_options, check_speed, find_voice
from realtime.engines.espeak.clauses import Clause, is_speakable, readable, split_clauses
from realtime.engines.espeak.library import Library
from realtime.engines.espeak.render import ClauseSound, render_clause
from realtime.engines.espeak.voices import BUILT_IN, LANGUAGES, EspeakVoice, voice_from
from realtime.engines.turns import Turns
from realtime.errors import BadOption
from realtime.types import JobId, Span, SpeechPlan, WordTime

CACHE_BYTES = 32 << 20  # six minutes of clauses


@dataclass(frozen=True, slots=True)
class EspeakOptions:
    """The `[engines.espeak]` table: `voices` are ids of built-ins or tables, `chunk_ms` the longest chunk, `name` what a second one of
    these (a table with `factory = "espeak"`) is called: the table's own name."""

    name: str = "espeak"
    voices: tuple[EspeakVoice, ...] = BUILT_IN
    chunk_ms: float = 200.0
    capacity: int = 8

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> EspeakOptions:
        """Checked options. Raises `BadOption` for unknown keys and values out of range."""
        check_keys("engine espeak", table, cls.__slots__)
        given = dict(table)
        if "voices" in given:
            given["voices"] = tuple(voice_from(entry) for entry in given["voices"])
        options = cls(**given)
        check_options("espeak", options.voices, options.chunk_ms, 10.0, options.capacity)
        return options


class _Speech:
    """One job under way: clauses still to be made, and the one that is being given out."""

    def __init__(self, job: Job, voice: EspeakVoice) -> None:
        self.job = job
        self.voice = voice
        self.clauses = split_clauses(job.text, job.start)
        self.clauses.reverse()  # taken from the end
        self.clause = Clause(job.start, job.start, "none")
        self.sound: ClauseSound | None = None
        self.given = 0  # samples of `sound` given out
        self.total = 0  # samples of the job given out
        self.told = job.start  # characters covered by the chunks given out

    @property
    def is_over(self) -> bool:
        """Nothing left to give."""
        return not self.clauses and (self.sound is None or self.given >= len(self.sound.samples))

    def next_chunk(self, length: int, rate: int) -> Chunk:
        """Up to `length` samples of the present clause. Characters and words belong to the chunk in which they begin."""
        assert self.sound is not None
        begin, end = self.given, min(self.given + length, len(self.sound.samples))
        before = self.total - begin
        self.given, self.total = end, self.total + end - begin
        at = self.clause.start
        starts = self.sound.times[:-1]
        last = at + (len(starts) if end == len(self.sound.samples) else int(np.searchsorted(starts, end)))
        words = (WordTime(w.span.shifted(at), w.start + before, w.end + before) for w in self.sound.words)
        span, self.told = Span(self.told, last), last
        begun = tuple(word for word in words if span.start <= word.span.start < span.end)
        return Chunk(self.job.id, self.sound.samples[begin:end], rate, span, begun)


class EspeakEngine:
    """Implements `engines.base.Engine`."""

    def __init__(self, options: EspeakOptions, library: Library) -> None:
        self._options = options
        self._library = library
        self._voices = {voice.id: voice for voice in options.voices}
        self._turns: Turns[_Speech] = Turns()
        self._made: LRUCache[Any, ClauseSound] = LRUCache(CACHE_BYTES, getsizeof=lambda sound: sound.samples.nbytes + 1000)
        for voice in options.voices:
            for language in LANGUAGES:
                library.choose(voice.espeak_name(language), 175, voice.pitch)  # refuse a variant that isn't there now, not later
        self.info = EngineInfo(
            name=self._options.name,
            sample_rate=library.sample_rate,
            languages=tuple(LANGUAGES),
            voices=tuple(voice.info for voice in options.voices),
            levels=(QualityLevel("standard"),),
            capacity=options.capacity,
            text_form="spoken",
            can_plan=True,
            revision=library.version,
        )

    def start(self, job: Job) -> None:
        """Take a job. Raises `UnknownVoice`, or `BadOption` for a language, level, start or speed it doesn't have."""
        voice = self._check(job.voice, job.language, job.speed)
        check_job(self.info.name, job, ["standard"])
        self._turns.add(job.id, _Speech(job, voice))

    def step(self) -> list[EngineEvent]:
        """One clause made, if need be, and one chunk given, for the job whose turn it is."""
        if (turn := self._turns.take()) is None:
            return []
        job_id, speech = turn
        events: list[EngineEvent] = []
        if speech.clauses and (speech.sound is None or speech.given >= len(speech.sound.samples)):
            speech.clause, speech.given = speech.clauses.pop(), 0
            speech.sound = self._sound(speech.voice, speech.job.language, speech.job.speed, speech.job.text, speech.clause)
        if speech.sound is not None and speech.given < len(speech.sound.samples):
            length = round(self._options.chunk_ms * self.info.sample_rate / 1000)
            events.append(speech.next_chunk(length, self.info.sample_rate))
        if speech.is_over:
            events.append(Done(job_id, speech.total))
        else:
            self._turns.add(job_id, speech)
        return events

    def cancel(self, job_id: JobId) -> None:
        """Forget a job."""
        self._turns.drop(job_id)

    def adjust(self, job_id: JobId, level: str) -> None:
        """There is only one level."""

    def plan(self, request: PlanRequest) -> PlanReply:
        """Exact times: the sound itself is made, and kept for the job that follows."""
        voice = self._check(request.voice, request.language, request.speed)
        times: list[float] = []
        words: list[Span] = []
        sounds: list[ClauseSound] = []
        at, rate = 0, self.info.sample_rate
        for clause in split_clauses(request.text):
            sound = self._sound(voice, request.language, request.speed, request.text, clause)
            times += ((sound.times[:-1] + at) / rate).tolist()
            words += [word.span.shifted(clause.start) for word in sound.words]
            sounds.append(sound)
            at += len(sound.samples)
        plan = SpeechPlan((*times, at / rate), tuple(words), "espeak")
        if not request.with_features:
            return PlanReply(plan)
        whole = np.concatenate([np.zeros(0, dtype=np.float32), *(sound.samples for sound in sounds)])
        return PlanReply(plan, log_mel(whole, rate), HOP_S)

    def reload(self) -> EngineInfo:
        """Voices come from the options only."""
        return self.info

    def close(self) -> None:
        """Let the library go."""
        self._turns.clear()
        self._library.close()

    def _check(self, voice_id: str, language: str, speed: float) -> EspeakVoice:
        if language not in LANGUAGES:
            raise BadOption(f"engine {self.info.name} speaks {', '.join(LANGUAGES)}, not {language!r}")
        check_speed(speed)
        return find_voice(self.info.name, self._voices, voice_id)

    def _sound(self, voice: EspeakVoice, language: str, speed: float, text: str, clause: Clause) -> ClauseSound:
        written = text[clause.start : clause.end]
        key = (voice.id, language, speed, clause.pause, written)
        if (sound := self._made.get(key)) is None:
            if is_speakable(readable(written)):
                here = Clause(0, len(written), clause.pause)
                sound = render_clause(self._library, voice, language, speed, written, here)
            else:
                sound = ClauseSound(np.zeros(0, dtype=np.float32), np.zeros(len(written) + 1, dtype=np.int64), ())
            if sound.samples.nbytes < CACHE_BYTES // 4:
                self._made[key] = sound
        return sound


def load(options: Mapping[str, Any]) -> EspeakEngine:
    """Build the engine from its table of options. Raises `BadOption`, `UnknownVoice`, `ModelMissing`."""
    checked = EspeakOptions.from_table(options)
    return EspeakEngine(checked, Library())

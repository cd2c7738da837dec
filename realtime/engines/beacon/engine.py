"""The engine around the encoder: jobs take turns, a chunk per step, and time costs whatever the options say.

The engine itself runs at full speed. A slower one is *declared*: the levels of a test voice carry their RTF and first-chunk time
before any measurement, and the worker keeps to that pace.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from realtime.audio.features import HOP_S, log_mel
from realtime.engines.base import Chunk, Done, EngineEvent, EngineInfo, Job, PlanReply, PlanRequest, QualityLevel
from realtime.engines.beacon.encoder import Encoder
from realtime.engines.beacon.voices import BUILT_IN, BeaconVoice, voice_from
from realtime.engines.checks import check_job, check_keys, check_options, check_speed, find_voice
from realtime.engines.turns import Turns
from realtime.errors import BadOption
from realtime.types import JobId, Span, SpeechPlan, WordTime

# every character sounds, so signs and blanks are words of their own: with the words' edges the place of each character is known
WORDS = re.compile(r"[぀-ヿ㐀-鿿豈-﫿\U00020000-\U0003ffff]|[^\W぀-ヿ㐀-鿿豈-﫿\U00020000-\U0003ffff]+|[\s\S]")
LEVEL_KEYS = ("name", "rate_factor", "first_chunk_ms", "description")


@dataclass(frozen=True, slots=True)
class BeaconOptions:
    """The `[engines.beacon]` table.

    `rate_factor` is the RTF that the worker keeps to (0 = as fast as it goes) and `first_chunk_ms` what the first chunk takes on
    top; `levels` are tables with `name` and their own of both, best first. `voices` are ids of built-ins or tables.
    """

    name: str = "beacon"
    voices: tuple[BeaconVoice, ...] = BUILT_IN
    chunk_ms: float = 100.0
    rate_factor: float = 0.0
    first_chunk_ms: float = 0.0
    levels: tuple[QualityLevel, ...] = ()
    reports_spans: bool = True
    can_plan: bool = True
    capacity: int = 8

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> BeaconOptions:
        """Checked options. Raises `BadOption` for unknown keys and values out of range."""
        check_keys("engine beacon", table, cls.__slots__)
        given = dict(table)
        if "voices" in given:
            given["voices"] = tuple(voice_from(entry) for entry in given["voices"])
        factor, first_ms = float(given.get("rate_factor", 0.0)), float(given.get("first_chunk_ms", 0.0))
        levels = given.get("levels") or [{"name": "standard", "rate_factor": factor, "first_chunk_ms": first_ms}]
        given["levels"] = tuple(_level(entry, factor, first_ms) for entry in levels)
        options = cls(**given)
        check_options("beacon", options.voices, options.chunk_ms, 1.0, options.capacity)
        return options


def _level(entry: str | Mapping[str, Any], factor: float, first_ms: float) -> QualityLevel:
    table = {"name": entry} if isinstance(entry, str) else dict(entry)
    check_keys("a beacon level", table, LEVEL_KEYS)
    if "name" not in table:
        raise BadOption("a beacon level needs a name")
    rtf, first_s = float(table.get("rate_factor", factor)), float(table.get("first_chunk_ms", first_ms)) / 1000
    if not (0.0 <= rtf <= 1000.0 and 0.0 <= first_s <= 60.0):
        raise BadOption(f"beacon level {table['name']}: rate_factor is 0..1000 and first_chunk_ms 0..60000")
    return QualityLevel(str(table["name"]), rtf, first_s, str(table.get("description", "")))


class _Speech:
    """One job under way."""

    def __init__(self, job: Job, voice: BeaconVoice) -> None:
        self.job = job
        self.voice = voice
        self.encoder = Encoder(voice, job.text, job.speed, job.start)
        self.at = 0
        self._edges: list[int] = self.encoder.boundaries.tolist()  # plain numbers: an array's cost three times as much one by one
        spans = (m.span() for m in WORDS.finditer(job.text))
        self._words = [(max(a, job.start), b) for a, b in spans if b > job.start]  # of a word begun before, what is left of it

    def next_chunk(self, length: int, reports_spans: bool) -> Chunk:
        """The next `length` samples. Characters and words belong to the chunk in which they start."""
        begin, end = self.at, min(self.at + length, self.encoder.total)
        self.at = end
        samples = self.encoder.render(begin, end)
        if not reports_spans:
            return Chunk(self.job.id, samples, self.voice.sample_rate)
        first, last = (self.job.start + bisect_left(self._edges, edge, hi=len(self._edges) - 1) for edge in (begin, end))
        return Chunk(self.job.id, samples, self.voice.sample_rate, Span(first, last), self._word_times(first, last))

    def _word_times(self, first: int, last: int) -> tuple[WordTime, ...]:
        """Words that begin in characters [first, last)."""
        edges, start = self._edges, self.job.start
        begin, end = bisect_left(self._words, (first, 0)), bisect_left(self._words, (last, 0))
        return tuple(WordTime(Span(a, b), edges[a - start], edges[b - start]) for a, b in self._words[begin:end])


class BeaconEngine:
    """Implements `engines.base.Engine`."""

    def __init__(self, options: BeaconOptions) -> None:
        self._options = options
        self._voices = {voice.id: voice for voice in options.voices}
        self._turns: Turns[_Speech] = Turns()
        languages = tuple(dict.fromkeys(language for voice in options.voices for language in voice.languages))
        self.info = EngineInfo(
            name=options.name,
            sample_rate=options.voices[0].sample_rate,
            languages=languages,
            voices=tuple(voice.info for voice in options.voices),
            levels=options.levels,
            capacity=options.capacity,
            text_form="raw",
            can_plan=options.can_plan,
            can_adjust=True,
            revision="1",
            is_test_voice=True,
        )

    def start(self, job: Job) -> None:
        """Take a job. Raises `UnknownVoice`, or `BadOption` for a language, level, start or speed it doesn't have."""
        voice = self._voice(job.voice)
        if job.language not in voice.languages:
            raise BadOption(f"beacon voice {voice.id} speaks {', '.join(voice.languages)}, not {job.language!r}")
        check_job(self.info.name, job, [level.name for level in self.info.levels])
        self._turns.add(job.id, _Speech(job, voice))

    def step(self) -> list[EngineEvent]:
        """One chunk of the job whose turn it is; with its last chunk comes its Done."""
        if (turn := self._turns.take()) is None:
            return []
        job_id, speech = turn
        events: list[EngineEvent] = []
        if speech.encoder.total:
            length = max(1, round(speech.voice.sample_rate * self._options.chunk_ms / 1000))
            events.append(speech.next_chunk(length, self._options.reports_spans))
        if speech.at >= speech.encoder.total:
            events.append(Done(job_id, speech.encoder.total))
        else:
            self._turns.add(job_id, speech)
        return events

    def cancel(self, job_id: JobId) -> None:
        """Forget a job."""
        self._turns.drop(job_id)

    def adjust(self, job_id: JobId, level: str) -> None:
        """Nothing to change in the sound: levels differ only in the pace, which the worker keeps."""

    def plan(self, request: PlanRequest) -> PlanReply:
        """Exact times of every character; the features are of the very sound."""
        voice = self._voice(request.voice)
        check_speed(request.speed)
        encoder = Encoder(voice, request.text, request.speed)
        edges = encoder.boundaries / voice.sample_rate
        words = tuple(Span(*m.span()) for m in WORDS.finditer(request.text))
        plan = SpeechPlan(tuple(float(t) for t in edges), words, self.info.name)
        if not request.with_features:
            return PlanReply(plan)
        return PlanReply(plan, log_mel(encoder.render(0, encoder.total), voice.sample_rate), HOP_S)

    def reload(self) -> EngineInfo:
        """Voices come from the options only."""
        return self.info

    def close(self) -> None:
        """Nothing to let go of."""
        self._turns.clear()

    def _voice(self, voice_id: str) -> BeaconVoice:
        return find_voice(self.info.name, self._voices, voice_id)


def load(options: Mapping[str, Any]) -> BeaconEngine:
    """Build the engine from its table of options. Raises `BadOption`."""
    return BeaconEngine(BeaconOptions.from_table(options))

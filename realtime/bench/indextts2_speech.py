"""IndexTTS-2 as a whole: real-time factor, first audio, lead over the listener and distance of each level; several jobs at once."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from realtime.audio.features import log_mel
from realtime.bench.indextts2_stages import CODE_S, TEXT_TOKENS
from realtime.engines.base import Chunk, Failed, Job
from realtime.engines.indextts2.engine import IndexTts2
from realtime.engines.indextts2.levels import Level, level_named
from realtime.engines.indextts2.load import load_engine
from realtime.errors import BadOption, EngineFailed, ModelMissing, UnknownVoice

CLAUSE = "今天天气真好我们去公园散步吧。"
"""Fifteen characters with the mark."""
DB_PER_NEPER = 8.685889638
PRECISE = {"flow_precision": "fp32", "vocoder_precision": "fp32"}
"""What distances are taken from: 25 steps, whole segment, sound stages in float32, on the codes that the language model says as served."""
Samples = npt.NDArray[np.float32]


@dataclass(slots=True)
class Spoken:
    """Some jobs, from the first call to the last. `least_lead_s`: how much sound was out and unheard when the tightest chunk came, after
    each job's first (negative: a listener would have heard a gap so long)."""

    wall_s: float = 0.0
    longest_step_s: float = 0.0
    least_lead_s: float = float("inf")
    sounds: dict[str, list[Samples]] = field(default_factory=dict)

    def samples(self, job: str) -> Samples:
        """A job's sound."""
        return np.concatenate(self.sounds[job])

    @property
    def count(self) -> int:
        """Samples of all jobs."""
        return sum(len(chunk) for chunks in self.sounds.values() for chunk in chunks)


@dataclass(frozen=True, slots=True)
class Script:
    """What is spoken: a segment for whole figures, a clause for first audio."""

    voice: str
    language: str
    segment: str
    clause: str

    @classmethod
    def of(cls, engine: IndexTts2, voice: str = "", text: str = "") -> Script:
        """The voice asked for or the first; the text asked for or about `TEXT_TOKENS` pieces. Raises `UnknownVoice`, `ModelMissing`."""
        voices = {one.id: one for one in engine.info.voices}
        if not voices:
            raise ModelMissing(
                f"no voices in {engine.options.voices_dir}: `realtime voices add NAME CLIP`, or name their folder with --voices"
            )
        if voice and voice not in voices:
            raise UnknownVoice(f"no voice {voice!r}; there are: {', '.join(voices)}")
        chosen = voices[voice] if voice else next(iter(voices.values()))
        return cls(chosen.id, chosen.languages[0], text or _segment(engine), text or CLAUSE)

    def job(self, id: str, text: str, level: str) -> Job:
        """A job; its seed is the same everywhere, so that levels say the same codes."""
        return Job(id, text, self.voice, self.language, level=level, seed=1)


def _segment(engine: IndexTts2) -> str:
    text = ""
    while sum(len(part.ids) for part in engine.front_end.encode(text + CLAUSE[:-1])) <= TEXT_TOKENS:
        text += CLAUSE[:-1]
    return text + "。" if text else CLAUSE


def speak(engine: IndexTts2, jobs: Sequence[Job]) -> Spoken:
    """Run jobs to their end, all started at once. Raises `EngineFailed`."""
    began, spoken = time.perf_counter(), Spoken(sounds={job.id: [] for job in jobs})
    firsts: dict[str, float] = {}
    for job in jobs:
        engine.start(job)
    while engine.is_busy:
        step = time.perf_counter()
        events = engine.step()
        at = time.perf_counter()
        spoken.longest_step_s = max(spoken.longest_step_s, at - step)
        for event in events:
            if isinstance(event, Failed):
                raise EngineFailed(f"{event.job_id} failed: {event.message}")
            if isinstance(event, Chunk):
                if event.job_id in firsts:
                    out_s = sum(map(len, spoken.sounds[event.job_id])) / event.sample_rate
                    spoken.least_lead_s = min(spoken.least_lead_s, out_s - (at - firsts[event.job_id]))
                firsts.setdefault(event.job_id, at)
                spoken.sounds[event.job_id].append(event.samples)
    spoken.wall_s = time.perf_counter() - began
    return spoken


def first_audio_s(engine: IndexTts2, job: Job) -> float:
    """Seconds to a job's first chunk; the rest is not spoken. Raises `EngineFailed`."""
    began = time.perf_counter()
    engine.start(job)
    while engine.is_busy:
        for event in engine.step():
            if isinstance(event, Failed):
                raise EngineFailed(f"{event.job_id} failed: {event.message}")
            if isinstance(event, Chunk):
                taken = time.perf_counter() - began
                engine.cancel(job.id)
                return taken
    raise EngineFailed("the text yields no sound")


def levels(
    engine: IndexTts2, script: Script, names: Sequence[str], rounds: int, baseline: float | None, console: Console
) -> tuple[list[dict[str, Any]], dict[str, Samples]]:
    """A row per level, and its sound."""
    rows, sounds = [], {}
    rate = engine.stages.sample_rate
    for name in names:
        console.print(f"measuring level {name}")
        rtf, first, lead, longest = float("inf"), float("inf"), float("-inf"), 0.0
        for _ in range(max(1, rounds)):
            whole = speak(engine, [script.job("a", script.segment, name)])
            sounds[name] = whole.samples("a")
            rtf = min(rtf, whole.wall_s / (whole.count / rate))
            lead = max(lead, whole.least_lead_s)
            first, longest = min(first, first_audio_s(engine, script.job("a", script.clause, name))), max(longest, whole.longest_step_s)
        row = {"name": name, **setting(engine, name), "rtf": rtf, "first_audio_ms": 1000 * first, "longest_step_ms": 1000 * longest}
        row |= {"least_lead_ms": 1000 * lead} if np.isfinite(lead) else {}
        rows.append(row | ({"speedup": baseline / rtf} if baseline else {}))
    return rows, sounds


def setting(engine: IndexTts2, name: str) -> dict[str, Any]:
    """What a level is, in the words of its table. Raises `BadOption`."""
    level = level_named(name)
    if level is None:
        raise BadOption(f"unknown quality level {name!r}; there are: {', '.join(known.name for known in engine.info.levels)}")
    precision = engine.options.precision
    kinds = [kind.name.lower() for kind in (precision.language, precision.flow, precision.vocoder)]
    return {
        "precision": "/".join({"q4": "int4", "q8": "int8", "f32": "fp32"}.get(kind, kind) for kind in kinds),
        "steps": f"{level.schedule.steps} {level.schedule.solver}",
        "guidance": _guidance(level),
        "chunk": "whole" if level.is_whole else f"{(level.first_codes or 0) * CODE_S:.1f}-{(level.most_codes or 0) * CODE_S:.1f} s",
        "context": f"{level.window.context_frames} + {level.window.look_ahead_codes}",
        "prompt": "all" if level.window.prompt_frames > 10**5 else f"{level.window.prompt_frames / 86.13:.1f} s",
    }


def _guidance(level: Level) -> str:
    s = level.schedule
    return "none" if not s.rate else "all" if s.guided is None else f"first {s.guided}{', held' if s.held else ''}"


def aggregate(engine: IndexTts2, script: Script, count: int, level: str = "fast") -> float:
    """Audio seconds per second with `count` jobs at once."""
    spoken = speak(engine, [script.job(str(i), script.segment, level) for i in range(count)])
    return spoken.count / engine.stages.sample_rate / spoken.wall_s


def distances(table: dict[str, Any], script: Script, rows: list[dict[str, Any]], sounds: dict[str, Samples]) -> Samples:
    """Fill in each level's root mean square log-mel difference to `PRECISE`, on the same codes and noise; returns the latter's sound."""
    reference = load_engine(table | PRECISE)
    rate = reference.stages.sample_rate
    try:
        sound = speak(reference, [script.job("a", script.segment, "exact")]).samples("a")
    finally:
        reference.close()
    exact = log_mel(sound, rate)
    for row in rows:
        other = log_mel(sounds[row["name"]], rate)
        count = min(len(exact), len(other))
        row["distance_db"] = float(DB_PER_NEPER * np.sqrt(((exact[:count] - other[:count]) ** 2).mean()))
    return sound


def fresh_memory_mb(table: dict[str, Any]) -> dict[str, float]:
    """Memory of a process that loads the engine and speaks one clause, without torch beside it: resident in all; of that what workers of
    one host share (mapped files: weights, libraries), and what each has for itself."""
    code = (
        "import json,sys,psutil\n"
        "from realtime.bench.indextts2_speech import Script,speak\n"
        "from realtime.engines.indextts2.load import load_engine\n"
        "e=load_engine(json.loads(sys.argv[1]))\n"
        "s=Script.of(e)\n"
        "speak(e,[s.job('a',s.clause,'fast')])\n"
        "m=psutil.Process().memory_info()\n"
        "print(json.dumps({'resident':m.rss/1e6,'shared':m.shared/1e6,'private':(m.rss-m.shared)/1e6}))"
    )
    done = subprocess.run([sys.executable, "-c", code, json.dumps(table)], capture_output=True, text=True, timeout=300, check=True)
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))

"""Speak a fixed sentence before taking work: makes lazy initialisation happen now, and measures how fast this host is.

A test voice's declared pace counts where it is slower than what was measured, as the worker will keep to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from realtime.clock import Clock
from realtime.engines.base import Chunk, Done, Engine, EngineInfo, Failed, Job
from realtime.errors import EngineFailed
from realtime.workers.interface import LevelRate, Sentence

# Two different ones: an engine may remember what it said, and the second run is the one that counts.
WARM_UP = {"zh": "欢迎致电客服中心。", "en": "Thank you for calling."}
SENTENCES = {"zh": "您好，很高兴为您服务。", "en": "Hello, how may I help you today?"}
JOB = "warm-up"
MAX_STEPS = 100_000  # a sentence of three seconds takes tens; more means that the engine turns in circles


def warm_up(
    engine: Engine, clock: Clock, is_measured: bool, budget_s: float, tell: Callable[[str], None], heard: list[Chunk] | None = None
) -> dict[str, LevelRate]:
    """Rates by quality level, best first. Measured from the fastest level up until the budget is spent; levels not reached are absent.
    `heard` is given the sound of the best level that was.

    Raises `EngineFailed` if the sentence can't be spoken.
    """
    info = engine.info
    if not info.voices:
        return {}
    began = clock.now()
    tell("warming up")
    rate = measure(engine, clock, info.levels[-1].name, WARM_UP, heard)
    if not is_measured:
        return {info.levels[-1].name: rate}
    rates: dict[str, LevelRate] = {}
    for level in reversed(info.levels):
        if rates and clock.now() - began > budget_s:
            break
        tell(f"measuring level {level.name}")
        rates[level.name] = measure(engine, clock, level.name, heard=heard)
    return {level.name: rates[level.name] for level in info.levels if level.name in rates}


def with_rates(info: EngineInfo, rates: dict[str, LevelRate]) -> EngineInfo:
    """The info with measured figures in its levels."""
    levels = tuple(
        replace(level, rtf=rates[level.name].rtf, first_chunk_s=rates[level.name].first_chunk_s) if level.name in rates else level
        for level in info.levels
    )
    return replace(info, levels=levels)


def sentence_of(info: EngineInfo, sentences: Mapping[str, str] = SENTENCES) -> Sentence:
    """What the first voice is given to say."""
    voice = info.voices[0]
    language = next((name for name in voice.languages if name in sentences), None)
    return Sentence(voice.id, language or voice.languages[0], sentences[language or "en"])


def measure(
    engine: Engine, clock: Clock, level: str, sentences: Mapping[str, str] = SENTENCES, heard: list[Chunk] | None = None
) -> LevelRate:
    """Speak the first voice's sentence once at a level; `heard` is given its sound. Raises `EngineFailed` if that yields none."""
    sentence, chunks = sentence_of(engine.info, sentences), [] if heard is None else heard
    chunks.clear()
    began = clock.now()
    engine.start(Job(JOB, sentence.text, sentence.voice, sentence.language, level=level))
    came: list[tuple[float, float]] = []  # per chunk: when, and how much sound there was then
    audio_s = 0.0
    for _ in range(MAX_STEPS):
        for event in engine.step():
            if isinstance(event, Failed):
                raise EngineFailed(f"warm-up failed: {event.message}")
            if isinstance(event, Chunk):
                audio_s += len(event.samples) / event.sample_rate
                came.append((clock.now() - began, audio_s))
                chunks.append(event)
            elif isinstance(event, Done):
                if audio_s <= 0.0:
                    raise EngineFailed("warm-up yielded no sound")
                return _rate(engine.info, level, (clock.now() - began) / audio_s, came)
    engine.cancel(JOB)
    raise EngineFailed(f"warm-up did not end within {MAX_STEPS} steps")


def _rate(info: EngineInfo, level: str, rtf: float, came: list[tuple[float, float]]) -> LevelRate:
    """What was measured, or the declared pace of a test voice where that is slower."""
    declared = next(known for known in info.levels if known.name == level)
    first_s, first_audio_s = came[0]
    if info.is_test_voice and declared.rtf is not None:
        rtf, slowest = max(rtf, declared.rtf), declared.rtf
        first_s = max(first_s, (declared.first_chunk_s or 0.0) + slowest * first_audio_s)
        came = [(max(at, first_s + slowest * (audio_s - first_audio_s)), audio_s) for at, audio_s in came]
    behind = [at - first_s - before_s for (at, _), (_, before_s) in zip(came[1:], came, strict=False)]
    return LevelRate(rtf, first_s, max(behind, default=None))

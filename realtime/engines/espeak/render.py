"""A clause to sound: its runs spoken one after another, silences trimmed, and a time for every character.

espeak-ng tells when it begins a *word*, which for Chinese is a character or a dictionary word. A word's time is shared out evenly
among its letters; marks and spaces get the end of the word before them. Pauses are ours: what the library leaves between clauses
depends on how it was called.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from realtime.engines.espeak.clauses import Clause, Run, is_speakable, readable, split_runs
from realtime.engines.espeak.library import Library, WordEvent
from realtime.engines.espeak.voices import EspeakVoice
from realtime.types import Span, WordTime

Samples = npt.NDArray[np.float32]

NORMAL_WPM = 175  # espeak-ng's default rate
PAUSE_S = {"stop": 0.25, "comma": 0.12, "none": 0.0}  # at speed 1; espeak-ng itself leaves 0.29 and 0.14 s (measured)
RUN_GAP_S = 0.02  # between scripts inside a clause: about a stop's closure
SILENT = 80  # of 32768: -52 dB, under all speech of the library and over its fade-out (measured)
EDGE_S = 0.004  # kept around the sound, faded
GAIN = np.float32(0.7 / 32768.0)  # its loudest vowels reach full scale; leave head room for the joins


@dataclass(frozen=True, slots=True, eq=False)
class ClauseSound:
    """Sound of a clause, float32 [n]. `times[i]` is when its character i begins, in samples, with the end as last entry; `words`
    and spans are relative to the clause."""

    samples: Samples
    times: npt.NDArray[np.int64]
    words: tuple[WordTime, ...]


def render_clause(library: Library, voice: EspeakVoice, language: str, speed: float, text: str, clause: Clause) -> ClauseSound:
    """Speak one clause of a text. Raises `UnknownVoice`, `EngineFailed`."""
    rate = library.sample_rate
    parts: list[Samples] = []
    times = np.zeros(clause.end - clause.start + 1, dtype=np.int64)
    words: list[WordTime] = []
    at = 0
    runs = split_runs(text, clause, language)
    for run in runs:
        begin = run.start - clause.start
        sound, starts = _render_run(library, voice, speed, text, run, is_last=run is runs[-1])
        length = len(sound)
        times[begin : run.end - clause.start] = at + _character_times(text[run.start : run.end], starts, length)
        words += [_shifted(word, begin, at) for word in _word_times(text[run.start : run.end], starts, length)]
        parts.append(sound)
        at += length
        if length and run is not runs[-1]:
            gap = round(RUN_GAP_S * rate / speed)
            parts.append(np.zeros(gap, dtype=np.float32))
            at += gap
    if at:
        pause = round(PAUSE_S[clause.pause] * rate / speed)
        parts.append(np.zeros(pause, dtype=np.float32))
        at += pause
    times[-1] = at
    return ClauseSound(np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32), times, tuple(words))


def _render_run(library: Library, voice: EspeakVoice, speed: float, text: str, run: Run, is_last: bool) -> tuple[Samples, list[WordEvent]]:
    """A run's sound without the silence around it, and its word starts in the sound."""
    spoken = readable(text[run.start : run.end])
    if not is_speakable(spoken):
        return np.zeros(0, dtype=np.float32), []
    library.choose(voice.espeak_name(run.language), round(NORMAL_WPM * speed * voice.tempo), voice.pitch)
    raw, events = library.speak(spoken if is_last else spoken.rstrip() + ",")  # a comma: the voice stays up, more follows
    loud = np.flatnonzero(np.abs(raw.astype(np.int32)) > SILENT)
    if not len(loud):
        return np.zeros(0, dtype=np.float32), []
    edge = round(EDGE_S * library.sample_rate)
    begin, end = max(0, int(loud[0]) - edge), min(len(raw), int(loud[-1]) + edge)
    sound = raw[begin:end].astype(np.float32) * GAIN
    ramp = np.linspace(0.0, 1.0, min(edge, len(sound)), dtype=np.float32)
    sound[: len(ramp)] *= ramp
    sound[len(sound) - len(ramp) :] *= ramp[::-1]
    return sound, _cleaned(events, spoken, begin, len(sound))


def _cleaned(events: list[WordEvent], text: str, begin: int, length: int) -> list[WordEvent]:
    """Word starts, strictly forward in text and never back in time, each on a character that can be spoken.

    The library repeats positions when it spells a number or a name, and sometimes points at the space before a word.
    """
    cleaned: list[WordEvent] = []
    for event in events:
        position = next((k for k in range(event.position, len(text)) if text[k].isalnum()), None)
        if position is None or (cleaned and position <= cleaned[-1].position) or (cleaned and _is_inside_word(text, position)):
            continue
        sample = min(length, max(0, event.sample - begin, cleaned[-1].sample if cleaned else 0))
        cleaned.append(WordEvent(position, sample))
    first = next((k for k in range(len(text)) if text[k].isalnum()), 0)
    if not cleaned or cleaned[0].position > first:
        cleaned.insert(0, WordEvent(first, 0))
    return cleaned


def _is_inside_word(text: str, position: int) -> bool:
    """In the middle of letters and digits that are written as one word (not Chinese)."""
    return position > 0 and _is_joined(text[position - 1]) and _is_joined(text[position])


def _is_joined(char: str) -> bool:
    return char.isalnum() and not "㐀" <= char <= "鿿" and ord(char) < 0x20000


def _word_times(text: str, starts: list[WordEvent], length: int) -> list[WordTime]:
    """Words of a run: from one start to the next, without the marks and spaces behind them."""
    words = []
    for index, start in enumerate(starts):
        is_last = index + 1 == len(starts)
        stop = len(text) if is_last else starts[index + 1].position
        until = length if is_last else starts[index + 1].sample
        while stop > start.position + 1 and not text[stop - 1].isalnum():
            stop -= 1
        words.append(WordTime(Span(start.position, stop), start.sample, until))
    return words


def _character_times(text: str, starts: list[WordEvent], length: int) -> npt.NDArray[np.int64]:
    """When each character of a run begins, [len(text)], non-decreasing."""
    times = np.zeros(len(text), dtype=np.int64)
    known = _word_times(text, starts, length)
    for index, word in enumerate(known):
        count = len(word.span)
        steps = word.start + (word.end - word.start) * np.arange(count) // count
        times[word.span.start : word.span.end] = steps
        until = known[index + 1].span.start if index + 1 < len(known) else len(text)
        times[word.span.end : until] = word.end
    return times


def _shifted(word: WordTime, by: int, at: int) -> WordTime:
    return WordTime(word.span.shifted(by), word.start + at, word.end + at)

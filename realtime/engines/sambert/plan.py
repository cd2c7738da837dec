"""The speech plan of a text from the scores of its lines, and on request what it will look like to the aligner."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from realtime.engines.base import PlanReply, PlanRequest
from realtime.engines.sambert.frontend.lines import Line
from realtime.engines.sambert.job_speech import SENTENCE_PAUSE_S
from realtime.engines.sambert.mel_features import HOP_S, aligner_features
from realtime.engines.sambert.timeline import CharacterTimes, line_words
from realtime.engines.sambert.voice import Score, Voice
from realtime.types import Span, SpeechPlan

Array = npt.NDArray[np.float32]


def make_plan(voice: Voice, request: PlanRequest, lines: Sequence[Line], scores: Sequence[Score]) -> PlanReply:
    """Times of every character of the request's text; features cost a decode of the whole text (about a hundredth of its length)."""
    frame_s = voice.hop / voice.sample_rate
    times, words = CharacterTimes(len(request.text)), list[Span]()
    at_s, pauses = 0.0, []
    for i, (line, score) in enumerate(zip(lines, scores, strict=True)):
        times.add(line.spans(), at_s + score.starts * frame_s)
        words += [word.span for word in line_words(line, score.starts)]
        is_last = i == len(lines) - 1
        pause_s = SENTENCE_PAUSE_S / request.speed if line.ends_sentence and not is_last else 0.0
        pauses.append(pause_s)
        at_s += score.frames * frame_s + pause_s
    plan = SpeechPlan(times.finish(at_s), tuple(words), source="sambert")
    if not request.with_features:
        return PlanReply(plan)
    mels = [(_mel(voice, score), pause_s) for score, pause_s in zip(scores, pauses, strict=True)]
    return PlanReply(plan, aligner_features(mels, frame_s, voice.acoustic.mel_bands, voice.sample_rate), HOP_S)


def _mel(voice: Voice, score: Score) -> Array:
    """A line's mel [L,bands]: decoder and postnet, no vocoder."""
    if not score.frames:
        return np.zeros((0, voice.acoustic.mel_bands), np.float32)
    return voice.mel_of(score)[:, : voice.acoustic.mel_bands]

"""Speech plans without an engine: a rate model that learns, and the way from a spoken text's plan to the original text's.

The model counts syllables: one per Han character, one per vowel group of a Latin word, and what a digit or symbol takes when
read out. Seconds per syllable are learned per voice and language from what was spoken.
"""

from __future__ import annotations

import re
from functools import lru_cache

from realtime.types import Segment, Span, SpeechPlan, SpokenText

# Seconds per syllable before anything was learned: Mandarin 4.5-5.5 and English 4-5 syllables per second in read speech (Pellegrino
# et al. 2011 measure 5.2 and 6.2 for fluent speech; synthesis is slower).
FIRST_GUESS_S = {"zh": 0.21, "en": 0.22}
# Weight of the newest segment in the running mean (guess: ten segments to settle).
LEARNING = 0.2
VOWELS = re.compile(r"[aeiouyàáâäèéêëìíîïòóôöùúûü]+", re.IGNORECASE)
TOKEN = re.compile(r"[㐀-鿿豈-﫿]|[^\W\d_]+(?:['’][^\W\d_]+)?|\d|\S", re.UNICODE)
PAUSES = {**dict.fromkeys("。！？!?.…", 1.2), **dict.fromkeys("，,、；;：:—", 0.8)}


class RateModel:
    """Seconds per syllable by (voice, language), learned online. Memory is bounded by the number of voices."""

    def __init__(self) -> None:
        self._rates: dict[tuple[str, str], float] = {}

    def plan(self, text: str, voice: str, language: str, speed: float = 1.0) -> SpeechPlan:
        """When each character of `text` should sound."""
        per_syllable = self._rates.get((voice, language), FIRST_GUESS_S.get(language, 0.22)) / speed
        times: list[float] = []
        words: list[Span] = []
        now = 0.0
        for match in TOKEN.finditer(text):
            token, (start, end) = match.group(), match.span()
            length = syllables(token) * per_syllable
            times += [now] * (start - len(times))
            times += [now + length * i / len(token) for i in range(len(token))]
            now += length
            if token[0].isalnum():
                words.append(Span(start, end))
        times += [now] * (len(text) + 1 - len(times))
        return SpeechPlan(tuple(times), tuple(words), "rate")

    def learn(self, text: str, voice: str, language: str, duration_s: float) -> None:
        """`text` took `duration_s` at speed 1."""
        count = sum(syllables(match.group()) for match in TOKEN.finditer(text))
        if count < 1 or duration_s <= 0:
            return
        key = (voice, language)
        old = self._rates.get(key, duration_s / count)
        self._rates[key] = old + LEARNING * (duration_s / count - old)


@lru_cache(maxsize=8192)
def syllables(token: str) -> float:
    """Syllables of one token as `TOKEN` cuts it; punctuation counts as the pause it makes."""
    if token in PAUSES:
        return PAUSES[token]
    if token.isdigit():
        return 1.3
    if token.isalpha() and token.isascii():
        return len(token) if token.isupper() and len(token) < 6 else max(1, len(VOWELS.findall(token)))
    return 1.0 if token[0].isalnum() else 0.0


def project_plan(plan: SpeechPlan, spoken: SpokenText, segment: Segment) -> SpeechPlan:
    """The plan of a spoken text as one of the segment's original text: each character starts when the first spoken character
    that was made from it does; characters that nothing was made from take no time."""
    length, base = len(segment.text), segment.span.start
    times = [-1.0] * length + [plan.duration_s]
    for i, at in enumerate(spoken.origin[:-1]):
        local = min(max(at - base, 0), length)
        if times[local] < 0:
            times[local] = plan.times_s[i]
    for i in range(length - 1, -1, -1):
        if times[i] < 0:
            times[i] = times[i + 1]
    words: list[Span] = []
    for word in plan.words:
        source = spoken.source_span(word)
        start, end = source.start - base, min(source.end - base, length)
        if 0 <= start < end and (not words or start >= words[-1].end):
            words.append(Span(start, end))
    return SpeechPlan(tuple(times), tuple(words), plan.source)

"""The second part of `realtime bench handover`: does the ear find its place in real speech, and do voices change without a word lost?

Random sentences are spoken by many voices at different speeds. One voice is stopped at random, as an engine that tells nothing of its
words; another's plan and features are all that the service is given. espeak tells when each of its words begins, so the truth is known:

- *place*: the end of the sound, found by `align.py` in the other voice's sentence, against the stop's share of its word carried over to
  the same word there. Inside a word the truth itself is rough: a word's sounds do not stretch evenly from voice to voice.
- *resume*: the service's own `find_resume` chooses where to change. In half of the cuts what is unsent follows from the emitter's own
  rule (`ear_hold.held_of`) for a cushion of `CUSHIONS_S`, drawn evenly: that of an engine that dies, or stalls, in mid-flow. In the other
  half all is sent but the tail, which is what an engine leaves that dies with less than the emitter's `LEAST_LEAD_S` made ahead, so at a
  segment's start. What of the words was said twice, or by nobody, is counted in ms; a word of which less than half was heard is dropped,
  one of which more than half was heard twice is repeated. Halves are of its time, pauses in it included: counting only what sounds of it
  gives about as many wrong words (LOG). `..._by_the_rule` and `..._by_the_tail` tell the two halves apart.
- *joins*: the change is carried out, the new voice speaks from there; clicks at the seam and the step in loudness, beside those at
  the same place of the new voice's own untouched sentence.

In half of the cuts nothing is known of the two voices, in the other half they have spoken one sentence before, from which their tempi and
timbres are learned as in service; `..._after_a_sentence` tells the halves apart.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from realtime.audio.features import log_mel
from realtime.audio.levels import clicks, voiced_power
from realtime.bench.handover_report import progress
from realtime.bench.sentences import random_sentence
from realtime.bench.speakers import SEEN, UNSEEN, Rendering, Samples, Speakers, Take
from realtime.engines.base import Chunk
from realtime.pipeline.align import align
from realtime.pipeline.attempt import Attempt, ResumePoint
from realtime.pipeline.ear_hold import held_of
from realtime.pipeline.planning import features_of, sound_of
from realtime.pipeline.resume import find_resume
from realtime.pipeline.segment_run import SegmentRun
from realtime.pipeline.tempo import Pair, Tempo, TempoBook
from realtime.pipeline.timbre import TimbreBook, Timbres
from realtime.types import Segment, Span, SpokenText

KINDS = ("zh", "en", "mixed")
SPEEDS = (0.75, 1.35)
VOICES_PER_SENTENCE = 4
CUTS_PER_SENTENCE = 12
TAIL_S = 0.08
CUSHIONS_S = (
    0.4,
    2.0,
)  # sound made and not heard when an engine dies (guess: evenly from `LEAST_LEAD_S` to where a second more changes nothing)
NEAR_S = 0.08  # so far outside of its word a place is in another one
CHUNK_S = 0.2
COST_AT_S = 10.0

Spans = list[tuple[float, float]]


@dataclass(slots=True)
class Tally:
    """What was found over all cuts. Errors in ms."""

    place: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    resume: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    wrong_words: int = 0
    within_doubt: list[bool] = field(default_factory=list)
    repeated: int = 0
    dropped: int = 0
    wrong_by_the_tail: int = 0
    wrong_after_a_sentence: int = 0
    cuts_after_a_sentence: int = 0
    cuts_by_the_tail: int = 0
    inside_words: int = 0
    joins: Seams = field(default_factory=lambda: Seams())
    untouched: Seams = field(default_factory=lambda: Seams())
    resume_ms: list[float] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Seams:
    """Clicks within 20 ms of places, and how much louder or softer speech is after than before them, in dB."""

    count: int = 0
    clicks: int = 0
    steps_db: list[float] = field(default_factory=list)

    def add(self, sound: Samples, at: int, rate: int) -> None:
        """Look at one place."""
        self.count += 1
        self.clicks += sum(abs(click - at) < rate // 50 for click in clicks(sound, rate))
        before = voiced_power(sound[max(0, at - rate) : at], rate)
        after = voiced_power(sound[at : at + 3 * rate // 10], rate)
        if before and after:
            self.steps_db.append(abs(10 * float(np.log10(after / before))))

    def report(self, name: str) -> dict[str, float]:
        """Clicks per place, and the steps."""
        steps = {f"{name}_step_db_p{share}": round(float(np.percentile(self.steps_db, share)), 1) for share in (50, 95)}
        return {f"{name}s": self.count, f"{name}_clicks": self.clicks} | steps


@dataclass(frozen=True, slots=True)
class _Scene:
    """One cut: `old` stopped at `stop_s`, `truth_s` in `new`, within word `word`; `tempo` and `timbres` as far as they are known."""

    kind: str
    old: Rendering
    new: Rendering
    word: int
    stop_s: float
    truth_s: float
    tempo: Tempo
    timbres: Timbres

    @property
    def is_after_a_sentence(self) -> bool:
        """Both voices were heard before."""
        return self.tempo.pair is not None


def measure(seed: int, cuts: int, sambert_models: str | None = None, is_seen: bool = False) -> dict[str, Any]:
    """Errors over random cuts. With `sambert_models`, a folder of exported voices, one of each two voices is one of these. Raises what
    the engine does when espeak is not installed."""
    rng, tally = random.Random(seed), Tally()
    variants = SEEN if is_seen else UNSEEN
    done = 0
    with Speakers(variants, sambert_models) as speakers, progress("changes of voice in real speech", cuts) as step:
        others = speakers.voices("sambert") if sambert_models else []
        while done < cuts:
            kind = rng.choice(KINDS if not others else ("zh",))
            for scene in _scenes(rng, speakers, kind, others):
                _place(scene, tally)
                _resume(scene, tally, rng, speakers)
                done += 1
            step(done, f"{tally.repeated} words repeated, {tally.dropped} dropped")
    return _report(tally) | {"align_ms_for_10_s": _cost_ms()}


def _scenes(rng: random.Random, speakers: Speakers, kind: str, others: list[str]) -> list[_Scene]:
    texts = [random_sentence(rng, kind) for _ in range(2)]
    language = "en" if kind == "en" else "zh"
    variants = [voice for voice in speakers.voices("espeak")]
    cast = [("espeak", voice, rng.uniform(*SPEEDS)) for voice in rng.sample(variants, VOICES_PER_SENTENCE)]
    cast += [("sambert", voice, 1.0) for voice in others[:1]]
    takes = [[Take(text, language, *who) for who in cast] for text in texts]
    earlier, now = (speakers.render(some) for some in takes)
    scenes = []
    for _ in range(CUTS_PER_SENTENCE):
        one, two = rng.sample(range(VOICES_PER_SENTENCE), 2)
        if others:
            one, two = rng.choice([(one, -1), (-1, one)])
        scenes.append(_scene(rng, kind, (now[one], now[two]), (earlier[one], earlier[two])))
    return scenes


def _scene(rng: random.Random, kind: str, pair: tuple[Rendering, Rendering], earlier: tuple[Rendering, Rendering]) -> _Scene:
    old, new = pair
    spans, twins = _word_spans(pair)
    word, share = rng.randrange(1, len(spans)), rng.random()
    stop, truth = (some[0] + share * (some[1] - some[0]) for some in (spans[word], twins[word]))
    tempo, timbres = _learned((old.take.voice, new.take.voice, old.take.language), earlier if rng.random() < 0.5 else None)
    if tempo.doubt == Tempo().doubt:
        tempo = Tempo(old.take.speed / new.take.speed)  # in service both are asked for one speed
    return _Scene(kind, old, new, word, stop, truth, tempo, timbres)


def _learned(pair: Pair, earlier: tuple[Rendering, Rendering] | None) -> tuple[Tempo, Timbres]:
    """What the service's books tell of two voices, of which the first may have spoken a sentence that the second's engine planned."""
    tempi, timbres = TempoBook(), TimbreBook()
    sound, features = sound_of(pair, earlier[0].rate if earlier else 0), features_of(pair)
    if earlier is not None:
        before, planned = earlier
        tempi.learn(tempi.tempo(*pair), planned.plan.duration_s, len(before.samples) / before.rate)
        timbres.learn(sound, log_mel(before.samples, before.rate))
        assert planned.features is not None, "both engines' plans have features"
        timbres.learn(features, planned.features)
    return tempi.tempo(*pair), (timbres.timbre(sound), timbres.timbre(features))


def _word_spans(pair: tuple[Rendering, Rendering]) -> tuple[Spans, Spans]:
    """Where the words of the sentence lie in each of two renderings; espeak's words, which are the finer."""
    words = next(one.words for one in pair if one.take.engine == "espeak")
    first, second = ([(one.plan.times_s[start], one.plan.times_s[end]) for start, end, _, _ in words] for one in pair)
    return first, second


def _place(scene: _Scene, tally: Tally) -> None:
    old, new = scene.old, scene.new
    assert new.features is not None, "both engines' plans have features"
    run = _run(scene, scene.stop_s)
    assert run.buffer.ear is not None
    found = align(run.buffer.ear.rows(), new.features, scene.tempo.ratio, scene.tempo.doubt, scene.timbres)
    error_s = found.time_s - scene.truth_s
    tally.place[scene.kind].append(abs(error_s) * 1000)
    tally.within_doubt.append(abs(error_s) <= found.doubt_s / 2 + 0.01)
    begin, end = _word_spans((old, new))[1][scene.word]
    tally.wrong_words += not begin - NEAR_S <= found.time_s <= end + NEAR_S


def _run(scene: _Scene, stop_s: float) -> SegmentRun:
    """The segment as the service holds it when the old engine has come to `stop_s`."""
    old, new = scene.old, scene.new
    run = SegmentRun(Segment(0, Span(0, len(old.take.text)), old.take.text, old.take.language), old.rate)
    run.follow()
    run.plan, run.reference = new.plan, new.features
    run.expect("old", scene.tempo, scene.timbres)
    attempt = Attempt("job", "old", old.take.voice, "", "", SpokenText.verbatim(old.take.text))
    run.begin(attempt)
    stop, step = round(stop_s * old.rate), round(CHUNK_S * old.rate)
    for at in range(0, stop, step):
        run.receive(attempt, Chunk("job", old.samples[at : min(stop, at + step)], old.rate))
    return run


def _resume(scene: _Scene, tally: Tally, rng: random.Random, speakers: Speakers) -> None:
    run = _run(scene, scene.stop_s)
    is_tail = rng.random() < 0.5
    held_s = TAIL_S if is_tail else held_of(rng.uniform(*CUSHIONS_S), TAIL_S)
    run.buffer.take(max(0, run.buffer.total - round(held_s * run.rate)))
    begun = time.perf_counter()
    point = find_resume(run)
    tally.resume_ms.append((time.perf_counter() - begun) * 1000)
    tally.inside_words += point.skip_s > 0
    shares = _heard(scene, point, point.cut / run.rate)
    lengths = [end - begin for begin, end in _word_spans((scene.old, scene.new))[1]]
    off = [(share - 1) * length * 1000 for share, length in zip(shares, lengths, strict=True)]
    tally.resume[scene.kind].append(max(sum(ms for ms in off if ms > 0), -sum(ms for ms in off if ms < 0)))
    repeated, dropped = sum(share > 1.5 for share in shares), sum(share < 0.5 for share in shares)
    tally.repeated += repeated
    tally.dropped += dropped
    tally.wrong_by_the_tail += (repeated + dropped) * is_tail
    tally.cuts_by_the_tail += is_tail
    tally.wrong_after_a_sentence += (repeated + dropped) * scene.is_after_a_sentence
    tally.cuts_after_a_sentence += scene.is_after_a_sentence
    if repeated or dropped:
        old, new = scene.old.take, scene.new.take
        tally.trouble.append(
            f"{old.voice} x{old.speed:.2f} -> {new.voice} x{new.speed:.2f} at {scene.stop_s:.2f} s, {held_s:.2f} held, {point}: {old.text}"
        )
    if not point.is_nothing_left:
        _join(scene, run, point, tally, speakers)


def _heard(scene: _Scene, point: ResumePoint, cut_s: float) -> list[float]:
    """How much of each word was heard, 1 being all of it once."""
    spans, twins = _word_spans((scene.old, scene.new))
    resumed_s = scene.new.plan.duration_s if point.is_nothing_left else scene.new.plan.times_s[point.character] + point.skip_s
    return [_share(cut_s, span) + 1 - _share(resumed_s, twin) for span, twin in zip(spans, twins, strict=True)]


def _share(at_s: float, span: tuple[float, float]) -> float:
    return min(1.0, max(0.0, (at_s - span[0]) / max(1e-6, span[1] - span[0])))


def _join(scene: _Scene, run: SegmentRun, point: ResumePoint, tally: Tally, speakers: Speakers) -> None:
    """Carry the change out, and look at the seam."""
    new = scene.new.take
    taken, before = run.buffer.taken, scene.old.samples[: run.buffer.taken]
    (rest,) = speakers.render([Take(new.text, new.language, new.engine, new.voice, new.speed, point.character)])
    attempt = Attempt("next", "new", new.voice, "", "", SpokenText.verbatim(new.text), start=point.character)
    run.stand_by(attempt, point)
    run.receive(attempt, Chunk("next", rest.samples, rest.rate))
    run.live = None
    run.promote(attempt, "bench")
    run.finish(attempt)
    sound, seam = np.concatenate([before, run.buffer.held()]), run.voicings[-1].at
    assert seam >= taken, "what was sent can't be changed"
    tally.joins.add(sound, seam, run.rate)
    whole = scene.new
    tally.untouched.add(whole.samples, round((whole.plan.times_s[point.character] + point.skip_s) * whole.rate), whole.rate)


def _cost_ms() -> float:
    """The median time that `align` takes for a sound of 10 s, on noise: its work does not depend on what it hears."""
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((round(COST_AT_S * 100), 40)).astype(np.float32)
    taken = []
    for _ in range(9):
        begun = time.perf_counter()
        align(rows, rows)
        taken.append((time.perf_counter() - begun) * 1000)
    return round(float(np.median(taken)), 1)


def _report(tally: Tally) -> dict[str, Any]:
    report: dict[str, Any] = {"align_cuts": len(tally.within_doubt)}
    for name, errors in (("align", tally.place), ("resume", tally.resume)):
        every = [error for kind in KINDS for error in errors[kind]]
        for share in (50, 95, 99):
            report[f"{name}_error_p{share}_ms"] = round(float(np.percentile(every, share)), 1)
        report[f"{name}_error_p95_ms_by_kind"] = {k: round(float(np.percentile(v, 95)), 1) for k, v in errors.items() if v}
    return report | {
        "align_wrong_words": tally.wrong_words,
        "align_within_doubt": round(float(np.mean(tally.within_doubt)), 3),
        "resume_words_repeated": tally.repeated,
        "resume_words_dropped": tally.dropped,
        "resume_cuts_by_the_tail": tally.cuts_by_the_tail,
        "resume_words_wrong_by_the_tail": tally.wrong_by_the_tail,
        "resume_words_wrong_by_the_rule": tally.repeated + tally.dropped - tally.wrong_by_the_tail,
        "resume_cuts_after_a_sentence": tally.cuts_after_a_sentence,
        "resume_words_wrong_after_a_sentence": tally.wrong_after_a_sentence,
        "resume_words_wrong_at_the_first": tally.repeated + tally.dropped - tally.wrong_after_a_sentence,
        "resume_inside_words": tally.inside_words,
        "resume_ms_p50": round(float(np.percentile(tally.resume_ms, 50)), 1),
        "resume_ms_p99": round(float(np.percentile(tally.resume_ms, 99)), 1),
        **tally.joins.report("speech_join"),
        **tally.untouched.report("untouched_place"),
        "speech_trouble": tally.trouble[:20],
    }

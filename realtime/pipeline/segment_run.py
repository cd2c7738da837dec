"""One segment on its way to sound: who speaks it, what has come, and the join when another engine takes over.

A run has at most one *live* attempt, whose sound goes into the buffer as it comes, and one *standby* attempt, whose sound waits
for the switch. Positions in the buffer are samples from the run's first at the listener's rate; characters are those of the
utterance's original text.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from realtime.audio.mel_stream import MelStream
from realtime.audio.splice import TAIL_MS, Splicer
from realtime.engines.base import Chunk
from realtime.pipeline.attempt import Attempt, AttemptState, ResumePoint, Voicing
from realtime.pipeline.outputs import Word
from realtime.pipeline.run_buffer import RunBuffer
from realtime.pipeline.tempo import Tempo
from realtime.pipeline.text_map import TextMap
from realtime.pipeline.timbre import NOBODYS, Timbres
from realtime.types import EngineName, Segment, Span, SpeechPlan, SpokenText

Samples = npt.NDArray[np.float32]


class SegmentRun:
    """See the module's header."""

    __slots__ = (
        "_expected",
        "_splicer",
        "_text_map",
        "_words",
        "buffer",
        "forms",
        "is_complete",
        "is_followed",
        "live",
        "plain",
        "plan",
        "rate",
        "reference",
        "resume",
        "segment",
        "standbys",
        "takeover_s",
        "voicings",
    )

    def __init__(self, segment: Segment, rate: int, plain: SpokenText | None = None) -> None:
        self.segment = segment
        self.plain = SpokenText.verbatim(segment.text) if plain is None else plain
        self.forms: dict[str, SpokenText] = {}
        self.rate = rate
        self.buffer = RunBuffer()
        self.is_followed = False
        self.plan: SpeechPlan | None = None
        self.reference: npt.NDArray[np.float32] | None = None  # what the plan's engine would sound like, to find the place in it
        self.live: Attempt | None = None
        self.standbys: list[Attempt] = []
        self.resume: ResumePoint | None = None
        self.voicings: list[Voicing] = []
        self.is_complete = False
        self.takeover_s = 0.0  # that another engine would need for its first sound; 0 where that is not known
        self._expected: tuple[EngineName, Tempo, Timbres] = ("", Tempo(), (NOBODYS, NOBODYS))
        self._splicer: Splicer | None = None
        self._text_map = TextMap()
        self._words: list[Word] = []

    def __repr__(self) -> str:
        engine = self.live.engine if self.live else "nobody"
        state = "complete" if self.is_complete else "growing"
        return f"<SegmentRun {self.segment.index} by {engine}, {state}: {self.buffer.taken} of {self.buffer.total} samples sent>"

    # ---- sound arrives ----

    def follow(self) -> None:
        """Describe the sound as it comes, because a plan to align it with was asked for: 1 to 2 ms of CPU per second, so not for all."""
        if self.buffer.total == 0:
            self.is_followed = True
            self.buffer.ear = MelStream(self.rate)

    def expect(self, engine: EngineName, tempo: Tempo, timbres: Timbres) -> None:
        """What is known beforehand of `engine`'s voice, and of how the plan's will sound."""
        self._expected = engine, tempo, timbres

    def begin(self, attempt: Attempt, reason: str = "") -> None:
        """Make `attempt` the one whose sound goes out; its first sample lies at the buffer's present end."""
        attempt.base = self.buffer.total
        self.live = attempt
        self.voicings.append(Voicing(self.buffer.total, attempt.engine, reason))
        self._text_map.add(self.buffer.total, attempt.spoken.origin[attempt.start])

    def receive(self, attempt: Attempt, chunk: Chunk) -> None:
        """Take a chunk of the live or the standby attempt; others' are ignored."""
        if attempt is self.live and not self.is_racing:
            self._append(attempt, attempt.convert(chunk, self.rate))
        elif attempt is self.live or attempt in self.standbys:
            attempt.held.append(attempt.convert(chunk, self.rate))

    def finish(self, attempt: Attempt) -> None:
        """The attempt's sound is whole; if it is the live one, so is the run's."""
        rest = attempt.finish()
        if attempt is self.live and not self.is_racing:
            self._append(attempt, rest)
            self._complete(attempt)
        elif attempt is self.live or attempt in self.standbys:
            attempt.held.append(rest)

    def fill(self, samples: Samples, engine: EngineName, words: list[Word]) -> None:
        """Give the whole sound at once, as the cache does. Word times are relative to the run's first sample."""
        self.voicings.append(Voicing(0, engine))
        self.buffer.append(samples)
        self._words = list(words)
        self._anchor_words()
        self._text_map.add(self.buffer.total, self.segment.span.end)
        self.is_complete = True

    def close(self) -> None:
        """Nothing more will come, by decision: what is there is all there is."""
        self._text_map.add(self.buffer.total, self.segment.span.end)
        self.is_complete = True

    def pad(self, samples: int) -> None:
        """Silence after the segment."""
        self.buffer.append(np.zeros(samples, np.float32))

    def drop(self, attempt: Attempt, is_kept: bool = False) -> None:
        """The attempt gives no more sound. What it gave stays; of one on standby if it `is_kept`, until the race is settled."""
        if attempt.is_running:
            attempt.state = AttemptState.DROPPED
        if attempt is self.live:
            self.live = None
        if attempt in self.standbys and not is_kept:
            self.standbys.remove(attempt)
            self._end_race()

    def restart(self) -> None:
        """Forget all sound: another voice shall speak the segment from its first word. Only before any of it was taken."""
        assert self.buffer.taken == 0, "what was sent can't be taken back"
        self.buffer = RunBuffer(MelStream(self.rate) if self.is_followed else None)
        self.live, self.standbys, self.resume, self.voicings = None, [], None, []
        self._splicer, self._text_map, self._words = None, TextMap(), []

    # ---- another engine takes over ----

    @property
    def is_racing(self) -> bool:
        """Several attempts run; the sound of all is held until one is chosen."""
        return len(self.standbys) + (self.live is not None) > 1

    def stand_by(self, attempt: Attempt, resume: ResumePoint) -> None:
        """Let `attempt` be ready to take over. Nothing beyond the resume point may be taken until it is settled who speaks on."""
        self.standbys.append(attempt)
        self.resume = resume

    @property
    def takeable(self) -> int:
        """Samples that may be sent, as far as a handover under way allows."""
        return len(self.buffer) if self.resume is None else max(0, self.resume.cut - self.buffer.taken)

    def _end_race(self) -> None:
        """The last stand-by is gone: what was held back of the live attempt meanwhile goes out after all."""
        if not self.standbys:
            self.keep_live()

    def keep_live(self) -> None:
        """The live attempt won: its held sound goes out after all."""
        self.standbys, self.resume = [], None
        if self.live is not None:
            self._append(self.live, self.live.take_held())
            if self.live.state is AttemptState.DONE and not self.is_complete:
                self._complete(self.live)

    def promote(self, attempt: Attempt, reason: str) -> None:
        """Let a standby attempt be live from the resume point on; its sound so far is joined to the old one's unsent end. The others
        are out."""
        resume = self.resume
        assert attempt in self.standbys and resume is not None, "a standby has a resume point"
        if self.live is not None and self.live.is_running:
            self.live.state = AttemptState.DROPPED
        attempt.skip = round(resume.skip_s * self.rate)
        head = attempt.take_held()
        self.buffer.cut(resume.cut)
        tail = self.buffer.cut(self.buffer.total - self.rate * TAIL_MS // 1000)
        self._splicer = Splicer(self.rate, tail_ms=0)
        self._splicer.push(np.concatenate([self.buffer.recent(), self.buffer.held()]))
        before = self._splicer.position
        join = self._splicer.join(tail, head, is_exact=resume.is_exact)
        seam = self.buffer.total + join.seam - before
        self._text_map.cut(seam, resume.character)
        self._words = [word for word in self._words if word.span.start < resume.character]
        self.voicings.append(Voicing(seam, attempt.engine, reason))
        self.buffer.append(join.samples)
        attempt.base = seam - attempt.skip
        self.live, self.standbys, self.resume = attempt, [], None
        self._learn(attempt)
        if attempt.state is AttemptState.DONE:
            self._complete(attempt)

    # ---- questions ----

    def voicing_at(self, position: int) -> Voicing:
        """Who made the sample at `position`, and why."""
        found = self.voicings[0]
        for voicing in self.voicings:
            if voicing.at <= position:
                found = voicing
        return found

    def next_voicing(self, position: int) -> int | None:
        """Where, after `position`, another engine begins."""
        return next((voicing.at for voicing in self.voicings[1:] if voicing.at > position), None)

    def char_at(self, position: int) -> int:
        """How far into the original text the sound has come at `position`."""
        if len(self._text_map) > 1 or self.plan is None:
            return self._text_map.char_at(position) if len(self._text_map) else self.segment.span.start
        scale = self.plan.duration_s * self.rate / self.buffer.total if self.is_complete and self.buffer.total else 1.0
        return self.segment.span.start + self.plan.char_at(position * scale / self.rate)

    @property
    def is_as_expected(self) -> bool:
        """All sound so far is of the voice that was expected."""
        return [voicing.engine for voicing in self.voicings] == [self._expected[0]]

    @property
    def tempo(self) -> Tempo:
        """Of the plan's voice against the one that speaks."""
        return self._expected[1] if self.is_as_expected else Tempo()

    @property
    def timbres(self) -> Timbres:
        """Of the voice that speaks, and of the plan's."""
        return self._expected[2] if self.is_as_expected else (NOBODYS, self._expected[2][1])

    @property
    def is_exact(self) -> bool:
        """The engine said where its words lie; otherwise the plan guesses."""
        return len(self._text_map) > 1

    def sample_at(self, char: int) -> int | None:
        """Where an original character begins in the buffer: by the engine's own word of it, else by the plan; None if unknown."""
        if len(self._text_map) > 1:
            return self._text_map.sample_at(char)
        if self.plan is None:
            return None
        return round(self.plan.times_s[min(max(char - self.segment.span.start, 0), len(self.plan.times_s) - 1)] * self.rate)

    def words(self) -> list[Word]:
        """Word times known so far, in ms from the run's first sample: the engines' own, else the plan's."""
        if self._words or self.plan is None:
            return self._words
        times, ms = self.plan.times_s, 1000.0
        if self.is_complete and self.plan.duration_s > 0:
            ms *= self.buffer.total / self.rate / self.plan.duration_s
        base = self.segment.span.start
        return [Word(Span(base + w.start, base + w.end), times[w.start] * ms, times[w.end] * ms) for w in self.plan.words]

    # ---- private ----

    def _append(self, attempt: Attempt, samples: Samples) -> None:
        if attempt.skipped < attempt.skip:
            drop = min(attempt.skip - attempt.skipped, len(samples))
            attempt.skipped += drop
            samples = samples[drop:]
        self.buffer.append(self._splicer.push(samples) if self._splicer else samples)
        self._learn(attempt)

    def _learn(self, attempt: Attempt) -> None:
        scale = self.rate / attempt.rate if attempt.rate else 1.0
        for native, char in attempt.anchors:
            position = attempt.base + round(native * scale)
            if position >= attempt.base + attempt.skip:
                self._text_map.add(position, char)
        attempt.anchors.clear()
        if self.is_exact:
            self.buffer.ear = None  # the engine's own word is better than any ear
        to_ms = 1000.0 / self.rate
        floor = self._words[-1].span.end if self._words else self.segment.span.start
        for word in attempt.words:
            start, end = (attempt.base + round(edge * scale) for edge in (word.start, word.end))
            if word.span.start >= floor:
                if self._words and self._words[-1].span.end < word.span.start:
                    self._reach(word.span.start)
                self._words.append(Word(word.span, max(0.0, start * to_ms), max(0.0, end * to_ms)))
        attempt.words.clear()

    def _reach(self, char: int) -> None:
        """Letters and digits right behind the last word and before `char` belong to it: of `2024`, twenty twenty-four, an engine tells
        no time for one digit."""
        last, base = self._words[-1], self.segment.span.start
        between = self.segment.text[last.span.end - base : char - base]
        reached = next((i for i, letter in enumerate(between) if not letter.isalnum()), len(between))
        if reached:
            self._words[-1] = replace(last, span=Span(last.span.start, last.span.end + reached))

    def _complete(self, attempt: Attempt) -> None:
        if self._splicer is not None:
            self.buffer.append(self._splicer.flush())
        if self._words:
            self._reach(self.segment.span.end)
        self._anchor_words()
        if len(self._text_map) > 1 or self.plan is None:
            self._text_map.add(self.buffer.total, self.segment.span.end)
        self.is_complete = True

    def _anchor_words(self) -> None:
        if len(self._text_map) > 1:
            return
        for word in self._words:
            self._text_map.add(round(word.start_ms * self.rate / 1000), word.span.start)
            self._text_map.add(round(word.end_ms * self.rate / 1000), word.span.end)

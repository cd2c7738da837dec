"""From segment runs to frames in order: what may go out now, encoded and labelled.

The emitter is asked, it never waits. It takes sound from the first run only, keeps the tail of an unfinished one back so that a
handover finds something to fade, and leaves the lead to its caller.

Of an engine that tells no word times it keeps more back while the listener has enough (`ear_hold.py`).
"""

from __future__ import annotations

from collections import deque

import numpy as np

from realtime.audio.codecs import EncodedFrame, make_encoder
from realtime.audio.splice import EDGE_MS
from realtime.pipeline.attempt import Voicing
from realtime.pipeline.ear_hold import EarHold
from realtime.pipeline.outputs import AudioOut, FlushedOut, Output, SegmentOut, SwitchOut, Word
from realtime.pipeline.segment_run import SegmentRun
from realtime.types import AudioFormat, EngineName

# The tail of an unfinished segment that is not sent, so that a join can be placed and faded in it (architecture section 3).
HOLD_BACK_MS = 80
# Largest and smallest frame: 100 ms keeps the cost per stream low, 20 ms is what telephony and Opus use.
FRAME_MS = 100
MIN_FRAME_MS = 20
# Sent segments kept to tell what was heard: more than `max_lead_ms` can hold, few enough for a day-long utterance (guess).
REMEMBERED_RUNS = 64


class Emitter:
    """One utterance's output timeline."""

    def __init__(self, audio_format: AudioFormat, has_words: bool = True) -> None:
        self.rate = audio_format.sample_rate
        self.runs: deque[SegmentRun] = deque()
        self.sent_samples = 0
        self.samples_by_engine: dict[EngineName, int] = {}
        self.switches = 0
        self.chars_done = 0
        self._frame = self.rate * FRAME_MS // 1000
        self._encoder = make_encoder(audio_format, self._frame)
        packet = self._encoder.frame_samples
        self._frame = self._frame if packet is None else -(-self._frame // packet) * packet
        self._most = None if packet is None else self._frame
        self._hold = self.rate * HOLD_BACK_MS // 1000
        self._fade = self.rate * EDGE_MS // 1000
        self._min_frame = self.rate * MIN_FRAME_MS // 1000
        self._queue: deque[Output] = deque()
        self._flushes: list[tuple[int, str]] = []
        self._sequence = 0
        self._run_start = 0
        self._is_begun = False
        self._speaker: EngineName = ""
        self._has_words = has_words
        self._reported_words = 0
        self._is_finished = False
        self._ear_hold = EarHold(self.rate, self._frame)
        self._sent_runs: deque[tuple[int, int, SegmentRun]] = deque(maxlen=REMEMBERED_RUNS)

    def add(self, run: SegmentRun) -> None:
        """Queue a run behind the others."""
        self.runs.append(run)

    def flush_after(self, segments: int, flush_id: str) -> None:
        """Report `flush_id` once all segments with an index below `segments` are sent."""
        self._flushes.append((segments, flush_id))
        if not self.runs:
            self._report_flushes(segments)

    @property
    def head(self) -> SegmentRun | None:
        """The run that sounds now or next."""
        return self.runs[0] if self.runs else None

    @property
    def has_waiting(self) -> bool:
        """There is sound of the run that sounds now."""
        return bool(self.runs) and len(self.runs[0].buffer) > 0

    @property
    def has_queued(self) -> bool:
        """Something is encoded or to be told already, whatever the lead."""
        return bool(self._queue)

    @property
    def unsent_samples(self) -> int:
        """Sound that may follow what was sent, in order, up to where something is still to come; with the tail that is held back, and
        without what a change of voices would give up."""
        total = -self._ear_hold.uncounted(len(self.runs[0].buffer) - self._hold) if self.runs else 0
        for run in self.runs:
            total += len(run.buffer) if run.is_complete else min(len(run.buffer), run.takeable + self._hold)
            if not run.is_complete:
                break
        return max(0, total)

    @property
    def due_in_s(self) -> float | None:
        """When more of what is held for the ear's sake must go out, counted from the last `next`; None if nothing is."""
        run, due_in_s = self.head, self._ear_hold.due_in_s
        is_held = run is not None and self._ear_hold.is_needed and len(run.buffer) - self._hold >= self._min_frame
        return due_in_s if is_held and due_in_s > 0 else None

    def next(self, room: int, lead_s: float = 0.0) -> Output | None:
        """The next thing to send, or None if there is nothing. Up to `room` samples of sound are made ready at once, at least a frame
        unless it is 0; of a codec proper one frame, since packets take up to 0.2 ms each and other streams wait meanwhile. `lead_s`: what
        the listener has and did not hear yet."""
        self._ear_hold.look(lead_s, self.sent_samples / self.rate - lead_s)
        if not self._queue:
            self._fill(room)
        return self._queue.popleft() if self._queue else None

    def finish(self, least_ms: int = 0) -> None:
        """No run will follow: queue what the encoder still holds. Where there was no sound at all, `least_ms` of silence."""
        if not self._is_finished:
            self._is_finished = True
            if least_ms and not self.sent_samples:
                self.sent_samples = self.rate * least_ms // 1000
                self._queue_frames(self._encoder.encode(np.zeros(self.sent_samples, np.float32)), "")
            engine = next(reversed(self.samples_by_engine), "")
            self._queue_frames(self._encoder.flush(), engine)

    def clear(self) -> None:
        """Discard everything unsent."""
        self.runs.clear()
        self._queue.clear()
        self._flushes.clear()

    def char_at(self, sample: int) -> int:
        """How many characters of the utterance had sounded at a timeline sample."""
        chars = 0
        for start, end, run in self._sent_runs:
            if sample < start:
                return max(chars, run.segment.span.start)
            if sample < end:
                return run.char_at(sample - start)
            chars = run.segment.span.end
        if self._is_begun and self.runs and sample >= self._run_start:
            return max(chars, self.runs[0].char_at(min(sample - self._run_start, self.runs[0].buffer.taken)))
        return max(chars, self.chars_done if sample >= self.sent_samples else 0)

    # ---- private ----

    def _fill(self, room: int) -> None:
        """Queue the next sound, and before it what is to be told of runs that end and begin: it leaves in one write."""
        while self.runs:
            run = self.runs[0]
            ready = self._ready(run)
            if ready == 0 and run.is_complete:
                self._end_run(run)
                continue
            if ready == 0 or room <= 0:
                return
            self._emit(run, min(ready, self._most or max(room, self._frame)))
            if self._queue:
                return  # else the codec keeps what it was given for its first packet

    def _ready(self, run: SegmentRun) -> int:
        self._ear_hold.follow(run)
        if run.is_complete:
            return len(run.buffer)
        if run.resume is not None and run.resume.is_exact:
            ready = run.takeable - self._fade  # whoever wins, the old voice sounds up to there, and needs no more for the join
        else:
            ready = min(len(run.buffer) - self._hold, run.takeable)
        if self._ear_hold.is_needed:
            ready = min(ready, self._ear_hold.sendable(len(run.buffer)))
        return ready if ready >= self._min_frame else 0

    def _emit(self, run: SegmentRun, ready: int) -> None:
        taken = run.buffer.taken
        voicing = run.voicing_at(taken)
        if not self._is_begun:
            self._is_begun = True
            self._run_start = self.sent_samples
            self._announce(run, voicing)
            self._report_segment(run, voicing.engine)
        elif voicing.at == taken:
            self._announce(run, voicing)
            self._report_segment(run, voicing.engine)
        following = run.next_voicing(taken)
        samples = run.buffer.take(ready if following is None else min(ready, following - taken))
        self.samples_by_engine[voicing.engine] = self.samples_by_engine.get(voicing.engine, 0) + len(samples)
        self.sent_samples += len(samples)
        self._ear_hold.sent()
        self._queue_frames(self._encoder.encode(samples), voicing.engine)

    def _announce(self, run: SegmentRun, voicing: Voicing) -> None:
        before, self._speaker = self._speaker, voicing.engine
        if before and before != voicing.engine:
            self.switches += 1
            character = run.char_at(run.buffer.taken)
            self._queue.append(SwitchOut(before, voicing.engine, voicing.reason or "recovered", character, self.sent_samples))

    def _queue_frames(self, frames: list[EncodedFrame], engine: EngineName) -> None:
        if frames:
            start = frames[0].start
            self._queue.append(AudioOut(self._sequence, start, frames[-1].end - start, engine, tuple(frames)))
            self._sequence += len(frames)

    def _report_segment(self, run: SegmentRun, engine: EngineName) -> None:
        ms = self._run_start * 1000.0 / self.rate
        known = run.words() if self._has_words else []
        self._reported_words = len(known)
        words = tuple(Word(w.span, w.start_ms + ms, w.end_ms + ms) for w in known)
        segment = run.segment
        self._queue.append(SegmentOut(segment.index, segment.span, self._run_start, engine, segment.language, words))

    def _end_run(self, run: SegmentRun) -> None:
        if not self._is_begun:
            self._run_start = self.sent_samples
        if self._has_words and run.buffer.total and (run.plan is not None or len(run.words()) != self._reported_words):
            self._report_segment(run, run.voicings[-1].engine)
        self.runs.popleft()
        self.chars_done = run.segment.span.end
        self._sent_runs.append((self._run_start, self.sent_samples, run))
        self._is_begun = False
        self._reported_words = 0
        self._report_flushes(run.segment.index + 1)

    def _report_flushes(self, done: int) -> None:
        due = [flush for flush in self._flushes if flush[0] <= done]
        self._flushes = [flush for flush in self._flushes if flush[0] > done]
        self._queue.extend(FlushedOut(flush_id, self.chars_done, self.sent_samples) for _, flush_id in due)

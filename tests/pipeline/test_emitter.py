"""The emitter: whatever the codec keeps to itself at first, asking again gives the whole of a run."""

from __future__ import annotations

import numpy as np
import pytest

from realtime.audio.codecs import CODECS, make_decoder
from realtime.engines.base import Chunk
from realtime.pipeline.attempt import Attempt, ResumePoint
from realtime.pipeline.ear_hold import HELD_BY_EAR_S, LATE_LEAD_S, LATENESS, LEAST_LEAD_S, SHORTEST_LEAD_S, held_of, least_lead_of
from realtime.pipeline.emitter import HOLD_BACK_MS, Emitter
from realtime.pipeline.outputs import AudioOut
from realtime.pipeline.segment_run import SegmentRun
from realtime.types import AudioFormat, Codec, Segment, Span, SpokenText

RATE = 24000


@pytest.mark.parametrize("codec", list(CODECS))
def test_a_whole_run_leaves_without_waiting_for_more(codec: Codec) -> None:
    emitter = Emitter(AudioFormat(codec, RATE))
    run = SegmentRun(Segment(0, Span(0, 2), "你好"), RATE)
    run.fill(0.1 * np.sin(np.arange(RATE) * 0.1).astype(np.float32), "main", [])
    emitter.add(run)
    outputs = []
    while (output := emitter.next(RATE // 2)) is not None:
        outputs.append(output)
    assert not emitter.runs
    emitter.finish()
    while (output := emitter.next(0)) is not None:
        outputs.append(output)
    sound = [output for output in outputs if isinstance(output, AudioOut)]
    assert sum(output.samples for output in sound) == RATE
    assert [output.sequence for output in sound] == [sum(len(o.frames) for o in sound[:k]) for k in range(len(sound))]


@pytest.mark.parametrize("codec", list(CODECS))
def test_where_nothing_sounded_there_may_be_silence_instead_and_never_after_sound(codec: Codec) -> None:
    emitter = Emitter(AudioFormat(codec, RATE))
    emitter.finish(200)
    sound = []
    while (output := emitter.next(0)) is not None:
        assert isinstance(output, AudioOut)
        sound.append(output)
    assert sum(output.samples for output in sound) == RATE // 5 and emitter.sent_samples == RATE // 5
    decoder = make_decoder(AudioFormat(codec, RATE))
    heard = np.concatenate([*(decoder.push(frame.payload) for output in sound for frame in output.frames), decoder.flush()])
    assert len(heard) >= RATE // 10 and np.abs(heard).max() < 1e-3
    spoken = Emitter(AudioFormat(codec, RATE))
    run = SegmentRun(Segment(0, Span(0, 2), "你好"), RATE)
    run.fill(np.ones(RATE, np.float32) * 0.1, "main", [])
    spoken.add(run)
    samples = 0
    while (output := spoken.next(RATE)) is not None:
        samples += output.samples if isinstance(output, AudioOut) else 0
    spoken.finish(200)
    while (output := spoken.next(0)) is not None:
        samples += output.samples if isinstance(output, AudioOut) else 0
    assert samples == RATE


def growing(seconds: float, is_by_ear: bool = True) -> tuple[Emitter, SegmentRun]:
    """A segment of which so much has come, of an engine that tells no words; with or without something to align it with."""
    emitter = Emitter(AudioFormat(Codec.PCM_F32LE, RATE))
    run = SegmentRun(Segment(0, Span(0, 2), "你好"), RATE)
    if is_by_ear:
        run.follow()
        run.reference = np.zeros((300, 40), np.float32)
    attempt = Attempt("j#1", "quiet", "v", "w", "", SpokenText.verbatim("你好"))
    run.begin(attempt)
    run.receive(attempt, Chunk("j#1", np.zeros(round(seconds * RATE), np.float32), RATE))
    emitter.add(run)
    return emitter, run


def drain(emitter: Emitter, lead_s: float) -> float:
    """Take all that goes out at a lead that grows by what went out; returns the lead then."""
    while (output := emitter.next(RATE // 2, lead_s)) is not None:
        lead_s += output.samples / RATE if isinstance(output, AudioOut) else 0.0
    return lead_s


def held_s(run: SegmentRun) -> float:
    return len(run.buffer) / RATE


def test_a_listener_with_plenty_leaves_more_sound_for_the_ear() -> None:
    emitter, run = growing(3.0)
    assert drain(emitter, 0.0) == pytest.approx(3.0 - HELD_BY_EAR_S)
    assert held_s(run) == pytest.approx(HELD_BY_EAR_S)


@pytest.mark.parametrize("lead_s", [0.0, 0.2])
def test_a_listener_with_little_gets_all_but_the_tail(lead_s: float) -> None:
    emitter, run = growing(0.25)
    drain(emitter, lead_s)
    assert held_s(run) == pytest.approx(HOLD_BACK_MS / 1000)
    assert emitter.due_in_s is None


def test_what_is_held_for_the_ear_goes_out_as_the_lead_sinks() -> None:
    emitter, run = growing(3.0)
    lead_s = drain(emitter, 0.0)
    least_s = lead_s
    while emitter.due_in_s is not None:
        lead_s = drain(emitter, lead_s - emitter.due_in_s - 1e-6)
        least_s = min(least_s, lead_s)
    assert held_s(run) == pytest.approx(HOLD_BACK_MS / 1000, abs=0.02)
    assert least_s >= LATE_LEAD_S - 0.1


@pytest.mark.parametrize("cushion_s", [0.05, 0.3, 0.55, 0.7, 0.9, 1.2, 3.0])
def test_what_is_held_of_a_cushion(cushion_s: float) -> None:
    emitter, run = growing(cushion_s)
    drain(emitter, 0.0)
    assert held_s(run) == pytest.approx(held_of(cushion_s, HOLD_BACK_MS / 1000), abs=0.11)


@pytest.mark.parametrize(
    ("takeover_s", "least_s"),
    [(0.0, LEAST_LEAD_S), (0.01, SHORTEST_LEAD_S), (0.12, 0.27), (0.2, 0.35), (0.3, LEAST_LEAD_S), (5.0, LEAST_LEAD_S)],
)
def test_the_listener_first_has_what_the_next_engine_needs_to_sound(takeover_s: float, least_s: float) -> None:
    assert least_lead_of(takeover_s) == pytest.approx(least_s)


@pytest.mark.parametrize("takeover_s", [0.02, 0.1, 0.3])
def test_next_to_a_quick_engine_more_of_a_cushion_is_held(takeover_s: float) -> None:
    emitter, run = growing(0.7)
    run.takeover_s = takeover_s
    drain(emitter, 0.0)
    assert held_s(run) == pytest.approx(held_of(0.7, HOLD_BACK_MS / 1000, takeover_s), abs=0.11)
    assert held_s(run) == pytest.approx(0.7 - least_lead_of(takeover_s), abs=0.11)


def play_on(emitter: Emitter, lead_s: float, seconds: float) -> float:
    """The listener hears so much, and gets what goes out meanwhile; returns the lead then."""
    for _ in range(round(seconds * 100)):
        lead_s = drain(emitter, lead_s - 0.01)
    return lead_s


def in_flow() -> tuple[Emitter, SegmentRun, float]:
    """An engine that has given 0.2 s every 0.2 s for a while, its listener, and their lead just after the last of it came."""
    emitter, run = growing(1.0)
    lead_s = drain(emitter, 0.0)
    for _ in range(6):
        lead_s = play_on(emitter, lead_s, 0.2)
        receive(run, 0.2)
        lead_s = drain(emitter, lead_s)
    return emitter, run, lead_s


def receive(run: SegmentRun, seconds: float) -> None:
    assert run.live is not None
    run.receive(run.live, Chunk("j#1", np.zeros(round(seconds * RATE), np.float32), RATE))


def test_while_the_engine_is_in_time_the_listener_has_the_least_lead_and_all_sound_counts() -> None:
    emitter, run, lead_s = in_flow()
    assert lead_s >= LEAST_LEAD_S - 0.1
    assert emitter.unsent_samples == len(run.buffer) > 0.2 * RATE


def test_the_hold_of_a_late_engine_stays_and_is_no_time_to_spare() -> None:
    emitter, run, lead_s = in_flow()
    lead_s = play_on(emitter, lead_s, LATENESS * 0.2 + 0.02)
    assert emitter.unsent_samples == emitter.rate * HOLD_BACK_MS // 1000
    in_hand = len(run.buffer)
    lead_s = play_on(emitter, lead_s, lead_s - LATE_LEAD_S - 0.01)
    assert len(run.buffer) == in_hand > 0.2 * RATE
    play_on(emitter, lead_s, 0.3)
    assert len(run.buffer) < in_hand  # nobody took over: better said than kept


def test_sound_that_comes_after_all_is_time_to_spare_again() -> None:
    emitter, run, lead_s = in_flow()
    lead_s = play_on(emitter, lead_s, LATENESS * 0.2 + 0.02)
    receive(run, 0.2)
    drain(emitter, lead_s)
    assert emitter.unsent_samples == len(run.buffer)


def test_only_an_ear_needs_more_than_the_tail() -> None:
    for emitter, run in (growing(3.0, is_by_ear=False), growing(3.0)):
        if run.buffer.ear is not None:
            run.stand_by(Attempt("j#2", "b", "v", "w", "", SpokenText.verbatim("你好")), ResumePoint(1, round(2.9 * RATE)))
        drain(emitter, 5.0)
        assert held_s(run) <= 0.1 + 1e-6
        assert emitter.due_in_s is None


def test_a_whole_segment_is_not_held() -> None:
    emitter, run = growing(3.0)
    assert run.live is not None
    run.finish(run.live)
    drain(emitter, 5.0)
    assert not emitter.runs and held_s(run) == 0.0

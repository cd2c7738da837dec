"""A fault at every moment of a short utterance, two faults in a row, the last engine failing, a cancel in the middle of it all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import anyio
import pytest

from realtime.bench.ear import Ear
from realtime.bench.handover import ENGINES, UNBOUNDED
from realtime.bench.simulated_pool import Bench, SimulatedPool
from realtime.bench.skipping_loop import LoopClock, SkippingLoop
from realtime.engines.beacon.decoder import listen
from realtime.pipeline.dispatcher import Dispatcher
from realtime.pipeline.outputs import AudioOut, CancelledOut, DoneOut, FailedOut, Output, SegmentOut, SwitchOut
from realtime.pipeline.planning import Planner
from realtime.pipeline.requests import Request
from realtime.pipeline.utterance import Utterance, UtteranceOptions
from realtime.pipeline.voices import VoiceBook
from realtime.scheduling.scheduler import Scheduler
from realtime.types import AudioFormat, Budget, Codec
from realtime.workers.interface import Fault, FaultKind

TEXT = "你好，世界 ok。"


@pytest.fixture(autouse=True)
def quiet() -> None:
    """The faults are on purpose."""
    logging.getLogger("realtime.dispatcher").setLevel(logging.CRITICAL)


class Stage:
    """Three engines of different tempo and rate, one worker and a spare each, in simulated time."""

    def __init__(self) -> None:
        self.clock = LoopClock()
        voices = VoiceBook(ENGINES, None, {})
        self.planner = Planner(voices)
        self.dispatcher = Dispatcher(Scheduler(UNBOUNDED), voices, self.clock, self.planner)
        self.struck: list[str] = []
        self.pool = SimulatedPool(
            [self._bench(k, name) for k, name in enumerate(ENGINES)],
            self.dispatcher.on_pool_event,
            lambda fault, job_id: self.struck.append(job_id),
        )
        self.dispatcher.attach(self.pool)

    @staticmethod
    def _bench(k: int, name: str) -> Bench:
        voice = {
            "id": f"v-{name}",
            "layout": k,
            "sample_rate": (24000, 16000, 48000)[k],
            "tempo": (0.9, 0.7, 1.0)[k],
            "level": (0.5, 0.2, 0.7)[k],
            "stand_ins": {other: f"v-{other}" for other in ENGINES if other != name},
        }
        options = {"name": name, "voices": [voice], "chunk_ms": (60, 100, 200)[k], "capacity": 8}
        return Bench(name, "beacon", options, 2, (0.4, 0.1, 0.1)[k], (0.1, 0.03, 0.03)[k])

    def utterance(self) -> Utterance:
        request = Request(voice="v-main", budget=Budget(first_audio_ms=4000, start_buffer_ms=100))
        return Utterance("u", UtteranceOptions(request, AudioFormat(Codec.PCM_F32LE, 24000)), self.dispatcher, self.clock)


class Witness(Ear):
    """Keeps every output as well."""

    def __init__(self, rate: int, clock: LoopClock) -> None:
        super().__init__(rate, clock)
        self.outputs: list[Output] = []

    async def take(self, output: Output) -> None:
        self.outputs.append(output)
        await super().take(output)

    def of(self, kind: type) -> list[Any]:
        return [output for output in self.outputs if isinstance(output, kind)]


def on_stage(scene: Callable[[Stage], Awaitable[None]]) -> None:
    """Play a scene with everything running."""

    async def play() -> None:
        stage = Stage()
        async with anyio.create_task_group() as tasks:
            stage.planner.attach(stage.pool, tasks)
            stage.pool.start()
            tasks.start_soon(stage.dispatcher.run)
            await scene(stage)
            assert stage.pool.statistics().jobs_running == 0, "work was left behind"
            assert stage.dispatcher.load == 0
            tasks.cancel_scope.cancel()

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        runner.run(play())


def speak_under(*faults: Fault, text: str = TEXT) -> tuple[Witness, Output, list[str]]:
    """Speak the text while the faults strike."""
    found: list[tuple[Witness, Output, list[str]]] = []

    async def scene(stage: Stage) -> None:
        for fault in faults:
            stage.pool.plant(fault)
        utterance, ear = stage.utterance(), Witness(24000, stage.clock)
        utterance.open()
        utterance.feed(text)
        utterance.end()
        found.append((ear, await utterance.run(ear.take), stage.struck))
        await anyio.sleep(3.0)  # whoever was stopped is noticed and replaced

    on_stage(scene)
    return found[0]


@pytest.mark.parametrize("kind", [FaultKind.KILL, FaultKind.EXCEPTION, FaultKind.NAN, FaultKind.STALL, FaultKind.DROP_CHUNK])
def test_a_fault_at_every_moment(kind: FaultKind) -> None:
    struck = 0
    for at_ms in range(0, 480, 17):
        ear, ending, hits = speak_under(Fault(kind, "u/0#1", float(at_ms), 3000.0 if kind is FaultKind.STALL else 0.0))
        struck += len(hits)
        assert isinstance(ending, DoneOut), (at_ms, ending)
        assert listen(ear.sound(), 24000).text == TEXT, f"{kind} at {at_ms} ms"
    assert struck >= 20


@pytest.mark.parametrize("second_ms", [0, 40, 110, 190])
def test_two_faults_in_a_row(second_ms: int) -> None:
    for first_ms in (0, 90, 210, 330):
        faults = Fault(FaultKind.NAN, "u/0#1", float(first_ms)), Fault(FaultKind.EXCEPTION, "u/0#2", float(second_ms))
        ear, ending, _ = speak_under(*faults)
        assert isinstance(ending, DoneOut)
        assert listen(ear.sound(), 24000).text == TEXT, (first_ms, second_ms)


def test_what_is_told_after_a_switch_fits_what_is_heard_at_every_moment() -> None:
    switched = 0
    for at_ms in range(0, 960, 13):
        ear, ending, _ = speak_under(Fault(FaultKind.EXCEPTION, "u/0#1", float(at_ms)))
        assert isinstance(ending, DoneOut)
        frames, heard = ear.of(AudioOut), listen(ear.sound(), 24000).characters
        # usage is split as the frames were
        sent = {engine: sum(f.samples for f in frames if f.engine == engine) / 24 for engine in {f.engine for f in frames}}
        assert ending.usage.audio_ms_by_engine == pytest.approx(sent)
        assert ending.usage.characters == len(TEXT)
        # every switch lies where the voice changes: in the labels of the frames, in the sound, and in the text
        assert [s.to_engine for s in ear.of(SwitchOut)] == [b.engine for a, b in pairwise(frames) if a.engine != b.engine]
        for switch in ear.of(SwitchOut):
            switched += 1
            assert switch.sample == next(f.start for f in frames if f.engine == switch.to_engine)
            assert [c.layout for c in heard if c.start < switch.sample - 100] == [0] * switch.character, at_ms
            assert all(c.layout == 1 for c in heard[switch.character :]), at_ms
        # the last word about each segment has every word at its place, in order and once
        words = [word for segment in {s.index: s for s in ear.of(SegmentOut)}.values() for word in segment.words]
        assert all(a.span.end <= b.span.start and a.start_ms <= b.start_ms for a, b in pairwise(words)), at_ms
        for word in words:
            assert heard[word.span.start].start / 24 == pytest.approx(word.start_ms, abs=6), (at_ms, word)
        assert "".join(TEXT[w.span.start : w.span.end] for w in words) == TEXT, at_ms
    assert switched > 20  # where nothing was sent yet the other voice says all of it


def test_a_voice_that_goes_before_any_of_its_segment_was_sent_is_not_heard_again() -> None:
    """One fault, one change of voice: what the engine had made of the next sentence meanwhile is said by the other one."""
    text, begun = "你好，世界。再见，朋友。", 0
    for at_ms in range(0, 520, 40):
        ear, ending, struck = speak_under(Fault(FaultKind.EXCEPTION, "u/1#1", float(at_ms)), text=text)
        assert isinstance(ending, DoneOut)
        assert listen(ear.sound(), 24000).text == text, at_ms
        switches = ear.of(SwitchOut)
        begun += bool(struck)
        if struck:
            assert [(s.from_engine, s.to_engine, s.character) for s in switches] == [("main", "second", 6)], at_ms
            assert ear.silence_s(0.1) == 0.0
    assert begun > 8


@pytest.mark.parametrize("third_ms", range(0, 400, 40))
def test_the_last_engine_failing_at_any_moment_is_an_error_with_what_was_heard(third_ms: int) -> None:
    for first_ms in (0, 150, 290):
        moments = {1: first_ms, 2: 90, 3: third_ms} | dict.fromkeys(range(4, 13), 0)  # second chances fail at once
        faults = [Fault(FaultKind.EXCEPTION, f"u/0#{k}", float(at)) for k, at in moments.items()]
        ear, ending, struck = speak_under(*faults)
        if len(struck) < 3:
            assert isinstance(ending, DoneOut)  # there was less left to say than that
            continue
        assert isinstance(ending, FailedOut)
        assert (ending.code, ear.outputs[-1]) == ("engine_failed", ending)
        sent_ms = sum(f.samples for f in ear.of(AudioOut)) / 24
        assert 0 <= ending.heard_ms <= sent_ms
        whole = listen(ear.sound()[: round(ending.heard_ms * 24)], 24000).text
        assert TEXT.startswith(whole)
        assert len(whole) - 1 <= ending.heard_chars <= len(whole)  # a burst is whole before its character is over


def test_when_every_engine_has_failed_once_another_worker_of_one_goes_on() -> None:
    faults = [Fault(FaultKind.EXCEPTION, f"u/0#{k}", float(at)) for k, at in ((1, 150), (2, 90), (3, 40))]
    ear, ending, struck = speak_under(*faults)
    assert len(struck) == 3
    assert isinstance(ending, DoneOut)
    assert listen(ear.sound(), 24000).text == TEXT


def test_when_the_last_engine_fails_the_error_says_what_was_heard() -> None:
    faults = [Fault(FaultKind.EXCEPTION, f"u/0#{k}", 250.0 if k == 1 else 20.0) for k in range(1, 13)]  # each try, of a race too
    _, ending, struck = speak_under(*faults)
    assert len(struck) >= 3
    assert isinstance(ending, FailedOut)
    assert ending.code == "engine_failed"
    assert 0 <= ending.heard_chars < len(TEXT)
    assert ending.message.startswith("no engine could speak characters 0 to 9 to their end (main: engine_failed; ")


@pytest.mark.parametrize("after_ms", range(100, 700, 60))
def test_a_cancel_during_a_handover_leaves_no_frame_and_no_work_behind(after_ms: int) -> None:
    async def scene(stage: Stage) -> None:
        stage.pool.plant(Fault(FaultKind.STALL, "u/0#1", 150.0, 5000.0))
        utterance, frames, late = stage.utterance(), 0, 0

        async def take(output: Output) -> None:
            nonlocal frames, late
            if isinstance(output, AudioOut):
                frames += 1
                late += is_cancelled

        is_cancelled = False
        utterance.open()
        utterance.feed(TEXT)
        utterance.end()
        endings: list[Output] = []

        async def listener() -> None:
            endings.append(await utterance.run(take))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener)
            await anyio.sleep(after_ms / 1000)
            is_cancelled = True
            utterance.cancel()
        assert late == 0
        assert isinstance(endings[0], CancelledOut | DoneOut)

    on_stage(scene)

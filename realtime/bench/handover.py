"""`realtime bench handover`: are words repeated or lost when engines are shot in mid-speech?

Random Chinese and English is spoken by `beacon` voices, whose every character can be read back from the sound; main, second and third
voice differ in tempo, level, sample rate and chunk size. Faults strike at random moments of random segments, up to two in a row, so
that the engine that has just taken over falls as well. What the listener received is decoded and compared with the text, its arrival
with the playout clock. The service code (utterance, dispatcher, scheduler, emitter) and the engines are real, time is simulated.

Two parts, which differ in what else is sick when a fault strikes:

1. The figure. One listener at a time on nine workers, `RECOVERY_S` between two, longer than any fault lasts: a listener meets every fault
   that is meant for them, and none that was meant for others.
2. The storm (`storm_...`). Fifteen to twenty listeners at once on the same nine workers, each with two or three faults of their own, most
   of which make a worker useless to all for up to 4 s: most workers of every engine are sick at any moment, more than a handover can
   mend. Words must still be whole; how long listeners wait says how the service bends.

Besides, random places in sentences of real voices are looked for (`handover_speech`), and real processes shot (`handover_processes`).
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections.abc import Awaitable, Callable
from difflib import SequenceMatcher
from typing import Any

import anyio

from realtime.audio.levels import clicks
from realtime.bench import handover_report, handover_speech
from realtime.bench.ear import Ear
from realtime.bench.handover_bound import START_BUFFER_S, Need, need_of
from realtime.bench.handover_score import Score, report_of
from realtime.bench.simulated_pool import Bench, SimulatedPool
from realtime.bench.skipping_loop import LoopClock, SkippingLoop
from realtime.engines.beacon.decoder import listen
from realtime.errors import Overloaded
from realtime.pipeline.dispatcher import Dispatcher
from realtime.pipeline.outputs import DoneOut
from realtime.pipeline.planning import Planner
from realtime.pipeline.requests import Request
from realtime.pipeline.utterance import Utterance, UtteranceOptions
from realtime.pipeline.voices import VoiceBook
from realtime.scheduling.admission import AdmissionSettings, KeyLimits
from realtime.scheduling.breaker import BreakerSettings
from realtime.scheduling.scheduler import Scheduler, SchedulerSettings
from realtime.types import AudioFormat, Budget, Codec
from realtime.workers.interface import Fault, FaultKind, PoolEvent

ENGINES = ("main", "second", "third")
UNBOUNDED = SchedulerSettings(
    # a breaker would keep the shots away from the main engine after the first few
    breaker=BreakerSettings(least_results=10**9),
    admission=AdmissionSettings(10**6, 10**6, default_limits=KeyLimits(1e6, 10**6, 10**6)),
)
VALUES = {FaultKind.STALL: (150.0, 4000.0), FaultKind.SLOW: (3.0, 40.0), FaultKind.GARBAGE: (0.0, 0.0), FaultKind.NAN: (0.0, 0.0)}
KINDS = tuple(FaultKind)
WORDS = "the quick brown fox bank account transfer please hold your card number is ready thank you for calling today morning".split()
UTTERANCES_PER_WORLD = 40
PARTS = ("calm", "storm", "speech", "processes")
LEAST_WAIT_S = 0.001  # shorter ones are not counted as silence
RECOVERY_S = 5.0  # between two listeners of the first part: the longest fault makes a worker useless for 4 s


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `realtime bench handover`."""
    parser.description = (
        "Shoots engines in mid-speech and reads back what the listener heard. First part: one listener at a time, so that the faults of one"
        " do not make the workers of another sick. Second part, keys storm_...: fifteen to twenty listeners at once on the same nine"
        " workers, most of which are sick at any moment. Then real voices and real processes."
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure (default: everything)")
    parser.add_argument("--faults", type=int, default=None, help="faults of the first part (default 10000, with --quick 400)")
    parser.add_argument("--storm-faults", type=int, default=None, help="faults of the storm (default 1500, with --quick 100; 0 for none)")
    parser.add_argument("--processes", type=int, default=None, metavar="N", help="utterances on real worker processes (default 40)")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print the first N utterances of each part that came back wrong")
    parser.add_argument("--sambert", metavar="DIR", default=None, help="folder of exported Sambert voices, to cross them with espeak's")
    parser.add_argument("--quick", action="store_true")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure; returns the keys of architecture section 7, and those of the storm."""
    report: dict[str, Any] = {}
    if "calm" in args.parts:
        report |= report_of(_shot(args, args.faults or (400 if args.quick else 10_000), is_storm=False))
    wanted = (100 if args.quick else 1500) if args.storm_faults is None else args.storm_faults
    if "storm" in args.parts and wanted:
        report |= {f"storm_{key}": value for key, value in report_of(_shot(args, wanted, is_storm=True)).items()}
    if "speech" in args.parts:
        report |= _speech(args)
    count = (8 if args.quick else 40) if args.processes is None else args.processes
    if "processes" in args.parts and count:
        from realtime.bench import handover_processes  # it builds on this module

        report |= handover_processes.measure(args.seed, count, args.show)
    handover_report.show(report)
    return report


def _shot(args: argparse.Namespace, wanted: int, is_storm: bool) -> Score:
    score = Score()
    _fill(score, args.seed, wanted, is_storm)
    for line in score.trouble[: args.show]:
        print(line)
    return score


def _speech(args: argparse.Namespace) -> dict[str, Any]:
    speech = handover_speech.measure(args.seed, 200 if args.quick else 3000)
    for line in speech.pop("speech_trouble")[: args.show]:
        print(line)
    if args.sambert:
        crossed = handover_speech.measure(args.seed, 100 if args.quick else 1000, args.sambert)
        speech |= {f"sambert_{key}": value for key, value in crossed.items() if key != "speech_trouble"}
    return speech


def _fill(score: Score, seed: int, wanted: int, is_storm: bool) -> None:
    """World after world until so many faults have struck."""
    world = 0
    with handover_report.progress("faults in a storm" if is_storm else "faults, one listener at a time", wanted) as step:
        while score.faults.total() < wanted:
            world += 1
            one_world(seed * 100_003 + world, score, is_storm)
            step(score.faults.total(), f"{score.repeated} repeated, {score.dropped} dropped")


async def admit(utterance: Utterance) -> None:
    """Open it as a client does: come back later when told so."""
    for _ in range(1000):
        try:
            utterance.open()
            return
        except Overloaded as refusal:
            await anyio.sleep((refusal.retry_after_ms or 100) / 1000)
    raise AssertionError("never admitted")


def one_world(seed: int, score: Score, is_storm: bool = False) -> None:
    """A few dozen utterances on one set of engines."""
    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        world = _World(seed, score)
        runner.run(world.run(world.storm if is_storm else world.one_by_one))


class _World:
    """One set of engines under fire."""

    def __init__(self, seed: int, score: Score) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.score = score
        self.clock = LoopClock()
        self.struck: dict[str, float] = {}
        self.told: dict[str, list[str]] = {}
        voices = VoiceBook(ENGINES, None, {})
        planner = Planner(voices)
        self.dispatcher = Dispatcher(Scheduler(UNBOUNDED), voices, self.clock, planner)
        self.pool = SimulatedPool(self._benches(), self._on_event, self._on_fault)
        self.dispatcher.attach(self.pool)
        self.planner = planner

    def _benches(self) -> list[Bench]:
        rng = self.rng
        return [
            Bench(
                name,
                "beacon",
                {
                    "name": name,
                    "voices": [
                        {
                            "id": f"v-{name}",
                            "layout": k,
                            "sample_rate": rng.choice([16000, 22050, 24000, 48000]),
                            "tempo": rng.uniform(0.5, 1.0),
                            "level": rng.uniform(0.2, 0.8),
                            "stand_ins": {other: f"v-{other}" for other in ENGINES if other != name},
                        }
                    ],
                    "chunk_ms": rng.choice([60, 100, 200, 400]),
                    "capacity": 16,
                },
                count=3,
                rtf=rng.uniform(0.1, 0.5) if k == 0 else rng.uniform(0.02, 0.15),
                first_s=rng.uniform(0.05, 0.4) if k == 0 else rng.uniform(0.01, 0.05),
            )
            for k, name in enumerate(ENGINES)
        ]

    async def run(self, listeners: Callable[[], Awaitable[None]]) -> None:
        """Have the service running while `listeners` listen."""
        async with anyio.create_task_group() as tasks:
            self.planner.attach(self.pool, tasks)
            self.pool.start()
            tasks.start_soon(self.dispatcher.run)
            await listeners()
            tasks.cancel_scope.cancel()

    async def one_by_one(self) -> None:
        """Each listener finds every worker well."""
        for k in range(UTTERANCES_PER_WORLD):
            await self._one(f"u{k}")
            await anyio.sleep(RECOVERY_S)

    async def storm(self) -> None:
        """All at once, as they come."""
        async with anyio.create_task_group() as listeners:
            for k in range(UTTERANCES_PER_WORLD):
                listeners.start_soon(self._one, f"u{k}")
                await anyio.sleep(self.rng.uniform(0.05, 0.8))

    async def _one(self, name: str) -> None:
        rng = self.rng
        text = random_text(rng)
        audio_format = AudioFormat(Codec.PCM_F32LE, rng.choice([16000, 24000, 48000]))
        # the start buffer of the figure; the first sound may take its time, the faults are what is measured
        budget = Budget(first_audio_ms=4000, start_buffer_ms=int(START_BUFFER_S * 1000), max_lead_ms=rng.choice([400, 1500, 8000]))
        request = Request(voice="v-main", speed=rng.uniform(0.5, 2.0), budget=budget)
        utterance = Utterance(name, UtteranceOptions(request, audio_format), self.dispatcher, self.clock)
        await admit(utterance)
        self._plant(name)
        opened_at = self.clock.now()
        ear = Ear(audio_format.sample_rate, self.clock)
        utterance.feed(text)
        utterance.end()
        ending = await utterance.run(ear.take)
        self._judge(name, text, ear, isinstance(ending, DoneOut))
        self._judge_waits(name, ear, opened_at, budget)

    def _plant(self, name: str) -> None:
        rng = self.rng
        for segment in range(8):
            for attempt in (1, 2):  # two in a row: one engine of three is left
                if rng.random() < (0.9, 0.5)[attempt - 1]:
                    kind = rng.choice(KINDS)
                    low, high = VALUES.get(kind, (0.0, 0.0))
                    fault = Fault(kind, f"{name}/{segment}#{attempt}", rng.uniform(0, 1200), rng.uniform(low, high))
                    self.pool.plant(fault)

    def _on_event(self, event: PoolEvent) -> None:
        self.dispatcher.on_pool_event(event)

    def _on_fault(self, fault: Fault, job_id: str) -> None:
        self.score.faults[fault.kind.value] += 1
        name = job_id.split("/")[0]
        self.struck[name] = self.clock.now()
        self.told.setdefault(name, []).append(f"{fault.kind} {job_id} at {fault.at_ms:.0f} ms x{fault.value:.0f}")

    def _judge(self, name: str, text: str, ear: Ear, is_done: bool) -> None:
        score = self.score
        score.utterances += 1
        score.characters += len(text)
        score.switches += len(ear.switches)
        score.failed += not is_done
        found = listen(ear.sound(), ear.rate)
        heard = found.text
        # one that ended in an error (every engine failed at it) is counted as `failed`; what was heard of it must be its beginning
        repeated, dropped = compare(text if is_done else text[: len(heard)], heard)
        silence_ms = ear.silence_s(START_BUFFER_S) * 1000
        broken = [at for at in clicks(ear.sound(), ear.rate) if any(abs(at - s) < ear.rate // 20 for s in ear.switches)]
        score.repeated += repeated
        score.dropped += dropped
        # sound that is no whole character; the last one may be cut where every engine failed
        damages = [d for d in found.damages if is_done or d.end < len(ear.sound()) - ear.rate // 10]
        score.damaged += len(damages)
        score.clicks += len(broken)
        score.silence_ms_max = max(score.silence_ms_max, silence_ms)
        struck = self.struck.get(name)
        if struck is not None and (changed_at := next((at for at in ear.switched_at if at >= struck), None)) is not None:
            score.reactions_ms.append((changed_at - struck) * 1000)
        if repeated or dropped or damages or silence_ms > 1 or not is_done or broken:
            ended = "done" if is_done else "failed"
            found_wrong = f"{len(damages)} damaged, {len(broken)} clicks, {len(ear.switches)} switches"
            about = f"silence {silence_ms:.0f} ms, {found_wrong}, {ended}"
            score.trouble.append(f"{self.seed} {name}: {about}\n  said  {text}\n  heard {heard}\n  faults {self.told.get(name)}")

    def _judge_waits(self, name: str, ear: Ear, opened_at: float, budget: Budget) -> None:
        """Count the silences, and what nobody could have avoided of them."""
        score, weather = self.score, self.pool.weather
        if not ear.is_hearing:
            score.not_begun += 1
            due = opened_at + budget.first_audio_ms / 1000
            score.not_begun_unavoidable += weather.first_sound_at(Need(name, opened_at, 0.0)) > due
        waits = [wait for wait in ear.waits(START_BUFFER_S) if wait.end - wait.begin > LEAST_WAIT_S]
        needs = [need_of(name, opened_at, budget.max_lead_ms / 1000, ear, wait) for wait in waits]
        could = [min(weather.first_sound_at(need), wait.end) for need, wait in zip(needs, waits, strict=True)]
        unavoidable = [max(0.0, at - wait.begin) for at, wait in zip(could, waits, strict=True)]
        score.underruns += bool(waits)
        score.unavoidable += any(seconds > LEAST_WAIT_S for seconds in unavoidable)
        online = [min(weather.online_at(need), wait.end) - wait.begin for need, wait in zip(needs, waits, strict=True)]
        score.unavoidable_online += any(seconds > LEAST_WAIT_S for seconds in online)
        score.unavoidable_ms += 1000 * sum(unavoidable)
        score.silence_ms += 1000 * sum(wait.end - wait.begin for wait in waits)


def compare(said: str, heard: str) -> tuple[int, int]:
    """Characters too many and too few in what was heard."""
    if said == heard:
        return 0, 0
    repeated = dropped = 0
    for kind, a, b, c, d in SequenceMatcher(None, said, heard, autojunk=False).get_opcodes():
        if kind != "equal":
            dropped += b - a
            repeated += d - c
    return repeated, dropped


def random_text(rng: random.Random) -> str:
    """One to four sentences of random characters, Chinese, English or both."""
    parts = []
    for _ in range(rng.randint(1, 4)):
        if rng.random() < 0.6:
            clauses = ["".join(chr(rng.randint(0x4E00, 0x9FA5)) for _ in range(rng.randint(2, 12))) for _ in range(rng.randint(1, 3))]
            parts.append("，".join(clauses) + rng.choice("。！？"))
        else:
            clauses = [" ".join(rng.choice(WORDS) for _ in range(rng.randint(2, 7))) for _ in range(rng.randint(1, 2))]
            parts.append(", ".join(clauses) + rng.choice(".!?") + " ")
    return "".join(parts).strip()

"""`realtime bench engine sambert`: real-time factor against torch eager, first audio, plan, concurrent jobs, memory.

Official 16 kHz sizes, random weights (they say noise, but take the time that speech takes), durations forced to those that the random
voice gives. Baseline and engine alternate in one process on one core, so their ratio holds on a busy machine too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from realtime.bench.sambert_worker import speak
from realtime.engines.base import PlanRequest
from realtime.engines.sambert.engine import SambertEngine, load

WORDS = (
    "今天 天气 很好 我们 公园 看花 银行 工资 问题 询问 可以 北京 上海 学习 工作 音乐 朋友 时间 地方 老师 学生 电话 手机 网络 中国 世界"
).split()
VOICE, SECOND = "random16k", "random16k_b"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How long to measure."""
    parser.add_argument("--rounds", type=int, default=5, help="alternations of baseline and engine")
    parser.add_argument("--requests", type=int, default=40, help="first-audio and plan measurements")
    parser.add_argument("--quick", action="store_true", help="no second processes: no memory, jobs and busy-core figures")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure -> the figures by their contract names."""
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory(prefix="sambert-bench-") as folder:
        archive, models = _export(Path(folder))
        mine = os.sched_getaffinity(0)
        core = min(mine)
        os.sched_setaffinity(0, {core})
        engine = load({"models_dir": str(models), "voices": [VOICE]})
        result: dict[str, Any] = {"cores": 1}
        result |= _speed(engine, archive, rng, args.rounds)
        result |= _latency(engine, rng, args.requests)
        for level in result["levels"]:
            level["first_audio_ms"] = (
                result["first_audio_p95_ms"] if level is result["levels"][0] else _first_audio(engine, rng, level["name"])
            )
        engine.close()
        os.sched_setaffinity(0, mine)
        if not args.quick:
            result |= _processes(models, sorted(mine), rng, args)
    _report(result)
    return result


def _export(folder: Path) -> tuple[Path, Path]:
    from realtime.engines.sambert.checkpoint.export import export
    from realtime.engines.sambert.checkpoint.random_voice import write_random_archive

    print("making and exporting two random voices of the official size ...", file=sys.stderr)
    archive = write_random_archive(folder / "archive", (VOICE, SECOND))
    export({"archive": archive}, folder / "models", {"name": VOICE})
    export({"archive": archive}, folder / "models", {"name": SECOND, "int8": "no"})
    return archive, folder / "models"


def text_of(rng: random.Random, characters: int) -> str:
    """A random text of about this many characters that no cache has seen."""
    out = ""
    while len(out) < characters:
        out += rng.choice(WORDS)
    return out[:characters]


# --- against the baseline ---


def _speed(engine: SambertEngine, archive: Path, rng: random.Random, rounds: int) -> dict[str, Any]:
    from realtime.bench.sambert_baseline import TorchVoice, log_spectral_distance

    baseline = TorchVoice(archive)
    names = [level.name for level in engine.info.levels]
    theirs: list[float] = []
    ours: dict[str, list[float]] = {name: [] for name in names}
    distances: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        text = text_of(rng, 20) + "，" + text_of(rng, 12) + "。"
        symbols, reps = _line(engine, text)
        reference, took = baseline.speak(symbols, reps)
        theirs.append(took / (len(reference) / baseline.rate))
        for name in names:
            samples, took = _timed(engine, text, name)
            ours[name].append(took / (len(samples) / engine.info.sample_rate))
            distances[name].append(log_spectral_distance(samples, reference))
    slow = statistics.median(theirs)
    levels = []
    for name in names:
        rtf = statistics.median(ours[name])
        # Rounds are pairs taken one after the other, so the ratio of each is steadier than the ratio of medians.
        speedup = statistics.median(a / b for a, b in zip(theirs, ours[name], strict=True))
        levels.append({"name": name, "rtf": rtf, "speedup": speedup, "distance_db": statistics.fmean(distances[name])})
    return {"baseline_rtf": slow, "levels": levels}


def _line(engine: SambertEngine, text: str) -> tuple[Any, list[int]]:
    """Symbols and frames that the engine will use for a one-line text."""
    voice = engine.voice(VOICE)
    line, score = engine.score_of(text, VOICE)
    return line.symbols("emotion_neutral", voice.vocabulary.default_speaker), score.reps.tolist()


def _timed(engine: SambertEngine, text: str, level: str) -> tuple[np.ndarray[Any, Any], float]:
    from realtime.engines.base import Chunk, Done, Job

    engine.forget()
    begin, parts = time.perf_counter(), []
    engine.start(Job("bench", text, VOICE, "zh", level=level))
    while True:
        for event in engine.step():
            if isinstance(event, Chunk):
                parts.append(event.samples)
            elif isinstance(event, Done):
                return np.concatenate(parts), time.perf_counter() - begin


# --- latency ---


def _latency(engine: SambertEngine, rng: random.Random, requests: int) -> dict[str, Any]:
    first, plans = [], []
    for _ in range(requests):
        first.append(speak(engine, VOICE, [text_of(rng, 15)])["first_s"][0])
        begin = time.perf_counter()
        engine.plan(PlanRequest(text_of(rng, 40), VOICE, "zh"))
        plans.append(time.perf_counter() - begin)
    return {
        "first_audio_p50_ms": _percentile(first, 50) * 1e3,
        "first_audio_p95_ms": _percentile(first, 95) * 1e3,
        "plan_p50_ms": _percentile(plans, 50) * 1e3,
        "plan_p95_ms": _percentile(plans, 95) * 1e3,
        **_floor(engine, rng),
    }


def _first_audio(engine: SambertEngine, rng: random.Random, level: str) -> float:
    """p95 of the first 100 ms at another level."""
    firsts = [speak(engine, VOICE, [text_of(rng, 15)], level=level)["first_s"][0] for _ in range(20)]
    return _percentile(firsts, 95) * 1e3


def _floor(engine: SambertEngine, rng: random.Random) -> dict[str, Any]:
    """What the first 100 ms can't do without: text, score, decoder steps through the postnet's look-ahead, eight frames of vocoder."""
    voice = engine.voice(VOICE)
    texts = [text_of(rng, 15) for _ in range(12)]
    read = [_seconds(partial(engine.read, text, "zh")) for text in texts]
    scores = [_seconds(partial(engine.score_of, text, VOICE)) for text in texts]
    _, score = engine.score_of(texts[0], VOICE)
    memory = _seconds(lambda: voice.memory(score))
    state = voice.decoder_state(score, voice.memory(score))
    steps = -(-(8 + voice.postnet_delay) // voice.acoustic.outputs_per_step)
    step = statistics.median(_seconds(lambda: voice.decoder.step([state])) for _ in range(20))
    stream = voice.vocoder_stream(0)
    chunk = statistics.median(_seconds(lambda: stream.push(np.zeros((8, voice.vocoder.input_rows), np.float32))) for _ in range(10))
    parts = {
        "frontend": statistics.median(read),
        "score": statistics.median(scores),
        "memory": memory,
        "decode": steps * step,
        "vocode": chunk,
    }
    return {"floor_ms": {name: value * 1e3 for name, value in parts.items()}, "floor_steps": steps}


def _seconds(call: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def _percentile(values: list[float], percent: float) -> float:
    return float(np.percentile(values, percent))


# --- processes ---


def _processes(models: Path, cores: list[int], rng: random.Random, args: argparse.Namespace) -> dict[str, Any]:
    long = [text_of(rng, 40) for _ in range(8)]
    print("memory and start-up ...", file=sys.stderr)
    alone = _worker(models, VOICE, cores[:1], 0, [])
    both = _worker(models, f"{VOICE},{SECOND}", cores[:1], 0, [])
    print("jobs ...", file=sys.stderr)
    one = _together([_start(models, cores[:1], long[:1])])[0]
    result: dict[str, Any] = {
        "rss_mb": alone["rss_mb"],
        "second_voice_mb": both["rss_mb"] - alone["rss_mb"],
        "voice_files_mb": sum(path.stat().st_size for path in (models / VOICE).iterdir()) / 1e6,
        "ready_s": alone["ready_s"],
        "jobs": {"1": one["audio_s"] / one["took_s"]},
    }
    if len(cores) > 1:
        result["cores"] = len(cores[:2])
        halves = _together([_start(models, [cores[i]], long[i::2]) for i in (0, 1)])
        took, firsts = max(half["took_s"] for half in halves), [first for half in halves for first in half["first_s"]]
        result["jobs"]["8"] = sum(half["audio_s"] for half in halves) / took
        result["eight_first_audio_p95_ratio"] = _percentile(firsts, 95) / one["first_s"][0]
        with _busy(cores[1]):
            busy = _together([_start(models, cores[:1], long[:1])])[0]
        result["rtf_alone"] = one["took_s"] / one["audio_s"]
        result["rtf_other_core_busy"] = busy["took_s"] / busy["audio_s"]
    return result


def _command(models: Path, voice: str, cores: list[int], jobs: int, texts: list[str]) -> list[str]:
    return [sys.executable, "-m", "realtime.bench.sambert_worker", str(models), voice, ",".join(map(str, cores)), str(jobs), *texts]


def _worker(models: Path, voice: str, cores: list[int], jobs: int, texts: list[str]) -> dict[str, Any]:
    done = subprocess.run(_command(models, voice, cores, jobs, texts), stdout=subprocess.PIPE, check=True, timeout=300)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _start(models: Path, cores: list[int], texts: list[str]) -> subprocess.Popen[str]:
    command = _command(models, VOICE, cores, len(texts), texts)
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _together(processes: list[subprocess.Popen[str]]) -> list[dict[str, Any]]:
    """Wait until all are ready, let them go at once, collect."""
    for process in processes:
        assert process.stdout is not None
        while (line := process.stdout.readline().strip()) != "ready":
            if not line and process.poll() is not None:
                raise RuntimeError("a bench worker ended before it was ready")
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return [json.loads(process.communicate(timeout=300)[0].splitlines()[-1]) for process in processes]


@contextlib.contextmanager
def _busy(core: int) -> Iterator[None]:
    """Another process that keeps a core and the shared cache busy."""
    code = f"import os,numpy as np\nos.sched_setaffinity(0,{{{core}}})\na=np.ones((600,600),np.float32)\nwhile True: a=a@a*0"
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        time.sleep(1.0)
        yield
    finally:
        process.kill()
        process.wait()


def _report(result: dict[str, Any]) -> None:
    print(f"torch eager: RTF {result['baseline_rtf']:.3f} on one core")
    for level in result["levels"]:
        figures = f"RTF {level['rtf']:.3f}, {level['speedup']:.2f} times as fast, first audio p95 {level['first_audio_ms']:.1f} ms"
        print(f"{level['name']}: {figures}, log-spectral distance {level['distance_db']:.2f} dB")
    print(f"first 100 ms of audio: p50 {result['first_audio_p50_ms']:.1f} ms, p95 {result['first_audio_p95_ms']:.1f} ms (15 characters)")
    print(
        "  floor: "
        + ", ".join(f"{name} {value:.1f}" for name, value in result["floor_ms"].items())
        + f" ms ({result['floor_steps']} steps)"
    )
    print(f"plan of 40 characters: p50 {result['plan_p50_ms']:.1f} ms, p95 {result['plan_p95_ms']:.1f} ms")
    if "rss_mb" in result:
        more = f"; second voice +{result['second_voice_mb']:.0f} MB (files {result['voice_files_mb']:.0f} MB)"
        print(f"RSS {result['rss_mb']:.0f} MB, ready in {result['ready_s']:.2f} s{more}")
        print("audio seconds per second: " + ", ".join(f"{count} jobs {value:.1f}" for count, value in result["jobs"].items()))
    if "rtf_other_core_busy" in result:
        print(f"RTF with the other core busy: {result['rtf_other_core_busy']:.3f} (alone {result['rtf_alone']:.3f})")
        print(f"first audio p95 of eight over one alone: {result['eight_first_audio_p95_ratio']:.2f}")

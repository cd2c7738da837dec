"""What the service costs beside a bare uvicorn+websockets sender of the same frames, measured in one run on this machine.

N paced streams of 100 ms PCM frames over loopback, from a test voice that costs nothing to make. The load generator runs on the same
cores. Printed: CPU per stream against the bare sender's, continuity with a 100 ms start buffer, time to first audio, RSS growth.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import psutil
from rich.console import Console

from realtime.bench.figures import table
from realtime.bench.load import LoadSpec
from realtime.bench.processes import free_port, running, service
from realtime.engines.beacon.voices import PITCH_S

CONFIG = """
chain = ["beacon"]
[server]
web_player = false
[limits]
connections = 20000
utterances = 20000
[admission]
per_second = 100000.0
burst = 100000
streams_per_key = 100000
waiting_jobs = 100000
[cache]
max_mb = 0
[log]
level = "WARNING"
[engines.beacon]
options = { voices = ["beacon-null"], capacity = 1000, chunk_ms = 2000.0, can_plan = false }
"""
# Characters per second of the test voice.
CHARACTERS_PER_S = 1 / PITCH_S


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `realtime bench overhead`."""
    parser.add_argument("--streams", type=int, default=100, help="paced streams at once (default 100)")
    parser.add_argument("--seconds", type=float, default=15.0, help="length of each stream (default 15)")
    parser.add_argument("--rounds", type=int, default=2, help="times that both are measured, in turn (default 2)")
    parser.add_argument("--growth-utterances", type=int, default=400, help="short utterances spoken to see whether memory grows")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure and print; returns the figures of architecture.md section 7."""
    console = Console(stderr=True)
    text = _text(options.seconds, options.seed)
    ours, bare, growth_kb = [], [], 0.0
    for turn in range(options.rounds):
        with console.status(f"round {turn + 1} of {options.rounds}: bare sender, {options.streams} streams"), _bare_server() as (url, pid):
            bare.append(_measure(LoadSpec(url, options.streams, options.seconds, None), pid))
        with console.status(f"round {turn + 1} of {options.rounds}: service, {options.streams} streams"), _service() as (url, pid):
            ours.append(_measure(LoadSpec(url, options.streams, options.seconds, text), pid))
            if turn == options.rounds - 1:
                growth_kb = _growth(url, pid, options.growth_utterances)
    result = _summary(options, ours, bare, growth_kb)
    title = f"{result['streams']} paced streams of {result['seconds']:g} s on {result['cores']} cores, load generator included"
    console.print(table(title, result))
    return result


def _summary(options: argparse.Namespace, ours: list[dict[str, Any]], bare: list[dict[str, Any]], growth_kb: float) -> dict[str, Any]:
    ratios = [a["cpu_ms_per_stream_s"] / b["cpu_ms_per_stream_s"] for a, b in zip(ours, bare, strict=True)]
    first = np.concatenate([m["first_audio_ms"] for m in ours])
    first_bare = np.concatenate([m["first_audio_ms"] for m in bare])
    whole, streams = sum(m["whole"] for m in ours), sum(m["streams"] for m in ours)
    failed = [reason for m in ours + bare for reason in m["failed"]]
    return {
        "streams": options.streams,
        "seconds": options.seconds,
        "cores": len(os.sched_getaffinity(0)),
        "continuity": whole / streams,
        "continuity_bare": sum(m["whole"] for m in bare) / sum(m["streams"] for m in bare),
        "cpu_ratio_to_bare": float(np.median(ratios)),
        "cpu_ms_per_stream_s": float(np.median([m["cpu_ms_per_stream_s"] for m in ours])),
        "cpu_ms_per_stream_s_bare": float(np.median([m["cpu_ms_per_stream_s"] for m in bare])),
        "first_audio_p50_ms": float(np.percentile(first, 50)),
        "first_audio_p99_ms": float(np.percentile(first, 99)),
        "first_audio_p99_ms_bare": float(np.percentile(first_bare, 99)),
        "added_first_audio_p99_ms": float(np.percentile(first, 99) - np.percentile(first_bare, 99)),
        "worst_underrun_ms": max(m["worst_underrun_ms"] for m in ours),
        "rss_mb": max(m["rss_mb"] for m in ours),
        "rss_growth_kb_per_utterance": growth_kb,
        "failed": len(failed),
        **({"first_failure": failed[0]} if failed else {}),
    }


def _text(seconds: float, seed: int) -> str:
    rng = np.random.default_rng(seed)
    count = int(seconds * CHARACTERS_PER_S)
    chars = [chr(0x4E00 + int(c)) for c in rng.integers(0, 5000, count)]
    for at in range(17, count, 18):
        chars[at] = "。"
    return "".join(chars)


def _measure(spec: LoadSpec, pid: int) -> dict[str, Any]:
    family = _family(pid)
    before = sum(_cpu_s(p) for p in family)
    command = [sys.executable, "-m", "realtime.bench.load", json.dumps(dataclasses.asdict(spec))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=spec.seconds * 4 + 120, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    cpu_s = sum(_cpu_s(p) for p in family) - before
    result["cpu_ms_per_stream_s"] = cpu_s * 1000 / max(result["audio_s"], 1e-9)
    result["rss_mb"] = sum(p.memory_info().rss for p in family) / 1e6
    return result


def _growth(url: str, pid: int, utterances: int) -> float:
    def speak(count: int) -> None:
        spec = LoadSpec(url, count, 0.5, "今天天气好。")
        _measure(spec, pid)

    speak(utterances)
    process = psutil.Process(pid)
    before = process.memory_info().rss
    for _ in range(3):
        speak(utterances)
    return float((process.memory_info().rss - before) / 1024 / (3 * utterances))


def _family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@contextmanager
def _bare_server() -> Iterator[tuple[str, int]]:
    port = free_port()
    with running([sys.executable, "-m", "realtime.bench.bare", str(port)], port) as pid:
        yield f"ws://127.0.0.1:{port}/", pid


@contextmanager
def _service() -> Iterator[tuple[str, int]]:
    with service(CONFIG) as (port, pid):
        yield f"ws://127.0.0.1:{port}/v1/stream", pid

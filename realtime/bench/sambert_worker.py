"""One process of `realtime bench engine sambert`: loads the engine on given cores, speaks, prints one JSON object.

    python -m realtime.bench.sambert_worker MODELS VOICE CORES JOBS [TEXTS...]

With JOBS 0 it only loads and speaks once (memory and start-up); else JOBS jobs at once, started when a line comes on stdin, so that
several processes begin together.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import psutil

from realtime.engines.base import Chunk, Done, Job
from realtime.engines.sambert.engine import SambertEngine, load


def speak(engine: SambertEngine, voice: str, texts: list[str], enough_s: float = 0.1, level: str = "") -> dict[str, Any]:
    """Speak all texts at once -> seconds taken, audio seconds, and when each job had its first `enough_s` of sound."""
    begin = time.perf_counter()
    for i, text in enumerate(texts):
        engine.start(Job(str(i), text, voice, "zh", level=level))
    heard = dict.fromkeys(map(str, range(len(texts))), 0)
    first: dict[str, float] = {}
    left, rate = len(texts), engine.info.sample_rate
    while left:
        for event in engine.step():
            if isinstance(event, Chunk):
                heard[event.job_id] += len(event.samples)
                if heard[event.job_id] >= enough_s * rate * 0.999 and event.job_id not in first:
                    first[event.job_id] = time.perf_counter() - begin
            elif isinstance(event, Done):
                left -= 1
    return {"took_s": time.perf_counter() - begin, "audio_s": sum(heard.values()) / rate, "first_s": list(first.values())}


def main(arguments: list[str]) -> None:
    """See the module."""
    models, voice, cores, jobs, *texts = arguments
    begin = time.perf_counter()
    os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    engine = load({"models_dir": models, "voices": voice.split(",")})
    first = voice.split(",")[0]
    for name in voice.split(","):
        speak(engine, name, ["您好，这是预热。"])
    out: dict[str, Any] = {"ready_s": time.perf_counter() - begin}
    if int(jobs):
        print("ready", flush=True)
        sys.stdin.readline()
        out |= speak(engine, first, texts[: int(jobs)])
    elif texts:
        out |= speak(engine, first, texts)
    memory = psutil.Process()
    out["rss_mb"] = memory.memory_info().rss / 1e6
    print(json.dumps(out), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

"""Engines that misbehave in one way each; loaded by worker processes as `tests.workers.engines_for_tests:NAME`."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from realtime.engines.base import Chunk, Done, EngineEvent, EngineInfo, Job, PlanReply, PlanRequest, VoiceInfo
from realtime.errors import BadOption, ModelMissing


class Talker:
    """Speaks 10 chunks of 10 ms; what a job's text says may happen instead of a step."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options
        self.jobs: dict[str, list[Any]] = {}
        self.held: list[bytearray] = []
        self.is_broken = False
        self.voices: tuple[str, ...] = ("v",)

    @property
    def info(self) -> EngineInfo:
        voices = tuple(VoiceInfo(v, ("en",)) for v in self.voices)
        return EngineInfo("talker", 8000, ("en",), voices, capacity=int(self.options.get("capacity", 2)), can_plan=True)

    def start(self, job: Job) -> None:
        if job.text == "choke":
            raise RuntimeError("choked on the job")
        self.jobs[job.id] = [job, 0]

    def step(self) -> list[EngineEvent]:
        if self.is_broken:
            raise RuntimeError("still broken")
        events: list[EngineEvent] = []
        for job_id, (job, count) in list(self.jobs.items()):
            if job.text != "hello" and count == 2:
                self.misbehave(job)
            self.jobs[job_id][1] += 1
            events.append(Chunk(job_id, np.full(80, 0.1, np.float32), 8000))
            if count == 9:
                del self.jobs[job_id]
                events.append(Done(job_id, 800))
        return events

    def misbehave(self, job: Job) -> None:
        if job.text == "hang in C":
            ctypes.CDLL(None).usleep(ctypes.c_uint(600_000_000))
        elif job.text == "raise":
            raise ValueError("a bad step")
        elif job.text == "raise for one":
            error = ValueError("a bad job")
            error.job_id = job.id  # type: ignore[attr-defined]
            raise error
        elif job.text == "break":
            self.is_broken = True
            raise ValueError("broken for good")
        elif job.text == "exit":
            os._exit(7)
        elif job.text.startswith("eat "):
            self.held.append(bytearray(b"\x01") * (int(job.text.split()[1]) << 20))  # one allocation, all of it resident

    def cancel(self, job_id: str) -> None:
        self.jobs.pop(job_id, None)

    def adjust(self, job_id: str, level: str) -> None: ...

    def plan(self, request: PlanRequest) -> PlanReply:
        raise ValueError("no plan today")

    def reload(self) -> EngineInfo:
        if self.options.get("reload") == "raise":
            raise BadOption("its voices have two sample rates")
        self.voices = ("v", "w")
        return self.info

    def close(self) -> None: ...


def talker(options: Mapping[str, Any]) -> Talker:
    return Talker(options)


def quiet(options: Mapping[str, Any]) -> Talker:
    """Tells nothing of its words, and can't plan."""

    class Quiet(Talker):
        @property
        def info(self) -> EngineInfo:
            return replace(super().info, can_plan=False)

    return Quiet(options)


def missing(options: Mapping[str, Any]) -> Talker:
    raise ModelMissing("weights.safetensors is not there; run `realtime models pull`")


def dies_at_start(options: Mapping[str, Any]) -> Talker:
    os._exit(5)


def garbles(options: Mapping[str, Any]) -> Talker:
    """Writes bytes that are no message into every socket it finds."""
    for fd in range(3, 64):
        try:
            os.write(fd, b"\xff" * 64)
        except OSError:
            continue
    return Talker(options)


def silent(options: Mapping[str, Any]) -> Talker:
    """Yields no sound in the warm-up."""

    class Silent(Talker):
        def step(self) -> list[EngineEvent]:
            events: list[EngineEvent] = [Done(job_id, 0) for job_id in self.jobs]
            self.jobs.clear()
            return events

    return Silent(options)

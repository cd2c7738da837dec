"""How even the clock of many calls is on this machine: `realtime-ivr bench pacing`, `bench sipp` and `bench service`.

    pacing   calls without signalling, each sending to a socket of a receiver process, which notes when each packet came (kernel timestamps)
    sipp     SIPp places the calls, for real, and echoes the media; the same notes from what we send, SIPp's own counts, and what came back
    service  callers of our own hear every word streamed by the service at `--url`; when each packet came at their sockets

Jitter is a packet's distance from the even grid that fits its call best, so a late packet counts once. The sound is made ahead: what is
measured by the first two is the phone side, not an engine."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import shutil
import socket
import sys
import time
from typing import Any

import numpy as np
import numpy.typing as npt
from realtime_ivr.bench_service import hear
from realtime_ivr.call import FRAME_S, Call, HungUp, MarkHeard, Quality
from realtime_ivr.pacer import Pacer
from realtime_ivr.sip.agent import SipSettings
from realtime_ivr.sip.media import Media, Ports
from realtime_ivr.sip.offer import Terms
from realtime_ivr.transports.sip import SipTransport
from rich.console import Console
from rich.table import Table

from realtime.errors import BadOption
from realtime.types import Codec

Floats = npt.NDArray[np.float64]
SPEECH = np.random.default_rng(1).integers(0, 256, 8000, np.uint8).tobytes()
"""A second of noise as mu-law: as heavy as speech is."""
HOST = "127.0.0.1"


async def bench(arguments: argparse.Namespace) -> int:
    """Run one and print its figures."""
    if arguments.what == "service":
        figures = await with_service(arguments.calls, arguments.seconds, arguments.url)
    else:
        run = pacing if arguments.what == "pacing" else with_sipp
        figures = await run(arguments.calls, arguments.seconds, one_timer_per_call=arguments.one_timer_per_call)
    table = Table(title=f"{arguments.what}: {arguments.calls} calls, {arguments.seconds:g} s, {os.cpu_count()} cores")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in figures.items():
        table.add_row(name, str(value))
    Console(stderr=True).print(table)
    if arguments.json:
        print(json.dumps(figures), flush=True)
    return 0


async def pacing(calls: int, seconds: float, *, one_timer_per_call: bool = False) -> dict[str, Any]:
    """Figures of `calls` media streams that are sent to a process of its own."""
    receiver = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "realtime_ivr.bench", str(seconds + 0.5), stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL
    )
    assert receiver.stdout is not None  # asked for as a pipe
    port = int(await receiver.stdout.readline())
    shared = Pacer()
    pacers = [Pacer() if one_timer_per_call else shared for _ in range(calls)]
    ports, media = Ports(HOST, 40000, 49999), []
    began = _cpu_s()
    for pacer in pacers:
        stream = Media(Quality(), lambda key: None, lambda pcm: None)
        await ports.open(stream)
        stream.apply(Terms((HOST, port), Codec.MULAW, 0, 101), HOST)
        pacer.add(stream)
        media.append(stream)
        if one_timer_per_call:
            await asyncio.sleep(FRAME_S / calls)  # as calls begin at any time
    feeding = asyncio.create_task(_feed(media))
    started = time.monotonic()
    await asyncio.sleep(seconds)
    lasted = time.monotonic() - started
    feeding.cancel()
    for pacer, stream in zip(pacers, media, strict=True):
        pacer.remove(stream)
        stream.close()
    cpu = _cpu_s() - began
    arrivals = json.loads(await receiver.stdout.read())
    await receiver.wait()
    sent = sum(stream.stream.packets for stream in media)
    return _figures([np.array(times) for times in arrivals.values()], sent, sum(map(len, arrivals.values())), cpu / lasted)


async def _feed(media: list[Media]) -> None:
    """Keep half a second queued on each, as a service does."""
    while True:
        for stream in media:
            while stream.playout.queued < 4000:
                stream.playout.push(SPEECH[:4000])
        await asyncio.sleep(0.1)


async def with_sipp(calls: int, seconds: float, *, one_timer_per_call: bool = False) -> dict[str, Any]:
    """Figures of `calls` calls placed by SIPp, which sends our sound back to us."""
    if one_timer_per_call:
        raise BadOption("--one-timer-per-call is for `bench pacing`")
    if shutil.which("sipp") is None:
        raise BadOption("SIPp is not installed: apt install sip-tester")
    sent_at: dict[str, list[float]] = {}
    over: list[Call] = []

    async def serve(call: Call) -> None:
        times = sent_at[call.info.id] = []
        call.on_sent.append(lambda frame: times.append(time.monotonic()))
        await call.answer()
        while call.hung_up is None:
            if call.queued < 4000:
                call.play(SPEECH)
                call.mark("half")
            event = await call.next_event()
            if isinstance(event, HungUp):
                break
            assert isinstance(event, MarkHeard)  # nobody presses keys
        over.append(call)

    transport = SipTransport(SipSettings(host=HOST, port=0, max_calls=calls + 10, invites_per_s=1000), serve, rtp_ports=(40000, 49999))
    await transport.start()
    began, started = _cpu_s(), time.monotonic()
    try:
        code, note = await _run_sipp(transport.agent.port, calls, seconds)
        lasted, cpu = time.monotonic() - started, _cpu_s() - began
    finally:
        await transport.aclose()
    received = sum(call.quality.packets_received for call in over)
    lost = sum(call.quality.packets_lost for call in over)
    figures = _figures([np.array(times) for times in sent_at.values()], sum(map(len, sent_at.values())), None, cpu / lasted)
    return {"sipp_exit": code, "sipp": note, "calls_served": len(over), **figures, "packets_echoed": received, "packets_lost": lost}


async def with_service(calls: int, seconds: float, url: str) -> dict[str, Any]:
    """Figures of `calls` calls whose words the service streams."""
    began, started = _cpu_s(), time.monotonic()
    times, figures = await hear(calls, seconds, url)
    cpu = (_cpu_s() - began) / (time.monotonic() - started)
    counted = _figures([np.array(one) for one in times], sum(map(len, times)), None, cpu)
    return figures | {"packets_counted": counted.pop("packets_sent")} | counted


def _free_port() -> int:
    """A UDP port whose next even neighbours are likely free, too: SIPp echoes on two."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1]) // 4 * 4


async def _run_sipp(port: int, calls: int, seconds: float) -> tuple[int, str]:
    where = f"{HOST}:{port} -sn uac -i {HOST} -mi {HOST} -mp {_free_port()} -rtp_echo"
    load = f"-m {calls} -l {calls} -r {min(calls, 25)} -d {int(seconds * 1000)} -timeout {int(seconds + calls / 25 + 30)}s"
    sipp = ["sipp", *where.split(), *load.split()]
    process = await asyncio.create_subprocess_exec(
        *sipp, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    code = process.returncode or 0
    return code, "all calls successful" if code == 0 else f"exit {code}: {errors.decode(errors='replace')[-200:]}"


def _figures(streams: list[Floats], sent: int, received: int | None, cpu: float) -> dict[str, Any]:
    """Jitter over all packets, and the intervals between them."""
    streams = [times for times in streams if len(times) > 10]
    off = np.concatenate([_off_grid(times) for times in streams]) if streams else np.zeros(1)
    gaps = np.concatenate([np.diff(np.sort(times)) for times in streams]) * 1000 if streams else np.zeros(1)
    figures: dict[str, Any] = {"streams": len(streams), "packets_sent": sent}
    if received is not None:
        figures["packets_received"] = received
        figures["packet_loss"] = round(1 - received / max(1, sent), 6)
    return figures | {
        "jitter_p50_ms": round(float(np.percentile(off, 50)), 3),
        "jitter_p99_ms": round(float(np.percentile(off, 99)), 3),
        "jitter_max_ms": round(float(off.max()), 3),
        "interval_p01_ms": round(float(np.percentile(gaps, 1)), 3),
        "interval_p99_ms": round(float(np.percentile(gaps, 99)), 3),
        "cpu_share_of_a_core": round(cpu, 3),
    }


def _off_grid(times: Floats) -> Floats:
    """Milliseconds of each packet from the even grid through the median."""
    times = np.sort(times)
    relative = times - np.arange(len(times)) * FRAME_S
    off: Floats = np.abs(relative - np.median(relative)) * 1000
    return off


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _receive(seconds: float) -> None:
    """The receiver process: prints its port, then the arrivals by source port, by the kernel's clock."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    receiver.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_TIMESTAMPNS", 35), 1)  # asm-generic/socket.h
    receiver.bind((HOST, 0))
    print(receiver.getsockname()[1], flush=True)
    receiver.settimeout(seconds + 5)
    arrivals: dict[int, list[float]] = {}
    end = 0.0
    while True:
        try:
            data, controls, _, source = receiver.recvmsg(2048, 64)
        except TimeoutError:
            break
        end = end or time.monotonic() + seconds
        receiver.settimeout(max(0.01, end - time.monotonic()))
        if controls and data[1] & 0x7F == 0:
            whole, part = np.frombuffer(controls[0][2][:16], np.int64)
            arrivals.setdefault(source[1], []).append(float(whole) + float(part) / 1e9)
        if time.monotonic() > end:
            break
    print(json.dumps(arrivals), flush=True)


if __name__ == "__main__":
    _receive(float(sys.argv[1]))

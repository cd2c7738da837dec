"""One handover, drawn: a sentence on a real service whose main engine is frozen in the middle, as the listener's socket saw it.

Above, what each engine's sound covers on the listener's clock and when it arrived; below, how much sound was ahead of the ear. The
picture shows the fault, the start of the race, the switch, and that the lead never reached zero.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
from websockets.asyncio.client import connect

from realtime.bench.line import ask
from realtime.bench.processes import service

CONFIG = """
chain = ["beacon", "spare"]
[server]
web_player = false
[log]
level = "ERROR"
[engines.beacon]
options = { rate_factor = 0.4, first_chunk_ms = 150.0, chunk_ms = 300.0 }
step_timeout_s = 8.0
[engines.spare]
factory = "beacon"
options = { name = "spare", rate_factor = 0.1, first_chunk_ms = 60.0, voices = ["beacon-b"] }
"""
TEXT = "床前明月光疑是地上霜举头望明月低头思故乡，春眠不觉晓处处闻啼鸟夜来风雨声花落知多少。"
START_BUFFER_S = 0.1
WIDTH, LEFT, RIGHT, ROW, LEAD_HEIGHT = 900, 90, 20, 26, 150
COLOURS = {"beacon": "#2f55d4", "spare": "#b45309"}
NAMES = {"beacon": "main engine", "spare": "stand-in"}


@dataclass(slots=True)
class Trace:
    """What happened, in seconds from the first sound's arrival. `frames`: arrival, first second of sound, length, engine."""

    frames: list[tuple[float, float, float, str]] = field(default_factory=list)
    fault_s: float = 0.0
    switches: list[tuple[float, float, str]] = field(default_factory=list)
    ttfa_ms: float = 0.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `realtime bench timeline`."""
    parser.add_argument("--out", type=Path, default=Path("handover.svg"), help="picture to write (default handover.svg)")
    parser.add_argument("--fault", default="stall", choices=("stall", "kill", "stop", "exception"), help="what is done to the engine")
    parser.add_argument("--at-s", type=float, default=1.3, help="when, in seconds of sound received (default 1.3)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run once and draw."""
    with service(CONFIG, "--allow-faults") as (port, _):
        trace = asyncio.run(_listen(port, options.fault, options.at_s))
    options.out.write_text(draw(trace, options.fault), encoding="utf-8")
    lowest = min((lead for _, lead in lead_curve(trace)), default=0.0)
    return {"picture": str(options.out), "switches": len(trace.switches), "lowest_lead_ms": lowest * 1000, "frames": len(trace.frames)}


async def _listen(port: int, fault: str, at_s: float) -> Trace:
    trace, began, subprotocols = Trace(), 0.0, ["realtime.v1.msgpack"]
    async with connect(f"ws://127.0.0.1:{port}/v1/stream", subprotocols=subprotocols) as socket:  # type: ignore[arg-type]
        await socket.recv()
        budget = {"profile": "chatbot", "max_lead_ms": 1500}
        await socket.send(msgpack.packb({"type": "open", "utterance": "u", "voice": "beacon-a", "budget": budget}))
        await socket.send(msgpack.packb({"type": "text", "utterance": "u", "text": TEXT}))
        await socket.send(msgpack.packb({"type": "end", "utterance": "u"}))
        async for raw in socket:
            message, now = msgpack.unpackb(raw), time.monotonic()
            if message["type"] == "audio":
                began = began or now
                trace.frames.append((now - began, message["offset"] / 24000, message["samples"] / 24000, message["engine"]))
                if not trace.fault_s and message["offset"] / 24000 >= at_s:
                    trace.fault_s = now - began
                    await asyncio.to_thread(ask, port, "/v1/faults", {"kind": fault, "engine": "beacon", "value": 6000})
            elif message["type"] == "switch":
                trace.switches.append((now - began, message["sample_offset"] / 24000, message["reason"]))
            elif message["type"] == "done":
                return trace
            elif message["type"] == "error":
                raise RuntimeError(message["message"])
    return trace


def lead_curve(trace: Trace) -> list[tuple[float, float]]:
    """(seconds, sound ahead of the ear) around every arrival, until the last frame came."""
    points, sent = [], 0.0
    for arrival, _, length, _ in trace.frames:
        heard = max(0.0, arrival - START_BUFFER_S)
        points.append((arrival, sent - min(sent, heard)))
        sent += length
        points.append((arrival, sent - min(sent, heard)))
    return points[1:]


def draw(trace: Trace, fault: str) -> str:
    """The picture as SVG."""
    end = max(start + length for _, start, length, _ in trace.frames) + START_BUFFER_S + 0.2
    scale = (WIDTH - LEFT - RIGHT) / end
    height = 60 + 2 * ROW + 30 + LEAD_HEIGHT + 50

    def x(seconds: float) -> float:
        return LEFT + seconds * scale

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="system-ui, sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="{LEFT}" y="24" font-size="15" font-weight="600" fill="#222">A handover as the listener met it ({fault})</text>',
    ]
    for row, engine in enumerate(COLOURS):
        y = 44 + row * ROW
        parts.append(f'<text x="8" y="{y + 15}" fill="#444">{NAMES[engine]}</text>')
        for arrival, start, length, by in trace.frames:
            if by == engine:
                heard = x(start + START_BUFFER_S)
                parts.append(f'<rect x="{heard:.1f}" y="{y}" width="{length * scale:.1f}" height="18" fill="{COLOURS[engine]}"/>')
                parts.append(f'<circle cx="{x(arrival):.1f}" cy="{y + 22}" r="1.5" fill="{COLOURS[engine]}"/>')
    base = 44 + 2 * ROW + 30 + LEAD_HEIGHT
    curve = lead_curve(trace)
    top = max(lead for _, lead in curve)
    line = " ".join(f"{x(t):.1f},{base - lead / top * LEAD_HEIGHT:.1f}" for t, lead in curve)
    parts.append(f'<polyline points="{line}" fill="none" stroke="#0b6e4f" stroke-width="1.5"/>')
    parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}" stroke="#888"/>')
    parts.append(
        f'<text x="8" y="{base - LEAD_HEIGHT + 4}" fill="#444">{top:.1f} s ahead</text><text x="8" y="{base + 4}" fill="#444">dry</text>'
    )
    parts += _marks(trace, x, base)
    parts += [f'<text x="{x(s):.1f}" y="{base + 16}" fill="#666">{s} s</text>' for s in range(int(end) + 1)]
    note = "bars: when it is heard (100 ms start buffer); dots: when it arrived; curve: sound ahead of the ear"
    parts.append(f'<text x="{LEFT}" y="{base + 38}" fill="#666">{note}</text></svg>')
    return "\n".join(parts) + "\n"


def _marks(trace: Trace, x: Any, base: float) -> list[str]:
    marks = [(trace.fault_s, "fault", "#b91c1c")]
    marks += [(sound_s + START_BUFFER_S, f"switch heard ({reason})", "#7c3aed") for _, sound_s, reason in trace.switches[:1]]
    parts = []
    for row, (at, label, colour) in enumerate(marks):
        parts.append(f'<line x1="{x(at):.1f}" x2="{x(at):.1f}" y1="40" y2="{base}" stroke="{colour}" stroke-dasharray="4 3"/>')
        parts.append(f'<text x="{x(at) + 4:.1f}" y="{44 + 2 * ROW + 18 + 14 * row}" fill="{colour}">{label}</text>')
    return parts

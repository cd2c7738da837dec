"""`realtime-ivr bench service`: callers who hear every word streamed by a running service, as they hear it: by the kernel's clock at their
sockets (`load.py`, a process of its own)."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import numpy as np
from realtime_ivr.desk import Desk
from realtime_ivr.errors import CallFailed
from realtime_ivr.local_voice import LocalVoice
from realtime_ivr.prompts import PromptStore
from realtime_ivr.saying import Voices
from realtime_ivr.service import Service
from realtime_ivr.session import Session
from realtime_ivr.sip.agent import SipSettings
from realtime_ivr.transports.sip import SipTransport

TEXT = "Your balance is twelve thousand yuan. Thank you for calling. For more, press one. 您的余额是一万两千元，谢谢您的来电。"
SETTLING = 100
"""Packets of each call that do not count for jitter: the calls begin one after the other meanwhile."""


async def hear(calls: int, seconds: float, url: str) -> tuple[list[list[float]], dict[str, Any]]:
    """When the packets of each call came, and what else there is to tell. Raises `CallFailed` when there is no service at `url`."""
    voices = Voices(Service(url), PromptStore(), LocalVoice())
    await voices.service.start()
    records: list[dict[str, Any]] = []
    late: list[float] = []
    try:
        if not voices.service.is_there:
            raise CallFailed(f"no service at {url}: {voices.service.last_error}; start one with `realtime serve`")
        desk = Desk(voices, _talk)

        async def serve(call: Any) -> None:
            records.append(await desk.serve(call))

        sip = SipTransport(SipSettings(port=0, max_calls=calls + 10, invites_per_s=1000), serve, rtp_ports=(40000, 49999))
        sip.pacer.on_tick = late.append
        await sip.start()
        try:
            result = await _callers(sip.agent.port, calls, seconds)
        finally:
            await sip.aclose()
    finally:
        await voices.service.aclose()
    prompts = [prompt for record in records for prompt in record["prompts"]]
    first = [prompt["ttfa_ms"] for prompt in prompts if "ttfa_ms" in prompt] or [float("nan")]
    return [times[SETTLING:] for times in result["times"]], {
        "calls_served": result["calls"],
        "failures": result["failures"],
        "packets_lost": result["packets_lost"],
        "prompts": len(prompts),
        "underruns": sum(record["underruns"] for record in records),
        "takeovers": sum(prompt.get("takeovers", 0) for prompt in prompts),
        "first_audio_p50_ms": round(float(np.median(first)), 1),
        "first_audio_p99_ms": round(float(np.percentile(first, 99)), 1),
        "ticks_late_p99_ms": round(float(np.percentile(late, 99)) * 1000, 2),
        "ticks_late_max_ms": round(max(late) * 1000, 2),
    }


async def _talk(session: Session) -> None:
    while True:
        await session.say(TEXT)


async def _callers(port: int, calls: int, seconds: float) -> dict[str, Any]:
    uri = f"sip:ivr@127.0.0.1:{port}"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "realtime_ivr.load", uri, "--calls", str(calls), "--seconds", str(seconds), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise CallFailed("the callers' process failed; its message is above")
    found: dict[str, Any] = json.loads(out)
    return found

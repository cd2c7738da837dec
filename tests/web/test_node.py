"""The page's code outside a browser: its own tests under node, and its protocol code against the service's."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from realtime.types import AudioFormat, Codec
from realtime.wire import events as wire
from realtime.wire.dialects.native import NativeJson, NativeMsgpack

HERE = Path(__file__).parent
NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed: the page's code is tested in Chromium only")

SERVER_EVENTS: tuple[wire.ServerEvent, ...] = (
    wire.Ready("0.1.0", wire.Limits(), (wire.Voice("你", "beacon", ("zh",)),), (wire.FormatOffer(Codec.OPUS, (48000,)),), ()),
    wire.Opened("a1", "v", AudioFormat(Codec.PCM_S16LE, 24000), wire.Budget()),
    wire.SegmentStarted("a1", 3, 70_000, 70_200, 2**33, "beacon", "zh", (wire.Word(70_000, 70_002, 0.1, 1e6),)),
    wire.Audio("a1", 300, 2**31, 960, "beacon", bytes(range(256)) * 300),
    wire.Switch("a1", "beacon", "beacon2", "worker_lost", 5, 70_000),
    wire.TextPaused("a1", 4000),
    wire.Done("a1", wire.Usage(6, {"beacon": 0.083}), 212.0, wire.Underruns(1, 2.5, 2.5), 1),
    wire.Cancelled("a1", 5, 12.5),
    wire.Error("overloaded", "say 👋 later", True, 1500, "a1"),
    wire.Pong("12.5"),
)
CLIENT_MESSAGES: tuple[dict[str, Any], ...] = (
    {
        "type": "open",
        "utterance": "page-1",
        "priority": "interactive",
        "voice": "espeak-zh",
        "speed": 1.05,
        "format": {"codec": "opus", "sample_rate": 48000},
        "budget": {"profile": "browser", "max_lead_ms": 2000},
    },
    {"type": "text", "utterance": "page-1", "text": '你好 👋 "quoted"\n' * 300},
    {"type": "played", "utterance": "page-1", "sample": 5_000_000_000},
    {"type": "end", "utterance": "page-1"},
    {"type": "cancel", "utterance": "page-1"},
    {"type": "ping", "data": "12345.678"},
)


def run_node(*arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    assert NODE is not None
    return subprocess.run([NODE, *arguments], input=given, capture_output=True, text=True, timeout=60, cwd=HERE, check=False)


def test_the_modules_pass_their_own_tests() -> None:
    files = sorted(path.name for path in HERE.glob("*.test.mjs"))
    assert files
    done = run_node("--test", *files)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_page_and_service_understand_each_other_in_both_subprotocols() -> None:
    as_json, as_msgpack = NativeJson(), NativeMsgpack()
    frames = [{"json": as_json.encode(event), "msgpack": as_msgpack.encode(event).hex()} for event in SERVER_EVENTS]
    done = run_node("interop.mjs", given=json.dumps({"frames": frames, "messages": CLIENT_MESSAGES}))
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    for frame, (from_json, from_msgpack) in zip(frames, answer["decoded"], strict=True):
        assert from_json == json.loads(frame["json"])
        assert from_msgpack == from_json
    for sent in answer["encoded"]:
        (understood,) = as_json.decode(sent["json"])
        assert tuple(as_msgpack.decode(bytes.fromhex(sent["msgpack"]))) == (understood,)

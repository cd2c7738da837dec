"""The voice detector, the E-model, records, and the command line."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from realtime_ivr import bench
from realtime_ivr import collector as collecting
from realtime_ivr.cli import main
from realtime_ivr.collector import Collector
from realtime_ivr.metrics import Metrics, MetricsServer
from realtime_ivr.mos import mos, r_factor
from realtime_ivr.record import CallRecord, RecordFile
from realtime_ivr.recording import file_name
from realtime_ivr.serving import address
from realtime_ivr.vad import END, START, EnergyDetector, VoiceGate

from realtime.audio.wavfile import read_wav
from realtime.errors import BadOption, how_to_install

RNG = np.random.default_rng(0)


def frames(level: float, count: int) -> list[Any]:
    return [(RNG.normal(0, level, 160)).astype(np.int16) for _ in range(count)]


def test_a_voice_starts_after_120_ms_and_a_click_does_not() -> None:
    gate = VoiceGate(EnergyDetector())
    assert not any(gate.push(frame) for frame in frames(10, 100))
    assert not any(gate.push(frame) for frame in [*frames(5000, 2), *frames(10, 20)])
    begins = [gate.push(frame) for frame in frames(3000, 20)]
    assert begins.index(True) == START - 1 and sum(begins) == 1 and gate.is_speaking
    for frame in frames(10, END):
        gate.push(frame)
    assert not gate.is_speaking


def test_a_noisy_line_is_not_a_voice() -> None:
    gate = VoiceGate(EnergyDetector())
    for frame in frames(20, 50):
        gate.push(frame)
    assert sum(gate.push(frame) for frame in frames(60, 500)) == 0


def test_the_library_hears_speech_and_no_tone_of_the_line() -> None:
    pytest.importorskip("webrtcvad", reason=f"webrtcvad-wheels is not installed; {how_to_install('ivr')}")
    from realtime_ivr.vad import WebRtcDetector

    detector = WebRtcDetector()
    assert not any(detector.is_speech(frame) for frame in frames(8, 30))
    time = np.arange(160 * 30) / 8000
    voice = sum(np.sin(2 * np.pi * 140 * n * time) / n for n in range(1, 20)) * 3000 * (1 + np.sin(2 * np.pi * 4 * time))
    assert sum(detector.is_speech(voice[at : at + 160].astype(np.int16)) for at in range(0, len(voice), 160)) > 15


def test_the_e_model_agrees_with_g_107() -> None:
    assert mos(93.2) == pytest.approx(4.41, abs=0.01)  # G.107 annex B: the default R
    assert mos(50) == pytest.approx(2.58, abs=0.01) and mos(0) == 1.0 and mos(100) == 4.5
    assert r_factor(0, 0) > r_factor(0, 150) > r_factor(0, 400)
    assert mos(r_factor(0.05, 20)) < mos(r_factor(0.01, 20)) < mos(r_factor(0, 20)) == pytest.approx(4.39, abs=0.02)
    assert mos(r_factor(1.0, 2000)) == 1.0


async def test_a_record_is_one_line_and_a_full_disk_costs_only_the_record(fake_call: Callable[..., Any], tmp_path: Path) -> None:
    call = fake_call()
    record = CallRecord(call.info, "flow")
    record.entered("a")
    record.said("a").characters = 3
    call.gone()
    file = RecordFile(tmp_path / "deep" / "calls.jsonl")
    assert file.write(record.line(call)) == "" and file.write(record.line(call)) == ""
    lines = [json.loads(line) for line in (tmp_path / "deep" / "calls.jsonl").read_text().splitlines()]
    assert len(lines) == 2 and lines[0]["ended_by"] == "caller" and lines[0]["prompts"][0]["characters"] == 3
    (tmp_path / "folder").mkdir()
    broken = RecordFile(tmp_path / "folder")
    assert "can't write" in broken.write({}) and broken.failed == 1


@pytest.mark.parametrize(("given", "wanted"), [("../../etc/passwd", "etc_passwd.wav"), ("a@1.2.3.4", "a_1.2.3.4.wav"), ("...", "call.wav")])
def test_a_calls_id_is_no_path(given: str, wanted: str) -> None:
    assert file_name(given) == wanted


def test_metrics_are_served() -> None:
    metrics = Metrics()
    metrics.barge_ins.labels("keys").inc()
    server = MetricsServer(metrics, "127.0.0.1", 0)
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=5) as response:
        assert 'ivr_barge_ins_total{by="keys"} 1.0' in response.read().decode()
    with pytest.raises(BadOption, match="can't serve metrics"):
        MetricsServer(metrics, "127.0.0.1", server.port)
    server.close()


def test_garbage_waits_until_nobody_listens_but_not_for_ever() -> None:
    now, is_idle, finished = [0.0], [False], [0]
    collector = Collector(lambda: is_idle[0], lambda: finished[0], lambda: now[0])
    now[0] = collecting.REST_S + 1
    assert not collector.is_due()
    is_idle[0] = True
    assert collector.is_due()
    collector.collect()
    assert not collector.is_due()
    is_idle[0], finished[0] = False, collecting.MOST_CALLS
    assert collector.is_due()
    collector.collect()
    assert not collector.is_due()
    now[0] += collecting.LONGEST_S
    assert collector.is_due()


def test_every_priority_that_is_taken_is_told() -> None:
    code = "from realtime_ivr.priority import take_priority; print(take_priority('normal')); print(take_priority('auto'))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30).stdout.split("\n")
    assert told[0] == "normal" and told[1].startswith(("real-time", "nice", "normal"))


def test_addresses_are_checked() -> None:
    assert address("0.0.0.0:5060") == ("0.0.0.0", 5060) and address(":80") == ("127.0.0.1", 80)
    for wrong in ("x", "h:", "h:99999", "h:p"):
        with pytest.raises(BadOption, match="HOST:PORT"):
            address(wrong)


def test_check_tells_mistakes_and_exits_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "f.toml"
    path.write_text('name = "f"\nstart = "a"\n[steps.a]\nsay = "Hello."')
    assert main(["check", "--flow", str(path)]) == 0 and "1 steps, 1 prompts" in capsys.readouterr().out
    path.write_text('name = "f"\nstart = "b"\n[steps.a]\nsay = "Hello."')
    assert main(["check", "--flow", str(path)]) == 1 and "there is no step 'b'" in capsys.readouterr().err


def test_a_call_to_nobody_is_told(tmp_path: Path) -> None:
    path = tmp_path / "f.toml"
    path.write_text('name = "f"\nstart = "a"\n[steps.a]\nsay = "Hello."')
    command = [
        sys.executable,
        "-m",
        "realtime_ivr.cli",
        "dial",
        "sip:x@127.0.0.1:9",
        "--flow",
        str(path),
        "--ring-s",
        "0.3",
        "--url",
        "ws://127.0.0.1:9",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and "nobody answered within 0.3 s" in done.stderr


def test_the_clock_of_a_few_calls_loses_nothing() -> None:
    figures = asyncio.run(bench.pacing(3, 0.6))
    assert figures["packet_loss"] == 0 and figures["streams"] == 3 and figures["packets_sent"] >= 60


def test_recordings_can_be_read_by_the_projects_own_reader(tmp_path: Path) -> None:
    from realtime_ivr.recording import Recording

    from realtime.types import Codec

    async def record() -> None:
        recording = Recording(tmp_path / "a.wav", Codec.MULAW)
        recording.sent(b"\x00" * 160)
        recording.heard(np.zeros(160, np.int16))
        await recording.aclose()
        assert recording.error == ""

    asyncio.run(record())
    samples, rate = read_wav(tmp_path / "a.wav")
    assert rate == 8000 and len(samples) == 160 and np.abs(samples).max() > 0.4


async def test_sipp_is_served() -> None:
    if shutil.which("sipp") is None:
        pytest.skip("SIPp is not installed: apt install sip-tester")
    figures = await bench.with_sipp(3, 1.0)
    assert figures["sipp_exit"] == 0 and figures["calls_served"] == 3 and figures["packets_lost"] == 0
    assert figures["packets_echoed"] > 0.8 * figures["packets_sent"] > 0

"""`realtime say`: stdin to a service in this process, into files and a device that is not there."""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import sys
import time
import types
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from realtime_client import say as command
from realtime_client import speaking
from realtime_client.client import connect
from realtime_client.files import SoundFile, file_codec
from realtime_client.pieces import NO_SAMPLES, AudioPiece
from realtime_client.player import Player
from realtime_client.progress import ProgressLine, progress_text
from realtime_client.stdin import Stdin

from realtime.audio.codecs import make_encoder
from realtime.audio.wavfile import read_wav
from realtime.errors import BadOption, Overloaded
from realtime.types import AudioFormat, Codec
from realtime.wire.events import Open, Played

Service = Any
TEXT = "one two three, four five."
KEYS = {"ttfa_ms", "audio_s", "underruns", "underrun_ms", "switches", "engines", "first_audio_before_input_end"}


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(words)


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A pipe in place of standard input; its writing end."""
    reading, writing = os.pipe()
    monkeypatch.setattr("realtime_client.speaking.Stdin", lambda now: Stdin(now, reading))
    yield writing
    for end in (reading, writing):
        try:
            os.close(end)
        except OSError:
            continue  # closed by the test


async def say(service: Service, pipe: int, text: str | bytes, *words: str) -> dict[str, Any]:
    os.write(pipe, text.encode() if isinstance(text, str) else text)
    os.close(pipe)
    return await speaking.say(arguments("--url", service.url, *words))


class TestFiles:
    async def test_a_wav_file_and_the_figures(
        self, service: Service, pipe: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "o.wav"
        figures = await say(service, pipe, TEXT, "--out", str(out))
        with wave.open(str(out)) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24000, 1, 2)
            assert service.read_back(file.readframes(file.getnframes())) == TEXT
        assert set(figures) == KEYS
        assert figures["audio_s"] == pytest.approx(len(TEXT) * 0.01)
        assert figures["engines"] == {"fake": pytest.approx(len(TEXT) * 0.01)}
        assert (figures["underruns"], figures["switches"]) == (0, 0)
        assert "TTFA" in capsys.readouterr().err

    async def test_sound_before_the_input_ends(self, service: Service, pipe: int, tmp_path: Path) -> None:
        os.write(pipe, b"one two ")
        talking = asyncio.create_task(speaking.say(arguments("--url", service.url, "--out", str(tmp_path / "o.pcm"))))
        while not ((tmp_path / "o.pcm").exists() and (tmp_path / "o.pcm").stat().st_size):
            await asyncio.sleep(0.005)
        os.write(pipe, b"three")
        os.close(pipe)
        figures = await talking
        assert figures["first_audio_before_input_end"] is True
        assert service.read_back((tmp_path / "o.pcm").read_bytes()) == "one two three"

    async def test_options_reach_the_service(self, service: Service, pipe: int, tmp_path: Path) -> None:
        words = "--voice v --language zh --speed 1.2 --rate 8000 --format mulaw --budget ivr".split()
        await say(service, pipe, "x", "--out", str(tmp_path / "o"), *words)
        (opened,) = service.of(Open)
        assert (opened.voice, opened.language, opened.speed) == ("v", "zh", 1.2)
        assert (opened.format.codec, opened.format.sample_rate) == (Codec.MULAW, 8000)
        assert opened.budget.profile == "ivr" and opened.budget.max_lead_ms == 3_600_000

    async def test_no_text_says_so(self, service: Service, pipe: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        figures = await say(service, pipe, "", "--out", str(tmp_path / "o.wav"))
        assert "nothing was said" in capsys.readouterr().err
        assert "ttfa_ms" not in figures and "first_audio_before_input_end" not in figures
        assert figures["audio_s"] == 0

    async def test_a_cut_connection_leaves_a_seamless_file(self, service: Service, pipe: int, tmp_path: Path) -> None:
        service.cut_at = [240 * 9 + 100]
        out = tmp_path / "o.wav"
        await say(service, pipe, TEXT, "--out", str(out))
        with wave.open(str(out)) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        assert service.read_back(samples[samples != ord(" ")].tobytes()) == TEXT.replace(" ", "")

    @pytest.mark.parametrize(
        ("name", "asked", "codec"),
        [
            ("a.wav", None, Codec.WAV),
            ("a", None, Codec.WAV),
            ("a.MP3", None, Codec.MP3),
            ("a.opus", None, Codec.OGG_OPUS),
            ("a.ulaw", None, Codec.MULAW),
            ("a.wav", "flac", Codec.FLAC),
        ],
    )
    def test_the_name_picks_the_codec(self, name: str, asked: str | None, codec: Codec) -> None:
        assert file_codec(Path(name), asked) is codec

    def test_raw_opus_is_no_file(self) -> None:
        with pytest.raises(BadOption, match="ogg_opus"):
            file_codec(Path("a.opus"), "opus")

    def test_a_file_that_can_not_be_written(self, tmp_path: Path) -> None:
        with pytest.raises(BadOption, match="can't write"):
            SoundFile(tmp_path / "missing" / "o.wav", Codec.WAV, 8000)

    async def test_a_flac_file_tells_its_length(self, tmp_path: Path) -> None:
        path = tmp_path / "o.flac"
        tone = (np.sin(np.arange(20_000) / 20) / 2).astype(np.float32)
        encoder = make_encoder(AudioFormat(Codec.FLAC, 24000))
        file = SoundFile(path, Codec.FLAC, 24000)
        for frame in (*encoder.encode(tone), *encoder.flush()):
            file.write(AudioPiece(frame.start, frame.samples, 24000, "e", frame.payload, NO_SAMPLES))
        file.close()
        samples, rate = read_wav(path)
        assert (len(samples), rate) == (len(tone), 24000)
        assert np.abs(samples - tone).max() < 1e-4
        SoundFile(path, Codec.FLAC, 24000).close()  # nothing came: nothing to correct
        assert path.read_bytes() == b""

    async def test_packets_are_appended_as_they_come(self, tmp_path: Path) -> None:
        file = SoundFile(tmp_path / "o.mp3", Codec.MP3, 8000)
        for offset, payload in ((0, b"ab"), (5, b""), (5, b"cd")):
            file.write(AudioPiece(offset, 5, 8000, "e", payload, NO_SAMPLES))
        await file.finish()
        file.close()
        assert (tmp_path / "o.mp3").read_bytes() == b"abcd"


class TestStdin:
    @pytest.mark.parametrize("size", [1, 2, 3, 7])
    async def test_characters_are_put_together_across_reads(self, pipe: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("realtime_client.stdin.READ_BYTES", size)
        text = "héllo 你好 😀 end"
        os.write(pipe, text.encode())
        os.close(pipe)
        assert "".join([piece async for piece in speaking.Stdin(time.monotonic)]) == text

    async def test_controls_are_left_out_and_broken_bytes_replaced(self, pipe: int) -> None:
        os.write(pipe, b"a\x1b[1mb\x00\tc\xff\n\xe4")
        os.close(pipe)
        source = speaking.Stdin(time.monotonic)
        assert "".join([piece async for piece in source]) == "a[1mb\tc\ufffd\n\ufffd"
        assert source.ended_at is not None

    async def test_a_closed_input_is_its_end(self) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        os.close(writing)
        assert [piece async for piece in Stdin(time.monotonic, reading)] == []


class FakeDevice:
    """Stands in for the `sounddevice` module; `play` is the sound card's clock."""

    class PortAudioError(Exception):
        pass

    def __init__(self) -> None:
        self.is_absent = False
        self.played = NO_SAMPLES
        self.fill: Any = None
        self.latency = 0.0
        self.is_open = False

    def OutputStream(self, **settings: Any) -> FakeDevice:
        if self.is_absent:
            raise self.PortAudioError("Error querying device -1")
        self.fill = settings["callback"]
        return self

    def start(self) -> None:
        self.is_open = True

    def abort(self) -> None:
        self.is_open = False

    def close(self) -> None:
        assert not self.is_open

    def play(self, frames: int) -> None:
        out = np.full((frames, 1), np.nan, np.float32)
        self.fill(out, frames, None, None)
        self.played = np.concatenate([self.played, out[:, 0]])


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    fake = FakeDevice()
    monkeypatch.setitem(sys.modules, "sounddevice", fake)  # type: ignore[arg-type]
    return fake


def piece(offset: int, *samples: float) -> AudioPiece:
    return AudioPiece(offset, len(samples), 1000, "e", b"", np.array(samples, np.float32))


class TestPlayer:
    async def test_it_waits_for_its_buffer_and_plays_in_order(self, device: FakeDevice) -> None:
        player = Player(20)  # a buffer of two samples
        player.write(piece(0, 0.1))
        device.play(1)
        assert player.position == 0
        player.write(piece(1, 0.2, 0.3))
        device.play(2)
        assert player.position == 2
        device.play(3)
        assert device.played == pytest.approx([0, 0.1, 0.2, 0.3, 0, 0])
        player.close()
        assert not device.is_open

    async def test_a_rewound_piece_replaces_what_was_not_heard(self, device: FakeDevice) -> None:
        player = Player(20)
        player.write(piece(0, 0.1, 0.2, 0.3))
        player.write(piece(3, 0.4))
        device.play(1)
        player.write(piece(2, 0.9, 0.8))
        device.play(4)
        assert device.played == pytest.approx([0.1, 0.2, 0.9, 0.8, 0])
        player.write(piece(1, 0.5))  # heard already: nothing to take back
        device.play(2)
        assert device.played[5:] == pytest.approx([0.5, 0])
        player.close()

    async def test_finish_waits_for_the_last_sample(self, device: FakeDevice) -> None:
        player = Player(1000)
        player.write(piece(0, 0.1))
        finishing = asyncio.create_task(player.finish())
        await asyncio.sleep(0)
        assert not finishing.done()
        device.play(1)
        await finishing
        await player.finish()
        player.close()

    def test_no_device(self, device: FakeDevice) -> None:
        device.is_absent = True
        with pytest.raises(BadOption, match=r"no sound device .* use --out FILE"):
            Player(8000)

    def test_no_library(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "sounddevice", None)
        with pytest.raises(BadOption, match=r"pip install -c ops/constraints.txt '\.\[play\]'"):
            Player(8000)

    async def test_saying_to_the_speakers_marks_what_they_played(self, service: Service, pipe: int, device: FakeDevice) -> None:
        os.write(pipe, TEXT.encode() + b" ")
        talking = asyncio.create_task(speaking.say(arguments("--url", service.url)))
        while not service.of(Played):
            await asyncio.sleep(0.005)
            if device.fill is not None:
                device.play(100)
        os.close(pipe)
        while not talking.done():
            device.play(2400)
            await asyncio.sleep(0.005)
        assert (await talking)["audio_s"] == pytest.approx((len(TEXT) + 1) * 0.01)
        assert service.of(Open)[0].format.codec is Codec.PCM_S16LE
        heard = device.played[device.played != 0]
        assert service.read_back((heard * 32768).astype("<i2").tobytes()).rstrip() == TEXT


class TestCommand:
    def run(self, monkeypatch: pytest.MonkeyPatch, outcome: Any, *words: str) -> int:
        async def pretend(options: argparse.Namespace) -> dict[str, Any]:
            if isinstance(outcome, Exception):
                raise outcome
            return outcome  # type: ignore[no-any-return]

        monkeypatch.setattr(speaking, "say", pretend)
        return command.main(arguments(*words))

    def test_json_is_the_last_line(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.run(monkeypatch, {"audio_s": 1.5}, "--json") == 0
        assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"audio_s": 1.5}

    def test_without_json_stdout_stays_empty(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.run(monkeypatch, {"audio_s": 1.5}) == 0
        assert capsys.readouterr().out == ""

    def test_errors_say_what_to_do(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.run(monkeypatch, Overloaded("full", retry_after_ms=1500)) == 1
        assert "realtime say: full; try again in 1.5 s" in capsys.readouterr().err
        assert self.run(monkeypatch, BadOption("no")) == 1
        assert capsys.readouterr().err == "realtime say: no\n"


class TestProgress:
    async def test_the_line(self, service: Service) -> None:
        async with connect(service.url) as client:
            utterance = client.speak(TEXT)
            assert progress_text(utterance) == "waiting for text"
            await utterance.wait()
            line = progress_text(utterance)
            assert line.startswith("TTFA ") and " fake " in line and "0 underruns" in line
            service.is_mute = True
            utterance = client.speak("two")
            await client.ping()
            assert progress_text(utterance) == "waiting for sound · 3 characters sent"

    async def test_it_shows_on_terminals_only(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        async with connect(service.url) as client:
            utterance = client.speak(TEXT)
            await utterance.wait()
            for is_terminal in (True, False):
                stream = io.StringIO()
                monkeypatch.setattr(sys, "stderr", stream)
                monkeypatch.setattr("rich.console.Console.is_terminal", is_terminal)
                with ProgressLine(utterance):
                    pass
                assert ("TTFA" in stream.getvalue()) is is_terminal

    async def test_a_typist_is_told_how_to_end(
        self, service: Service, pipe: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(isatty=lambda: True))
        await say(service, pipe, "x", "--out", str(tmp_path / "o.wav"))
        assert "Ctrl-D ends" in capsys.readouterr().err

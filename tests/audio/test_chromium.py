"""A real browser plays our streams: Chromium decodes each to the source, in its place, and raw Opus packets through WebCodecs."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from realtime.audio.codecs import make_encoder
from realtime.types import AudioFormat, Codec

Samples = npt.NDArray[np.float32]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: what a browser makes of our streams goes untested")

DECODE_STREAM = """async ([packets, rate]) => {
  const bytes = packets.map(p => Uint8Array.from(atob(p), c => c.charCodeAt(0)));
  const context = new OfflineAudioContext(1, 1, rate);
  const sound = await context.decodeAudioData(await new Blob(bytes).arrayBuffer());
  return Array.from(sound.getChannelData(0));
}"""
DECODE_PACKETS = """async ([packets, rate]) => {
  const out = [];
  const decoder = new AudioDecoder({error: e => { throw e; }, output: sound => {
    const part = new Float32Array(sound.numberOfFrames);
    sound.copyTo(part, {planeIndex: 0, format: "f32-planar"});
    out.push(...part);
  }});
  decoder.configure({codec: "opus", sampleRate: rate, numberOfChannels: 1});
  packets.forEach((p, n) => decoder.decode(new EncodedAudioChunk({
    type: "key", timestamp: n * 20000, data: Uint8Array.from(atob(p), c => c.charCodeAt(0))})));
  await decoder.flush();
  return out;
}"""


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is in the [dev] extra")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_page()
        # WebCodecs is for secure pages only; nothing leaves the machine, the route answers itself.
        opened.route("**/*", lambda route: route.fulfill(body="<!doctype html>", content_type="text/html"))
        opened.goto("https://realtime.test/")
        yield opened
        browser.close()


def heard(page: Any, script: str, format: AudioFormat, source: Samples) -> Samples:
    encoder = make_encoder(format)
    payloads = [frame.payload for frame in [*encoder.encode(source), *encoder.flush()]]
    return np.array(page.evaluate(script, [[base64.b64encode(p).decode() for p in payloads], format.sample_rate]), np.float32)


def lag_of(decoded: Samples, source: Samples) -> int:
    size = 1 << (len(decoded) + len(source)).bit_length()
    at = int(np.argmax(np.fft.irfft(np.fft.rfft(decoded, size) * np.conj(np.fft.rfft(source, size)))))
    return at if at < size // 2 else at - size


@pytest.mark.parametrize("rate", [8000, 24000, 48000])
@pytest.mark.parametrize("codec", [Codec.WAV, Codec.FLAC, Codec.OGG_OPUS, Codec.MP3, Codec.AAC])
def test_chromium_plays_every_stream_in_place(page: Any, codec: Codec, rate: int, voice: Callable[..., Samples]) -> None:
    format = AudioFormat(codec, rate)
    source = voice(rate, rate + 7)
    decoded = heard(page, DECODE_STREAM, format, source)
    encoder = make_encoder(format)
    padding = 2 * (encoder.frame_samples or 0) if codec in (Codec.MP3, Codec.AAC) else 0
    assert 0 <= len(decoded) - len(source) - encoder.delay_samples <= padding
    assert lag_of(decoded, source) == encoder.delay_samples


def test_webcodecs_plays_raw_opus_with_the_stated_delay(page: Any, voice: Callable[..., Samples]) -> None:
    format = AudioFormat(Codec.OPUS, 48000)
    source = voice(48000, 48000)
    decoded = heard(page, DECODE_PACKETS, format, source)
    assert lag_of(decoded, source) == make_encoder(format).delay_samples

"""Does every character arrive? Random Chinese and English texts through the whole service, in every format at every rate that can
carry them, decoded from the received sound, while neighbours on the same connections are cancelled at random moments.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np
from rich.console import Console
from rich.progress import Progress
from websockets.asyncio.client import connect

from realtime.audio.codecs import CODECS, SAMPLE_RATES, is_supported, make_decoder
from realtime.bench.processes import service
from realtime.engines.beacon.decoder import decode
from realtime.types import AudioFormat

CONFIG = """
chain = ["beacon"]
[server]
web_player = false
[log]
level = "ERROR"
[cache]
max_mb = 0
[engines.beacon]
options = { chunk_ms = 150.0, capacity = 16 }
"""
WORDS = "the quick brown fox jumps over a lazy dog while Dr. Smith pays $3.50 for v2.0 at 9:30 a.m. OK GPT-4 e-mail".split()
SENTENCE_ENDS = ["。", "！", "？", ". ", "! ", "? ", "……", "\n"]


@dataclass(slots=True)
class Result:
    """`wrong`: format, what was sent, what was heard."""

    texts: int = 0
    equal: int = 0
    cancelled: int = 0
    by_format: dict[str, int] = field(default_factory=dict)
    wrong: list[tuple[str, str, str]] = field(default_factory=list)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `realtime bench intact`."""
    parser.add_argument("--texts", type=int, default=1000, help="texts to send (default 1000)")
    parser.add_argument("--connections", type=int, default=4, help="connections at once (default 4)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Send, decode, compare and print."""
    console = Console(stderr=True)
    with service(CONFIG) as (port, _), Progress(console=console, transient=True) as bar:
        task = bar.add_task("texts", total=options.texts)
        result = asyncio.run(check(port, options.texts, options.connections, options.seed, lambda: bar.advance(task)))
    for form, sent, heard in result.wrong[:5]:
        console.print(f"[red]{form}[/red]\n  sent  {sent!r}\n  heard {heard!r}", highlight=False)
    console.print(f"{result.equal} of {result.texts} texts equal, {result.cancelled} neighbours cancelled, {len(result.by_format)} formats")
    return {"texts": result.texts, "equal": result.equal, "formats": len(result.by_format), "neighbours_cancelled": result.cancelled}


async def check(port: int, texts: int, connections: int, seed: int, on_text: Any = lambda: None) -> Result:
    """Send `texts` random texts to a service with beacon voices on a loopback port."""
    dice = random.Random(seed)
    formats = [AudioFormat(codec, rate) for codec in CODECS for rate in SAMPLE_RATES if is_supported(AudioFormat(codec, rate))]
    work = [(formats[i % len(formats)], random_text(dice)) for i in range(texts)]
    result = Result()
    seeds = [dice.random() for _ in range(connections)]
    await asyncio.gather(*(_connection(port, work[k::connections], random.Random(seeds[k]), result, on_text) for k in range(connections)))
    return result


def random_text(dice: random.Random) -> str:
    """One to three sentences, Chinese, English or mixed."""
    return "".join(_sentence(dice) for _ in range(dice.randint(1, 3))).strip()


def _sentence(dice: random.Random) -> str:
    parts = []
    for _ in range(dice.randint(1, 4)):
        if dice.random() < 0.6:
            parts.append("".join(chr(dice.randrange(0x4E00, 0x9FA5)) for _ in range(dice.randint(1, 6))))
        else:
            parts.append(" ".join(dice.choices(WORDS, k=dice.randint(1, 3))))
    return dice.choice([" ", "，", ", "]).join(parts) + dice.choice(SENTENCE_ENDS)


async def _connection(port: int, work: list[tuple[AudioFormat, str]], dice: random.Random, result: Result, on_text: Any) -> None:
    subprotocols: Any = ["realtime.v1.msgpack"]
    async with connect(f"ws://127.0.0.1:{port}/v1/stream", subprotocols=subprotocols, compression=None, max_size=None) as socket:
        await socket.recv()
        for audio_format, text in work:
            for message in _script(audio_format, text, dice):
                await socket.send(msgpack.packb(message))
            payloads, cancelled = await _hear(socket)
            heard = await asyncio.to_thread(_decoded, audio_format, payloads)
            name = f"{audio_format.codec.value} {audio_format.sample_rate}"
            result.texts += 1
            result.cancelled += cancelled
            result.by_format[name] = result.by_format.get(name, 0) + 1
            if heard == text:
                result.equal += 1
            else:
                result.wrong.append((name, text, heard))
            on_text()


def _script(audio_format: AudioFormat, text: str, dice: random.Random) -> Iterator[dict[str, Any]]:
    form = {"codec": audio_format.codec.value, "sample_rate": audio_format.sample_rate}
    budget = {"profile": "batch"}
    yield {"type": "open", "utterance": "text", "voice": "beacon-a", "format": form, "budget": budget}
    yield {"type": "open", "utterance": "neighbour", "voice": "beacon-a", "format": form, "budget": budget}
    yield {"type": "text", "utterance": "neighbour", "text": random_text(dice) * 3}
    at, cancel_at = 0, dice.randrange(len(text))
    while at < len(text):
        step = dice.randint(1, 6)
        yield {"type": "text", "utterance": "text", "text": text[at : at + step]}
        if at <= cancel_at < at + step:
            yield {"type": "cancel", "utterance": "neighbour"}
        at += step
    yield {"type": "end", "utterance": "text"}


async def _hear(socket: Any) -> tuple[list[bytes], int]:
    payloads: list[bytes] = []
    ends: dict[str, str] = {}
    while len(ends) < 2:
        message = msgpack.unpackb(await asyncio.wait_for(socket.recv(), 60))
        if message["type"] == "audio" and message["utterance"] == "text":
            payloads.append(message["payload"])
        elif message["type"] in ("done", "cancelled", "error"):
            ends[message.get("utterance", "")] = message["type"]
    return payloads, int(ends.get("neighbour") == "cancelled")


def _decoded(audio_format: AudioFormat, payloads: list[bytes]) -> str:
    decoder = make_decoder(audio_format)
    return decode(np.concatenate([*(decoder.push(payload) for payload in payloads), decoder.flush()]), audio_format.sample_rate)

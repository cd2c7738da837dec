"""What `realtime say` does: stdin to the service, its sound to a file or the speakers, figures at the end."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from typing import Any, Protocol

from realtime.errors import RealtimeError
from realtime.types import AudioFormat, Codec
from realtime.wire.events import BudgetChoice, BudgetProfile
from realtime_client.client import Options, connect
from realtime_client.files import SoundFile, file_codec
from realtime_client.pieces import AudioPiece
from realtime_client.player import Player
from realtime_client.progress import ProgressLine, progress_text
from realtime_client.stdin import Stdin
from realtime_client.utterance import Manner, Utterance

FILE_LEAD_MS = 3_600_000
"""Nobody waits for a file in real time, and nobody interrupts it: the service may run ahead as far as the protocol lets it ask."""


class Target(Protocol):
    """Where the sound goes."""

    def write(self, piece: AudioPiece) -> None:
        """Take a piece."""
        ...

    async def finish(self) -> None:
        """Return when the listener has all of it."""
        ...

    def close(self) -> None:
        """Stop, whatever is left."""
        ...


def run_say(arguments: argparse.Namespace) -> int:
    """Speak stdin. 0: all was said; 1: it was not, the reason is on stderr."""
    try:
        figures = asyncio.run(say(arguments))
    except RealtimeError as error:
        hint = f"; try again in {error.retry_after_ms / 1000:.1f} s" if error.retry_after_ms is not None else ""
        print(f"realtime say: {error.message}{hint}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(figures, ensure_ascii=False), flush=True)
    return 0


async def say(arguments: argparse.Namespace) -> dict[str, Any]:
    """Speak stdin with the options of `add_arguments`; returns the figures. Raises what stopped it."""
    stdin = Stdin(time.monotonic)
    target, manner, format = _target(arguments)
    try:
        async with connect(arguments.url, api_key=arguments.api_key) as client:
            utterance = client.speak(stdin, manner, **_options(arguments, format))
            await _deliver(utterance, target)
    finally:
        target.close()
    print(progress_text(utterance) if utterance.text.strip() else "no text came, nothing was said", file=sys.stderr)
    return figures(utterance, stdin.ended_at)


def _target(arguments: argparse.Namespace) -> tuple[Target, Manner, AudioFormat]:
    """Where the sound goes, how that listens, and the format to ask for."""
    if arguments.out is not None:
        file = SoundFile(arguments.out, file_codec(arguments.out, arguments.format), arguments.rate)
        return file, Manner(decode=False), file.format
    player = Player(arguments.rate)
    return player, Manner(position=lambda: player.position), AudioFormat(Codec(arguments.format or Codec.PCM_S16LE), arguments.rate)


async def _deliver(utterance: Utterance, target: Target) -> None:
    is_typed = sys.stdin is not None and sys.stdin.isatty()
    if is_typed:  # a live line would fight with the echo
        print("Type; Ctrl-D ends.", file=sys.stderr)
    with ProgressLine(utterance, is_shown=not is_typed):
        async with utterance:
            async for piece in utterance:
                target.write(piece)
            await target.finish()
            await utterance.wait()


def figures(utterance: Utterance, input_ended_at: float | None) -> dict[str, Any]:
    """The JSON object of `--json`: what was not measured is absent."""
    found: dict[str, Any] = {}
    if utterance.ttfa_ms is not None and utterance.first_audio_at is not None:
        found["ttfa_ms"] = round(utterance.ttfa_ms, 1)
        found["first_audio_before_input_end"] = input_ended_at is None or utterance.first_audio_at < input_ended_at
    found["audio_s"] = round(utterance.audio_s, 3)
    found["underruns"] = utterance.underruns.count
    found["underrun_ms"] = round(utterance.underruns.total_ms, 1)
    found["switches"] = utterance.switches
    found["engines"] = {engine: round(seconds, 3) for engine, seconds in utterance.audio_s_by_engine.items()}
    return found


def _options(arguments: argparse.Namespace, format: AudioFormat) -> Options:
    profile = None if arguments.budget is None else BudgetProfile(arguments.budget)
    return {
        "voice": arguments.voice,
        "language": arguments.language,
        "format": format,
        "speed": arguments.speed,
        "budget": BudgetChoice(profile, max_lead_ms=None if arguments.out is None else FILE_LEAD_MS),
    }

"""`realtime say`: text from stdin as it arrives, spoken at once through the speakers or into a file."""

from __future__ import annotations

import argparse
from pathlib import Path

from realtime.types import SPEEDS, Codec
from realtime.wire.events import BudgetProfile

DEFAULT_URL = "ws://127.0.0.1:7860"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `realtime say`."""
    parser.add_argument("--url", default=DEFAULT_URL, help="the service (default %(default)s)")
    parser.add_argument("--voice", default=None, help="a voice of the service; `curl URL/v1/voices` lists them")
    parser.add_argument("--language", default=None, metavar="TAG", help="zh, en, ...; told from the text if absent")
    parser.add_argument("--speed", type=float, default=1.0, metavar="X", help=f"rate of speech, {SPEEDS[0]:g} to {SPEEDS[1]:g} (default 1)")
    parser.add_argument("--format", default=None, choices=[codec.value for codec in Codec], help="codec (default: by --out's suffix)")
    parser.add_argument("--rate", type=int, default=24000, metavar="HZ", help="sample rate (default %(default)s)")
    parser.add_argument("--out", type=Path, default=None, metavar="FILE", help="write FILE instead of playing")
    parser.add_argument("--budget", default=None, choices=[profile.value for profile in BudgetProfile], help="what the listener tolerates")
    parser.add_argument("--api-key", default=None, metavar="KEY", help="needed where the service asks for one")
    parser.add_argument("--json", action="store_true", help="end with one JSON object of figures on stdout")


def main(arguments: argparse.Namespace) -> int:
    """Speak stdin. Returns the exit status: 0 all was said, 1 not (the reason is on stderr)."""
    from realtime_client.speaking import run_say

    return run_say(arguments)

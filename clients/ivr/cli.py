"""The `realtime-ivr` command."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from realtime_ivr.collector import postpone
from realtime_ivr.errors import FlowError
from realtime_ivr.priority import CHOICES, take_priority

from realtime.errors import RealtimeError, not_installed

EXAMPLES = """\
examples:
  realtime-ivr check --flow menu.toml              what is wrong with a flow, all at once
  realtime-ivr serve --flow menu.toml              take calls at sip:ivr@127.0.0.1:5090
  realtime-ivr serve --flow menu.toml --sip 0.0.0.0:5060 --register sip:200@pbx.example --password-file pw.txt
  realtime-ivr serve --flow menu.toml --audiosocket 127.0.0.1:9092        (Asterisk: AudioSocket(uuid,127.0.0.1:9092))
  realtime-ivr dial sip:bob@192.0.2.7:5060 --flow reminder.toml --set name=Bob
  realtime-ivr bench pacing --calls 50             how even the clock of 50 calls is on this machine

The service must run, too: `realtime serve`, or `realtime demo`. While it does not answer, callers hear local prompts.
A flow is a TOML or YAML file (examples/ beside this package), or a Python file with `async def run(session)`.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 = fine, 1 = it could not be done (the reason is on stderr), 2 = bad arguments."""
    arguments = parser().parse_args(argv)
    logging.basicConfig(level=getattr(arguments, "log_level", "INFO"), format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        result: int = arguments.command(arguments)
        return result
    except FlowError as error:
        print(error.message, file=sys.stderr)
        return 1
    except RealtimeError as error:
        print(f"realtime-ivr: {error.message}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        print(f"realtime-ivr: {not_installed(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """All subcommands and their options."""
    top = argparse.ArgumentParser(
        prog="realtime-ivr",
        description="Phone calls for self-hosted streaming speech: SIP, Asterisk, FreeSWITCH, Twilio.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_serve(commands)
    _add_dial(commands)
    check = commands.add_parser("check", help="check a flow file", description="Check a flow file; every mistake is told, with its place.")
    check.add_argument("--flow", type=Path, required=True, metavar="FILE")
    check.set_defaults(command=_check)
    bench = commands.add_parser("bench", help="measure this machine", description="Measure this machine.")
    bench.add_argument(
        "what",
        choices=("pacing", "sipp", "service"),
        help="pacing: the clock of many calls; sipp: the same with SIPp as the callers; service: with the words of a running service",
    )
    bench.add_argument("--url", default="ws://127.0.0.1:7860", help="service: which one (default ws://127.0.0.1:7860)")
    bench.add_argument("--calls", type=int, default=50, help="calls at once (default 50)")
    bench.add_argument("--seconds", type=float, default=10.0, help="how long each lasts (default 10)")
    bench.add_argument("--priority", choices=CHOICES, default="auto", help="scheduling of the process (default auto)")
    bench.add_argument("--one-timer-per-call", action="store_true", help="pacing: the design that was not chosen, to compare")
    bench.add_argument("--json", action="store_true", help="one JSON object as the last line")
    bench.set_defaults(command=_bench, log_level="WARNING")
    return top


def _add_serve(commands: Any) -> None:
    serve = commands.add_parser("serve", help="take calls", description="Take calls and serve each with a flow.")
    _add_common(serve)
    networks = serve.add_argument_group("networks (SIP alone unless others are named)")
    networks.add_argument("--audiosocket", metavar="HOST:PORT", help="listen for Asterisk AudioSocket (TCP)")
    networks.add_argument("--chan-websocket", metavar="HOST:PORT", help="listen for Asterisk chan_websocket")
    networks.add_argument("--twilio", metavar="HOST:PORT", help="listen for Twilio Media Streams (put TLS in front)")
    networks.add_argument(
        "--twilio-token-file", type=Path, metavar="FILE", help="Twilio's auth token: calls with a wrong signature are refused"
    )
    networks.add_argument("--twilio-url", metavar="URL", help="the wss:// URL that Twilio was given (the signature covers it)")
    networks.add_argument("--audio-stream", metavar="HOST:PORT", help="listen for FreeSWITCH mod_audio_stream")
    networks.add_argument(
        "--audio-stream-json", action="store_true", help="mod_audio_stream: answer with streamAudio JSON, for builds without raw playback"
    )
    networks.add_argument(
        "--audio-stream-lead-ms",
        type=int,
        default=40,
        metavar="MS",
        help="mod_audio_stream: sound sent ahead, which a barge-in may not be able to take back (default 40; more for a bad way there)",
    )
    networks.add_argument("--no-sip", action="store_true", help="no SIP")
    limits = serve.add_argument_group("SIP")
    limits.add_argument("--max-calls", type=int, default=200, help="more are refused with 503 (default 200)")
    limits.add_argument("--invites-per-s", type=float, default=50, help="new calls per second, more are refused with 503 (default 50)")
    limits.add_argument(
        "--allow", action="append", default=[], metavar="CIDR", help="hosts that may call, e.g. 192.0.2.0/24 (default: all)"
    )
    limits.add_argument("--sip-tcp", action="store_true", help="take SIP over TCP as well, at the same port")
    limits.add_argument("--register", metavar="URI", help="register this address (sip:USER@HOST[:PORT]) so that a PBX sends its calls here")
    limits.add_argument("--user", metavar="NAME", help="digest user name, where it is not the address's")
    serve.set_defaults(command=_serve)


def _add_dial(commands: Any) -> None:
    dial = commands.add_parser("dial", help="call somebody", description="Call somebody over SIP and run a flow when they answer.")
    dial.add_argument("uri", help="sip:USER@HOST:PORT")
    _add_common(dial)
    dial.add_argument("--ring-s", type=float, default=60, help="how long to let it ring (default 60)")
    dial.add_argument("--user", metavar="NAME", help="digest user name, if the other side asks for one")
    dial.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a variable of the flow; may be repeated")
    dial.add_argument("--json", action="store_true", help="print the call's record as the last line")
    dial.set_defaults(command=_dial)


def _add_common(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--flow", type=Path, required=True, metavar="FILE", help="a flow (TOML or YAML), or a Python file with `async def run(session)`"
    )
    command.add_argument("--url", default="ws://127.0.0.1:7860", help="the speech service (default ws://127.0.0.1:7860)")
    command.add_argument("--api-key-file", type=Path, metavar="FILE", help="the service's API key")
    command.add_argument(
        "--sip", default=None, metavar="HOST:PORT", help="our SIP address (default 127.0.0.1:5090; dial takes a free port)"
    )
    command.add_argument("--advertise", metavar="HOST", help="our address as others reach it, behind NAT")
    command.add_argument("--rtp-ports", default="20000-29999", metavar="FIRST-LAST", help="UDP ports for media (default 20000-29999)")
    command.add_argument("--suppress-silence", action="store_true", help="send nothing while nothing is said (default: silence)")
    command.add_argument("--password-file", type=Path, metavar="FILE", help="the SIP password")
    command.add_argument("--records", type=Path, metavar="FILE", help="append one JSON line per call")
    command.add_argument("--recordings", type=Path, metavar="FOLDER", help="record both legs of each call as WAV (ask your callers first)")
    command.add_argument("--metrics", metavar="HOST:PORT", help="Prometheus metrics, e.g. 127.0.0.1:9464")
    command.add_argument("--priority", choices=CHOICES, default="auto", help="auto: real-time scheduling where we are allowed to (default)")
    command.add_argument("--no-table", action="store_true", help="no live table of calls")
    command.add_argument("--log-level", choices=("DEBUG", "INFO", "WARNING", "ERROR"), default="INFO")


def _check(arguments: argparse.Namespace) -> int:
    from realtime_ivr.flow import Flow
    from realtime_ivr.programs import load_program

    program = load_program(arguments.flow)
    if not isinstance(program, Flow):
        print(f"{arguments.flow}: a Python flow, `run` is there")
        return 0
    for warning in program.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    prompts = program.constant_prompts()
    print(f"{arguments.flow}: fine; {len(program.table.steps)} steps, {len(prompts)} prompts can be prepared ahead")
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    from realtime_ivr.serving import serve

    return _run(serve(arguments), arguments.priority)


def _dial(arguments: argparse.Namespace) -> int:
    from realtime_ivr.serving import dial

    return _run(dial(arguments), arguments.priority)


def _bench(arguments: argparse.Namespace) -> int:
    from realtime_ivr.bench import bench

    return _run(bench(arguments), arguments.priority)


def _run(program: Coroutine[Any, Any, int], priority: str) -> int:
    """On uvloop where there is one, with the garbage collector out of the way: its pauses are jitter."""
    logging.getLogger("realtime_ivr").info("scheduling priority: %s", take_priority(priority))
    postpone()
    try:
        import uvloop
    except ImportError:
        return asyncio.run(program)
    return uvloop.run(program)


if __name__ == "__main__":
    sys.exit(main())

"""The `realtime` command. Each subcommand imports what it needs when it runs, so that `--help` is quick and a base install enough."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from realtime.config import Settings, load
from realtime.errors import RealtimeError, not_installed

Command = Callable[[argparse.Namespace], int]

BENCHES = {
    "overhead": ("realtime.bench.overhead", "what the service costs beside a bare uvicorn+websockets sender"),
    "intact": ("realtime.bench.intact", "whether every character of random texts arrives, in every format"),
    "engine": ("realtime.bench.engine", "speed, quality levels and memory of one engine"),
    "handover": ("realtime.bench.handover", "words repeated or lost over thousands of injected faults"),
    "timeline": ("realtime.bench.timeline", "one handover as the listener met it, drawn"),
    "schedule": ("realtime.bench.schedule", "the scheduler against simpler policies, simulated"),
    "live": ("realtime.bench.live", "the same policies with real processes on this machine"),
    "reflexes": ("realtime.bench.reflexes", "how soon a cancel is obeyed, and a killed worker noticed and replaced"),
    "soak": ("realtime.bench.soak", "everything at once for minutes or hours: whole words, and memory given back"),
    "cache": ("realtime.bench.cache", "cached segment to first audio"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 = fine, 1 = it could not be done (the reason is on stderr), 2 = bad arguments."""
    top = parser()
    arguments, rest = top.parse_known_args(argv)
    arguments.rest = rest
    if rest and not getattr(arguments, "takes_rest", False):
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        command: Command = arguments.command
        return command(arguments)
    except RealtimeError as error:
        print(f"realtime: {error.message}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        print(f"realtime: {not_installed(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """All subcommands and their options."""
    top = argparse.ArgumentParser(
        prog="realtime",
        description="Self-hosted streaming speech for live conversation.",
        epilog="Start with `realtime demo`. Every subcommand has its own --help.",
    )
    subcommands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_serve(subcommands)
    say = subcommands.add_parser("say", help="speak text from stdin as it arrives", description="Speak text from stdin as it arrives.")
    say_module = importlib.import_module("realtime_client.say")
    say_module.add_arguments(say)
    say.set_defaults(command=say_module.main)
    _add_delegate(subcommands, "models", "realtime.models.cli", "pull, export, verify, list or compare model files")
    _add_delegate(subcommands, "voices", "realtime.models.voices_cli", "add, list or remove cloned voices")
    _add_delegate(subcommands, "plan", "realtime.bench.capacity", "measure the engines and tell how many streams a host carries")
    _add_keys(subcommands)
    _add_bench(subcommands)
    return top


def _add_serve(subcommands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    for name, text in (("serve", "run the service"), ("demo", "run the service with what is at hand and open the page")):
        sub = subcommands.add_parser(name, help=text, description=text.capitalize() + ".")
        sub.add_argument("--host", default=None, help="address to listen on (default 127.0.0.1; others need a key or --insecure)")
        sub.add_argument("--port", type=int, default=None, help="port to listen on (default 7860; 0 takes any free one)")
        sub.add_argument("--config", type=Path, default=None, metavar="FILE", help="settings as TOML; ops/service.toml shows all of them")
        sub.add_argument("--engines", default=None, metavar="A,B,C", help="engines from best to last resort (default: what is installed)")
        sub.add_argument("--allow-faults", action="store_true", default=None, help="take faults over POST /v1/faults (loopback only)")
        sub.add_argument("--insecure", action="store_true", default=None, help="serve beyond this machine without API keys")
        sub.add_argument("--log-level", choices=("DEBUG", "INFO", "WARNING", "ERROR"), default=None)
        if name == "demo":
            sub.add_argument("--no-browser", action="store_true", help="do not open the page")
        sub.set_defaults(command=_serve, is_demo=name == "demo")


def _serve(arguments: argparse.Namespace) -> int:
    from realtime.demo import with_second_voice
    from realtime.serving import serve

    settings = settings_from(arguments)
    if arguments.is_demo and not arguments.engines:
        settings = with_second_voice(settings)
    return serve(settings, open_page=arguments.is_demo and not arguments.no_browser, is_demo=arguments.is_demo)


def settings_from(arguments: argparse.Namespace) -> Settings:
    """Settings file and environment, with the command line on top."""
    over: dict[str, object] = {}
    server = {
        "host": arguments.host,
        "port": arguments.port,
        "allow_faults": arguments.allow_faults or (arguments.is_demo or None),
        "insecure": arguments.insecure,
    }
    over["server"] = {key: value for key, value in server.items() if value is not None}
    if arguments.engines:
        over["chain"] = tuple(name.strip() for name in arguments.engines.split(",") if name.strip())
    if arguments.log_level:
        over["log"] = {"level": arguments.log_level}
    return load(arguments.config, **over)


def _add_delegate(subcommands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, module: str, text: str) -> None:
    sub = subcommands.add_parser(name, help=text, description=text.capitalize() + ".", add_help=False)

    def run(arguments: argparse.Namespace) -> int:
        result: int = importlib.import_module(module).main(arguments.rest)
        return result

    sub.set_defaults(command=run, takes_rest=True)


def _add_keys(subcommands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    keys = subcommands.add_parser("keys", help="add, list or revoke API keys", description="API keys of this service.")
    keys.add_argument("--config", type=Path, default=None, metavar="FILE")
    actions = keys.add_subparsers(required=True, metavar="ACTION")
    add = actions.add_parser("add", help="make a key; it is shown once")
    add.add_argument("name", help="whom it is for")
    add.set_defaults(command=_keys, action="add")
    actions.add_parser("list", help="show all keys").set_defaults(command=_keys, action="list")
    revoke = actions.add_parser("revoke", help="let a key open nothing from now on")
    revoke.add_argument("id", help="the id that `list` shows")
    revoke.set_defaults(command=_keys, action="revoke")


def _keys(arguments: argparse.Namespace) -> int:
    from realtime.server.auth import KeyStore

    store = KeyStore(load(arguments.config).server.data_dir)
    if arguments.action == "add":
        print(store.add(arguments.name))
        print("This key is not shown again. Clients send it as `Authorization: Bearer KEY`.", file=sys.stderr)
    elif arguments.action == "revoke":
        store.revoke(arguments.id)
    else:
        for record in store.records():
            print(f"{record.id}  {'revoked' if record.is_revoked else 'valid  '}  {record.name}")
    return 0


def _add_bench(subcommands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    bench = subcommands.add_parser("bench", help="measure; every figure in README comes from here", description="Measure this machine.")
    kinds = bench.add_subparsers(required=True, metavar="WHAT")
    for name, (module, text) in BENCHES.items():
        sub = kinds.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", add_help=False)
        sub.set_defaults(command=_bench, module=module, what=name, takes_rest=True)


def _bench(arguments: argparse.Namespace) -> int:
    from realtime.bench.machine import about

    module = importlib.import_module(arguments.module)
    sub = argparse.ArgumentParser(prog=f"realtime bench {arguments.what}", description=(module.__doc__ or "").split("\n\n")[0])
    module.add_arguments(sub)
    sub.add_argument("--json", action="store_true", help="one JSON object as the last line")
    sub.add_argument("--seed", type=int, default=1, help="for everything random")
    logging.getLogger("realtime").setLevel(logging.ERROR)
    options = sub.parse_args(arguments.rest)
    machine = about()  # before the load that the bench itself makes
    print("{machine}, {cores} cores, load {load_average}, commit {commit}".format(**machine), file=sys.stderr)
    result = machine | module.run(options)
    if options.json:
        print(json.dumps(result, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

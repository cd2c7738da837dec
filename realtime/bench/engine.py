"""Speed, quality levels and memory of one engine: `realtime bench engine NAME`, figures as ratios against a baseline of the same run."""

from __future__ import annotations

import argparse
import importlib
from typing import Any

from realtime.engines.registry import ENGINES
from realtime.errors import BadOption


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The engine's name; what follows belongs to that engine's bench."""
    parser.add_argument("name", choices=tuple(ENGINES), help="engine")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="the engine's own options; `realtime bench engine NAME --help` lists them")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Hand over to `realtime.bench.engine_NAME`. Raises `BadOption` for an engine without a bench."""
    try:
        module = importlib.import_module(f"realtime.bench.engine_{args.name}")
    except ModuleNotFoundError as error:
        if error.name != f"realtime.bench.engine_{args.name}":
            raise
        raise BadOption(f"engine {args.name!r} has no bench of its own") from None
    parser = argparse.ArgumentParser(prog=f"realtime bench engine {args.name}", description=(module.__doc__ or "").split("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--seed", type=int, default=args.seed)
    module.add_arguments(parser)
    options = parser.parse_args(args.rest)
    args.json = args.json or options.json
    result: dict[str, Any] = module.run(options)
    return result

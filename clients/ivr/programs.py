"""What serves calls, from a file: a flow (TOML) or a Python program."""

from __future__ import annotations

import importlib.util
import inspect
import logging
from pathlib import Path

from realtime_ivr.errors import FlowError
from realtime_ivr.flow import Flow, load_flow
from realtime_ivr.runner import Program

log = logging.getLogger("realtime_ivr")

EXAMPLES = Path(__file__).parent / "examples"


def find(path: Path) -> Path:
    """The file; one of the examples that come with us where there is none of that name here. Raises `FlowError`."""
    if path.is_file():
        return path
    example = EXAMPLES / path.name
    if path.parent == Path() and example.is_file():
        log.info("%s is not here; taking the example of that name, %s", path, example)
        return example
    names = sorted(one.name for one in EXAMPLES.glob("*.toml"))
    raise FlowError(f"{path}: there is no such file; examples that need no path: {', '.join(names)}")


def load_program(path: Path) -> Flow | Program:
    """Read `path`: `.py` is run, everything else is a flow. Raises `FlowError`. A Python file is trusted: it is code."""
    path = find(path)
    if path.suffix != ".py":
        return load_flow(path)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None  # it is a .py file
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # anything may be wrong with somebody's code; the message says where to look
        raise FlowError(f"{path}: {type(error).__name__}: {error}") from error
    run = getattr(module, "run", None)
    if not inspect.iscoroutinefunction(run):
        raise FlowError(f"{path}: has no `async def run(session)`")
    program: Program = run
    return program

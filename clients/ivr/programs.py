"""What serves calls, from a file: a flow (TOML) or a Python program."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path

from realtime_ivr.errors import FlowError
from realtime_ivr.flow import Flow, load_flow
from realtime_ivr.runner import Program


def load_program(path: Path) -> Flow | Program:
    """Read `path`: `.py` is run, everything else is a flow. Raises `FlowError`. A Python file is trusted: it is code."""
    if path.suffix != ".py":
        return load_flow(path)
    if not path.is_file():
        raise FlowError(f"{path}: there is no such file")
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

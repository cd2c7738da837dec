"""On what figures were taken: without processor, load and state of the code they can't be compared with anybody's."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from realtime.engines.indextts2.cost_history import processor_name


def about() -> dict[str, Any]:
    """`machine`, `cores` that this process may use, `load_average` of the last minute (of which what was measured is no part yet),
    `memory_gb`, `python`, and `commit`."""
    return {
        "machine": processor_name() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "load_average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "commit": commit(Path(__file__).resolve().parents[2]),
    }


def commit(root: Path) -> str:
    """Of the checkout at `root`, with `+` where files differ from it; of an installed package its version."""
    if not (root / ".git").exists():
        return f"version {version('realtime-voice')}"
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"unknown ({error})"
    return done.stdout.strip()

"""Which engines exist. A new engine is one folder and one line here.

Factories are strings so that neither the server nor a worker imports an engine that it does not run.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, cast

from realtime.engines.base import Engine
from realtime.errors import BadOption

ENGINES: dict[str, str] = {
    "indextts2": "realtime.engines.indextts2.engine:load",
    "sambert": "realtime.engines.sambert.engine:load",
    "espeak": "realtime.engines.espeak.engine:load",
    "beacon": "realtime.engines.beacon.engine:load",
}


def load(name: str, options: Mapping[str, Any]) -> Engine:
    """Build an engine, weights and all. `options` is the `[engines.NAME]` table of the settings; unknown keys are errors.

    Raises `BadOption` for an unknown engine or option, `ModelMissing` when files are absent or broken.
    """
    try:
        module, function = ENGINES[name].split(":")
    except KeyError:
        raise BadOption(f"unknown engine {name!r}; there are: {', '.join(ENGINES)}") from None
    return cast(Engine, getattr(importlib.import_module(module), function)(options))

"""Writes `ops/service.toml` from the settings' own descriptions: every value at its default, with its reason.

`python -m realtime.config_reference > ops/service.toml`; a test fails when the file is stale.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from realtime.config import EngineSettings, Settings
from realtime.scheduling.budget import PROFILES

HEADER = """# Settings of the service, each at its default. Copy what you change: `realtime serve --config FILE`.
# The environment wins over the file: REALTIME_SERVER__PORT=8000 sets [server] port. An unknown key is an error.
"""
# Defaults that depend on the machine are shown as what they stand for.
SHOWN = {"data_dir": '"~/.local/share/realtime"'}


def reference() -> str:
    """The file's text."""
    lines = [HEADER.rstrip(), ""]
    lines += _fields(Settings, lambda name, field: not _is_section(field) and name not in ("engines", "stand_ins"))
    for name, field in Settings.model_fields.items():
        if _is_section(field):
            section = field.annotation
            assert isinstance(section, type) and issubclass(section, BaseModel)
            lines += [f"# {_first_line(section)}", f"[{name}]", *_fields(section), ""]
    lines += ["# One table per engine: [engines.espeak], [engines.sambert], [engines.indextts2], [engines.beacon].", "[engines.espeak]"]
    lines += [*_fields(EngineSettings, lambda name, field: name != "options"), ""]
    lines += ["# What the engine itself takes; it refuses keys it does not know.", "[engines.espeak.options]", ""]
    lines += ["# Who speaks when a voice's own engine can't: voice -> engine -> voice there.", "[stand_ins]"]
    lines += ['# "my-voice" = { sambert = "zhitian_emo", espeak = "espeak-zh" }', ""]
    return "\n".join(lines + _budgets()) + "\n"


def _budgets() -> list[str]:
    rows = ["# Budget profiles that `open` may name (realtime/scheduling/budget.py has the reason for each value):"]
    for name, profile in PROFILES.items():
        b = profile.budget
        rows.append(
            f"#   {name}: first audio {b.first_audio_ms} ms, start buffer {b.start_buffer_ms} ms, max lead {b.max_lead_ms} ms, "
            f"{'one voice per utterance' if b.sticky else 'returns to the better engine'}, {profile.priority.value}"
        )
    return rows


def _fields(model: type[BaseModel], wanted: Any = lambda name, field: True) -> list[str]:
    lines = []
    for name, field in model.model_fields.items():
        if not wanted(name, field):
            continue
        comment = f"  # {field.description}" if field.description else ""
        default = field.get_default(call_default_factory=True)
        if default is None:
            lines.append(f"# {name} = ...{comment}")
        else:
            lines.append(f"{name} = {SHOWN.get(name) or _toml(default)}{comment}")
    return lines


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | Path):
        return f'"{value}"'
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return f"{value:_}" if isinstance(value, int) and value >= 10_000 else str(value)


def _is_section(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def _first_line(section: type[BaseModel]) -> str:
    return (section.__doc__ or "").strip().splitlines()[0]


if __name__ == "__main__":
    import sys

    sys.stdout.write(reference())

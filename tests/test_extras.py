"""A command that wants a part which the base install leaves out says what to run, in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from realtime import errors


@pytest.mark.parametrize(
    ("module", "command", "missing", "extra"),
    [
        ("realtime.cli", "models --dir DIR pull indextts2 --accept-licence", "huggingface_hub", "convert"),
        ("realtime_ivr.cli", "dial sip:x@127.0.0.1:9 --flow menu.toml", "aiosipua", "ivr"),
    ],
)
def test_a_command_without_its_libraries_says_what_to_install(module: str, command: str, missing: str, extra: str, tmp_path: Path) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from {module} import main; sys.exit(main(sys.argv[1:]))"
    arguments = command.replace("DIR", str(tmp_path)).split()
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"this needs {missing}; run `pip install -c ops/constraints.txt '.[{extra}]'`" in done.stderr


def test_a_module_of_no_extra_stays_an_error_of_ours() -> None:
    with pytest.raises(ModuleNotFoundError):
        errors.not_installed(ModuleNotFoundError("no module", name="realtime.nowhere"))

"""Settings: strict, layered, and documented by themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from realtime.config import load
from realtime.config_reference import reference
from realtime.errors import BadOption

ROOT = Path(__file__).resolve().parent.parent


def test_the_reference_file_is_not_stale() -> None:
    assert (ROOT / "ops" / "service.toml").read_text(encoding="utf-8") == reference()


def test_the_reference_file_loads_to_the_defaults() -> None:
    loaded, plain = load(ROOT / "ops" / "service.toml").model_dump(), load().model_dump()
    loaded["server"].pop("data_dir"), plain["server"].pop("data_dir")
    loaded["engines"].pop("espeak")
    assert loaded == plain


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[server]\nprot = 1\n", "server.prot"),
        ("[server]\nport = 70000\n", "server.port"),
        ("nonsense = 1\n", "nonsense"),
        ("[limits]\noutbox_kb = 'many'\n", "limits.outbox_kb"),
        ("[server\n", "not valid TOML"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "service.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadOption, match=told):
        load(path)


def test_a_missing_file_is_told() -> None:
    with pytest.raises(BadOption, match="no settings file"):
        load(Path("/nonexistent/service.toml"))


def test_the_environment_wins_over_the_file_and_the_command_line_over_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "service.toml"
    path.write_text("[server]\nport = 1000\nhost = '127.0.0.2'\n", encoding="utf-8")
    monkeypatch.setenv("REALTIME_SERVER__PORT", "2000")
    assert (load(path).server.port, load(path).server.host) == (2000, "127.0.0.2")
    assert load(path, server={"port": 3000}).server.port == 3000

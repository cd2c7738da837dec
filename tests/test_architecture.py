"""The import table, the file lengths and the bans of the house style, enforced by reading the source."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# package -> what it may import of the project, besides itself, realtime.types and realtime.errors
ALLOWED: dict[str, tuple[str, ...]] = {
    "wire": (),
    "text": (),
    "audio": (),
    "scheduling": (),
    "engines": ("text", "audio", "models"),
    "workers": ("engines.registry", "engines.base", "clock", "metrics"),
    "pipeline": ("text", "audio", "scheduling", "workers", "engines.base", "clock", "metrics"),
    "server": ("wire", "pipeline", "clock", "config", "metrics"),
    "models": ("config",),
}
WAITING = {"asyncio", "anyio", "threading", "time", "socket", "multiprocessing", "subprocess"}
# package -> modules of the world that it must not touch
BANNED: dict[str, set[str]] = {
    "wire": WAITING | {"numpy", "torch"},
    "text": WAITING | {"numpy", "torch"},
    "audio": WAITING | {"torch"},
    "scheduling": WAITING | {"torch"},
    "engines": {"asyncio", "anyio"},
    "pipeline": {"starlette", "uvicorn", "torch"},
    "server": {"torch", "numpy"},
}
MAX_LINES = 350


def sources(package: str) -> Iterator[Path]:
    yield from sorted((ROOT / "realtime" / package).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield node.lineno, node.module or ""


def is_allowed(package: str, name: str) -> bool:
    inside = name.removeprefix("realtime").removeprefix(".")
    mine = (package, "types", "errors", *ALLOWED[package])
    return any(inside == ok or inside.startswith(ok + ".") for ok in mine) or inside == ""


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_packages_import_only_what_the_table_allows(package: str) -> None:
    wrong = []
    for path in sources(package):
        for line, name in imports(path):
            where = f"{path.relative_to(ROOT)}:{line}: {name}"
            if name.split(".")[0] == "realtime" and not is_allowed(package, name):
                wrong.append(where)
            if name.split(".")[0] in BANNED.get(package, set()) and "checkpoint" not in path.parts:
                wrong.append(where)
            if name.split(".")[0] in {"realtime_client", "realtime_ivr"}:
                wrong.append(where)
    assert wrong == []


@pytest.mark.parametrize("folder", ["clients/realtime_client", "clients/ivr"])
def test_clients_import_only_the_wire_and_audio(folder: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line, name in imports(path)
        if name.split(".")[0] == "realtime"
        and not name.startswith(("realtime.wire", "realtime.audio", "realtime.types", "realtime.errors"))
    ]
    assert wrong == []


def test_serving_never_imports_torch() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted((ROOT / "realtime").rglob("*.py"))
        if "checkpoint" not in path.parts and "bench" not in path.parts
        for line, name in imports(path)
        if name.split(".")[0] == "torch"
    ]
    assert wrong == []


def test_long_files_give_their_reason() -> None:
    long = []
    for path in sorted([*(ROOT / "realtime").rglob("*.py"), *(ROOT / "clients").rglob("*.py")]):
        text = path.read_text(encoding="utf-8")
        if text.count("\n") > MAX_LINES and "long because" not in text[:3000].lower():
            long.append(f"{path.relative_to(ROOT)}: {text.count(chr(10))} lines")
    assert long == []


def test_every_package_folder_is_installed() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"])
    found = {str(p.parent.relative_to(ROOT)).replace("/", ".") for p in (ROOT / "realtime").rglob("__init__.py")}
    assert found <= listed


def test_only_config_reads_the_environment() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / "realtime").rglob("*.py"))
        if path.name != "config.py" and "checkpoint" not in path.parts
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == "environ"
    ]
    assert wrong == []

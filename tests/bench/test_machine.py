"""What is told of the machine and the code beside every figure."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from realtime.bench.machine import about, commit


def test_figures_are_told_with_machine_load_and_code() -> None:
    told = about()
    assert told["machine"] and told["cores"] >= 1 and told["memory_gb"] > 0 and told["load_average"] >= 0 and told["commit"]


def test_an_installed_package_tells_its_version(tmp_path: Path) -> None:
    assert commit(tmp_path).startswith("version ")


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_changed_checkout_is_no_longer_its_commit(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
        return subprocess.run(["git", "-C", str(tmp_path), *who, *words], capture_output=True, text=True, check=True).stdout.strip()

    git("init", "-q")
    (tmp_path / "file").write_text("one", encoding="utf-8")
    git("add", "file")
    git("commit", "-q", "-m", "one")
    clean = commit(tmp_path)
    assert git("rev-parse", "HEAD").startswith(clean)
    (tmp_path / "file").write_text("two", encoding="utf-8")
    assert commit(tmp_path) == clean + "+"


def test_a_checkout_that_git_cannot_read_says_why(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    assert commit(tmp_path).startswith("unknown (")

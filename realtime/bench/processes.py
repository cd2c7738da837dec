"""Servers as processes of their own, for the benches: started, waited for, stopped."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_S = 60.0
TWO_ENGINES = """
chain = ["beacon", "spare"]
[server]
web_player = false
[cache]
max_mb = {cache_mb}
[log]
level = "ERROR"
[engines.beacon]
{main}
[engines.spare]
factory = "beacon"
{spare}
"""


def two_engines(main: str, spare: str, cache_mb: int = 0) -> str:
    """Settings of a service that speaks with `beacon` and falls back on another test engine, `spare`; lines of TOML for each."""
    return TWO_ENGINES.format(main=main, spare=spare, cache_mb=cache_mb)


@contextmanager
def service(config: str, *options: str) -> Iterator[tuple[int, int]]:
    """`realtime serve` with the settings in `config`, ready; yields (port, pid)."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "service.toml"
        path.write_text(config, encoding="utf-8")
        command = [sys.executable, "-m", "realtime", "serve", "--port", str(port), "--config", str(path), *options]
        with running(command, port) as pid:
            _wait_ready(f"http://127.0.0.1:{port}/ready")
            yield port, pid


@contextmanager
def running(command: list[str], port: int) -> Iterator[int]:
    """A server process that listens on `port`; yields its pid, stops it at the end. Raises `RuntimeError` if it does not start."""
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_listening(child, port)
        yield child.pid
    finally:
        child.terminate()
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _wait_listening(child: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(int(START_S / 0.05)):
        if child.poll() is not None:
            raise RuntimeError(f"{child.args!r} ended with {child.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port}")


def _wait_ready(url: str) -> None:
    for _ in range(int(START_S / 0.05)):
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"{url} does not become ready")


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port

"""A real service in a process of its own, a real Chromium, and a page that is listened to."""

from __future__ import annotations

import base64
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import msgpack
import numpy as np
import pytest
from numpy.typing import NDArray

HERE = Path(__file__).parent
START_S = 60
TWO_BEACONS = """
chain = ["beacon", "beacon2"]
[server]
data_dir = "{data_dir}"
[engines.beacon.options]
chunk_ms = 200
[engines.beacon2]
factory = "beacon"
[engines.beacon2.options]
name = "beacon2"
chunk_ms = 100
voices = ["beacon-b"]
"""


@dataclass
class ServiceProcess:
    """`realtime serve` on a free port, or on the one it had before."""

    folder: Path
    options: tuple[str, ...] = ("--allow-faults",)
    port: int = 0
    process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        config = self.folder / "service.toml"
        config.write_text(TWO_BEACONS.format(data_dir=self.folder / "data"), encoding="utf-8")
        command = [sys.executable, "-m", "realtime", "serve", "--port", str(self.port), "--config", str(config), *self.options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        killer = threading.Timer(START_S, self.process.kill)
        killer.start()
        assert self.process.stderr is not None
        said = ""
        while "startup complete" not in said and (line := self.process.stderr.readline()):
            said += line
        killer.cancel()
        self._drain = threading.Thread(target=drain, args=(self.process.stderr,))
        self._drain.start()
        found = re.search(r"serves at http://127\.0\.0\.1:(\d+)/", said)
        if not found or "startup complete" not in said:
            self.stop()
            pytest.fail(f"the service did not start:\n{said}")
        self.port = int(found[1])

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
            self.process.wait(10)
            self._drain.join(10)
            self.process = None


def drain(stream: IO[str]) -> None:
    """Read what nobody wants, so that its writer never waits."""
    with stream:
        for _ in stream:
            pass


@dataclass
class Listener:
    """A page, what its socket received, and what its loudspeaker got."""

    page: Any
    problems: list[str] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)

    def watch(self) -> None:
        self.page.on("console", lambda message: message.type in ("error", "warning") and self.problems.append(message.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("websocket", lambda socket: socket.on("framereceived", self._received))

    def _received(self, frame: bytes | str) -> None:
        if isinstance(frame, bytes):
            self.messages.append(msgpack.unpackb(frame))

    def open(self, url: str) -> None:
        self.page.goto(url)
        self.page.wait_for_selector('[data-connection="ready"]')
        self.page.wait_for_selector("#voice option", state="attached")

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector))

    def write(self, text: str) -> None:
        """The Write tab, with this text in its field."""
        self.page.click("#tab-write")
        self.page.fill("#text", text)

    def wait_over(self, timeout_s: float = 40) -> None:
        """Until the page says that nothing more will sound."""
        self.page.wait_for_selector(".captions article:last-child[data-phase=over]", timeout=timeout_s * 1000)

    def poll(self, read: Callable[[], Any], is_good: Callable[[Any], bool] = bool, timeout_s: float = 20) -> Any:
        """Ask until the answer is good, while the page's events come in; the last answer then."""
        end = time.monotonic() + timeout_s
        while not is_good(value := read()):
            assert time.monotonic() < end, f"still {value!r}"
            self.page.wait_for_timeout(10)
        return value

    def ask(self, expression: str) -> Any:
        """Evaluate without lending the page a user's gesture, as `page.evaluate` would."""
        session = self.page.context.new_cdp_session(self.page)
        answer = session.send("Runtime.evaluate", {"expression": expression, "returnByValue": True, "userGesture": False})
        session.detach()
        return answer["result"].get("value")

    def heard(self) -> NDArray[np.float32]:
        """Everything that went to the loudspeaker since the context began, silence too."""
        tape = self.ask("witness.read()")
        samples = np.frombuffer(base64.b64decode(tape["samples"]), np.float32)
        return np.concatenate([np.zeros(tape["first"], np.float32), samples])

    def audio(self) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["type"] == "audio"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    running = ServiceProcess(tmp_path_factory.mktemp("service"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def own_service(tmp_path: Path) -> Iterator[ServiceProcess]:
    """A service that a test may stop, or give keys to before it starts it."""
    running = ServiceProcess(tmp_path)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra `dev`): the page is untested")
    with sync_api.sync_playwright() as playwright:
        path = (
            shutil.which("chromium")
            or shutil.which("chromium-browser")
            or shutil.which("google-chrome")
            or playwright.chromium.executable_path
        )
        if not Path(path).exists():
            pytest.skip("no Chromium on this machine (`apt install chromium`): the page is not tested in it")
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        yield chromium
        chromium.close()


OpenPage = Callable[..., Listener]


@pytest.fixture
def open_page(browser: Any) -> Iterator[OpenPage]:
    """`open_page(url, locale="zh-CN", scripts=[...], width=360)`: a fresh visitor; None as the url opens nothing yet."""
    contexts = []

    def make(url: str | None, locale: str = "en-US", scripts: tuple[str, ...] = (), width: int = 1280, **more: Any) -> Listener:
        context = browser.new_context(locale=locale, viewport={"width": width, "height": 900}, **more)
        contexts.append(context)
        context.add_init_script(path=HERE / "recorder.js")
        for script in scripts:
            context.add_init_script(script)
        listener = Listener(context.new_page())
        listener.watch()
        if url is not None:
            listener.open(url)
        return listener

    yield make
    for context in contexts:
        context.close()

"""Runs the application under uvicorn: signals, drain, the demo's browser."""

from __future__ import annotations

import gc
import logging
import socket
import sys
import threading
import webbrowser
from types import FrameType

import uvicorn

from realtime.app import Service, build_app
from realtime.config import Settings
from realtime.errors import BadOption
from realtime.logs import set_up
from realtime.server.frames import MessagesProtocol

log = logging.getLogger("realtime.serving")

# uvicorn's own limit on how long open connections hold up the exit, after our drain.
LAST_GRACE_S = 5
# New objects before the youngest generation is collected, and how often each before the next older one is (Python's own: 700, 10, 10).
# Measured: LOG, "Pipeline and server".
COLLECT_AFTER = (10_000, 20, 50)


class Server(uvicorn.Server):
    """uvicorn that drains first: the first SIGTERM or SIGINT lets running utterances finish, the second one does not wait."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._is_draining = False
        self._is_calm = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called in the event loop's thread for each signal. Never passed on to uvicorn, which would die of it after a clean exit."""
        gateway = self._service.gateway
        if self._is_draining:
            self.should_exit = self.force_exit = True
        elif gateway.dispatcher.load == 0:
            gateway.drain()
            self.should_exit = True
        else:
            self._is_draining = True
            log.info("draining: running utterances may finish within %g s", self._service.settings.server.drain_s)
            gateway.drain()

    async def on_tick(self, counter: int) -> bool:
        """uvicorn asks ten times per second whether to exit."""
        if not self._is_calm and self._service.gateway.is_ready:
            self._is_calm = True
            _calm_collector()
        if self._is_draining and self._drain_is_over(counter):
            self.should_exit = True
        return await super().on_tick(counter)

    def _drain_is_over(self, counter: int) -> bool:
        self._drain_ticks = getattr(self, "_drain_ticks", 0) + 1
        return self._service.gateway.drained.is_set() or self._drain_ticks > self._service.settings.server.drain_s * 10


def _calm_collector() -> None:
    """A full collection walks everything that lives, 100 ms of it after the start, and all streams wait. So what is there by now is
    left out, and collections are less frequent: what a connection leaves behind is freed by counting references."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


def serve(settings: Settings, open_page: bool = False, is_demo: bool = False) -> int:
    """Serve until a signal; 0 after a clean drain. Raises `BadOption` for settings or a port that can't be had."""
    set_up(settings.log)
    app = build_app(settings)
    listener = _listen(settings.server.host, settings.server.port)
    host, port = listener.getsockname()[:2]
    config = uvicorn.Config(
        app,
        ws=MessagesProtocol,
        ws_max_size=settings.limits.message_bytes,
        ws_per_message_deflate=False,
        ws_ping_interval=20.0,
        ws_ping_timeout=20.0,
        log_config=None,
        access_log=settings.log.level == "DEBUG",
        timeout_graceful_shutdown=LAST_GRACE_S,
        lifespan="on",
    )
    server = Server(config, app.state.service)
    url = f"http://{'[' + host + ']' if ':' in host else host}:{port}/"
    print(f"realtime serves at {url}", file=sys.stderr, flush=True)
    if open_page:
        threading.Timer(1.5, webbrowser.open, (url,)).start()
    try:
        server.run(sockets=[listener])
    finally:
        listener.close()
    return 0 if server.started else 1


def _listen(host: str, port: int) -> socket.socket:
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = infos[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        raise BadOption(f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --port") from None
    return listener

"""A whole service on a free loopback port, in the test's own event loop, with real worker processes."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
import uvicorn

from realtime.app import Service, build_app
from realtime.config import load
from tests.redis_server import redis_server

__all__ = ["redis_server"]


@pytest.fixture(autouse=True)
def _loggers_as_found() -> Iterator[None]:
    """Commands that are run in this process quieten the product's logger; the next test wants to read it."""
    logger = logging.getLogger("realtime")
    before = logger.level, logger.propagate, list(logger.handlers)
    yield
    logger.setLevel(before[0])
    logger.propagate, logger.handlers = before[1:]


# The beacon speaks faster than the clock here, so that tests are quick; two of them make a chain.
ENGINES: dict[str, Any] = {
    "beacon": {"options": {"chunk_ms": 200}},
    "beacon2": {"factory": "beacon", "options": {"name": "beacon2", "chunk_ms": 100, "voices": ["beacon-b"]}},
}


@dataclass(frozen=True)
class Running:
    """A service that answers."""

    port: int
    service: Service
    server: uvicorn.Server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/stream"


Serve = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """`async with serve(limits={...}) as running:`; settings tables as keywords, `engines` and `chain` default to two beacons."""

    @asynccontextmanager
    async def start(**tables: Any) -> AsyncIterator[Running]:
        tables.setdefault("chain", tuple(tables.get("engines", ENGINES)))
        tables.setdefault("engines", ENGINES)
        tables["server"] = {"data_dir": tmp_path / "data", "port": 0, **tables.get("server", {})}
        app = build_app(load(None, **tables))
        config = uvicorn.Config(
            app, ws="websockets-sansio", ws_per_message_deflate=False, ws_max_size=1 << 20, log_config=None, timeout_graceful_shutdown=2
        )
        server = uvicorn.Server(config)
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined, method-assign]
        with socket.create_server(("127.0.0.1", 0)) as listener:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(server._serve, [listener])
                service: Service = app.state.service
                with anyio.fail_after(60):
                    while not server.started:
                        await anyio.sleep(0.01)
                    await service.pool.wait_ready(list(tables["chain"]), 60)
                yield Running(listener.getsockname()[1], service, server)
                server.should_exit = True

    return start

"""The baseline of `bench overhead`: uvicorn + websockets sending the same frames at the same pace, and nothing else.

`python -m realtime.bench.bare PORT`: a client says `FRAMES BYTES PACE_MS AHEAD_MS`, the answer is that many binary messages.
"""

from __future__ import annotations

import asyncio
import sys
import time

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket


async def stream(websocket: WebSocket) -> None:
    """Send paced frames on absolute deadlines."""
    await websocket.accept()
    frames, size, pace_ms, ahead_ms = (int(word) for word in (await websocket.receive_text()).split())
    payload, began = bytes(size), time.monotonic()
    for index in range(frames):
        due = began + (index * pace_ms - ahead_ms) / 1000
        delay = due - time.monotonic()
        if delay > 0:
            await asyncio.sleep(delay)
        await websocket.send_bytes(payload)
    await websocket.send_text("done")
    await websocket.close()


def main() -> None:
    """Serve until killed."""
    app = Starlette(routes=[WebSocketRoute("/", stream)])
    uvicorn.run(
        app, host="127.0.0.1", port=int(sys.argv[1]), ws="websockets-sansio", ws_per_message_deflate=False, log_level="error", backlog=4096
    )


if __name__ == "__main__":
    main()

"""One wire dialect per file; a new one is a file, a line here and a transcript under tests/transcripts."""

from __future__ import annotations

from realtime.wire.dialects.native import NativeJson, NativeMsgpack

DIALECTS: dict[str, type[NativeMsgpack] | type[NativeJson]] = {
    NativeMsgpack.subprotocol: NativeMsgpack,
    NativeJson.subprotocol: NativeJson,
}
"""WebSocket subprotocol of `/v1/stream` -> class, in the service's order of preference."""

"""One wire dialect per file; a new one is a file, a line here and a transcript under tests/transcripts."""

from __future__ import annotations

from realtime.wire.dialects.elevenlabs import ElevenLabsMulti, ElevenLabsStream
from realtime.wire.dialects.native import NativeJson, NativeMsgpack

DIALECTS: dict[str, type[NativeMsgpack] | type[NativeJson]] = {
    NativeMsgpack.subprotocol: NativeMsgpack,
    NativeJson.subprotocol: NativeJson,
}
"""WebSocket subprotocol of `/v1/stream` -> class, in the service's order of preference."""

SOCKET_PATHS: dict[str, type[ElevenLabsStream] | type[ElevenLabsMulti]] = {
    "/v1/text-to-speech/{voice_id}/stream-input": ElevenLabsStream,
    "/v1/text-to-speech/{voice_id}/multi-stream-input": ElevenLabsMulti,
}
"""WebSocket path of other services' clients -> class, made from the path's voice and the query."""

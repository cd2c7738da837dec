"""One wire dialect per file; a new one is a file, a line here and a transcript under tests/transcripts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from realtime.wire.dialect import Dialect
from realtime.wire.dialects.dashscope import DashScope
from realtime.wire.dialects.elevenlabs import ElevenLabsMulti, ElevenLabsStream
from realtime.wire.dialects.native import NativeJson, NativeMsgpack

DIALECTS: dict[str, type[NativeMsgpack] | type[NativeJson]] = {
    NativeMsgpack.subprotocol: NativeMsgpack,
    NativeJson.subprotocol: NativeJson,
}
"""WebSocket subprotocol of `/v1/stream` -> class, in the service's order of preference."""

Factory = Callable[[Mapping[str, str], Mapping[str, str], Collection[str]], Dialect]
"""(parameters in the path, query, voices in service) -> the dialect of one connection. Raises `BadOption`."""

SOCKET_PATHS: dict[str, Factory] = {
    "/v1/text-to-speech/{voice_id}/stream-input": lambda path, query, voices: ElevenLabsStream(path["voice_id"], query, voices),
    "/v1/text-to-speech/{voice_id}/multi-stream-input": lambda path, query, voices: ElevenLabsMulti(path["voice_id"], query, voices),
    "/api-ws/v1/inference": lambda path, query, voices: DashScope(voices),
}
"""WebSocket path of other services' clients -> how to make its dialect."""

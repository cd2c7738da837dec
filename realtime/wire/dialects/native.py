"""The native protocol, `/v1/stream`: every event is one message, a map of its fields and its name under `type`.

Two subprotocols carry the same maps. `realtime.v1.msgpack`: binary frames, audio as `bin`. `realtime.v1.json`: text frames, audio as
base64. A field that is None is left out.

Towards a service we are strict: an unknown field, type or duplicate key is refused by name, because a misspelt option would
otherwise be ignored in silence. Towards a client we are lenient in unknown fields and types, so that old clients live with new
services.

Cost: `audio` is the hot message. In MessagePack it is one packer call, 1.1 times the bare library (0.5 us for 20 ms of PCM at 24 kHz);
JSON takes 0.7 to 3 us; a text message in takes 2 to 4 us (`python ops/bench/wire.py`, one busy core of a small server). Every field,
unit and code stands in PROTOCOL.md.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, ClassVar

import msgpack

from realtime.errors import ClientError, ProtocolViolation
from realtime.wire.dialect import Close, Message
from realtime.wire.events import CLIENT_EVENTS, EVENT_NAMES, SERVER_EVENTS, Audio, Event, Limits
from realtime.wire.reading import Reader, object_reader, quoted
from realtime.wire.rules import ID_PATTERN
from realtime.wire.shapes import Object, Shape, shape_of
from realtime.wire.transitions import Role

MAX_SERVER_MESSAGE_BYTES = 16 << 20
"""What a client takes from a service. Precedent: Pipecat's clients accept 16 MiB."""

IS_ID = re.compile(ID_PATTERN).fullmatch
MALFORMED = (ValueError, RecursionError, msgpack.UnpackException)
"""What the parsers raise for garbage. msgpack's format, stack and buffer errors are ValueErrors, and so are JSON's and UTF-8's."""


class _Native(ABC):
    """What both subprotocols share: names, readers, strictness."""

    subprotocol: ClassVar[str]
    is_base64: ClassVar[bool]
    closing: Close | None = None

    def __init__(self, role: Role = Role.SERVER, max_message_bytes: int | None = None) -> None:
        is_lenient = role is Role.CLIENT
        default = MAX_SERVER_MESSAGE_BYTES if is_lenient else Limits().max_message_bytes
        self.max_message_bytes = max_message_bytes if max_message_bytes is not None else default
        self._is_lenient = is_lenient
        self._readers = _readers(role, self.is_base64)

    def decode(self, message: Message) -> Sequence[Event]:
        """One message to its event, or to none if a newer service sent something that we don't know. See `Dialect.decode`."""
        try:
            raw = self._parse(message)
        except MALFORMED as error:
            raise ProtocolViolation(f"malformed message: {type(error).__name__}: {str(error)[:200]}") from None
        if type(raw) is not dict:
            raise ProtocolViolation(f"a message must be a map, not {quoted(raw)}")
        name = raw.pop("type", None)
        reader = self._readers.get(name) if type(name) is str else None
        if reader is None and self._is_lenient and type(name) is str:
            return ()
        try:
            if reader is None:
                raise ProtocolViolation(f"unknown message type {quoted(name)}; there are: {', '.join(self._readers)}")
            return (reader(raw, name),)
        except ClientError as error:
            named = raw.get("utterance")
            error.utterance = named if type(named) is str and IS_ID(named) else None
            raise

    @abstractmethod
    def _parse(self, message: Message) -> Any:
        """Plain values of a message. Raises `ProtocolViolation` or what `MALFORMED` lists."""

    def _too_large(self, size: int) -> ProtocolViolation:
        return ProtocolViolation(f"a message of {size} bytes, the limit is {self.max_message_bytes}")


class NativeMsgpack(_Native):
    """`realtime.v1.msgpack`."""

    subprotocol = "realtime.v1.msgpack"
    is_base64 = False

    def __init__(self, role: Role = Role.SERVER, max_message_bytes: int | None = None) -> None:
        super().__init__(role, max_message_bytes)
        self._pack = msgpack.Packer(use_bin_type=True, autoreset=True).pack

    def encode(self, event: Event) -> bytes:
        """One packer call; `audio` skips the generic walk over fields."""
        if type(event) is Audio:
            return self._pack(  # type: ignore[no-any-return]
                {
                    "type": "audio",
                    "utterance": event.utterance,
                    "seq": event.seq,
                    "offset": event.offset,
                    "samples": event.samples,
                    "engine": event.engine,
                    "payload": event.payload,
                }
            )
        return self._pack(_plain_event(event))  # type: ignore[no-any-return]

    def _parse(self, message: Message) -> Any:
        if not isinstance(message, bytes):
            raise ProtocolViolation("a text frame, but realtime.v1.msgpack messages are binary frames")
        size = len(message)
        if size > self.max_message_bytes:
            raise self._too_large(size)
        return msgpack.unpackb(
            message,
            raw=False,
            strict_map_key=True,
            object_pairs_hook=_unique,
            ext_hook=_no_extension,
            max_str_len=size,
            max_bin_len=size,
            max_array_len=size,
            max_map_len=size,
            max_ext_len=size,
        )


class NativeJson(_Native):
    """`realtime.v1.json`."""

    subprotocol = "realtime.v1.json"
    is_base64 = True

    def encode(self, event: Event) -> str:
        """JSON without spaces; `audio` is put together by hand, its payload needs no escaping."""
        if type(event) is Audio:
            payload = b2a_base64(event.payload, newline=False).decode("ascii")
            return (
                f'{{"type":"audio","utterance":{_dumps(event.utterance)},"seq":{event.seq},"offset":{event.offset},'
                f'"samples":{event.samples},"engine":{_dumps(event.engine)},"payload":"{payload}"}}'
            )
        return _dumps(_plain_event(event))

    def _parse(self, message: Message) -> Any:
        if not isinstance(message, str):
            raise ProtocolViolation("a binary frame, but realtime.v1.json messages are text frames")
        if len(message) * 4 > self.max_message_bytes:
            size = len(message.encode("utf-8", "surrogatepass"))
            if size > self.max_message_bytes:
                raise self._too_large(size)
        return json.loads(message, object_pairs_hook=_unique)


_dumps = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


@cache
def _readers(role: Role, is_base64: bool) -> Mapping[str, Reader]:
    """Shared by all connections: compiling them takes 0.3 ms."""
    is_lenient = role is Role.CLIENT
    received = SERVER_EVENTS if is_lenient else CLIENT_EVENTS
    return {name: object_reader(shape_of(kind), is_lenient=is_lenient, is_base64=is_base64) for name, kind in received.items()}


def _unique(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """A map; RFC 8259 section 4 leaves duplicate names to us: refused, since two readers might see two messages."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate key in a map")
    return found


def _no_extension(code: int, data: bytes) -> Any:
    raise ValueError(f"extension type {code} is not used here")


def _plain_event(event: Event) -> dict[str, Any]:
    kind = type(event)
    return {"type": EVENT_NAMES[kind], **_plain_object(shape_of(kind), event)}


def _plain_object(shape: Object, value: Any) -> dict[str, Any]:
    parts = ((field.name, field.shape, getattr(value, field.name)) for field in shape.fields)
    return {name: _plain(part_shape, part) for name, part_shape, part in parts if part is not None}


def _plain(shape: Shape, value: Any) -> Any:
    if isinstance(shape, Object):
        return _plain_object(shape, value)
    if isinstance(value, tuple):
        item = getattr(shape, "item", None)
        return [_plain(item, part) if item is not None else part for part in value]
    return str(value) if isinstance(value, str) else value

"""The protocol's reference page and schema, written from the code: `python -m realtime.wire.reference [--check]`.

Writes `PROTOCOL.md` and `protocol.schema.json` beside this file; with `--check` it writes nothing and fails if they are stale.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from realtime import errors
from realtime.types import AudioFormat, Budget, Usage
from realtime.wire.diagram import utterance_diagram
from realtime.wire.dialect import close_code
from realtime.wire.dialects import DIALECTS
from realtime.wire.dialects.native import NativeJson
from realtime.wire.events import (
    CLIENT_EVENTS,
    SERVER_EVENTS,
    AppendText,
    Audio,
    Done,
    End,
    EngineOffer,
    Event,
    FormatOffer,
    Open,
    Opened,
    Played,
    Ready,
    SegmentStarted,
    Switch,
    Voice,
    Word,
)
from realtime.wire.rules import Rule
from realtime.wire.schema import protocol_schema
from realtime.wire.session import MAX_REFUSALS_IN_ROW, MAX_REMEMBERED
from realtime.wire.shapes import Array, Choice, Field, Object, Row, Scalar, Shape, Table, shape_of
from realtime.wire.transitions import Role

HERE = Path(__file__).resolve().parent

INTRODUCTION = """# The native protocol

*Written by `python -m realtime.wire.reference` from `realtime/wire`; change the code, not this page.*

One WebSocket at `/v1/stream` carries any number of utterances at once. Text goes up as it is written, sound comes down as it is
spoken. Every message is one map with its name under `type`. Two subprotocols carry the same maps:

| subprotocol | frames | audio |
|---|---|---|
| `realtime.v1.msgpack` | binary, MessagePack | `bin` |
| `realtime.v1.json` | text, JSON | base64 (RFC 4648 section 4) |

Offer one of them in `Sec-WebSocket-Protocol`. Where the service asks for a key, send it as `Authorization: Bearer KEY`; a browser, which
can't, adds `?token=TOKEN` from `POST /v1/tokens`. An upgrade that is refused is answered by HTTP 400 (no subprotocol), 401, 403 or 503
with `{"error": {"code", "message", "retryable", "retry_after_ms"}}`.

A field that is absent has its default; `null` means absent. The service refuses unknown fields, unknown types, duplicate keys and
frames of the wrong kind by name; clients ignore fields and types they do not know. The JSON Schema is in `protocol.schema.json`.

## Units

* **Text positions** count Unicode code points of the utterance's text: all its `text` messages joined. `open.context` is not counted.
  (JavaScript strings count UTF-16 units: convert.)
* **Samples** count the utterance's output timeline at `open.format.sample_rate`, from the first sample of its first `audio`. Encoder
  and engine delays are trimmed: the n-th sample is the n-th one heard.
* **Milliseconds** (`_ms`) lie on that timeline too, unless the field says otherwise.

## A conversation

`▸` is said by the client, `◂` by the service. The client need not wait for `ready` or `opened`.
"""

ORDER = """## What is legal when

Each utterance walks this diagram. It ends with exactly one of `done`, `cancelled` or `error`, and nothing about it follows. Its id
may then be used again.

```mermaid
{diagram}
```

* `ready` is the service's first message. `ping` and `pong` are legal at any time.
* An `error` with an `utterance` ends that utterance (or says that it was never begun); all others go on. An `error` without one
  concerns a message that could not be attributed; the connection goes on too. After {refusals} refused messages in a row the service
  closes it (1008).
* After `cancel`, text, flushes and ends of that utterance are ignored, so that a barge-in may race the task that feeds text. Audio
  that was under way may still arrive: drop it. If the end was under way, `done` comes instead of `cancelled`.
* After the end, `played`, `cancel` and text are ignored. The last {remembered} ended utterances are known this way; for older ids such a
  message is an error.
* Resuming after a lost connection: open again with the text that was not heard.
* `text_paused` asks for no more text until `text_resumed`; text beyond the limits of `ready` is an error.
"""


def reference_page() -> str:
    """The whole of PROTOCOL.md."""
    parts = [INTRODUCTION + "\n" + _conversation(), "## Messages from the client\n"]
    parts += [_message(name, shape_of(kind)) for name, kind in CLIENT_EVENTS.items()]
    parts.append("## Messages from the service\n")
    parts += [_message(name, shape_of(kind)) for name, kind in SERVER_EVENTS.items()]
    parts += ["## Parts of messages\n", *(_part(shape) for shape in _parts())]
    parts.append(ORDER.format(diagram=utterance_diagram(), refusals=MAX_REFUSALS_IN_ROW, remembered=MAX_REMEMBERED))
    parts.append(_errors())
    return "\n".join(parts)


def _conversation() -> str:
    service, client = NativeJson(Role.SERVER), NativeJson(Role.CLIENT)
    audio_format = AudioFormat()
    said: list[tuple[NativeJson, Event]] = [
        (
            service,
            Ready(
                "0.1.0",
                voices=(Voice("zh-f-1", "indextts2", ("zh", "en")),),
                formats=(FormatOffer(audio_format.codec, (8000, 24000)),),
                engines=(EngineOffer("indextts2", ("zh", "en"), 22050), EngineOffer("sambert", ("zh",), 16000)),
            ),
        ),
        (client, Open("a1", voice="zh-f-1", format=audio_format)),
        (client, AppendText("a1", "你好，")),
        (service, Opened("a1", "zh-f-1", audio_format, Budget())),
        (service, SegmentStarted("a1", 0, 0, 3, 0, "indextts2", "zh", (Word(0, 2, 40.0, 410.0),))),
        (service, Audio("a1", 0, 0, 2, "indextts2", b"\x01\x00\xff\xff")),
        (client, AppendText("a1", "世界。")),
        (client, End("a1")),
        (client, Played("a1", 2)),
        (service, Switch("a1", "indextts2", "sambert", "worker_lost", 3, 2)),
        (service, Audio("a1", 1, 2, 2, "sambert", b"\x01\x00\xff\xff")),
        (service, Done("a1", Usage(6, {"indextts2": 0.083, "sambert": 0.083}), ttfa_ms=212.0, switches=1)),
    ]
    lines = [f"{'▸' if side is client else '◂'} {side.encode(event)}" for side, event in said]
    return "```json\n" + "\n".join(lines) + "\n```\n"


def _message(name: str, shape: Object) -> str:
    return f"### `{name}`\n\n{_doc(shape)}\n\n{_fields(shape)}"


def _part(shape: Object) -> str:
    return f"### {shape.make.__name__}\n\n{_doc(shape)}\n\n{_fields(shape)}"


def _doc(shape: Object) -> str:
    paragraphs = str(shape.make.__doc__).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _fields(shape: Object) -> str:
    rows = ["| field | type | | meaning |", "|---|---|---|---|"]
    rows += [f"| `{field.name}` | {_type(field.shape, field.rule)} | {_presence(field)} | {field.rule.doc} |" for field in shape.fields]
    return "\n".join(rows) + "\n"


def _presence(field: Field) -> str:
    if field.is_required:
        return "required"
    if field.default is None:
        return "optional"
    if isinstance(field.default, (str, int, float)):
        return f"default `{json.dumps(field.default)}`"
    return "optional"


def _type(shape: Shape, rule: Rule) -> str:
    if isinstance(shape, Scalar):
        return _scalar(shape, rule)
    if isinstance(shape, Choice):
        return " \\| ".join(f"`{member.value}`" for member in shape.enum)
    if isinstance(shape, Array):
        return f"array of {_type(shape.item, rule)}"
    if isinstance(shape, Row):
        return f"[{', '.join(shape.names)}]"
    if isinstance(shape, Table):
        return "map of numbers"
    return f"[{shape.make.__name__}](#{shape.make.__name__.lower()})"


def _scalar(shape: Scalar, rule: Rule) -> str:
    kind = shape.kind
    if kind in ("integer", "number") and rule.high is not None and rule.high < 2**53 - 1:
        return f"{kind} {rule.low:g}..{rule.high:.12g}"
    if rule.max_chars is not None:
        return f"{kind}, at most {rule.max_chars} characters"
    return kind


def _parts() -> list[Object]:
    """Every object inside a message, once, in the order of appearance."""
    found: list[Object] = []

    def visit(shape: Shape) -> None:
        if isinstance(shape, Array):
            visit(shape.item)
        if isinstance(shape, Object):
            if shape not in found:
                found.append(shape)
            for field in shape.fields:
                visit(field.shape)

    for kind in (*CLIENT_EVENTS.values(), *SERVER_EVENTS.values()):
        for field in shape_of(kind).fields:
            visit(field.shape)
    return found


def _errors() -> str:
    rows = ["## Error codes\n", "| `code` | retryable | close code | |", "|---|---|---|---|"]
    kinds: list[Any] = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.RealtimeError)]
    for kind in kinds:
        retryable = "yes" if kind.retryable else "no"
        doc = " ".join(str(kind.__doc__).split())
        rows.append(f"| `{kind.code}` | {retryable} | {close_code(kind(''))} | {doc} |")
    rows.append("\n*Close code*: where the service closes the connection over it. `retry_after_ms` tells when, where the service knows.")
    rows.append(f"Subprotocols in the service's order of preference: {', '.join(f'`{name}`' for name in DIALECTS)}.\n")
    return "\n".join(rows)


def documents() -> dict[Path, str]:
    """File -> what it should hold."""
    schema = json.dumps(protocol_schema(), indent=1, ensure_ascii=False) + "\n"
    return {HERE / "PROTOCOL.md": reference_page(), HERE / "protocol.schema.json": schema}


def main(arguments: list[str] | None = None) -> int:
    """Write the documents, or check them. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m realtime.wire.reference", description="Write the wire protocol's reference.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is stale")
    options = parser.parse_args(arguments)
    stale = [path for path, text in documents().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if not options.check:
            path.write_text(documents()[path], encoding="utf-8")
        print(f"{'stale' if options.check else 'written'}: {path.name}", file=sys.stderr)
    return 1 if options.check and stale else 0


if __name__ == "__main__":  # pragma: no cover
    sys.exit(main())

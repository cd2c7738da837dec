"""DashScope's tasks: recorded conversations, refusals, fuzz."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.errors import BadOption, ProtocolViolation
from realtime.types import AudioFormat, Codec
from realtime.wire.dialects import SOCKET_PATHS
from realtime.wire.dialects.dashscope import DashScope
from realtime.wire.dialects.native import NativeJson
from realtime.wire.events import Error, Open
from realtime.wire.transitions import Role

TRANSCRIPTS = sorted((Path(__file__).parent.parent / "transcripts" / "dashscope").glob("*.jsonl"))


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcripts(path: Path) -> None:
    head, *lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    dialect = SOCKET_PATHS["/api-ws/v1/inference"]({}, {}, head["voices"])
    for number, line in enumerate(lines, 2):
        if "client" in line:
            meant = tuple(NativeJson(Role.SERVER).decode(json.dumps(raw))[0] for raw in line["means"])
            assert tuple(dialect.decode(json.dumps(line["client"]))) == meant, f"line {number}"
            continue
        (event,) = NativeJson(Role.CLIENT).decode(json.dumps(line["service"]))
        message = dialect.encode(event)
        if "bytes" in line:
            assert message == base64.b64decode(line["bytes"]), f"line {number}"
        else:
            assert (None if message is None else json.loads(message)) == line["says"], f"line {number}"
        assert dialect.closing is None


def run(**parameters: Any) -> str:
    header = {"action": "run-task", "task_id": "x", "streaming": "duplex"}
    return json.dumps({"header": header, "payload": {"input": {}, "parameters": parameters}})


def test_a_bad_format_fails_the_task_by_its_name() -> None:
    dialect = DashScope()
    with pytest.raises(BadOption, match="format must be one of") as raised:
        dialect.decode(run(format="midi"))
    message = dialect.encode(Error(raised.value.code, raised.value.message, utterance=raised.value.utterance))
    assert isinstance(message, str)
    assert json.loads(message)["header"] == {
        "task_id": "x",
        "event": "task-failed",
        "attributes": {},
        "error_code": "bad_option",
        "error_message": raised.value.message,
    }


@pytest.mark.parametrize("rate", [0, 7999, 48001, "x", None, 1e4, True])
def test_bad_rates(rate: Any) -> None:
    with pytest.raises(BadOption, match="sample_rate"):
        DashScope().decode(run(format="pcm", sample_rate=rate))


@pytest.mark.parametrize(
    ("parameters", "format"),
    [
        ({}, AudioFormat(Codec.WAV, 16000)),
        ({"format": "Default", "sample_rate": 0}, AudioFormat(Codec.MP3, 22050)),
        ({"format": "Default", "sample_rate": 8000}, AudioFormat(Codec.MP3, 8000)),
        ({"format": "opus", "sample_rate": 24000, "bit_rate": 32}, AudioFormat(Codec.OGG_OPUS, 24000, 32000)),
        ({"format": "opus", "sample_rate": 24000, "bit_rate": 10**9}, AudioFormat(Codec.OGG_OPUS, 24000)),
        ({"format": "mp3", "sample_rate": 24000, "bit_rate": 32}, AudioFormat(Codec.MP3, 24000)),
    ],
)
def test_formats(parameters: dict[str, Any], format: AudioFormat) -> None:
    (opened,) = DashScope().decode(run(**parameters))
    assert isinstance(opened, Open) and opened.format == format


@pytest.mark.parametrize(("rate", "speed"), [(0.1, 0.5), (10**400, 2.0), ("fast", 1.0), (1, 1.0)])
def test_speed(rate: Any, speed: float) -> None:
    (opened,) = DashScope().decode(run(rate=rate))
    assert isinstance(opened, Open) and opened.speed == speed


@pytest.mark.parametrize(
    "message",
    [
        b"\x00",
        "",
        "[]",
        "5",
        "[" * 100_000,
        "x" * 1_100_000,
        '{"header":5}',
        '{"header":{}}',
        '{"header":{"task_id":""}}',
        '{"header":{"task_id":"x","action":"dance"}}',
        '{"header":{"task_id":"x","action":["run-task"]}}',
        '{"header":{"task_id":"x","action":"run-task"},"payload":{"parameters":[]}}',
        '{"header":{"task_id":"x","action":"run-task"},"payload":{"input":{"text":5}}}',
    ],
    ids=range(13),
)
def test_nonsense_is_refused(message: Any) -> None:
    with pytest.raises(ProtocolViolation):
        DashScope().decode(message)


def test_a_task_runs_once_at_a_time() -> None:
    dialect = DashScope()
    dialect.decode(run())
    with pytest.raises(ProtocolViolation, match="running already") as raised:
        dialect.decode(run())
    assert raised.value.utterance == "t1"


def test_an_error_without_a_task_closes() -> None:
    dialect = DashScope()
    assert dialect.encode(Error("protocol_violation", "what")) is not None
    assert dialect.closing is not None and dialect.closing.code == 1008


ANYTHING = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)


@settings(deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "header": ANYTHING
                | st.fixed_dictionaries(
                    {},
                    optional={
                        "action": ANYTHING | st.sampled_from(["run-task", "continue-task", "finish-task"]),
                        "task_id": ANYTHING | st.sampled_from(["a", "b"]),
                        "streaming": ANYTHING | st.just("out"),
                    },
                ),
                "payload": ANYTHING
                | st.fixed_dictionaries(
                    {},
                    optional={
                        "input": ANYTHING | st.dictionaries(st.sampled_from(["text", "flush", "directive"]), ANYTHING),
                        "parameters": ANYTHING
                        | st.dictionaries(st.sampled_from(["format", "sample_rate", "rate", "seed", "voice"]), ANYTHING),
                    },
                ),
            },
        ).map(json.dumps),
        max_size=5,
    )
)
def test_fuzz(messages: list[str]) -> None:
    """The invariant: events of utterances opened before, or a declared error."""
    dialect, opened = DashScope(), set()
    for message in messages:
        try:
            events = dialect.decode(message)
        except (ProtocolViolation, BadOption):
            continue
        for event in events:
            if isinstance(event, Open):
                opened.add(event.utterance)
            assert event.utterance in opened  # type: ignore[union-attr]

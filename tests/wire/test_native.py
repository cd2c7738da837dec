"""The native dialects: round trips, strictness by example, and a fuzz with one invariant: the parse, or a declared error."""

from __future__ import annotations

import json
import math
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realtime.errors import BadOption, BadText, ClientError, ProtocolViolation
from realtime.types import AudioFormat, Codec, Emotion
from realtime.wire.dialect import Message
from realtime.wire.dialects import DIALECTS
from realtime.wire.dialects.native import NativeJson, NativeMsgpack
from realtime.wire.events import AppendText, Audio, BudgetChoice, BudgetProfile, Event, Open, Played, Pong
from realtime.wire.transitions import Role

Native = type[NativeMsgpack] | type[NativeJson]
BOTH = pytest.mark.parametrize("dialect", DIALECTS.values())
FUZZ = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
DECLARED = (ProtocolViolation, BadText, BadOption)


def write(dialect: Native, raw: Any) -> Message:
    """`raw` as somebody else's encoder would write it, however wrong it is."""
    return json.dumps(raw) if dialect is NativeJson else msgpack.packb(raw, unicode_errors="surrogatepass")


def decode(dialect: Native, raw: Any, role: Role = Role.SERVER) -> Event:
    (event,) = dialect(role).decode(write(dialect, raw))
    return event


def refused(dialect: Native, raw: Any, kind: type[ClientError] = ProtocolViolation) -> ClientError:
    with pytest.raises(kind) as raised:
        dialect().decode(write(dialect, raw))
    assert type(raised.value) is kind
    return raised.value


@BOTH
@FUZZ
@given(data=st.data())
def test_client_events_come_back_equal(dialect: Native, data: st.DataObject, client_events: st.SearchStrategy[Event]) -> None:
    event = data.draw(client_events)
    assert dialect(Role.SERVER).decode(dialect(Role.CLIENT).encode(event)) == (event,)


@BOTH
@FUZZ
@given(data=st.data())
def test_server_events_come_back_equal(dialect: Native, data: st.DataObject, server_events: st.SearchStrategy[Event]) -> None:
    event = data.draw(server_events)
    assert dialect(Role.CLIENT).decode(dialect(Role.SERVER).encode(event)) == (event,)


@BOTH
def test_the_fast_audio_message_is_what_any_reader_expects(dialect: Native) -> None:
    message = dialect().encode(Audio("a", 3, 960, 2, "espéak\n", b"\x00\xff\x10"))
    raw = json.loads(message) if isinstance(message, str) else msgpack.unpackb(message)
    payload = "AP8Q" if isinstance(message, str) else b"\x00\xff\x10"
    expected = {"type": "audio", "utterance": "a", "seq": 3, "offset": 960, "samples": 2, "engine": "espéak\n", "payload": payload}
    assert raw == expected and list(raw) == list(expected)


@BOTH
def test_a_bare_open_takes_the_defaults(dialect: Native) -> None:
    assert decode(dialect, {"type": "open", "utterance": "a"}) == Open("a")


@BOTH
def test_an_open_may_say_everything(dialect: Native) -> None:
    raw = {
        "type": "open",
        "utterance": "a",
        "voice": "小雅",
        "language": "zh-Hant-TW",
        "format": {"codec": "mulaw", "sample_rate": 8000, "bitrate": None},
        "speed": 2,
        "emotion": {"vector": [0, 0, 1, 0, 0, 0, 0, 0.5]},
        "priority": "interactive",
        "budget": {"profile": "ivr", "max_lead_ms": 500},
        "seed": 7,
        "cache": False,
        "words": False,
        "context": "before\n",
    }
    event = decode(dialect, raw)
    assert isinstance(event, Open)
    assert event.format == AudioFormat(Codec.MULAW, 8000) and event.speed == 2.0 and type(event.speed) is float
    assert event.emotion == Emotion(vector=(0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.5))
    assert event.budget == BudgetChoice(BudgetProfile.IVR, max_lead_ms=500)


WRONG_OPTIONS: list[tuple[str, Any]] = [
    *(("speed", value) for value in (math.nan, math.inf, -math.inf, -1, 0, 0.49, 2.01, 1e300, 10**30, "1", True, None, [], {})),
    *(("voice", value) for value in ("", "a b", "x" * 129, 5, "\n")),
    *(("language", value) for value in ("", "z", "zh_CN", "zh-" * 9, 1)),
    *(("format", value) for value in ("pcm", [], None, {"codec": "midi"}, {"codec": 3}, {"sample_rate": 7999}, {"sample_rate": 24000.0})),
    *(("format", value) for value in ({"sample_rate": True}, {"bitrate": 0}, {"codec": None}, {"sample_rate": 10**100})),
    *(("emotion", value) for value in ({"vector": [0] * 7}, {"vector": [0] * 9}, {"vector": [2] * 8}, {"vector": 1}, {"strength": 1.1})),
    *(("emotion", value) for value in ({"name": ""}, "happy", {"vector": [math.nan] * 8})),
    *(("priority", value) for value in ("urgent", 0, ["normal"])),
    *(("budget", value) for value in ({"profile": "tv"}, {"max_lead_ms": -5}, {"sticky": 1}, {"first_audio_ms": 0}, 5)),
    *(("seed", value) for value in (-1, 2**32, 0.5, "0", None)),
    *(("cache", value) for value in (0, "true", None)),
]


@BOTH
@pytest.mark.parametrize(("field", "value"), WRONG_OPTIONS, ids=repr)
def test_a_wrong_option_is_named_and_its_utterance_too(dialect: Native, field: str, value: Any) -> None:
    if dialect is NativeMsgpack and isinstance(value, (int, dict)) and "100000000000000000" in repr(value):
        pytest.skip("MessagePack integers end at 64 bits")
    is_shape_error = field in ("format", "emotion", "budget") and not isinstance(value, dict)
    error = refused(dialect, {"type": "open", "utterance": "a", field: value}, ProtocolViolation if is_shape_error else BadOption)
    assert f"open.{field}" in error.message
    assert error.utterance == "a"


@BOTH
@pytest.mark.parametrize(
    ("text", "says"),
    [("", "empty"), ("a\x00b", "U+0000 at character 1"), ("\x1b[2J", "U+001B"), ("x\x7f", "U+007F"), ("\x85", "U+0085"), (5, "string")],
)
def test_bad_text_says_where(dialect: Native, text: Any, says: str) -> None:
    error = refused(dialect, {"type": "text", "utterance": "a", "text": text}, BadText)
    assert says in error.message and error.utterance == "a"


def test_half_a_surrogate_pair_is_bad_text() -> None:
    with pytest.raises(BadText, match=r"U\+D83D at character 2"):
        NativeJson().decode('{"type":"text","utterance":"a","text":"hi\\ud83d"}')
    # UTF-8 can't hold one (RFC 3629 section 3), so MessagePack with one is malformed.
    with pytest.raises(ProtocolViolation, match="malformed"):
        NativeMsgpack().decode(write(NativeMsgpack, {"type": "text", "utterance": "a", "text": "\ud83d"}))


@BOTH
def test_tabs_line_ends_and_every_script_are_text(dialect: Native) -> None:
    text = "a\tb\r\nc 你好 😀 \u2028 é"
    assert decode(dialect, {"type": "text", "utterance": "a", "text": text}) == AppendText("a", text)


@BOTH
@pytest.mark.parametrize("utterance", ["", "a b", "x" * 65, "é", "a\n", None, 5, ["a"], "\ud800"])
def test_ids_are_short_and_plain(dialect: Native, utterance: Any) -> None:
    if dialect is NativeMsgpack and utterance == "\ud800":
        pytest.skip("UTF-8 can't hold it")
    assert refused(dialect, {"type": "end", "utterance": utterance}).utterance is None


@BOTH
@pytest.mark.parametrize("sample", [-1, 2**53, 0.5, 1e3, True, "0", None, math.nan])
def test_positions_are_whole_and_bounded(dialect: Native, sample: Any) -> None:
    assert "played.sample" in refused(dialect, {"type": "played", "utterance": "a", "sample": sample}).message
    assert decode(dialect, {"type": "played", "utterance": "a", "sample": 2**53 - 1}) == Played("a", 2**53 - 1)


@BOTH
@pytest.mark.parametrize("raw", [None, 5, "open", [], [1, 2], True, {}, {"type": None}, {"type": 5}, {"type": ["open"]}, {"type": "sing"}])
def test_what_is_no_message_is_refused(dialect: Native, raw: Any) -> None:
    refused(dialect, raw)


@BOTH
def test_unknown_and_missing_fields_are_named_to_the_client(dialect: Native) -> None:
    assert "no field 'colour'" in refused(dialect, {"type": "end", "utterance": "a", "colour": 1}).message
    assert "open.format has no field 'rate'" in refused(dialect, {"type": "open", "utterance": "a", "format": {"rate": 8000}}).message
    assert "text lacks text" in refused(dialect, {"type": "text", "utterance": "a"}).message


@BOTH
def test_a_client_lives_with_a_newer_service(dialect: Native) -> None:
    assert decode(dialect, {"type": "pong", "data": "x", "weather": "fine"}, Role.CLIENT) == Pong("x")
    assert dialect(Role.CLIENT).decode(write(dialect, {"type": "applause"})) == ()


AUDIO = {"type": "audio", "utterance": "a", "seq": 0, "offset": 0, "samples": 1, "engine": "e"}
SEGMENT = {
    "type": "segment",
    "utterance": "a",
    "index": 0,
    "span_start": 0,
    "span_end": 1,
    "sample_offset": 0,
    "engine": "e",
    "language": "en",
}


@BOTH
@pytest.mark.parametrize(
    "raw",
    [
        *({**AUDIO, "payload": payload} for payload in (5, None, [], "not base64!", "AP8", "é")),
        *({**SEGMENT, "words": words} for words in (5, [5], [[0, 1, 2]], [[0, 1, "2", 3]], [[0.5, 1, 2, 3]], [[0, 1, -2, 3]])),
        *({"type": "done", "utterance": "a", "usage": {"audio_ms_by_engine": table}} for table in (5, {"e": "1"}, {"e": -1}, [])),
        {"type": "done", "utterance": "a", "usage": {"audio_ms_by_engine": dict.fromkeys(map(str, range(101)), 1)}},
    ],
    ids=lambda raw: raw["type"],
)
def test_a_client_refuses_what_it_cannot_use(dialect: Native, raw: dict[str, Any]) -> None:
    with pytest.raises(ProtocolViolation) as raised:
        dialect(Role.CLIENT).decode(write(dialect, raw))
    assert raised.value.utterance == "a"


@BOTH
def test_messages_of_the_other_direction_are_unknown(dialect: Native) -> None:
    refused(dialect, {"type": "pong", "data": "x"})


def test_frames_of_the_wrong_kind_are_refused() -> None:
    with pytest.raises(ProtocolViolation, match="binary frame"):
        NativeJson().decode(b'{"type":"ping"}')
    with pytest.raises(ProtocolViolation, match="text frame"):
        NativeMsgpack().decode('{"type":"ping"}')


@BOTH
def test_size_is_checked_before_parsing(dialect: Native) -> None:
    message = write(dialect, {"type": "text", "utterance": "a", "text": "x" * 2000})
    with pytest.raises(ProtocolViolation, match="limit is 1000"):
        dialect(max_message_bytes=1000).decode(message)
    assert dialect().decode(message)


def test_json_size_counts_bytes_not_characters() -> None:
    message = '{"type":"ping","data":"' + "汉" * 20 + '"}'
    assert NativeJson(max_message_bytes=len(message.encode())).decode(message)
    with pytest.raises(ProtocolViolation, match="limit"):
        NativeJson(max_message_bytes=len(message.encode()) - 1).decode(message)


@pytest.mark.parametrize(
    "message",
    [
        "",
        "{",
        "nul",
        '{"type":"ping"} x',
        '{"type":"ping","type":"end"}',
        "[" * 200_000,
        '{"type":"ping","data":' + '{"a":' * 100_000,
        '{"type":"open","utterance":"a","seed":' + "9" * 5000 + "}",
        '{"type":"ping","data":"\x00"}',
        "\ufeff{}",
    ],
)
def test_malformed_json_and_bombs(message: str) -> None:
    with pytest.raises(ProtocolViolation):
        NativeJson().decode(message)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xc1",
        b"\x81",
        b"\x91" * 100_000,
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xffabc",
        b"\xc6\xff\xff\xff\xff",
        b"\x81\xa4type\xa4ping\x00",
        b"\x82\xa4type\xa4ping\xa4type\xa4ping",
        b"\x82\xa4type\xa4ping\xa4data\xd4\x01\x00",
        b"\x82\xa4type\xa4ping\xa4data\xd6\xff\x00\x00\x00\x00",
        b"\x82\xa4type\xa4ping\x90\x00",
        b"\x81\xa4type\xa1\xff",
        b"\x82\xa4type\xa4ping\xc4\x01x\xc0",
    ],
)
def test_malformed_msgpack_and_bombs(message: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        NativeMsgpack().decode(message)


def test_msgpack_extensions_are_not_ours() -> None:
    with pytest.raises(ProtocolViolation, match="extension type 1 is not used"):
        NativeMsgpack().decode(b"\x82\xa4type\xa4ping\xa4data\xd4\x01\x00")


def parses_or_is_refused(dialect: Native, role: Role, message: Message) -> None:
    """The invariant: a tuple of events, or one of the declared errors; nothing else, whatever comes."""
    try:
        assert isinstance(dialect(role).decode(message), tuple)
    except ClientError as error:
        assert type(error) in DECLARED
        assert len(error.message) < 1000
        error.message.encode("utf-8")


@BOTH
@pytest.mark.parametrize("role", Role)
@FUZZ
@given(message=st.binary(max_size=300) | st.text(max_size=300))
def test_fuzz_noise(dialect: Native, role: Role, message: Message) -> None:
    parses_or_is_refused(dialect, role, message)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=10) | st.sampled_from(["a", "x", 1, 2.0]),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@BOTH
@pytest.mark.parametrize("role", Role)
@FUZZ
@given(data=st.data())
def test_fuzz_values_of_the_wrong_kind(
    dialect: Native, role: Role, data: st.DataObject, client_events: st.SearchStrategy[Event], server_events: st.SearchStrategy[Event]
) -> None:
    """A legal message with one value, at any depth, replaced by anything."""
    events, sender = (client_events, Role.CLIENT) if role is Role.SERVER else (server_events, Role.SERVER)
    message = dialect(sender).encode(data.draw(events))
    raw = json.loads(message) if isinstance(message, str) else msgpack.unpackb(message)
    place = raw
    while True:
        key = data.draw(st.sampled_from(sorted(place)) if isinstance(place, dict) else st.integers(0, len(place) - 1))
        if isinstance(place[key], (dict, list)) and place[key] and data.draw(st.booleans()):
            place = place[key]
            continue
        place[key] = data.draw(PLAIN)
        break
    parses_or_is_refused(dialect, role, json.dumps(raw) if dialect is NativeJson else msgpack.packb(raw))


@BOTH
@pytest.mark.parametrize("role", Role)
@settings(FUZZ, max_examples=25)
@given(data=st.data())
def test_fuzz_byte_by_byte(
    dialect: Native, role: Role, data: st.DataObject, client_events: st.SearchStrategy[Event], server_events: st.SearchStrategy[Event]
) -> None:
    """Every cut of a legal message, and one byte changed, dropped or put in at each place."""
    events, sender = (client_events, Role.CLIENT) if role is Role.SERVER else (server_events, Role.SERVER)
    message = dialect(sender).encode(data.draw(events))
    whole = message.encode() if isinstance(message, str) else message
    byte = data.draw(st.integers(0, 255))
    for at in range(min(len(whole), 120)):
        for mutated in (
            whole[:at],
            whole[:at] + bytes([byte]) + whole[at + 1 :],
            whole[:at] + whole[at + 1 :],
            whole[:at] + bytes([byte]) + whole[at:],
        ):
            parses_or_is_refused(dialect, role, mutated.decode("utf-8", "replace") if dialect is NativeJson else mutated)

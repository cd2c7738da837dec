"""Flow files: what is right is understood, what is wrong is told in words; and flows on a call."""

from __future__ import annotations

import asyncio
import json
import tomllib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from realtime_ivr import programs
from realtime_ivr.desk import Desk, DeskOptions
from realtime_ivr.errors import FlowError
from realtime_ivr.flow import load_flow, make_flow, render
from realtime_ivr.local_voice import LocalVoice
from realtime_ivr.prompts import Manners, PromptStore
from realtime_ivr.saying import Voices
from realtime_ivr.service import Service
from realtime_ivr.webhook import LineReader, PlainReader, spoken, with_filler
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route
from websockets.asyncio.server import ServerConnection, serve

from realtime.engines.beacon.decoder import decode

EXAMPLES = Path(programs.__file__).parent / "examples"
GOOD: dict[str, Any] = {"name": "f", "start": "a", "steps": {"a": {"hang_up": "Bye."}}}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.name)
def test_the_examples_are_right(path: Path) -> None:
    flow = load_flow(path)
    assert flow.warnings in ([], [w for w in flow.warnings if "not written in" in w])
    assert flow.constant_prompts()


def test_the_python_example_can_be_loaded() -> None:
    assert callable(programs.load_program(EXAMPLES / "chatbot.py"))


def test_an_example_needs_no_path_unless_there_is_a_file_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert programs.find(Path("menu.toml")) == EXAMPLES / "menu.toml"
    (tmp_path / "menu.toml").write_text("")
    assert programs.find(Path("menu.toml")) == Path("menu.toml")
    for absent in (Path("nothing.toml"), Path("flows/menu.toml")):
        with pytest.raises(FlowError, match=r"no such file; examples that need no path: chatbot.toml, menu.toml"):
            programs.find(absent)


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ('name = "f"\nstart = "a"\n[steps.a]\nsay = "x"\nnxt = "a"', "steps.a.nxt: there is no such field here; did you mean next?"),
        ('name = "f"\nstart = "b"\n[steps.a]\nsay = "x"', "start: there is no step 'b'"),
        (
            'name = "f"\nstart = "a"\n[steps.a]\nmenu = "x"\nkeys = { 1 = "main" }\n[steps.mainn]\nsay = ""',
            "steps.a.keys.1: there is no step 'main'; did you mean mainn?",
        ),
        ('name = "f"\nstart = "a"\n[steps.a]\nmenu = "x"\nkeys = { x = "a" }', "steps.a.keys.x"),
        (
            'name = "f"\nstart = "a"\n[steps.a]\nsay = "{nmae}"\n[variables]\nname = "x"',
            "steps.a.say: nothing sets the variable 'nmae'; did you mean name?",
        ),
        ('name = "f"\nstart = "a"\n[steps.a]\nsay = "{"', "steps.a.say: a brace that belongs to no variable"),
        ('name = "f"\nstart = "a"\n[steps.a]\nnext = "a"', "steps.a: says nothing about what to do; a step has one of menu, "),
        (
            'name = "f"\nstart = "a"\n[steps.a]\ncollect = "x"\ninto = "y"\nleast = 9\nmost = 4',
            "steps.a.least: 9 digits at least, but 4 at most",
        ),
        ('name = "f"\nstart = "a"\n[steps.a]\npause = 900', "steps.a.pause: input should be less than or equal to 60 (found 900)"),
        # the service refuses what is slower or faster
        (
            'name = "f"\nstart = "a"\nvoices = { en = { speed = 0.4 } }\n[steps.a]\nsay = "x"',
            "voices.en.speed: input should be",
        ),
        ('name = "f"\nstart = "a"\nvoices = { en = { speed = 2.1 } }\n[steps.a]\nsay = "x"', "voices.en.speed: input should be"),
        ('name = "f"\nstart = "a"\n[steps.a]\nask = "ftp://x"', "steps.a.ask: must begin with http://"),
        ('name = "f"\nstart = "a"\n[steps.a]\nsay = "x"\nprompt = "gone.wav"', "steps.a.prompt: can't read sound from"),
        ('start = "a"\n[steps.a]\nsay = "x"', "name: is missing"),
        ('name = "f"\nstart = "a"\nbudgt_ms = 5\n[steps.a]\nsay = "x"', "budgt_ms: there is no such field here; did you mean budget_ms?"),
        ("name = ", "not TOML"),
        ('name = "f"\nstart = "a"\nsteps = 4', "steps: input should be a valid dictionary"),
    ],
)
def test_every_mistake_is_told_with_its_place(tmp_path: Path, toml: str, message: str) -> None:
    path = tmp_path / "flow.toml"
    path.write_text(toml)
    with pytest.raises(FlowError) as wrong:
        load_flow(path)
    told = [line.removeprefix(f"{path}:").lstrip("0123456789:").lstrip() for line in wrong.value.message.splitlines()]
    assert any(line.startswith(message) for line in told), told


def test_all_mistakes_come_at_once(tmp_path: Path) -> None:
    with pytest.raises(FlowError) as wrong:
        make_flow({"name": "f", "start": "x", "steps": {"a": {"say": "{y}", "next": "z"}}}, tmp_path)
    assert len(wrong.value.message.splitlines()) == 3


WRONG = """\
name = "f"
start = "main"
budgt_ms = 5

[steps.main]
menu = '''Press one
next = "no field"
'''
keys = { 1 = "blance", x = "main" }
[steps.balance]
say = "{nobody} {who}"
next = "gone"
[steps.name]
collect = "?"
into = "who"
retries = 99
"""
YAML = """\
name: f
start: a
steps:
  a:
    menu: {zh: 按一, en: Press one.}
    keys:
      1: b
      "#": b
  b:
    hang_up: Bye.
"""


def test_one_kind_of_mistake_hides_no_other_and_each_has_its_line(tmp_path: Path) -> None:
    toml = tmp_path / "flow.toml"
    toml.write_text(WRONG)
    with pytest.raises(FlowError) as wrong:
        load_flow(toml)
    told = [line.removeprefix(f"{toml}:").split(": ")[:2] for line in wrong.value.message.splitlines()]
    assert told == [
        ["3", "budgt_ms"],
        ["9", "steps.main.keys.x.[key]"],
        ["11", "steps.balance.say"],
        ["12", "steps.balance.next"],
        ["16", "steps.name.retries"],
    ]


def test_a_flow_in_yaml_is_read_and_its_mistakes_have_lines(tmp_path: Path) -> None:
    good = tmp_path / "flow.yaml"
    good.write_text(YAML)
    flow = load_flow(good)
    assert flow.table.steps["a"].keys == {"1": "b", "#": "b"} and flow.warnings == []  # type: ignore[union-attr]
    bad = tmp_path / "bad.yml"
    bad.write_text(good.read_text().replace("1: b", "1: c").replace("Bye.", "'{x}'"))
    with pytest.raises(FlowError, match=r"bad.yml:7: steps.a.keys.1: there is no step 'c'(.|\n)*bad.yml:10: steps.b.hang_up: nothing sets"):
        load_flow(bad)
    for text, message in (("a: [", "not YAML"), ("- a", "not a table"), ("", "not a table"), ("a: &x {b: *x}", "there is no such field")):
        bad.write_text(text)
        with pytest.raises(FlowError, match=message):
            load_flow(bad)


def test_a_file_that_is_absent_or_has_no_run_is_told() -> None:
    with pytest.raises(FlowError, match="No such file"):
        load_flow(Path("/nowhere/flow.toml"))
    with pytest.raises(FlowError, match="no `async def run"):
        programs.load_program(EXAMPLES / "chatbot_webhook.py")


def test_what_is_hardly_meant_is_a_warning(tmp_path: Path) -> None:
    flow = make_flow({"name": "f", "start": "a", "steps": {"a": {"say": {"zh": "好", "en": "x"}}, "b": {"say": {"en": "x"}}}}, tmp_path)
    assert [warning.split(": ", 1)[1] for warning in flow.warnings] == [
        "steps.b: nothing leads here",
        "steps.b.say: not written in zh; callers of that language hear another one",
    ]


def test_variables_are_filled_in_and_digits_spelled() -> None:
    assert render("{a} and {b:digits}{c}", {"a": "x", "b": "123"}) == "x and 1 2 3"


def test_prompts_that_never_change_are_known_ahead_in_each_language(tmp_path: Path) -> None:
    data = tomllib.loads(
        'name = "f"\nstart = "a"\n[voices.zh]\nvoice = "v"\n[variables]\nbank = "B"\n'
        '[steps.a]\nsay = { zh = "{bank}好", en = "Hi {bank}" }\nnext = "b"\n'
        '[steps.b]\ncollect = "Number."\ninto = "n"\non_invalid = "No."\nnext = "c"\n[steps.c]\nsay = "You said {n}."'
    )
    assert make_flow(data, tmp_path).constant_prompts() == [
        ("B好", Manners("v", "zh")),
        ("Hi B", Manners(None, "en")),
        ("Number.", Manners(None, "en")),
        ("No.", Manners(None, "en")),
    ]


# ---- on a call ----


async def run_flow(call: Any, url: str, data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A flow's record; speed 2 so that it is short."""
    data = {"voices": {"en": {"speed": 2.0}}, **data}
    voices = Voices(Service(url), PromptStore(), LocalVoice())
    await voices.service.start()
    desk = Desk(voices, make_flow(data, folder), DeskOptions(folder / "calls.jsonl"))
    try:
        record = await desk.serve(call)
    finally:
        await voices.service.aclose()
        await voices.local.aclose()
    assert json.loads((folder / "calls.jsonl").read_text().splitlines()[-1]) == record
    return record


async def test_every_kind_of_step_does_what_it_says(service_url: str, fake_call: Callable[..., Any], tmp_path: Path) -> None:
    steps = {
        "a": {"set": {"who": "Bob", "language": "en"}, "next": "b"},
        "b": {"choose": "{who}", "cases": {"Eve": "never"}, "otherwise": "c"},
        "c": {"pause": 0.05, "next": "d"},
        "d": {"goto": "e"},
        "e": {"collect": "N?", "into": "n", "most": 3, "least": 3, "next": "f"},
        "f": {"say": "{who} {n:digits}.", "next": "g"},
        "g": {"transfer": "sip:{who}@x", "say": "Wait."},
        "never": {"hang_up": ""},
    }
    call = fake_call()
    call.press("123")
    record = await run_flow(call, service_url, {**GOOD, "steps": steps}, tmp_path)
    assert decode(call.heard / 32768, 8000) == "Bob 1 2 3.Wait.", record["prompts"]
    assert call.transferred == ["sip:Bob@x"] and [one["step"] for one in record["path"]] == list("abcdefg")
    assert record["ended_by"] == "flow" and "errors" not in record


async def test_a_flow_without_an_end_is_ended(fake_call: Callable[..., Any], service_url: str, tmp_path: Path) -> None:
    data = {**GOOD, "max_steps": 20, "steps": {"a": {"goto": "a"}}}
    record = await run_flow(fake_call(), service_url, data, tmp_path)
    assert record["errors"] == ["the flow went through 20 steps without an end"]
    record = await run_flow(fake_call(), service_url, {**GOOD, "max_call_s": 0.2, "steps": {"a": {"pause": 9}}}, tmp_path)
    assert record["errors"] == ["the call was longer than 0.2 s"]


@asynccontextmanager
async def webhook(answer: Any) -> AsyncIterator[str]:
    app = Starlette(routes=[Route("/", answer, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, timeout_graceful_shutdown=1))
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined, method-assign]
    task = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    server.should_exit = True
    await task


async def test_a_webhooks_tokens_are_spoken_as_they_come(service_url: str, fake_call: Callable[..., Any], tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = []

    async def answer(request: Request) -> StreamingResponse:
        asked.append(await request.json())

        async def chunks() -> AsyncIterator[bytes]:
            for word in ("It ", "is ", "noon."):
                yield b'data: {"choices":[{"delta":{"content":' + json.dumps(word).encode() + b"}}]}\n\n"
            yield b"data: [DONE]\n\n"

        return StreamingResponse(chunks(), media_type="text/event-stream")

    async with webhook(answer) as url:
        steps = {"a": {"ask": url, "send": {"topic": "{t}"}, "into": "said", "next": "b"}, "b": {"hang_up": "{said}"}}
        call = fake_call()
        await run_flow(call, service_url, {**GOOD, "variables": {"t": "time"}, "steps": steps}, tmp_path)
        assert decode(call.heard / 32768, 8000) == "It is noon.It is noon."
        assert asked[0]["topic"] == "time" and asked[0]["caller"] == "sip:caller@here" and asked[0]["language"] == "en"


async def test_while_a_webhook_thinks_a_filler_is_said_that_is_no_part_of_its_answer(
    service_url: str, fake_call: Callable[..., Any], tmp_path: Path
) -> None:
    async def answer(socket: ServerConnection) -> None:
        await socket.recv()
        await asyncio.sleep(0.4)
        await socket.send("Noon.")

    async with serve(answer, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        call = fake_call()
        ask = {"ask": url, "filler": "Wait.", "filler_after_s": 0.1, "into": "said", "next": "b"}
        await run_flow(call, service_url, {**GOOD, "steps": {"a": ask, "b": {"hang_up": "{said}{heard}"}}}, tmp_path)
        assert decode(call.heard / 32768, 8000) == "Wait. Noon.Noon.Noon."
        call = fake_call()
        quick = {**ask, "filler_after_s": 30, "next": None}
        await run_flow(call, service_url, {**GOOD, "steps": {"a": quick}}, tmp_path)
        assert decode(call.heard / 32768, 8000) == "Noon."


async def test_a_filler_is_no_reason_to_wait_for_a_webhook_that_nobody_listens_to() -> None:
    closed = asyncio.Event()

    async def never() -> AsyncIterator[str]:
        try:
            await asyncio.sleep(60)
            yield ""
        finally:
            closed.set()

    pieces = with_filler(never(), "Wait.", 0.0)
    assert await anext(pieces) == "Wait. "
    await pieces.aclose()  # type: ignore[attr-defined]
    assert closed.is_set()


async def test_a_webhook_by_websocket(service_url: str, fake_call: Callable[..., Any], tmp_path: Path) -> None:
    async def answer(socket: ServerConnection) -> None:
        question = json.loads(await socket.recv())
        for word in (f"Step {question['step']}. ", '{"text": "Fine."}'):
            await socket.send(word)

    async with serve(answer, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        call = fake_call()
        await run_flow(call, service_url, {**GOOD, "steps": {"a": {"ask": url}}}, tmp_path)
        assert decode(call.heard / 32768, 8000) == "Step a. Fine."


async def test_a_webhook_that_fails_leads_elsewhere(service_url: str, fake_call: Callable[..., Any], tmp_path: Path) -> None:
    async def answer(request: Request) -> PlainTextResponse:
        return PlainTextResponse("no", 500)

    async with webhook(answer) as url:
        for target in (url, "http://127.0.0.1:9/", "ws://127.0.0.1:9/"):
            call = fake_call()
            steps = {"a": {"ask": target, "otherwise": "b"}, "b": {"hang_up": "Sorry."}}
            record = await run_flow(call, service_url, {**GOOD, "steps": steps}, tmp_path)
            assert decode(call.heard / 32768, 8000) == "Sorry." and target in record["errors"][0]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_answers_are_read_whatever_their_cuts(size: int) -> None:
    data = '{"text":"好 "}\n\n: comment\nevent: x\ndata: {"choices":[{"delta":{"content":"b"}}]}\n{"other":1}\n{"text":"c"}'.encode()
    reader = LineReader()
    pieces = [piece for at in range(0, len(data), size) for piece in reader.push(data[at : at + size])] + reader.flush()
    assert "".join(pieces) == "好 bc"
    plain = PlainReader()
    assert "".join([p for at in range(0, len(data), size) for p in plain.push(data[at : at + size])] + plain.flush()) == data.decode()


def test_json_that_says_nothing_is_silent_and_what_is_no_json_is_an_error() -> None:
    assert [spoken(line) for line in ("{}", "[]", '{"choices":[]}', '{"choices":[{"delta":null}]}', '{"text":5}')] == [""] * 5
    with pytest.raises(ValueError, match="Expecting"):
        spoken("{nonsense")

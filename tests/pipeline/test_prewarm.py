"""Prompt files, and prompts spoken ahead: what counts as ready, what is tried again, what is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from realtime.errors import BadOption, Overloaded, UnknownVoice
from realtime.pipeline.outputs import CancelledOut, DoneOut, Ending, FailedOut
from realtime.pipeline.prewarm import Prompt, prewarm, read_prompts
from realtime.pipeline.requests import Request
from realtime.types import Budget, Priority, Usage


def done(**by_engine: float) -> DoneOut:
    return DoneOut(Usage(3, by_engine), 100.0)


FAILED = FailedOut("overloaded", "no capacity", True, 100, 0, 0.0)
PROMPTS = [Prompt("v", None, "one"), Prompt(None, "en", "two"), Prompt("v", None, "three")]


async def run(answers: dict[str, list[Ending | Exception | None]]) -> tuple[int, list[tuple[int, str]], list[Request]]:
    told: list[tuple[int, str]] = []
    requests: list[Request] = []

    async def speak(request: Request, text: str) -> Ending | None:
        requests.append(request)
        answer = answers[text].pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    ready = await prewarm(PROMPTS, Budget(), speak, lambda prompt: "main", lambda number, prompt, trouble: told.append((number, trouble)))
    return ready, told, requests


async def test_every_prompt_is_spoken_once_behind_live_work() -> None:
    ready, told, requests = await run({"one": [done(main=900.0)], "two": [done(main=900.0)], "three": [done(main=900.0)]})
    assert ready == 3 and told == [(1, ""), (2, ""), (3, "")]
    assert [(r.voice, r.language, r.priority) for r in requests] == [
        ("v", None, Priority.BATCH),
        (None, "en", Priority.BATCH),
        ("v", None, Priority.BATCH),
    ]


async def test_one_that_fails_is_tried_again_after_the_others() -> None:
    ready, told, _ = await run(
        {"one": [FAILED, done(main=9.0)], "two": [Overloaded("busy"), Overloaded("still busy")], "three": [done(main=9.0)]}
    )
    assert ready == 2 and told == [(3, ""), (1, ""), (2, "still busy")]


@pytest.mark.parametrize(
    "bad", [done(main=500.0, spare=400.0), done(spare=900.0), FAILED, None, UnknownVoice("no voice"), CancelledOut(0, 0.0, Usage(0, {}))]
)
async def test_what_is_not_kept_is_not_called_ready(bad: Ending | Exception | None) -> None:
    ready, told, _ = await run({"one": [done(main=9.0)], "two": [bad, bad], "three": [done(main=9.0, spare=0.0)]})
    assert ready == 2 and told[-1][0] == 2 and told[-1][1]


def test_a_prompt_file(tmp_path: Path) -> None:
    path = tmp_path / "prompts.tsv"
    path.write_text("# greetings\n\nv\tzh\t您好\n\t\tHello.\n", encoding="utf-8")
    assert read_prompts(path) == [Prompt("v", "zh", "您好"), Prompt(None, None, "Hello.")]


@pytest.mark.parametrize("line", ["only text", "v\tzh\t ", "v\tzh", "v\tzh\ttext\tmore"])
def test_a_wrong_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "prompts.tsv"
    path.write_text(f"v\tzh\tgood\n{line}\n", encoding="utf-8")
    with pytest.raises(BadOption, match=r"prompts\.tsv, line 2"):
        read_prompts(path)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadOption, match=r"absent\.tsv"):
        read_prompts(tmp_path / "absent.tsv")
    (tmp_path / "bad.tsv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadOption, match="UTF-8"):
        read_prompts(tmp_path / "bad.tsv")

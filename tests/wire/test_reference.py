"""The generated documents are fresh and complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from realtime import errors
from realtime.wire import reference
from realtime.wire.diagram import utterance_diagram
from realtime.wire.dialect import MAX_REASON_BYTES, close_code, close_reason
from realtime.wire.events import CLIENT_EVENTS, SERVER_EVENTS, Event
from realtime.wire.shapes import shape_of
from realtime.wire.transitions import TABLE


def test_the_committed_documents_are_fresh() -> None:
    stale = [path.name for path, text in reference.documents().items() if path.read_text(encoding="utf-8") != text]
    assert stale == [], "run: python -m realtime.wire.reference"


def test_checking_and_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(reference, "HERE", tmp_path)
    assert reference.main(["--check"]) == 1
    assert "stale: PROTOCOL.md" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert reference.main([]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"PROTOCOL.md", "protocol.schema.json"}
    assert reference.main(["--check"]) == 0


@pytest.mark.parametrize(("name", "kind"), [*CLIENT_EVENTS.items(), *SERVER_EVENTS.items()])
def test_the_page_has_every_message_and_field(name: str, kind: type[Event]) -> None:
    section = reference.reference_page().split(f"### `{name}`")[1].split("\n### ")[0]
    for field in shape_of(kind).fields:
        assert f"| `{field.name}` |" in section


def test_the_page_has_every_error_code() -> None:
    page = reference.reference_page()
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.RealtimeError)]
    assert len(kinds) > 10
    for kind in kinds:
        assert f"| `{kind.code}` |" in page


def test_the_diagram_draws_every_transition() -> None:
    drawn = utterance_diagram()
    for state, row in TABLE.items():
        for target in row.values():
            assert f"{state.name} --> {target.name}: " in drawn


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ProtocolViolation("x"), 1008),
        (errors.SlowClient("x"), 1008),
        (errors.Draining("x"), 1012),
        (errors.Overloaded("x"), 1013),
        (errors.WorkerLost("x"), 1011),
        (errors.RealtimeError("x"), 1011),
    ],
)
def test_close_codes(error: errors.RealtimeError, code: int) -> None:
    assert close_code(error) == code


def test_close_reasons_fit_and_are_whole_characters() -> None:
    reason = close_reason(errors.BadText("汉" * 100))
    assert reason.startswith("bad_text: 汉")
    assert len(reason.encode()) <= MAX_REASON_BYTES

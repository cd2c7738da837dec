"""The tables that `realtime bench handover` ends with."""

from __future__ import annotations

import pytest

from realtime.bench.handover_report import show
from realtime.bench.handover_score import Score, report_of


def test_figures_stand_beside_their_aims(capsys: pytest.CaptureFixture[str]) -> None:
    score = Score(characters=12345, repeated=3, underruns=2, unavoidable_online=1)
    show(report_of(score) | {"process_faults": 7, "process_repeated": 0, "process_dropped": 1})
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in capsys.readouterr().err.splitlines() if "│" in line]
    shown = {name: cells for name, *cells in rows}
    assert shown["characters spoken"] == ["12,345", "-", ""]
    assert shown["characters repeated / dropped / damaged"] == ["3 / 0 / 0", "0 / 1 / -", "0 / 0 / 0"]
    assert shown["utterances with silence"] == ["2", "-", "0"]
    assert shown["of these, unavoidable without foresight"] == ["1", "-", ""]


def test_what_was_not_measured_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    show({"align_cuts": 5, "resume_words_repeated": 0, "resume_words_dropped": 1})
    shown = capsys.readouterr().err
    assert "words repeated / dropped" in shown and "0 / 1" in shown
    assert "storm" not in shown and "Sambert" not in shown and "clicks" not in shown

"""What a host took at its last loads."""

import dataclasses
import logging
from pathlib import Path

import pytest

from realtime.engines.indextts2.chunks import Costs
from realtime.engines.indextts2.cost_history import KEPT, steadied

QUIET = Costs(decode_s=0.008, flow_s=0.0001, vocode_s=0.002, alone_s=0.01, delay_s=0.004)
DISTURBED = dataclasses.replace(QUIET, decode_s=0.014, vocode_s=0.001, delay_s=None)


def test_a_disturbed_trial_is_not_believed_where_a_quiet_one_is_known(tmp_path: Path) -> None:
    assert steadied(QUIET, tmp_path, "model") == QUIET
    assert steadied(DISTURBED, tmp_path, "model") == dataclasses.replace(QUIET, vocode_s=0.001)


def test_a_host_that_has_become_slower_is_found_out(tmp_path: Path) -> None:
    steadied(QUIET, tmp_path, "model")
    found = [steadied(DISTURBED, tmp_path, "model") for _ in range(KEPT)]
    assert [costs.decode_s for costs in found] == [0.008] * (KEPT - 1) + [0.014]
    assert found[-1].delay_s is None


def test_another_model_has_its_own_trials(tmp_path: Path) -> None:
    steadied(QUIET, tmp_path, "model")
    assert steadied(DISTURBED, tmp_path, "other") == DISTURBED


@pytest.mark.parametrize("content", ["", "{}x", "[1]", '[{"decode_s": "x"}]'])
def test_a_spoilt_file_is_begun_anew_and_told(content: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    steadied(QUIET, tmp_path, "model")
    (path,) = tmp_path.glob("costs-*.json")
    path.write_text(content)
    with caplog.at_level(logging.WARNING):
        assert steadied(DISTURBED, tmp_path, "model") == DISTURBED
    assert "begun anew" in caplog.text
    assert steadied(QUIET, tmp_path, "model") == dataclasses.replace(QUIET, vocode_s=0.001)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        assert steadied(QUIET, tmp_path / "file", "model") == QUIET
    assert "cannot note" in caplog.text

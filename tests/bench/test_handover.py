"""The proof in small: a few dozen faults through the real pipeline; the whole is `realtime bench handover`."""

from __future__ import annotations

import argparse
import logging

import pytest

from realtime.bench import handover
from realtime.bench.ear import Ear
from realtime.bench.skipping_loop import LoopClock


@pytest.fixture(autouse=True)
def quiet() -> None:
    """The faults are on purpose."""
    logging.getLogger("realtime.dispatcher").setLevel(logging.CRITICAL)


@pytest.mark.parametrize("is_storm", [False, True])
def test_no_character_is_repeated_or_lost_under_fire(monkeypatch: pytest.MonkeyPatch, is_storm: bool) -> None:
    monkeypatch.setattr(handover, "UTTERANCES_PER_WORLD", 12)
    score = handover.Score()
    handover.one_world(11, score, is_storm)
    assert score.faults.total() >= 15
    assert score.switches > 5
    assert (score.repeated, score.dropped, score.damaged, score.failed, score.clicks) == (0, 0, 0, 0, 0), score.trouble


def test_one_listener_at_a_time_never_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "UTTERANCES_PER_WORLD", 12)
    score = handover.Score()
    handover.one_world(12, score)
    assert score.faults.total() >= 15
    assert (score.underruns, score.silence_ms_max) == (0, 0.0), score.trouble


@pytest.mark.parametrize(
    ("heard", "expected"),
    [("abcdef", (0, 0)), ("abccdef", (1, 0)), ("abdef", (0, 1)), ("", (0, 6)), ("abcdefabc", (3, 0))],
)
def test_what_counts_as_repeated_and_lost(heard: str, expected: tuple[int, int]) -> None:
    assert handover.compare("abcdef", heard) == expected


def test_silence_is_what_a_listener_waits_beyond_the_start_buffer() -> None:
    ear = Ear(1000, LoopClock())
    ear._arrivals = [(10.0, 500), (10.7, 500), (11.0, 100)]
    assert ear.silence_s(0.1) == pytest.approx(0.1)
    assert ear.silence_s(0.3) == 0.0


def test_only_the_parts_that_are_asked_for_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def measure(seed: int, cuts: int) -> dict[str, object]:
        asked.append(cuts)
        return {"align_cuts": cuts, "speech_trouble": []}

    monkeypatch.setattr(handover.handover_speech, "measure", measure)
    monkeypatch.setattr(handover, "_fill", lambda *_: pytest.fail("nobody asked for that"))
    parser = argparse.ArgumentParser()
    handover.add_arguments(parser)
    args = parser.parse_args(["--parts", "speech", "--quick"])
    args.seed = 0
    assert handover.run(args) == {"align_cuts": 200}
    assert asked == [200]

from __future__ import annotations

import argparse
import json

from realtime.bench import schedule
from realtime.bench.svg_chart import Panel, chart


def test_the_scheduler_beats_both_baselines_at_twice_the_load_and_keeps_what_it_admits() -> None:
    row = schedule.one_load(2.0, 2, 60.0, seed=3)
    assert row["streams"] > 50
    assert row["continuity"] >= 0.97
    assert row["goodput"] >= 2 * max(row["goodput_fifo_timeout"], row["goodput_on_failure"])
    assert 0 < row["refused"] < 1


def test_the_same_seed_gives_the_same_row() -> None:
    assert schedule.one_load(1.0, 1, 30.0, seed=5) == schedule.one_load(1.0, 1, 30.0, seed=5)


def test_the_result_has_the_contract_keys_and_is_json() -> None:
    parser = argparse.ArgumentParser()
    schedule.add_arguments(parser)
    args = parser.parse_args(["--quick", "--loads", "0.5", "--workers", "1", "--duration", "10"])
    args.seed = 1
    cost, schedule.decision_cost = schedule.decision_cost, lambda counts, seed: {"p50": {"10": 1.0}, "p99": {"10": 2.0}}
    try:
        result = schedule.run(args)
    finally:
        schedule.decision_cost = cost
    assert set(json.loads(json.dumps(result))["loads"][0]) >= {
        "load",
        "workers",
        "continuity",
        "goodput",
        "goodput_fifo_timeout",
        "goodput_on_failure",
        "main_engine_share",
        "refused",
    }
    assert result["decision_us_p99"] == {"10": 2.0}


def test_a_chart_is_one_svg_document_with_every_line() -> None:
    picture = chart("A < B", [Panel("p", "x", "y", [("one", [(1, 0.5), (2, 1.0)]), ("two", [(1, 0.1)])])])
    assert picture.startswith("<svg") and picture.rstrip().endswith("</svg>")
    assert picture.count("<polyline") == 2
    assert "A &lt; B" in picture

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from realtime.bench import schedule
from realtime.bench.schedule_bound import served_at_most, spoken_at_most
from realtime.bench.schedule_ours import Ours
from realtime.bench.schedule_rates import TABLES, models, read
from realtime.bench.schedule_world import EngineModel, Offer, World
from realtime.bench.svg_chart import Panel, chart
from realtime.errors import BadOption
from realtime.scheduling.cards import LevelRate
from realtime.scheduling.scheduler import SchedulerSettings
from realtime.types import Budget, Priority


@pytest.mark.parametrize("table", list(TABLES))
def test_the_scheduler_beats_both_baselines_at_twice_the_load_and_keeps_what_it_admits(table: str) -> None:
    row = schedule.one_load(2.0, 4, 60.0, seed=3, table=TABLES[table])
    assert row["streams"] > 40
    assert row["continuity"] >= 0.99
    assert row["goodput"] >= 2 * max(row["goodput_fifo_timeout"], row["goodput_on_failure"])
    assert row["goodput"] + row["refused"] <= 1.0001


def test_the_same_seed_gives_the_same_row() -> None:
    assert schedule.one_load(1.0, 1, 30.0, seed=5) == schedule.one_load(1.0, 1, 30.0, seed=5)


def test_the_result_has_the_contract_keys_and_is_json(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    schedule.add_arguments(parser)
    picture = tmp_path / "curves.svg"
    args = parser.parse_args(["--loads", "0.5,1", "--workers", "1", "--duration", "10", "--picture", str(picture)])
    args.seed = 1
    monkeypatch.setattr(schedule, "STREAM_COUNTS", (10,))
    result = schedule.run(args)
    rows = json.loads(json.dumps(result))["loads"]
    keys = "workers continuity goodput goodput_fifo_timeout goodput_on_failure main_engine_share refused"
    assert set(rows[0]) >= set(keys.split())
    assert [row["load"] for row in rows] == [0.5, 1.0]
    assert result["decision_us_p99"]["10"] > 0
    assert picture.read_text().startswith("<svg")


def test_rates_come_from_a_file_and_nonsense_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rates.json"
    path.write_text(
        json.dumps(
            {
                "main": {"levels": {"a": [0.5, 0.2, 0.3]}, "capacity": 3},
                "other": {"levels": {"b": [0.1, 0.1, 1]}, "per_main": 0.25, "capacity": 2},
            }
        )
    )
    main, other = models(read(str(path)), 8)
    assert (main.name, main.workers, main.capacity, other.workers) == ("main", 8, 3, 2)
    for wrong in ("[]", "{", '{"main": {}}', '{"a": {"levels": {"x": [1]}}, "b": {}}'):
        path.write_text(wrong)
        with pytest.raises(BadOption, match="rates"):
            read(str(path))
    with pytest.raises(BadOption, match="no rates named"):
        read("nowhere")


def test_the_bound_serves_the_shortest_first() -> None:
    engine = EngineModel("e", 2, 1, {"l": LevelRate(0.5, 0.1)})  # 4 s of sound per second
    asked = [Offer(str(k), 0.0, "ivr", Priority.NORMAL, Budget(), (length,), (0.0,)) for k, length in enumerate((30.0, 5.0, 4.0, 11.0))]
    assert served_at_most(asked, [engine], 5.0) == 0.75
    assert served_at_most(asked, [engine], 15.0) == 1.0


def test_what_one_engine_could_speak_ends_where_its_time_or_the_listeners_does() -> None:
    engine = EngineModel("e", 1, 1, {"l": LevelRate(0.5, 0.4)})  # 2 s of sound per second
    budget = Budget(first_audio_ms=500, start_buffer_ms=100)

    def at_most(*ats: float, late_s: float = 0.0) -> float:
        calls = (Offer(str(k), at, "ivr", Priority.NORMAL, budget, (3.0, 3.0), (0.0, late_s)) for k, at in enumerate(ats))
        return spoken_at_most(calls, engine)

    assert at_most(0.0, 10.0) == 1.0
    assert at_most(0.0, 0.0) == 1.0  # two listeners at once are what it can just serve
    assert at_most(0.0, 0.0, late_s=30.0) == 1.0
    assert at_most(*(0.0,) * 4) == pytest.approx(0.5, abs=0.06)
    budget = Budget(first_audio_ms=100, start_buffer_ms=100)  # the first chunk comes too late for what is due before 0.4 s
    assert at_most(0.0) == pytest.approx(58 / 60)


def test_who_is_left_of_a_race_is_heard_when_the_other_worker_dies() -> None:
    engines = models(TABLES["measured"], 4)[:2]
    world = World(engines, 1)
    policy = Ours(world, tuple(world.engines), SchedulerSettings())
    world.policy = policy

    def kill() -> None:
        for worker_id in [w for w, runs in world.runs.items() if w.startswith("fallback") and runs]:
            world.kill(worker_id, 1.0)

    budget = Budget(first_audio_ms=800)
    for k in range(40):  # a race begins about a tenth of a second before the first sound is due
        offer = Offer(str(k), 5.0 * k, "ivr", Priority.INTERACTIVE, budget, (2.0, 2.0), (0.0, 0.0))
        world.at(offer.at, lambda offer=offer: policy.arrive(offer))  # type: ignore[misc]
        world.at(offer.at + 0.68 + 0.002 * k, kill)
    world.run(300.0)
    assert all(call.is_complete for call in policy.calls)


def test_a_chart_is_one_svg_document_with_every_line() -> None:
    picture = chart("A < B", [Panel("p", "x", "y", [("one", [(1, 0.5), (2, 1.0)]), ("two", [(1, 0.1)])])])
    assert picture.startswith("<svg") and picture.rstrip().endswith("</svg>")
    assert picture.count("<polyline") == 2
    assert "A &lt; B" in picture

"""The engine's bench on a small random model: every figure of the contract is there, with and without the baseline."""

from __future__ import annotations

import argparse
import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from realtime.bench import capacity
from realtime.bench import engine_indextts2 as bench
from realtime.bench import indextts2_hosts as hosts
from realtime.bench import indextts2_neighbour as neighbour
from realtime.engines.indextts2 import random_model
from realtime.engines.indextts2.chunks import Costs
from realtime.engines.indextts2.levels import LEVELS
from realtime.errors import BadOption, ModelMissing, UnknownVoice

LEVEL = next(level for level in LEVELS if level.name == "fast")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    random_model.write_random(root / "models" / "indextts2", root / "voices", random_model.TINY)
    return root


def measured(data: Path, *options: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    given = ["--models", str(data / "models" / "indextts2"), "--voices", str(data / "voices"), "--threads", "1", "--rounds", "1"]
    return bench.run(parser.parse_args([*given, "--levels", "exact,fast", "--batches", "1,2", "--jobs", "1,2", *options]))


def test_all_figures_are_there_without_the_baseline(data: Path) -> None:
    result = measured(data, "--no-baseline", "--keep", str(data / "kept"))
    assert "baseline_rtf" not in result and result["cores"] == 1 and result["rss_mb"] > 10
    assert set(result["tokens_per_s"]) == set(result["jobs"]) == {"1", "2"}
    assert [row["name"] for row in result["levels"]] == ["exact", "fast"]
    for row in result["levels"]:
        assert row["rtf"] > 0 and row["first_audio_ms"] > 0 and math.isfinite(row["distance_db"]) and "speedup" not in row
        assert row["precision"] == "int4/int8/int8" and row["guidance"] == "all"
        assert ("least_lead_ms" in row) == (row["chunk"] != "whole")
    assert {path.name for path in (data / "kept").iterdir()} == {"exact.wav", "fast.wav", "fp32.wav"}
    memory = result["memory_mb"]
    assert memory["resident"] == pytest.approx(memory["shared"] + memory["private"]) == pytest.approx(result["rss_mb"])
    assert [row["cores"] for row in result["hosts"]] == [1, 16, 64]


def test_float32_at_the_exact_level_is_no_distance_away(data: Path) -> None:
    precise = ("--flow-precision", "fp32", "--vocoder-precision", "fp32")
    exact, fast = measured(data, "--no-baseline", *precise)["levels"]
    assert exact["distance_db"] == 0.0 < fast["distance_db"]


def test_a_models_own_folder_finds_its_voices(data: Path) -> None:
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    args = ["--models", str(data / "models" / "indextts2" / "random"), "--threads", "1", "--rounds", "1", "--no-baseline", "--no-distance"]
    (row,) = bench.run(parser.parse_args([*args, "--levels", "fastest", "--batches", "1", "--jobs", "1", "--text", "一二三。"]))["levels"]
    assert row["name"] == "fastest" and row["rtf"] > 0


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (("--levels", "best"), BadOption, "unknown quality level 'best'"),
        (("--batches", "1,x"), BadOption, "expected numbers from 1"),
        (("--voice", "nobody"), UnknownVoice, "there are: random"),
        (("--voices", "/nowhere"), ModelMissing, "realtime voices add"),
        (("--models", "/nowhere"), ModelMissing, "no exported IndexTTS-2 model"),
    ],
)
def test_what_can_not_be_measured_is_said(data: Path, options: tuple[str, ...], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        measured(data, "--no-baseline", *options)


def test_a_busy_neighbour_is_measured_beside_both(data: Path) -> None:
    result = measured(data, "--no-distance", "--neighbour")
    assert result["neighbour_shares"] == (2.0, 2.0)  # one core, shared by two
    assert neighbour.shares(2) == pytest.approx((4 / 3, 2))
    assert set(result["neighbour"]) == {"clause, fast", "decode", "flow_step", "vocode_second"}
    for name, row in result["neighbour"].items():
        assert row["ours_times"] == pytest.approx(row["ours_beside_s"] / row["ours_alone_s"])
        assert ("torch_times" in row) == (name != "clause, fast")


def test_the_neighbour_spins_on_its_core_and_is_gone_afterwards() -> None:
    core = min(os.sched_getaffinity(0))
    with neighbour.busy_core(core):
        (child,) = psutil.Process().children()
        assert child.cpu_affinity() == [core]
    assert not child.is_running()


class TestHosts:
    """Two cores here, a token bound by memory from 16 cores on."""

    here = hosts.Measured(
        2,
        Costs(0.012, 0.0002, 0.004, 43),
        Costs(0.008, 0.0001, 0.002, 43),
        0.25e9,
        24,
        1.0,
        0.9,
        1.6,
        100.0,
        shared_mb=600.0,
        private_mb=300.0,
    )

    def test_this_host_is_what_was_measured(self) -> None:
        row = hosts.host(self.here, LEVEL, 2)
        assert (row.rtf, row.first_audio_s, row.tokens_per_s, row.audio_s_per_s) == (1.0, 0.9, 100.0, 1.6)
        assert (row.workers, row.memory_gb) == (1, 0.9)

    def test_what_all_share_shrinks_with_the_cores_and_the_rest_stays(self) -> None:
        there = hosts.on(self.here, 8, speed_gbs=1000)
        assert there.flow_s == pytest.approx(0.0002 / 8)  # all of it is shared
        half = replace(self.here, all=replace(self.here.all, flow_s=0.00015))
        assert hosts.on(half, 8, speed_gbs=1000).flow_s == pytest.approx(0.0001 + 0.0001 / 8)

    def test_a_token_takes_at_least_one_reading_of_the_weights_and_its_barriers(self) -> None:
        barriers = 24 * hosts.BARRIERS * hosts.BARRIER_S
        assert hosts.on(self.here, 8, speed_gbs=1000).decode_s == pytest.approx(0.012 / 8 + barriers)
        assert hosts.on(self.here, 64, speed_gbs=50).decode_s == pytest.approx(0.25 / 50 + barriers)

    def test_one_job_has_no_use_for_more_than_so_many_cores(self) -> None:
        assert hosts.on(self.here, 64, speed_gbs=1000) == hosts.on(self.here, hosts.MOST_USEFUL, speed_gbs=1000)

    def test_a_larger_host_is_faster_for_one_and_carries_more(self) -> None:
        small, large = (hosts.host(self.here, LEVEL, cores) for cores in (16, 64))
        assert 1.0 > small.rtf >= large.rtf > 0 and 0.9 > small.first_audio_s >= large.first_audio_s
        assert (small.workers, large.workers) == (8, 32)
        assert small.audio_s_per_s == pytest.approx(8 * 1.6) and not small.is_memory_bound
        assert small.memory_gb == pytest.approx(0.6 + 8 * 0.3)

    def test_slow_memory_bounds_what_many_workers_say(self) -> None:
        row = hosts.host(self.here, LEVEL, 64, gbs_per_core=0.5)
        assert row.is_memory_bound
        assert row.audio_s_per_s == pytest.approx(32e9 / 0.25e9 * 4 * hosts.CODE_S)

    def test_one_core_tells_nothing_of_sharing_so_all_is_taken_to_be_shared(self) -> None:
        one = replace(self.here, cores=1, all=self.here.one)
        there = hosts.host(one, LEVEL, 2)
        assert 0.5 < there.rtf < 0.75  # half, but for the memory that was seen to be slow


def test_plan_reckons_larger_hosts_of_indextts2(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = tmp_path / "service.toml"
    settings.write_text(
        f'[server]\ndata_dir = "{data}"\n[engines.indextts2.options]\nthreads = 1\ncache_dir = "{tmp_path}"\nmax_codes_per_piece = 1.0\n'
    )
    assert capacity.main(["--config", str(settings), "--engines", "indextts2", "--cores", "1,16", "--json"]) == 0
    said = capsys.readouterr().out
    result = json.loads(said.splitlines()[-1])
    assert [row["cores"] for row in result["indextts2_hosts"]] == [1, 16]
    assert {row["engine"] for row in result["estimates"]} == {"indextts2"}
    assert "Amdahl" in said


@pytest.mark.parametrize(
    ("arguments", "words"), [(["--cores", "4,many"], "--cores takes numbers"), (["--engines", "abacus"], "unknown engine")]
)
def test_plan_says_what_it_can_not_plan_for(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert capacity.main(arguments) == 1
    assert words in capsys.readouterr().err


def test_ratios_are_to_torch_in_the_same_run(data: Path) -> None:
    result = measured(data, "--no-distance")
    assert {"prefill", "decode", "latent_pass", "flow_step", "vocode_second"} == set(result["stages"])
    assert result["baseline_rtf"] > 0 and result["baseline_tokens_per_s"] > 0
    for row in result["levels"]:
        assert row["speedup"] == pytest.approx(result["baseline_rtf"] / row["rtf"]) and "distance_db" not in row

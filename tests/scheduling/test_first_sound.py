"""When a listener who waits gets the first sound: an engine whose second chunk comes late is given a little time."""

from __future__ import annotations

import pytest

from realtime.scheduling import actions as act
from realtime.scheduling.cards import LevelRate, WorkerCard
from realtime.scheduling.streams import HELD_BACK_S

FIRST_S = 0.5  # until the first chunk, which is 0.4 s long
CHUNK_S = 0.4


def late_pair(bench, lag_s: float | None = 0.2):  # type: ignore[no-untyped-def]
    bench.scheduler.worker_ready(WorkerCard("first-0", "first", 1, {"best": LevelRate(0.9, FIRST_S, 1.0, lag_s)}), bench.now)
    bench.worker("second", first=0.02)
    return bench


def begun(bench, stream: str = "s", made_s: float = CHUNK_S, **budget: object) -> float:  # type: ignore[no-untyped-def]
    """Open a stream, have its first chunk; how long its listener is let wait for that."""
    bench.open(stream, ("first", "second"), **budget)
    job = bench.submit(0, stream)
    (given,) = [action for action in bench.plan() if isinstance(action, act.Dispatch)]
    assert given.engine == "first"
    bench.advance(FIRST_S)
    bench.sound(job, "first", made_s)
    return bench.scheduler.begins_at(stream, made_s, bench.now) - bench.now


def test_an_engine_with_late_chunks_begins_later_and_so_needs_no_help(bench, pick) -> None:  # type: ignore[no-untyped-def]
    late_pair(bench)
    wait_s = begun(bench)
    assert 0.2 + HELD_BACK_S < wait_s < 1.5 - FIRST_S
    bench.advance(wait_s)
    bench.scheduler.sent("s", CHUNK_S - HELD_BACK_S, bench.now, HELD_BACK_S)
    assert not pick(act.HandOver, bench.advance(CHUNK_S + 0.2 - wait_s))  # the second chunk is 0.2 s late for who began at once
    bench.sound("s/0", "first", 1.2)
    bench.advance(0.3)
    assert not pick(act.HandOver, bench.said)


def test_without_the_wait_another_engine_is_asked(bench, pick) -> None:  # type: ignore[no-untyped-def]
    late_pair(bench)
    begun(bench)
    bench.scheduler.sent("s", CHUNK_S - HELD_BACK_S, bench.now, HELD_BACK_S)
    assert pick(act.HandOver, bench.advance(CHUNK_S + 0.2))


def test_nobody_waits_beyond_the_first_audio_budget(bench) -> None:  # type: ignore[no-untyped-def]
    late_pair(bench, 0.5)
    wait_s = begun(bench, first_audio_ms=1300)
    assert wait_s == pytest.approx(1.3 - FIRST_S - bench.scheduler.settings.handover.commit_s)


def test_an_engine_that_is_ahead_at_once_begins_at_once(bench) -> None:  # type: ignore[no-untyped-def]
    late_pair(bench, -1.0)
    assert begun(bench) <= 0.0


def test_what_is_complete_goes_out_at_once(bench) -> None:  # type: ignore[no-untyped-def]
    late_pair(bench)
    begun(bench)
    bench.scheduler.finished("s/0", "first", CHUNK_S, bench.now)
    bench.plan()
    assert bench.scheduler.begins_at("s", CHUNK_S, bench.now) <= bench.now


def test_recalled_sound_does_not_wait_for_what_is_made_behind_it(bench) -> None:  # type: ignore[no-untyped-def]
    late_pair(bench)
    bench.open("s", ("first", "second"))
    bench.submit(1)  # segment 0 came from the cache
    bench.plan()
    assert bench.scheduler.begins_at("s", 1.0, bench.now) <= bench.now


def test_a_short_first_segment_waits_for_the_next_ones_first_chunk(bench) -> None:  # type: ignore[no-untyped-def]
    late_pair(bench, -1.0)
    begun(bench)
    bench.scheduler.finished("s/0", "first", CHUNK_S, bench.now)
    bench.submit(1)
    bench.plan()
    wait_s = bench.scheduler.begins_at("s", CHUNK_S, bench.now) - bench.now
    assert FIRST_S - CHUNK_S < wait_s < 1.5 - FIRST_S


def test_the_lag_is_learned_from_runs(bench) -> None:  # type: ignore[no-untyped-def]
    late_pair(bench, 0.4)
    waits = []
    for k in range(8):
        waits.append(begun(bench, f"s{k}"))
        bench.advance(0.1)
        bench.sound(f"s{k}/0", "first", 3.0)  # early: 0.3 s in hand
        bench.scheduler.finished(f"s{k}/0", "first", 3.0, bench.now)
        bench.plan()
        bench.scheduler.close_stream(f"s{k}", bench.now)
    assert waits[0] > 0.4
    assert waits[-1] <= 0.0


def test_a_stream_that_hears_already_or_is_gone_never_waits(bench) -> None:  # type: ignore[no-untyped-def]
    late_pair(bench)
    begun(bench)
    bench.scheduler.sent("s", 0.2, bench.now)
    assert bench.scheduler.begins_at("s", 0.2, bench.now) <= bench.now
    bench.scheduler.cancel("s", bench.now)
    assert bench.scheduler.begins_at("s", 0.2, bench.now) <= bench.now


def test_an_engine_that_soon_makes_as_much_again_waits_only_while_workers_fall_ill(bench) -> None:  # type: ignore[no-untyped-def]
    for engine in ("first", "second"):
        card = WorkerCard(f"{engine}-0", engine, 1, {"best": LevelRate(0.1, FIRST_S if engine == "first" else 0.02, 1.0, 0.05)})
        bench.scheduler.worker_ready(card, bench.now)
    assert begun(bench) <= 0.0
    bench.worker("second", "second-1")
    bench.scheduler.worker_lost("second-1", bench.now)
    assert bench.scheduler.begins_at("s", CHUNK_S, bench.now) > bench.now

"""Choosing codes: each step by its definition, the whole repeatable and in the right proportions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.engines.indextts2.sampler import Sampler, Sampling, penalised, softmax, top_k_only, top_p_only

Floats = npt.NDArray[np.float32]


def logits(seed: int, size: int = 40) -> Floats:
    return (3 * np.random.default_rng(seed).standard_normal(size)).astype(np.float32)


def test_the_penalty_moves_seen_scores_down_whatever_their_sign() -> None:
    scores = np.array([2.0, -2.0, 2.0, -2.0], dtype=np.float32)
    seen = np.array([True, True, False, False])
    np.testing.assert_array_equal(penalised(scores, seen, 10.0), np.array([0.2, -20.0, 2.0, -2.0], dtype=np.float32))


def test_ties_with_the_last_kept_score_are_kept() -> None:
    scores = np.array([3.0, 1.0, 2.0, 2.0], dtype=np.float32)
    assert np.isfinite(top_k_only(scores, 2)).tolist() == [True, False, True, True]
    assert np.isfinite(top_k_only(scores, 0)).all()
    assert np.isfinite(top_k_only(scores, 9)).all()


@given(st.integers(0, 1000), st.floats(0.05, 0.95))
def test_top_p_keeps_the_smallest_set_that_holds_p(seed: int, p: float) -> None:
    scores = logits(seed)
    kept = np.isfinite(top_p_only(scores, p))
    chances = softmax(scores)
    order = np.argsort(-scores)
    assert kept[order[: kept.sum()]].all()
    assert chances[kept].sum() >= p - 1e-5
    if kept.sum() > 1:
        assert chances[order[: kept.sum() - 1]].sum() < p + 1e-5


@given(st.integers(0, 1000))
def test_the_fast_path_draws_only_what_the_full_chain_keeps(seed: int) -> None:
    scores, sampling = logits(seed), Sampling(top_k=5)
    sampler = Sampler(40, 38, sampling, seed)
    seen = sampler.seen.copy()
    chain = top_p_only(top_k_only(penalised(scores, seen, 10.0) / np.float32(0.8), 5), 0.8)
    assert np.isfinite(chain[sampler.choose(scores)])


def test_codes_come_in_the_proportions_of_the_chain() -> None:
    scores, sampling = logits(7), Sampling(repetition_penalty=1.0)
    expected = softmax(top_p_only(top_k_only(scores / np.float32(0.8), 30), 0.8))
    sampler = Sampler(40, 38, sampling, seed=1)
    counts = np.bincount([sampler.choose(scores) for _ in range(4000)], minlength=40) / 4000
    np.testing.assert_allclose(counts, expected, atol=4 * np.sqrt(0.25 / 4000))


def test_the_same_seed_says_the_same_and_another_does_not() -> None:
    rows = [logits(i) for i in range(30)]
    first, second, other = (Sampler(40, 38, Sampling(), seed) for seed in (5, 5, 6))
    said = [first.choose(row) for row in rows]
    assert said == [second.choose(row) for row in rows]
    assert said != [other.choose(row) for row in rows]


def test_the_fake_prefix_and_the_start_code_are_penalised_at_once() -> None:
    scores = np.zeros(40, dtype=np.float32)
    scores[[1, 38]] = 5.0
    scores[7] = 1.0
    assert Sampler(40, 38, Sampling(greedy=True)).choose(scores) == 7
    assert Sampler(40, 38, Sampling(greedy=True, repetition_penalty=1.0)).choose(scores) == 1


def test_forbidden_codes_are_never_said() -> None:
    scores = np.zeros(4, dtype=np.float32)
    scores[2] = 50.0
    sampler = Sampler(4, 3, Sampling(), forbidden=(2,))
    assert all(sampler.choose(scores, but_not=(0,)) in (1, 3) for _ in range(50))


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_scores_that_are_no_numbers_are_an_error(bad: float) -> None:
    with pytest.raises(FloatingPointError):
        Sampler(4, 3, Sampling()).choose(np.full(4, bad, dtype=np.float32))


@pytest.mark.parametrize(
    "wrong", [{"temperature": 0.0}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.1}, {"repetition_penalty": 0.0}, {"temperature": np.nan}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="out of range"):
        Sampling(**wrong)  # type: ignore[arg-type]

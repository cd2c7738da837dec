"""Decoding with the torch modules: step by step with a cache, greedy or sampled, and deterministic beams. Specification section 7.

This is the reference that faster decoders are checked against; it copies the cache at each step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from realtime.engines.indextts2.checkpoint.gpt import Gpt, KvCache
from realtime.engines.indextts2.sampler import Sampler, Sampling, penalised

OFFICIAL_OFFSET = 2
"""Table position of code k while decoding is k + 2 in the official torch pipeline, k + 1 in training (specification 7.1)."""


@dataclass(slots=True)
class Steps:
    """A decode under way: `logits` [B, V] and `hidden` [B, D] of the last position, and the cache behind them.

    `attended` [B, P] is False on left padding, None where there is none.
    """

    gpt: Gpt
    cache: KvCache
    hidden: Tensor
    logits: Tensor
    offset: int
    fed: int = 0
    attended: Tensor | None = None

    def feed(self, codes: Tensor) -> None:
        """One more code per row [B]."""
        rows = self.gpt.code_rows(codes[:, None], self.fed + self.offset)
        if self.attended is not None:
            self.attended = torch.cat([self.attended, self.attended.new_ones(len(codes), 1)], dim=1)
        self.hidden = self.gpt.transform(rows, self.cache, self.attended)[:, -1]
        self.logits = self.gpt.logits(self.hidden)
        self.fed += 1


def prefill(gpt: Gpt, prefix: Tensor, offset: int = OFFICIAL_OFFSET, attended: Tensor | None = None) -> Steps:
    """Run the prefix [B, P0, D] and the start code; `attended` [B, P0 + 1]."""
    start = gpt.code_rows(torch.full((prefix.shape[0], 1), gpt.config.start_code), 0)
    cache = KvCache([], [])
    hidden = gpt.transform(torch.cat([prefix, start], dim=1), cache, attended)[:, -1]
    return Steps(gpt, cache, hidden, gpt.logits(hidden), offset, attended=attended)


def left_padded(gpt: Gpt, conditions: Tensor, texts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Prefixes of texts [L_i] of different lengths, padded with zeros on the left, and what is attended (start code included)."""
    prefixes = [gpt.prefix(conditions, text[None])[0] for text in texts]
    longest = max(len(p) for p in prefixes)
    rows = torch.stack([torch.nn.functional.pad(p, (0, 0, longest - len(p), 0)) for p in prefixes])
    attended = torch.stack([torch.arange(longest + 1) >= longest - len(p) for p in prefixes])
    return rows, attended


def generate(
    gpt: Gpt, prefix: Tensor, sampling: Sampling, max_codes: int, *, min_codes: int = 0, offset: int = OFFICIAL_OFFSET, seed: int = 0
) -> tuple[list[int], Tensor]:
    """Codes of one row until the stop code (included if it came), and the hidden state before each code [N, D]."""
    c = gpt.config
    steps = prefill(gpt, prefix, offset)
    sampler = Sampler(c.codes, c.start_code, sampling, seed)
    codes: list[int] = []
    hidden: list[Tensor] = []
    while len(codes) < max_codes:
        code = sampler.choose(steps.logits[0].numpy(), (c.stop_code,) if len(codes) < min_codes else ())
        hidden.append(steps.hidden[0])
        codes.append(code)
        if code == c.stop_code or len(codes) == max_codes:
            break
        steps.feed(torch.tensor([code]))
    return codes, torch.stack(hidden)


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A finished beam; `score` is the sum of log-probabilities (length penalty 0)."""

    score: float
    codes: tuple[int, ...]


def beam_search(gpt: Gpt, prefix: Tensor, beams: int, penalty: float, max_codes: int) -> list[int]:
    """Deterministic beam search with length penalty 0 and no early stop: the best codes, stop included if it came."""
    c = gpt.config
    steps = prefill(gpt, prefix.expand(beams, -1, -1))
    scores = np.full(beams, -1e9, dtype=np.float32)
    scores[0] = 0.0
    rows: list[tuple[int, ...]] = [()] * beams
    finished: list[Hypothesis] = []
    while True:
        candidates = _candidates(steps.logits, rows, scores, penalty, c.start_code)
        kept = _step(candidates, rows, finished, c.stop_code, beams)
        if len(kept[0][2]) >= max_codes or _is_settled(finished, beams, candidates[0][0]):
            break
        scores = np.array([score for score, _, _ in kept], dtype=np.float32)
        rows = [codes for _, _, codes in kept]
        steps.cache = steps.cache.reordered(torch.tensor([beam for _, beam, _ in kept]))
        steps.feed(torch.tensor([codes[-1] for codes in rows]))
    if not _is_settled(finished, beams, candidates[0][0]):
        for score, _, codes in kept:
            _add(finished, Hypothesis(score, codes), beams)
    return list(max(finished, key=lambda h: h.score).codes)


def _candidates(
    logits: Tensor, rows: list[tuple[int, ...]], scores: np.ndarray[tuple[int], np.dtype[np.float32]], penalty: float, start: int
) -> list[tuple[float, int, int]]:
    """The 2 * beams best (score, beam, code), best first. Scores are log-probabilities before the penalty, so it always multiplies."""
    table = torch.log_softmax(logits, dim=-1).numpy()
    seen = np.zeros(table.shape, dtype=np.bool_)
    for i, codes in enumerate(rows):
        seen[i, [1, start, *codes]] = True
    total = penalised(table, seen, penalty) + scores[:, None]
    best = np.argsort(-total, axis=None, kind="stable")[: 2 * len(rows)]
    return [(float(total.flat[i]), int(i) // total.shape[1], int(i) % total.shape[1]) for i in best]


def _step(
    candidates: list[tuple[float, int, int]], rows: list[tuple[int, ...]], finished: list[Hypothesis], stop: int, beams: int
) -> list[tuple[float, int, tuple[int, ...]]]:
    """The beams that go on, best first; those that stopped among the first `beams` are moved to `finished`."""
    kept: list[tuple[float, int, tuple[int, ...]]] = []
    for rank, (score, beam, code) in enumerate(candidates):
        codes = (*rows[beam], code)
        if code == stop:
            if rank < beams:
                _add(finished, Hypothesis(score, codes), beams)
        else:
            kept.append((score, beam, codes))
        if len(kept) == beams:
            break
    return kept


def _add(finished: list[Hypothesis], new: Hypothesis, beams: int) -> None:
    finished.append(new)
    finished.sort(key=lambda h: -h.score)
    del finished[beams:]


def _is_settled(finished: list[Hypothesis], beams: int, best_running: float) -> bool:
    return len(finished) == beams and finished[-1].score >= best_running

"""Choosing the next code from logits: repetition penalty, temperature, top-k, top-p, draw. Specification section 7.3.

The four steps are plain functions over [..., V] float32 so that each can be checked by itself; `Sampler` runs them for one job, on
what survives top-k only. Cost per token: one pass over V (8194) and sorts of about 30 values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.float32]
FAKE_PREFIX_CODE = 1
"""The reference hands its processors a fake id sequence, ones for the prefix and then the start code: code 1 is penalised at once."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to choose. `top_k` 0 and `top_p` 1 switch those off; `greedy` takes the best penalised logit."""

    temperature: float = 0.8
    top_k: int = 30
    top_p: float = 0.8
    repetition_penalty: float = 10.0
    greedy: bool = False

    def __post_init__(self) -> None:
        if not (self.temperature > 0 and self.top_k >= 0 and 0 < self.top_p <= 1 and self.repetition_penalty > 0):
            raise ValueError(f"sampling out of range: {self}")


def penalised(logits: Logits, seen: npt.NDArray[np.bool_], penalty: float) -> Logits:
    """Repetition penalty (Keskar et al. 2019): seen ids' scores divided by it if positive, multiplied if negative."""
    return np.where(seen, np.where(logits < 0, logits * np.float32(penalty), logits / np.float32(penalty)), logits)


def top_k_only(logits: Logits, k: int) -> Logits:
    """All but the k best per row (and what ties with the k-th) at -inf; k = 0 keeps all."""
    if k <= 0 or k >= logits.shape[-1]:
        return logits
    kth = np.partition(logits, -k, axis=-1)[..., -k, None]
    return np.where(logits < kth, -np.inf, logits).astype(np.float32)


def top_p_only(logits: Logits, p: float) -> Logits:
    """The smallest set of best scores that holds probability p (Holtzman et al. 2020), at least one; the rest at -inf."""
    if p >= 1:
        return logits
    order = np.argsort(logits, axis=-1, kind="stable")
    mass = np.cumsum(softmax(np.take_along_axis(logits, order, axis=-1)), axis=-1, dtype=np.float32)
    drop_sorted = mass <= np.float32(1 - p)
    drop_sorted[..., -1] = False
    drop = np.zeros_like(drop_sorted)
    np.put_along_axis(drop, order, drop_sorted, axis=-1)
    return np.where(drop, -np.inf, logits).astype(np.float32)


def softmax(logits: Logits) -> Logits:
    """Probabilities over the last axis; -inf becomes 0."""
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    out: Logits = (weights / weights.sum(axis=-1, keepdims=True)).astype(np.float32)
    return out


class Sampler:
    """The next code of one job, and what it has said so far.

    Repeatable: the same seed and logits give the same codes, whatever else runs in the batch. `forbidden` codes are never chosen.
    """

    def __init__(self, size: int, start_code: int, sampling: Sampling, seed: int = 0, forbidden: tuple[int, ...] = ()) -> None:
        self.sampling = sampling
        self.forbidden = np.array(forbidden, dtype=np.int64)
        self.seen = np.zeros(size, dtype=np.bool_)
        self.seen[[FAKE_PREFIX_CODE, start_code]] = True
        self.random = np.random.Generator(np.random.PCG64(seed))

    def choose(self, logits: Logits, but_not: tuple[int, ...] = ()) -> int:
        """Draw from logits [V], but none of `but_not`, and remember the choice.

        Raises `FloatingPointError` if the best score is not finite.
        """
        scores = logits.astype(np.float32)
        said = np.flatnonzero(self.seen)
        scores[said] = penalised(scores[said], self.seen[said], self.sampling.repetition_penalty)
        scores[self.forbidden] = -np.inf
        scores[list(but_not)] = -np.inf
        best = int(scores.argmax())
        if not np.isfinite(scores[best]):
            raise FloatingPointError("the language model's scores are not finite")
        code = best if self.sampling.greedy else self._draw(scores)
        self.seen[code] = True
        return code

    def _draw(self, scores: Logits) -> int:
        s = self.sampling
        kept = top_k_only(scores / np.float32(s.temperature), s.top_k)
        ids = np.flatnonzero(kept > -np.inf)
        chances = softmax(top_p_only(kept[ids], s.top_p))
        # one uniform per token, so that the stream of random numbers does not depend on how many codes survive
        place = np.searchsorted(np.cumsum(chances, dtype=np.float64), self.random.random() * float(chances.sum(dtype=np.float64)), "right")
        return int(ids[min(int(place), len(ids) - 1)])

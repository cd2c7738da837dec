"""Text to semantic codes: continuous batching of the language model. Specification sections 6.4 to 8.

A sequence is [34 condition rows | 0, text, 1 | start code | codes]. Sequences join and leave between any two steps; one step runs one
row of each decoding sequence and some rows of prompts, all in one pass over the weights. A sequence's codes depend on its own
prompt and seed only: alone or in any company they are the same, bit for bit.

Position offset 1 (code k at row k + 1, as in training): the state that predicts a code is the latent that the acoustic model wants,
and no second pass is needed. Offset 2 is what the published pipeline does while decoding; latents then come from `latent_pass`.

Cost of a step at batch 1: one read of the weights, see gpt.h. Figures: `realtime bench engine indextts2`.
"""

from __future__ import annotations

from collections.abc import Sequence as Many
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from realtime.engines.indextts2.kernels.packing import Floats
from realtime.engines.indextts2.kv_pages import PagePool, pages_for
from realtime.engines.indextts2.lm import LanguageModel
from realtime.engines.indextts2.sampler import Sampler, Sampling

Ids = npt.NDArray[np.int64]


@dataclass(slots=True, eq=False)
class Prefix:
    """A voice's condition rows in the cache: request independent, because they come first and attention looks back only."""

    pages: list[int]
    length: int


@dataclass(slots=True, eq=False)
class Sequence:
    """One job's place in the cache and what it has said.

    `pending` [n, D] are input rows not yet run. `codes` excludes the stop code; `latents[k]` is the state that chose `codes[k]` (valid
    as the acoustic model's input with position offset 1). `is_stopped` by the stop code, `is_cut` by the limit; `fault` says what is wrong
    with its scores.
    """

    pages: list[int]
    table: npt.NDArray[np.int32]
    position: int
    pending: Floats
    sampler: Sampler
    max_codes: int
    min_codes: int = 0
    codes: list[int] = field(default_factory=list)
    latents: list[Floats] = field(default_factory=list)
    prompt_end: int = 0
    is_stopped: bool = False
    is_cut: bool = False
    fault: str = ""

    @property
    def is_finished(self) -> bool:
        """Whether there is nothing left to decode."""
        return self.is_stopped or self.is_cut or bool(self.fault)


class Decoder:
    """Runs sequences. `offset` is the position rule, 1 or 2 (see the header)."""

    def __init__(self, model: LanguageModel, offset: int = 1) -> None:
        if offset not in (1, 2):
            raise ValueError(f"position offset {offset}: 1 (as trained) and 2 (as published) exist")
        self.model, self.offset = model, offset

    @property
    def pool(self) -> PagePool:
        """Where K/V live."""
        return self.model.pool

    def prefix(self, conds: Floats, cached: tuple[Floats, Floats] | None = None) -> Prefix:
        """Run condition rows [n, D] once, or take their `cached` keys and values, [layers, heads, n, d] each.

        Raises `NoPages`, and `ValueError` for cached ones of another model's size.
        """
        pages = self.pool.take(pages_for(len(conds)))
        if cached is not None:
            try:
                self.pool.write(pages, *cached)
            except ValueError:
                self.pool.give_back(pages)
                raise
            return Prefix(pages, len(conds))
        x = np.array(conds, dtype=np.float32)
        table = np.tile(np.array(pages, dtype=np.int32), (len(x), 1))
        self.model.forward(x, np.arange(len(x), dtype=np.int32), table)
        return Prefix(pages, len(x))

    def forget_prefix(self, prefix: Prefix) -> None:
        """Give the voice's pages back; sequences that share them keep them until they end."""
        self.pool.give_back(prefix.pages)

    def text_rows(self, text_ids: Many[int]) -> Floats:
        """Input rows of [0, text, 1, start code]: [L + 3, D]. Raises `ValueError` when the text is over the model's limit."""
        s, w = self.model.shape, self.model.weights
        ids = [s.start_text_token, *(i for i in text_ids if i not in (s.start_text_token, s.stop_text_token)), s.stop_text_token]
        if len(ids) > len(w.text_positions):
            raise ValueError(f"{len(ids) - 2} text tokens; the model takes {len(w.text_positions) - 2}")
        text = w.text[ids].astype(np.float32) + w.text_positions[: len(ids)]
        start = w.codes[s.start_mel_token].astype(np.float32) + w.code_positions[0]
        return np.concatenate([text, start[None]]).astype(np.float32)

    def positions_needed(self, prefix: Prefix, text_ids: Many[int], max_codes: int) -> int:
        """Cache positions of a sequence at its longest."""
        return prefix.length + len(text_ids) + 3 + max_codes

    def start(self, prefix: Prefix, text_ids: Many[int], sampling: Sampling, seed: int, max_codes: int, min_codes: int = 0) -> Sequence:
        """Begin a sequence; all pages it may ever need are taken now, so it can't starve half-way. Raises `NoPages`, `ValueError`."""
        rows = self.text_rows(text_ids)
        max_codes = min(max_codes, len(self.model.weights.code_positions) - self.offset)
        shared = prefix.length // (self.pool.data.shape[4])
        own = self.pool.take(pages_for(prefix.length + len(rows) + max_codes) - shared)
        self.pool.share(prefix.pages[:shared])
        if shared < len(prefix.pages):
            self.pool.copy(prefix.pages[shared], own[0])
        pages = [*prefix.pages[:shared], *own]
        s = self.model.shape
        not_codes = tuple(i for i in range(s.number_mel_codes) if i >= s.start_mel_token and i != s.stop_mel_token)
        sampler = Sampler(s.number_mel_codes, s.start_mel_token, sampling, seed, not_codes)
        return Sequence(
            pages, np.array(pages, dtype=np.int32), prefix.length, rows, sampler, max_codes, min_codes, prompt_end=prefix.length + len(rows)
        )

    def end(self, sequence: Sequence) -> None:
        """Give a sequence's pages back."""
        self.pool.give_back(sequence.pages)
        sequence.pages = []
        sequence.is_cut = True

    def step(self, sequences: Many[Sequence], prompt_rows: int = 48) -> list[Sequence]:
        """One pass: a row of every decoding sequence and up to `prompt_rows` rows of prompts, first come first served.

        Returns the sequences that got a code, the stop, or a fault.
        """
        taken: list[tuple[Sequence, int]] = []
        for sequence in sequences:
            if sequence.is_finished:
                continue
            waiting = len(sequence.pending)
            count = 1 if waiting == 1 else min(waiting, prompt_rows)
            prompt_rows -= count if waiting > 1 else 0
            if count:
                taken.append((sequence, count))
        if not taken:
            return []
        hidden = self._forward(taken)
        ends = np.cumsum([count for _, count in taken]) - 1
        ready = [(sequence, int(end)) for (sequence, _), end in zip(taken, ends, strict=True) if len(sequence.pending) == 0]
        if not ready:
            return []
        states = hidden[[end for _, end in ready]]
        for (sequence, _), state, scores in zip(ready, states, self.model.logits(states), strict=True):
            self._choose(sequence, state, scores)
        return [sequence for sequence, _ in ready]

    def _forward(self, taken: list[tuple[Sequence, int]]) -> Floats:
        x = np.concatenate([sequence.pending[:count] for sequence, count in taken])
        positions = np.concatenate([np.arange(s.position, s.position + count, dtype=np.int32) for s, count in taken])
        tables = np.zeros((len(x), max(len(s.table) for s, _ in taken)), dtype=np.int32)
        row = 0
        for sequence, count in taken:
            tables[row : row + count, : len(sequence.table)] = sequence.table
            row += count
            sequence.position += count
            sequence.pending = sequence.pending[count:]
        return self.model.forward(np.ascontiguousarray(x), positions, tables)

    def _choose(self, sequence: Sequence, state: Floats, scores: Floats) -> None:
        s = self.model.shape
        but_not = (s.stop_mel_token,) if len(sequence.codes) < sequence.min_codes else ()
        try:
            code = sequence.sampler.choose(scores, but_not)
        except FloatingPointError as error:
            sequence.fault = str(error)
            return
        if code == s.stop_mel_token:
            sequence.is_stopped = True
            return
        self.feed(sequence, code, state)
        if len(sequence.codes) >= sequence.max_codes:
            sequence.is_cut = True

    def feed(self, sequence: Sequence, code: int, state: Floats) -> None:
        """Append a code, chosen or forced, and queue its input row."""
        w = self.model.weights
        row = w.codes[code].astype(np.float32) + w.code_positions[len(sequence.codes) + self.offset]
        sequence.latents.append(state)
        sequence.codes.append(code)
        sequence.pending = row[None].astype(np.float32)

    def latent_pass(self, sequence: Sequence, rows: int = 48) -> Floats:
        """Latents [N, D] of a finished sequence under the training positions (specification section 8), for offset 2.

        Rewrites the codes' places in the cache; row 0 is the start code's state, which does not depend on the offset.
        """
        w, codes = self.model.weights, sequence.codes
        out = [sequence.latents[0]]
        for first in range(0, len(codes) - 1, rows):
            now = np.array(codes[first : min(first + rows, len(codes) - 1)])
            ranks = np.arange(first, first + len(now))
            x = (w.codes[now].astype(np.float32) + w.code_positions[ranks + 1]).astype(np.float32)
            positions = (sequence.prompt_end + ranks).astype(np.int32)
            out.extend(self.model.forward(x, positions, np.tile(sequence.table, (len(x), 1))))
        return np.stack(out)

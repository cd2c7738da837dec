"""The language model's forward pass over any mix of rows: blocks, the two last norms, the code head. Specification section 6.

A row is one position of one sequence: its input vector, its position and its sequence's pages. Rows of different jobs, and several
positions of one prompt, go through the weights together; each row's result does not depend on the others.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from realtime.engines.indextts2.kernels import Kernels
from realtime.engines.indextts2.kernels.fallback import Fallback, gelu, layer_norm, softmax
from realtime.engines.indextts2.kernels.native import COPY, HEAD_MAX, PAGE, CBlock, CGpt, Native, address
from realtime.engines.indextts2.kernels.operand import DTYPE, Operand, aligned
from realtime.engines.indextts2.kernels.packing import Floats, Kind, Weight, pack, require
from realtime.engines.indextts2.kv_pages import PagePool
from realtime.engines.indextts2.packs import Fresh, Packs
from realtime.engines.indextts2.store import Tensors

Tables = npt.NDArray[np.int32]
NORM_EPS = 1e-5
FRESH = Fresh()


@dataclass(frozen=True, slots=True)
class LmShape:
    """Sizes, from config.yaml's `gpt` section; names as there."""

    model_dim: int
    layers: int
    heads: int
    number_mel_codes: int
    start_mel_token: int
    stop_mel_token: int
    start_text_token: int
    stop_text_token: int
    max_text_tokens: int
    max_mel_tokens: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> LmShape:
        """From the parsed section."""
        return cls(**{name: int(config[name]) for name in cls.__slots__})


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """One transformer block: norms (gain, shift) and packed weights."""

    ln1: tuple[Floats, Floats]
    ln2: tuple[Floats, Floats]
    qkv: Weight
    proj: Weight
    fc: Weight
    fc_proj: Weight


def floats(tensors: Tensors, name: str) -> Floats:
    """A tensor as contiguous float32."""
    return np.ascontiguousarray(tensors[name], dtype=np.float32)


def in_out(packs: Packs, tensors: Tensors, name: str, kind: Kind) -> Weight:
    """GPT-2's linear layers store [in, out]."""
    return packs.weight(name, lambda: pack(floats(tensors, f"{name}.weight").T, kind, floats(tensors, f"{name}.bias")))


def block_of(packs: Packs, tensors: Tensors, name: str, kind: Kind) -> Block:
    """Read and pack one block."""

    def norm(part: str) -> tuple[Floats, Floats]:
        return floats(tensors, f"{name}.{part}.weight"), floats(tensors, f"{name}.{part}.bias")

    linear = [in_out(packs, tensors, f"{name}.{part}", kind) for part in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")]
    return Block(norm("ln_1"), norm("ln_2"), *linear)


def _table(packs: Packs, tensors: Tensors, name: str, dtype: Any) -> npt.NDArray[Any]:
    return packs.array(name, lambda: np.asarray(tensors[name]).astype(dtype))


@dataclass(frozen=True, slots=True, eq=False)
class LmWeights:
    """Everything the forward pass and the embeddings need. Embedding tables are half floats: they are only added, never multiplied."""

    blocks: tuple[Block, ...]
    ln_f: tuple[Floats, Floats]
    final_norm: tuple[Floats, Floats]
    head: Weight
    text: npt.NDArray[Any]
    text_positions: npt.NDArray[Any]
    codes: npt.NDArray[Any]
    code_positions: npt.NDArray[Any]

    @classmethod
    def of(cls, tensors: Tensors, shape: LmShape, kind: Kind, packs: Packs = FRESH) -> LmWeights:
        """Pack official tensors. The head stays 8 bit where the blocks are 4: it is 2 % of the bytes and decides every choice."""
        small: Any = np.float32 if kind is Kind.F32 else np.float16
        norms = [(floats(tensors, f"{n}.weight"), floats(tensors, f"{n}.bias")) for n in ("gpt.ln_f", "final_norm")]
        head_kind = Kind.Q8 if kind is Kind.Q4 else kind
        head = packs.weight("mel_head", lambda: pack(floats(tensors, "mel_head.weight"), head_kind, floats(tensors, "mel_head.bias")))
        names = ("text_embedding.weight", "text_pos_embedding.emb.weight", "mel_embedding.weight", "mel_pos_embedding.emb.weight")
        tables = [_table(packs, tensors, n, small) for n in names]
        blocks = tuple(block_of(packs, tensors, f"gpt.h.{i}", kind) for i in range(shape.layers))
        weights = cls(blocks, norms[0], norms[1], head, *tables)
        weights.check(shape)
        return weights

    def check(self, shape: LmShape) -> None:
        """Raise `ValueError` for the first tensor whose size is not what the configuration says."""
        d = shape.model_dim
        if d % shape.heads:
            raise ValueError(f"model_dim {d} is no multiple of heads {shape.heads}")
        if d // shape.heads > HEAD_MAX:
            raise ValueError(f"heads of {d // shape.heads} channels; the kernels take {HEAD_MAX}")
        for i, b in enumerate(self.blocks):
            sizes = (
                ("c_attn", b.qkv, 3 * d, d),
                ("attn.c_proj", b.proj, d, d),
                ("c_fc", b.fc, 4 * d, d),
                ("mlp.c_proj", b.fc_proj, d, 4 * d),
            )
            for name, w, n, k in sizes:
                require(w, n, k, 1, f"gpt.h.{i} {name}")
        require(self.head, shape.number_mel_codes, d, 1, "mel_head")
        vectors = [v for pair in (self.ln_f, self.final_norm, *(n for b in self.blocks for n in (b.ln1, b.ln2))) for v in pair]
        if any(v.shape != (d,) for v in vectors):
            raise ValueError(f"a norm is not of size {d}")
        for name, table, rows in (
            ("text_embedding", self.text, 0),
            ("text_pos_embedding", self.text_positions, shape.max_text_tokens + 2),
            ("mel_embedding", self.codes, shape.number_mel_codes),
            ("mel_pos_embedding", self.code_positions, shape.max_mel_tokens),
        ):
            if table.ndim != 2 or table.shape[1] != d or len(table) < rows:
                raise ValueError(f"{name} is {table.shape}, the configuration says at least ({rows}, {d})")

    @property
    def nbytes(self) -> int:
        """Bytes in all."""
        packed = [w for b in self.blocks for w in (b.qkv, b.proj, b.fc, b.fc_proj)] + [self.head]
        tables = (self.text, self.text_positions, self.codes, self.code_positions)
        return sum(w.nbytes for w in packed) + sum(t.nbytes for t in tables)


class LanguageModel:
    """Runs rows through the blocks and keeps their keys and values in `pool`."""

    def __init__(self, kernels: Kernels, weights: LmWeights, shape: LmShape, pool: PagePool) -> None:
        self.kernels, self.weights, self.shape, self.pool = kernels, weights, shape, pool
        self.head_dim = shape.model_dim // shape.heads
        self._rows = 0
        self._native_blocks = self._bind(kernels) if isinstance(kernels, Native) else None

    def _bind(self, kernels: Native) -> ctypes.Array[CBlock]:
        blocks = (CBlock * self.shape.layers)()
        for view, b in zip(blocks, self.weights.blocks, strict=True):
            view.ln1_gain, view.ln1_shift, view.ln2_gain, view.ln2_shift = (address(a) for a in (*b.ln1, *b.ln2))
            for name in ("qkv", "proj", "fc", "fc_proj"):
                setattr(view, name, ctypes.pointer(kernels.view(getattr(b, name))))
        return blocks

    def _grow(self, rows: int) -> None:
        """Buffers for `rows` rows; they stay."""
        if rows <= self._rows:
            return
        b, width = self.weights.blocks[0], self.shape.model_dim
        packed = (b.qkv, b.proj, b.fc, b.fc_proj)
        k_pad = max(w.k_pad for w in packed)
        groups = max(w.k_pad // w.group for w in packed)
        self._wide = aligned((rows, max(3 * width, b.fc.n)), np.float32)
        self._attended = aligned((rows, width), np.float32)
        self._operand = aligned((rows, k_pad), DTYPE[b.qkv.kind])
        self._scale = np.empty((rows, groups), dtype=np.float32)
        self._sum = np.empty((rows, groups), dtype=np.int32)
        self._head_operand: Operand = self.kernels.operand(self.weights.head, rows)
        self._rows = rows

    def forward(self, x: Floats, positions: Tables, tables: Tables) -> Floats:
        """Hidden states after both last norms [rows, D].

        x [rows, D] (left as the blocks' output), positions int32 [rows], tables int32 [rows, pages]. Rows of one sequence must
        come in rising positions, and all positions before them must be in the pages already.
        """
        self._grow(len(x))
        if isinstance(self.kernels, Native):
            self._native(self.kernels, x, positions, tables)
        else:
            self._numpy(self.kernels, x, positions, tables)
        (g1, s1), (g2, s2) = self.weights.ln_f, self.weights.final_norm
        return layer_norm(layer_norm(x, g1, s1, NORM_EPS), g2, s2, NORM_EPS)

    def logits(self, hidden: Floats) -> Floats:
        """Code scores [rows, V] of hidden states [rows, D]."""
        self._grow(len(hidden))
        out = np.empty((len(hidden), self.weights.head.n), dtype=np.float32)
        self.kernels.put(COPY, np.ascontiguousarray(hidden), self._head_operand)
        self.kernels.gemm(self.weights.head, self._head_operand, out)
        return out

    def _native(self, kernels: Native, x: Floats, positions: Tables, tables: Tables) -> None:
        s, b = self.shape, self.weights.blocks[0]
        job = CGpt(
            self._native_blocks, s.layers, s.heads, self.head_dim, s.model_dim, b.fc.n, int(Kind.BF16 if self.pool.half else Kind.F32),
            address(self.pool.data), address(tables), tables.shape[1], address(positions), len(x), address(x), address(self._wide),
            address(self._attended), address(self._operand), address(self._scale), address(self._sum), 0,
        )  # fmt: skip
        kernels.gpt(job)

    def _numpy(self, kernels: Fallback, x: Floats, positions: Tables, tables: Tables) -> None:
        """What gpt.h does, block by block."""
        for layer, b in enumerate(self.weights.blocks):
            qkv = self._product(kernels, b.qkv, layer_norm(x, *b.ln1, NORM_EPS))
            q, k, v = qkv.reshape(len(x), 3, self.shape.heads, self.head_dim).transpose(1, 0, 2, 3)
            for r, p in enumerate(positions):
                page = self.pool.data[tables[r, p // PAGE], layer]
                page[0, :, p % PAGE], page[1, :, p % PAGE] = k[r], v[r]
            attended = np.stack([self._recall(layer, q[r], int(positions[r]), tables[r]) for r in range(len(x))])
            x += self._product(kernels, b.proj, attended.reshape(len(x), -1))
            x += self._product(kernels, b.fc_proj, gelu(self._product(kernels, b.fc, layer_norm(x, *b.ln2, NORM_EPS))))

    def _recall(self, layer: int, q: Floats, position: int, table: Tables) -> Floats:
        keys, values = self.pool.read([int(p) for p in table[: position // PAGE + 1]], layer, position + 1)
        weights = softmax(np.einsum("hd,htd->ht", q, keys) / np.float32(np.sqrt(self.head_dim)))
        out: Floats = np.einsum("ht,htd->hd", weights, values)
        return out

    def _product(self, kernels: Fallback, w: Weight, x: Floats) -> Floats:
        out: Floats = x @ kernels.dense(w)[0] + (w.bias[: w.n] if w.bias is not None else 0)
        return out

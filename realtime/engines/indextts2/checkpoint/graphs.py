"""The graphs that an exported model consists of, as modules with plain tensors in and out.

| graph | inputs -> outputs |
|---|---|
| text_rows | ids [B, L] with start and stop -> rows [B, L, D] |
| code_rows | codes [B, N], positions [N] -> rows [B, N, D] |
| language_model | rows [B, T, D], past keys, values [layers, B, heads, P, d] -> hidden [B, T, D], last logits [B, V], all keys, values |
| content | codes [B, N], hidden [B, N, D] -> content [B, N, H] |
| regulator | content [B, N, H], source row of each frame [F] -> condition [B, F, C] |
| estimator | x, prompt [B, mels, T], t [B], style [B, S], mu [B, T, C] -> velocity [B, mels, T]; no masks: all rows of one length |
| vocoder | mel [B, mels, F] -> wave [B, 1, hop * F] |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import onnx
import torch
from torch import Tensor, nn

from realtime.engines.indextts2.checkpoint.bigvgan import BigVgan
from realtime.engines.indextts2.checkpoint.codec import Codebook, Codec
from realtime.engines.indextts2.checkpoint.gpt import Gpt, KvCache
from realtime.engines.indextts2.checkpoint.s2mel import S2Mel
from realtime.engines.indextts2.checkpoint.vocoder_graph import vocoder_model

Axes = dict[str, dict[int, str]]
PROBE = {"batch": 1, "ids": 5, "codes": 7, "rows": 4, "past": 6, "frames": 53}
"""Sizes to check a graph at, by the name of the dimension; other than those it is traced with."""


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """One graph: its module, sample inputs to trace it with, output names, and the dimensions that may vary.

    `prefixes` lead from the module's parameters to the keys of the weight file: parameter name start -> key start. `build` makes the
    graph with its parameters as inputs; without it the module is traced.
    """

    name: str
    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    axes: Axes
    prefixes: dict[str, str]
    limits: dict[str, int] = field(default_factory=dict)
    build: Callable[[], onnx.ModelProto] | None = None

    def probe(self, seed: int) -> dict[str, Tensor]:
        """Random inputs of other sizes than the traced ones; whole numbers stay below `limits`."""
        random = torch.Generator().manual_seed(seed)
        out: dict[str, Tensor] = {}
        for name, sample in self.inputs.items():
            shape = [PROBE[self.axes[name][i]] if i in self.axes.get(name, {}) else n for i, n in enumerate(sample.shape)]
            if sample.is_floating_point():
                out[name] = torch.rand(shape, generator=random) if sample.dim() == 1 else torch.randn(shape, generator=random)
            else:
                out[name] = torch.randint(0, self.limits[name], shape, generator=random)
        return out


class TextRows(nn.Module):
    """Embedded text with positions."""

    def __init__(self, gpt: Gpt) -> None:
        super().__init__()
        self.embedding, self.positions = gpt.text_embedding, gpt.text_pos_embedding.emb

    def forward(self, ids: Tensor) -> Tensor:
        """[B, L] -> [B, L, D]."""
        return self.embedding(ids) + self.positions(torch.arange(ids.shape[1]))  # type: ignore[no-any-return]


class CodeRows(nn.Module):
    """Embedded codes at given positions."""

    def __init__(self, gpt: Gpt) -> None:
        super().__init__()
        self.embedding, self.positions = gpt.mel_embedding, gpt.mel_pos_embedding.emb

    def forward(self, codes: Tensor, positions: Tensor) -> Tensor:
        """[B, N], [N] -> [B, N, D]."""
        return self.embedding(codes) + self.positions(positions)  # type: ignore[no-any-return]


class LanguageModel(nn.Module):
    """The transformer with its cache as tensors."""

    def __init__(self, gpt: Gpt) -> None:
        super().__init__()
        self.blocks, self.final_norm, self.mel_head = gpt.gpt, gpt.final_norm, gpt.mel_head
        self._gpt = (gpt,)  # in a tuple, so that the encoders' weights are not registered here

    def forward(self, rows: Tensor, past_keys: Tensor, past_values: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """See the module's table."""
        gpt = self._gpt[0]
        cache = KvCache(list(past_keys.unbind(0)), list(past_values.unbind(0)))
        hidden = gpt.transform(rows, cache)
        return hidden, gpt.logits(hidden[:, -1]), torch.stack(cache.keys), torch.stack(cache.values)


class Content(nn.Module):
    """Codes and hidden states -> what the regulator takes."""

    def __init__(self, book: Codebook, s2mel: S2Mel) -> None:
        super().__init__()
        self.codebook, self.out_project, self.gpt_layer = book.codebook, book.out_project, s2mel.gpt_layer

    def forward(self, codes: Tensor, hidden: Tensor) -> Tensor:
        """[B, N], [B, N, D] -> [B, N, H]."""
        rows = self.out_project(self.codebook(codes).transpose(1, 2)).transpose(1, 2)
        return rows + self.gpt_layer(hidden)  # type: ignore[no-any-return]


class Stretch(nn.Module):
    """The regulator, told the source row of each frame: a resize operator would round some of them otherwise."""

    def __init__(self, s2mel: S2Mel) -> None:
        super().__init__()
        regulator = s2mel.length_regulator
        self.content_in_proj, self.model = regulator.content_in_proj, regulator.model

    def forward(self, content: Tensor, rows: Tensor) -> Tensor:
        """[B, N, H], [F] -> [B, F, C]."""
        y = self.content_in_proj(content).transpose(1, 2)
        return self.model(torch.index_select(y, 2, rows)).transpose(1, 2)  # type: ignore[no-any-return]


def language_graphs(gpt: Gpt) -> Iterator[Graph]:
    """The graphs over `gpt.safetensors`."""
    c = gpt.config
    head = c.dim // c.heads
    some = torch.zeros(2, 3, dtype=torch.int64)
    yield Graph(
        "text_rows",
        TextRows(gpt),
        {"ids": some},
        ("rows",),
        {"ids": {0: "batch", 1: "ids"}, "rows": {0: "batch", 1: "ids"}},
        {"embedding": "text_embedding", "positions": "text_pos_embedding.emb"},
        {"ids": c.text_tokens},
    )
    yield Graph(
        "code_rows",
        CodeRows(gpt),
        {"codes": some, "positions": torch.arange(3)},
        ("rows",),
        {"codes": {0: "batch", 1: "codes"}, "positions": {0: "codes"}, "rows": {0: "batch", 1: "codes"}},
        {"embedding": "mel_embedding", "positions": "mel_pos_embedding.emb"},
        {"codes": c.codes, "positions": c.max_codes},
    )
    past = torch.zeros(c.layers, 2, c.heads, 4, head)
    past_axes, all_axes = {1: "batch", 3: "past"}, {1: "batch", 3: "positions"}
    yield Graph(
        "language_model",
        LanguageModel(gpt),
        {"rows": torch.zeros(2, 3, c.dim), "past_keys": past, "past_values": past.clone()},
        ("hidden", "logits", "keys", "values"),
        {
            "rows": {0: "batch", 1: "rows"},
            "past_keys": past_axes,
            "past_values": past_axes,
            "hidden": {0: "batch", 1: "rows"},
            "logits": {0: "batch"},
            "keys": all_axes,
            "values": all_axes,
        },
        {"blocks": "gpt", "final_norm": "final_norm", "mel_head": "mel_head"},
    )


def content_graph(codec: Codec, s2mel: S2Mel) -> Graph:
    """Over `codec.safetensors` and `s2mel.safetensors`: codebook and projector."""
    hidden = s2mel.config.projector[0]
    rows = {0: "batch", 1: "codes"}
    return Graph(
        "content",
        Content(codec.book, s2mel),
        {"codes": torch.zeros(2, 3, dtype=torch.int64), "hidden": torch.zeros(2, 3, hidden)},
        ("content",),
        {"codes": rows, "hidden": rows, "content": rows},
        {
            "codebook": "quantizer.quantizers.0.codebook",
            "out_project": "quantizer.quantizers.0.out_project",
            "gpt_layer": "gpt_layer",
        },
        {"codes": codec.book.codebook.num_embeddings},
    )


def flow_graphs(s2mel: S2Mel) -> Iterator[Graph]:
    """The graphs over `s2mel.safetensors`."""
    c = s2mel.config.dit
    yield Graph(
        "regulator",
        Stretch(s2mel),
        {"content": torch.zeros(2, 3, s2mel.config.regulator.in_channels), "rows": torch.tensor([0, 0, 1, 1, 2])},
        ("condition",),
        {"content": {0: "batch", 1: "codes"}, "rows": {0: "frames"}, "condition": {0: "batch", 1: "frames"}},
        {"content_in_proj": "length_regulator.content_in_proj", "model": "length_regulator.model"},
        {"rows": 3},
    )
    frames = 40  # more than any convolution reflects
    mel = torch.zeros(2, c.mels, frames)
    columns = {0: "batch", 2: "frames"}
    yield Graph(
        "estimator",
        s2mel.cfm.estimator,
        {
            "x": mel,
            "prompt": mel.clone(),
            "t": torch.tensor([0.25, 0.5]),
            "style": torch.zeros(2, c.style),
            "mu": torch.zeros(2, frames, c.content),
        },
        ("velocity",),
        {
            "x": columns,
            "prompt": columns,
            "t": {0: "batch"},
            "style": {0: "batch"},
            "mu": {0: "batch", 1: "frames"},
            "velocity": columns,
        },
        {"": "cfm.estimator."},
    )


def vocoder_graph(vocoder: BigVgan) -> Graph:
    """Over `bigvgan.safetensors`."""
    return Graph(
        "vocoder",
        vocoder,
        {"mel": torch.zeros(2, vocoder.config.mels, 12)},
        ("wave",),
        {"mel": {0: "batch", 2: "frames"}, "wave": {0: "batch", 2: "samples"}},
        {"": ""},
        build=lambda: vocoder_model(vocoder),
    )

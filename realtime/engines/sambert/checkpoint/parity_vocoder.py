"""Parity checks of the generator and of the F0 scale."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from realtime.engines.sambert.checkpoint.export_graphs import export_vocoder
from realtime.engines.sambert.checkpoint.hifigan import Generator
from realtime.engines.sambert.checkpoint.load import load_strict
from realtime.engines.sambert.checkpoint.parity_case import Arrays, Case, Measured, Ruler, tensor
from realtime.engines.sambert.dims import vocoder_dims
from realtime.engines.sambert.sessions import OrtGraph
from realtime.engines.sambert.source import SineSource, denormalise
from realtime.engines.sambert.vocode import open_stream

CUTS = (1, 3, 2, 7, 5, 11)
"""Chunk lengths in frames that the runtime's streams are fed with, repeated: small, odd, uneven."""


class _GivenNoise(SineSource):
    """A sine source with the reference's random draws instead of its own."""

    def use(self, phase: npt.NDArray[np.float32], noise: npt.NDArray[np.float32], hop: int) -> None:
        self.phase, self._given, self._at, self._step = phase, noise, 0, hop

    def draw(self, frames: int) -> npt.NDArray[np.float32]:
        start = self._at
        self._at += frames * self._step
        return self._given[:, start : self._at]


def check_hifigan(case: Case) -> Iterator[Measured]:
    """The generator: whole in torch, chunked through the exported graph."""
    dims = vocoder_dims(case.config["params"], f"{case.path.name}/config.json")
    generator = Generator(dims)
    load_strict(generator, case.weights, case.path.name)
    graph = OrtGraph(export_vocoder(generator))
    for file, io in case.ios:
        ruler = Ruler("torch", io, file)
        _torch_side(generator, io, ruler)
        yield from ruler.found
        ruler = Ruler("onnx", io, file)
        _runtime_side(generator, graph, io, ruler)
        yield from ruler.found


def _torch_side(generator: Generator, io: Arrays, ruler: Ruler) -> None:
    x = tensor(io["x"])
    excitation = None
    if generator.dims.is_nsf:
        phase, noise = tensor(io["phase"]), tensor(io["noise"])
        excitation = generator.source_module(x[:, -2:-1], x[:, -1:], phase, noise)
        ruler.compare("excitation", excitation)
        ruler.compare("wav", generator(x, phase, noise))
        x = x[:, :-2]
    else:
        ruler.compare("wav", generator(x))
    x = generator.conv_pre(x)
    ruler.compare("conv_pre_out", x)
    for stage in range(len(generator.dims.upsample_scales)):
        x = generator.upsample(stage, x, excitation)
        ruler.compare(f"stage{stage}_sum", x)
        parts = [block(x) for block in generator.blocks(stage)]
        for n, part in enumerate(parts):
            ruler.compare(f"stage{stage}_block{n}_out", part)
        x = torch.stack(parts).mean(0)
        ruler.compare(f"stage{stage}_out", x)


def _runtime_side(generator: Generator, graph: OrtGraph, io: Arrays, ruler: Ruler) -> None:
    dims, source = generator.dims, None
    if dims.is_nsf:
        mix = generator.source_module.ffn[0]
        source = _GivenNoise(mix.folded().detach().numpy(), float(mix.bias), dims.sampling_rate, dims.hop, 0)  # type: ignore[operator, arg-type]
        source.use(io["phase"][0], io["noise"][0], dims.hop)
    stream, mel = open_stream(graph, dims, source), np.ascontiguousarray(io["x"][0].T)
    at, parts, i = 0, [], 0
    while at < mel.shape[0]:
        end = min(at + CUTS[i % len(CUTS)], mel.shape[0])
        parts.append(stream.push(mel[at:end], end == mel.shape[0]))
        at, i = end, i + 1
    ruler.compare("wav", np.concatenate(parts)[None, None])


def check_denorm_f0(case: Case) -> Iterator[Measured]:
    """The scale of F0 and voicing, both ways that voices use."""
    config = case.config
    low, high = float(config["global_min"]), float(config["global_max"])
    thresholds = float(config["uv_threshold"]), float(config["f0_threshold"])
    for file, io in case.ios:
        ruler = Ruler("numpy", io, file)
        mvn = io["mvn"].reshape(-1)
        ruler.compare("out_mean_std", denormalise(io["mel"], float(mvn[1]), float(mvn[0]), *thresholds))
        ruler.compare("out_global", denormalise(io["mel"], high - low, low, *thresholds))
        unknown = [name for name in io if re.match(r"out_(?!mean_std$|global$)", name)]
        if unknown:
            raise ValueError(f"unknown outputs {unknown}")
        yield from ruler.found

"""Mel to samples, chunk by chunk, equal to the whole utterance at once.

Causal generators carry explicit state, so nothing is computed twice and no frame waits. Generators with symmetric padding are given
`context` frames on both sides of a chunk: exact, at the price of (n + 2 * context) / n and of `context` frames of waiting.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from realtime.engines.sambert.dims import VocoderDims
from realtime.engines.sambert.sessions import Graph
from realtime.engines.sambert.source import SineSource

Array = npt.NDArray[np.float32]


class VocoderStream(Protocol):
    """State of one utterance."""

    def push(self, mel: Array, is_last: bool = False) -> Array:
        """mel [n,rows] in order (rows: the mel bands, for NSF also F0 in Hz and voicing) -> as many samples as are final."""
        ...

    def use(self, graph: Graph) -> None:
        """Go on with another graph of the same generator (another precision); the state stays."""
        ...


def context_frames(dims: VocoderDims) -> tuple[int, int]:
    """(past, future) frames that a sample of a generator can depend on, rounded up; counted back from the output.

    For causal generators the future is 0.
    """
    half = 0 if dims.causal else 1

    def split(reach: int) -> tuple[int, int]:
        return (reach - reach // 2 * half, reach // 2 * half)

    left, right = split(dims.kernel_size - 1)
    for i in reversed(range(len(dims.upsample_scales))):
        block = max(sum((k - 1) * (d + 1) for d in ds) for k, ds in zip(dims.resblock_kernel_sizes, dims.resblock_dilations, strict=True))
        past, future = split(block)
        scale, kernel = dims.upsample_scales[i], dims.upsample_kernal_sizes[i]
        # One more column each side covers the merged up-sampling kernel and the strided sine source.
        left = -(-(left + past + kernel + 6) // scale) + 1
        right = (-(-(right + future + 6 + kernel // 2) // scale) + 1) if half else 0
    past, future = split(dims.kernel_size - 1)
    return left + past, right + future


class CausalStream:
    """A causal generator with its state."""

    def __init__(self, graph: Graph, dims: VocoderDims, source: SineSource | None = None) -> None:
        self._graph, self._dims, self._source = graph, dims, source
        self._state = {
            name: np.zeros([d or 1 for d in shape], np.float32) for name, shape in graph.inputs.items() if name not in ("x", "excitation")
        }

    def use(self, graph: Graph) -> None:
        """See `VocoderStream`."""
        self._graph = graph

    def push(self, mel: Array, is_last: bool = False) -> Array:
        """See `VocoderStream`; every frame's samples come at once."""
        if not mel.shape[0]:
            return np.zeros(0, np.float32)
        bands = self._dims.in_channels
        feeds = {"x": np.ascontiguousarray(mel[:, :bands].T)[None], **self._state}
        if self._source is not None:
            feeds["excitation"] = self._source.push(mel[:, bands], mel[:, bands + 1])[None, None]
        samples, *new = self._graph.run(feeds)
        self._state = dict(zip(self._state, new, strict=True))
        out: Array = samples[0, 0]
        return out


class WindowStream:
    """A generator with symmetric padding, run on windows."""

    def __init__(self, graph: Graph, dims: VocoderDims, source: SineSource | None = None) -> None:
        self._graph, self._dims, self._source = graph, dims, source
        self._left, self._right = context_frames(dims)
        self._mel = np.zeros((0, dims.in_channels), np.float32)
        self._excitation = np.zeros(0, np.float32)
        self._before = 0

    def use(self, graph: Graph) -> None:
        """See `VocoderStream`."""
        self._graph = graph

    def push(self, mel: Array, is_last: bool = False) -> Array:
        """See `VocoderStream`; samples come `context` frames behind, all of them with the last frame."""
        bands, hop = self._dims.in_channels, self._dims.hop
        self._mel = np.concatenate([self._mel, mel[:, :bands]])
        if self._source is not None and mel.shape[0]:
            self._excitation = np.concatenate([self._excitation, self._source.push(mel[:, bands], mel[:, bands + 1])])
        count = self._mel.shape[0] - self._before - (0 if is_last else self._right)
        if count <= 0:
            return np.zeros(0, np.float32)
        feeds = {"x": np.ascontiguousarray(self._mel.T)[None]}
        if self._source is not None:
            feeds["excitation"] = self._excitation[None, None]
        samples = self._graph.run(feeds)[0][0, 0, self._before * hop : (self._before + count) * hop]
        keep = max(0, self._before + count - self._left)
        self._before = self._before + count - keep
        self._mel, self._excitation = self._mel[keep:], self._excitation[keep * hop :]
        out: Array = samples
        return out


def open_stream(graph: Graph, dims: VocoderDims, source: SineSource | None = None) -> VocoderStream:
    """The stream that fits the generator."""
    return CausalStream(graph, dims, source) if dims.causal else WindowStream(graph, dims, source)

"""BigVGAN v2 on the kernels: log-mel frames to samples, whole or in windows. Specification section 12.

Everything is time-major, [time, channels]. A convolution is a product with shifted rows; a transposed convolution is one with
`stride * channels` outputs per row, which read as that many rows afterwards. One block is
    for dilation in 1, 3, 5:  x += conv2(snake(conv1(snake(x))))
three of them (kernels 3, 7, 11) are averaged per stage.

Cost per frame: 902 M products and 608 k snake evaluations. Figures: `realtime bench engine indextts2`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from realtime.engines.indextts2.kernels import Kernels
from realtime.engines.indextts2.kernels.packing import Floats, Kind, Weight, pack, require, round_up
from realtime.engines.indextts2.packs import Fresh, Packs
from realtime.engines.indextts2.store import Tensors, folded
from realtime.engines.indextts2.vocode_window import VocoderWindow

NARROW = 64
"""Below so many channels int8 convolutions are bf16 instead: a scale per row and tap costs as much as their few products (LOG)."""
SPARE_WINDOWS = 2
"""Sets of buffers kept: one, and one for a more urgent job that steps in; 0.3 MB a frame officially."""
CONV_GROUP = 1024
"""One scale per row and tap of up to this many channels, for int8 convolutions."""


@dataclass(frozen=True, slots=True)
class VocoderShape:
    """What config.json of the vocoder says; names as there."""

    num_mels: int
    upsample_rates: tuple[int, ...]
    upsample_kernel_sizes: tuple[int, ...]
    upsample_initial_channel: int
    resblock_kernel_sizes: tuple[int, ...]
    resblock_dilation_sizes: tuple[tuple[int, ...], ...]
    snake_logscale: bool = True
    use_tanh_at_final: bool = True
    sampling_rate: int = 22050

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> VocoderShape:
        """From the parsed config.json. Raises `ValueError` for a kind of vocoder that this file doesn't implement."""
        if str(config.get("resblock", "1")) != "1" or config.get("activation", "snakebeta") != "snakebeta":
            raise ValueError("only BigVGAN with resblock 1 and snakebeta is implemented")
        return cls(
            int(config["num_mels"]),
            tuple(config["upsample_rates"]),
            tuple(config["upsample_kernel_sizes"]),
            int(config["upsample_initial_channel"]),
            tuple(config["resblock_kernel_sizes"]),
            tuple(tuple(d) for d in config["resblock_dilation_sizes"]),
            bool(config.get("snake_logscale", True)),
            bool(config.get("use_tanh_at_final", True)),
            int(config.get("sampling_rate", 22050)),
        )

    @property
    def hop(self) -> int:
        """Samples per frame."""
        return int(np.prod(self.upsample_rates))

    @property
    def contexts(self) -> tuple[int, ...]:
        """Frames to each side that the output can depend on: of the mel, then of what enters each stage.

        Most of it is the first stage's (24 frames officially), so a window is cut after each stage to what the rest still needs.
        """
        reach, found = 3 + 6, []  # conv_post and the last activation, in samples
        per_frame = self.hop
        for rate, kernel in zip(reversed(self.upsample_rates), reversed(self.upsample_kernel_sizes), strict=True):
            blocks = zip(self.resblock_kernel_sizes, self.resblock_dilation_sizes, strict=True)
            reach += max(sum((k - 1) // 2 * (d + 1) + 2 * 6 for d in dilations) for k, dilations in blocks)
            reach = -(-(reach + kernel) // rate)
            per_frame //= rate
            found.append(-(-reach // per_frame))
        return (found[-1] + 3, *reversed(found))

    @property
    def context(self) -> int:
        """Frames of mel to each side; a window with that much context equals the whole."""
        return self.contexts[0]


@dataclass(frozen=True, slots=True, eq=False)
class Snake:
    """Parameters of one activation, on a linear scale, channels padded to 16; `taps` [12]."""

    alpha: Floats
    inverse_beta: Floats
    taps: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """One upsampling and its blocks: `blocks[j]` is a list of (snake, conv1, snake, conv2, dilation)."""

    rate: int
    crop: int
    up: Weight
    channels: int
    blocks: tuple[tuple[tuple[Snake, Weight, Snake, Weight, int], ...], ...]


def snake_of(tensors: Tensors, name: str, logscale: bool) -> Snake:
    """Read one activation. The filters up and down are the same twelve numbers."""
    alpha, beta = (np.asarray(tensors[f"{name}.act.{part}"], dtype=np.float32) for part in ("alpha", "beta"))
    if logscale:
        alpha, beta = np.exp(alpha), np.exp(beta)
    size = round_up(len(alpha), 16)
    padded = np.zeros((2, size), dtype=np.float32)
    padded[0, : len(alpha)], padded[1, : len(alpha)] = alpha, 1 / (beta + np.float32(1e-9))
    up = np.asarray(tensors[f"{name}.upsample.filter"], dtype=np.float32).reshape(-1)
    down = np.asarray(tensors[f"{name}.downsample.lowpass.filter"], dtype=np.float32).reshape(-1)
    if up.shape != (12,) or not np.array_equal(up, down):
        raise ValueError(f"{name}: expected one 12-tap filter for both directions")
    return Snake(padded[0], padded[1], np.ascontiguousarray(up))


def widened(w: Floats, outputs: bool = True) -> Floats:
    """Convolution [out, in, k] with zero channels added up to whole vectors of 16, which is faster than handling the rest apart."""
    out, inputs, _ = w.shape
    return np.pad(w, ((0, -out % 16 if outputs else 0), (0, -inputs % 16), (0, 0)))


def _outputs(w: Floats) -> Floats:
    return np.pad(w, ((0, -len(w) % 16), (0, 0), (0, 0)))


def widened_bias(bias: Floats) -> Floats:
    """A bias for `widened` outputs."""
    return np.pad(np.asarray(bias, dtype=np.float32), (0, -len(bias) % 16))


def transposed(v: Floats, bias: Floats, stride: int, scale: float, kind: Kind) -> Weight:
    """ConvTranspose1d [in, out, k] as a convolution with stride * out channels: row q holds outputs q * stride .. + stride - 1."""
    inputs, outputs, size = v.shape
    taps = -(-size // stride)
    w = np.zeros((stride, outputs, inputs, taps), dtype=np.float32)
    for tap in range(taps):
        for phase in range(stride):
            at = (taps - 1 - tap) * stride + phase
            if at < size:
                w[phase, :, :, tap] = v[:, :, at].T * scale
    return pack(w.reshape(stride * outputs, inputs, taps), kind, np.tile(bias, stride), CONV_GROUP)


class Vocoder:
    """The generator with packed weights. `kind` is the type of the convolutions inside; the first and last stay float."""

    def __init__(self, kernels: Kernels, tensors: Tensors, shape: VocoderShape, kind: Kind, packs: Packs | None = None) -> None:
        self.kernels, self.shape, self.kind, self.packs = kernels, shape, kind, packs or Fresh()
        inner = Kind.F32 if kind is Kind.F32 else Kind.BF16
        self.pre = self._pack(inner, "conv_pre", lambda: _outputs(folded(tensors, "conv_pre")), lambda: tensors["conv_pre.bias"])
        self.post_snake = snake_of(tensors, "activation_post", shape.snake_logscale)
        post_bias = tensors.get("conv_post.bias")
        self.post = pack(widened(folded(tensors, "conv_post"), outputs=False), inner, post_bias)
        self.stages = tuple(self._stage(tensors, i) for i in range(len(shape.upsample_rates)))
        self._check()
        self._spare: list[VocoderWindow] = []

    def _check(self) -> None:
        """Raise `ValueError` for the first convolution whose size is not what the configuration says: the kernels trust it."""
        s = self.shape
        channels = s.upsample_initial_channel
        require(self.pre, round_up(channels, 16), s.num_mels, 7, "conv_pre")
        for i, stage in enumerate(self.stages):
            inputs, channels = round_up(channels, 16), channels // 2
            taps = -(-s.upsample_kernel_sizes[i] // stage.rate)
            require(stage.up, stage.rate * round_up(channels, 16), inputs, taps, f"ups.{i}")
            for size, pairs in zip(s.resblock_kernel_sizes, stage.blocks, strict=True):
                for _, first, _, second, _ in pairs:
                    for w in (first, second):
                        require(w, stage.channels, stage.channels, size, f"a convolution of stage {i}")
        require(self.post, 1, round_up(channels, 16), 7, "conv_post")

    @property
    def nbytes(self) -> int:
        """Bytes of weights."""
        convs = [w for stage in self.stages for block in stage.blocks for pair in block for w in (pair[1], pair[3])]
        return sum(w.nbytes for w in [self.pre, self.post, *convs, *(stage.up for stage in self.stages)])

    def _stage(self, tensors: Tensors, i: int) -> Stage:
        s = self.shape
        rate, size, count = s.upsample_rates[i], s.upsample_kernel_sizes[i], len(s.resblock_kernel_sizes)

        def up() -> Weight:
            v = widened(folded(tensors, f"ups.{i}.0").transpose(1, 0, 2)).transpose(1, 0, 2)
            # the mean over the blocks of the stage before is folded into this stage's weights
            return transposed(v, widened_bias(tensors[f"ups.{i}.0.bias"]), rate, 1 / count if i else 1.0, self.kind)

        up_weight = self.packs.weight(f"ups.{i}", up)
        blocks, channels = [], up_weight.n // rate
        for j, dilations in enumerate(s.resblock_dilation_sizes):
            name = f"resblocks.{i * count + j}"
            pairs = []
            for m, dilation in enumerate(dilations):
                first, second = (self._conv_weight(tensors, f"{name}.{part}.{m}", channels) for part in ("convs1", "convs2"))
                snakes = [snake_of(tensors, f"{name}.activations.{2 * m + k}", s.snake_logscale) for k in (0, 1)]
                pairs.append((snakes[0], first, snakes[1], second, dilation))
            blocks.append(tuple(pairs))
        return Stage(rate, (size - rate) // 2, up_weight, channels, tuple(blocks))

    def _pack(self, kind: Kind, name: str, w: Callable[[], Floats], bias: Callable[[], Floats]) -> Weight:
        return self.packs.weight(name, lambda: pack(w(), kind, widened_bias(bias()), CONV_GROUP))

    def _conv_weight(self, tensors: Tensors, name: str, channels: int) -> Weight:
        kind = Kind.BF16 if self.kind.is_quantised and channels < NARROW else self.kind
        return self._pack(kind, name, lambda: widened(folded(tensors, name)), lambda: tensors[f"{name}.bias"])

    def steps(self, mel: Floats, left: int = 0, right: int = 0) -> Generator[bool, None, Floats]:
        """Samples of mel [T, mels] without its first `left` and last `right` frames; yields between convolutions, returns float32 [n].

        Any number of windows may be under way, each with buffers of its own; they are kept for later ones.
        """
        window = self._spare.pop() if self._spare else VocoderWindow(self)
        try:
            return (yield from window.steps(np.ascontiguousarray(mel, dtype=np.float32), left, right))
        finally:
            if len(self._spare) < SPARE_WINDOWS:
                self._spare.append(window)

    def run(self, mel: Floats, left: int = 0, right: int = 0) -> Floats:
        """`steps` in one go."""
        steps = self.steps(mel, left, right)
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                out: Floats = stop.value
                return out

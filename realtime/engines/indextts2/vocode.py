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
from realtime.engines.indextts2.kernels.native import ACCUMULATE, COPY
from realtime.engines.indextts2.kernels.operand import Operand
from realtime.engines.indextts2.kernels.packing import Floats, Kind, Weight, pack, require, round_up
from realtime.engines.indextts2.packs import Fresh, Packs
from realtime.engines.indextts2.store import Tensors, folded

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


def trimmed(x: Floats, left: int, right: int, need: int, per_frame: int) -> tuple[Floats, int, int]:
    """Rows of x without what lies beyond `need` frames of the margins `left` and `right`; and the margins left."""
    keep_left, keep_right = min(left, need), min(right, need)
    return x[(left - keep_left) * per_frame : len(x) - (right - keep_right) * per_frame], keep_left, keep_right


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
        self._buffers: dict[tuple[Any, ...], Any] = {}

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
        blocks = []
        for j, dilations in enumerate(s.resblock_dilation_sizes):
            name = f"resblocks.{i * count + j}"
            pairs = []
            for m, dilation in enumerate(dilations):
                first, second = (self._conv_weight(tensors, f"{name}.{part}.{m}") for part in ("convs1", "convs2"))
                snakes = [snake_of(tensors, f"{name}.activations.{2 * m + k}", s.snake_logscale) for k in (0, 1)]
                pairs.append((snakes[0], first, snakes[1], second, dilation))
            blocks.append(tuple(pairs))
        return Stage(rate, (size - rate) // 2, up_weight, up_weight.n // rate, tuple(blocks))

    def _pack(self, kind: Kind, name: str, w: Callable[[], Floats], bias: Callable[[], Floats]) -> Weight:
        return self.packs.weight(name, lambda: pack(w(), kind, widened_bias(bias()), CONV_GROUP))

    def _conv_weight(self, tensors: Tensors, name: str) -> Weight:
        return self._pack(self.kind, name, lambda: widened(folded(tensors, name)), lambda: tensors[f"{name}.bias"])

    def _operand(self, w: Weight, rows: int, pad: int) -> Operand:
        """A reused buffer with `pad` zero rows on both sides of `rows`."""
        key = ("operand", w.kind, w.k, pad)
        held: Operand | None = self._buffers.get(key)
        if held is None or held.rows < rows + 2 * pad:
            held = self._buffers[key] = self.kernels.operand(w, rows + 2 * pad)
        held.clear(pad + rows, pad)
        return held

    def _floats(self, name: str, rows: int, width: int) -> Floats:
        """A reused buffer, contents undefined."""
        held: Floats | None = self._buffers.get((name, width))
        if held is None or len(held) < rows:
            held = self._buffers[(name, width)] = np.empty((rows, width), dtype=np.float32)
        return held[:rows]

    def _conv(
        self, w: Weight, snake: Snake | None, x: Floats, out: Floats, dilation: int, addend: Floats | None = None, flags: int = 0
    ) -> None:
        pad = (w.taps - 1) // 2 * dilation
        operand = self._operand(w, len(x), pad)
        if snake is None:
            self.kernels.put(COPY, x, operand, pad)
        else:
            self.kernels.snake(x, snake.alpha, snake.inverse_beta, snake.taps, operand, pad)
        self.kernels.gemm(w, operand, out, dilation=dilation, flags=flags, addend=addend)

    def _upsample(self, stage: Stage, x: Floats) -> Floats:
        taps = stage.up.taps
        operand = self._operand(stage.up, len(x), taps - 1)
        self.kernels.put(COPY, x, operand, taps - 1)
        full = self._floats("up", len(x) + taps - 1, stage.up.n)
        self.kernels.gemm(stage.up, operand, full)
        return full.reshape(-1, stage.channels)[stage.crop : stage.crop + len(x) * stage.rate]

    def _block(
        self, pairs: tuple[tuple[Snake, Weight, Snake, Weight, int], ...], u: Floats, total: Floats, flags: int
    ) -> Generator[bool, None, None]:
        """Add one block's output to (or put it in) `total`; `u` stays as it is. Yields after each pair."""
        x, middle = u, self._floats("middle", *u.shape)
        for m, (first_snake, first, second_snake, second, dilation) in enumerate(pairs):
            is_last = m == len(pairs) - 1
            self._conv(first, first_snake, x, middle, dilation)
            out = total if is_last else self._floats("residual", *u.shape)
            self._conv(
                second, second_snake, middle, out, 1, x if is_last or x is u else None, flags if is_last else 0 if x is u else ACCUMULATE
            )
            x = out
            yield False

    def steps(self, mel: Floats, left: int = 0, right: int = 0) -> Generator[bool, None, Floats]:
        """Samples of mel [T, mels] without its first `left` and last `right` frames; yields between convolutions, returns float32 [n].

        A buffer of this object is in use between yields: finish (or drop) one run before starting another.
        """
        mel = np.ascontiguousarray(mel, dtype=np.float32)
        x = self._floats("pre", len(mel), self.pre.n)
        self._conv(self.pre, None, mel, x, 1)
        per_frame = 1
        for i, stage in enumerate(self.stages):
            x, left, right = trimmed(x, left, right, self.shape.contexts[i + 1], per_frame)
            u = self._upsample(stage, x)
            per_frame *= stage.rate
            x = self._floats(f"stage{i % 2}", len(u), stage.channels)
            for j, pairs in enumerate(stage.blocks):
                yield from self._block(pairs, u, x, ACCUMULATE if j else 0)
        x *= np.float32(1 / len(self.shape.resblock_kernel_sizes))
        wave = np.empty((len(x), 1), dtype=np.float32)
        self._conv(self.post, self.post_snake, x, wave, 1)
        samples = wave[left * per_frame : len(wave) - right * per_frame, 0]
        out: Floats = np.tanh(samples) if self.shape.use_tanh_at_final else np.clip(samples, -1, 1)
        return out

    def run(self, mel: Floats, left: int = 0, right: int = 0) -> Floats:
        """`steps` in one go."""
        steps = self.steps(mel, left, right)
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                out: Floats = stop.value
                return out

"""The velocity estimator of the flow decoder: weights, and what is worked out before a call (flow_call.py). Specification section 11.

Time-major rows, the two branches of classifier-free guidance one below the other. What depends on the time alone is a `StepTable`,
made once per step of a schedule; what depends on the segment alone (content, prompt, style through the input layer) is made once per
segment; a step multiplies the rest. No masks: all rows of a call have the same length.

Cost: 74 M + 13 k * T products per frame and branch.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from realtime.engines.indextts2.flow_call import EstimatorCall
from realtime.engines.indextts2.kernels import Kernels
from realtime.engines.indextts2.kernels.fallback import sigmoid
from realtime.engines.indextts2.kernels.native import HEAD_MAX
from realtime.engines.indextts2.kernels.packing import LANES, Floats, Kind, Weight, pack, paired, require, round_up
from realtime.engines.indextts2.packs import Fresh, Packs
from realtime.engines.indextts2.store import Tensors, folded

RMS_EPS = 1e-5
FINAL_EPS = 1e-6
ROPE_BASE = 10000.0
TIME_SCALE = 1000.0
SPARE_CALLS = 2
"""Sets of buffers kept: one, and one for a more urgent job that steps in; 60 kB a row officially."""
GROUP = 512
"""Values that share a scale when quantised: a whole row of the official width."""


@dataclass(frozen=True, slots=True)
class FlowShape:
    """Sizes, from config.yaml's `s2mel` section."""

    mels: int
    width: int
    heads: int
    depth: int
    style: int
    wavenet_layers: int
    wavenet_kernel: int
    wavenet_dilation: int
    uvit_skips: bool = True
    long_skip: bool = True

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> FlowShape:
        """From the parsed section. Raises `ValueError` for settings that this file doesn't implement."""
        dit, wavenet = config["DiT"], config["wavenet"]
        if dit.get("final_layer_type", "wavenet") != "wavenet" or dit.get("time_as_token") or dit.get("style_as_token"):
            raise ValueError("only the published estimator (WaveNet tail, no time or style tokens) is implemented")
        if not dit.get("style_condition", True) or int(wavenet["hidden_dim"]) != int(dit["hidden_dim"]):
            raise ValueError("only the published estimator (style condition, WaveNet as wide as the transformer) is implemented")
        return cls(
            int(dit["in_channels"]),
            int(dit["hidden_dim"]),
            int(dit["num_heads"]),
            int(dit["depth"]),
            int(config["style_encoder"]["dim"]),
            int(wavenet["num_layers"]),
            int(wavenet["kernel_size"]),
            int(wavenet["dilation_rate"]),
            bool(dit.get("uvit_skip_connection", True)),
            bool(dit.get("long_skip_connection", True)),
        )


@dataclass(frozen=True, slots=True, eq=False)
class StepTable:
    """All that one time contributes: gain and shift of each norm (attention, feed-forward of each layer, then the last), biases of the
    WaveNet's layers with its condition added, gain and shift of the final layer."""

    norms: tuple[tuple[Floats, Floats], ...]
    gates: tuple[Floats, ...]
    final: tuple[Floats, Floats]


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One transformer layer. `enter`, `recall`: the skip linear's halves for the stream and the recalled output, trailing layers only."""

    qkv: Weight
    wo: Weight
    w13: Weight
    w2: Weight
    enter: Weight | None
    recall: Weight | None


@dataclass(frozen=True, slots=True, eq=False)
class WaveLayer:
    """One WaveNet layer; the last has no residual."""

    gate: Weight
    residual: Weight | None
    skip: Weight
    dilation: int


class Estimator:
    """Packed weights of `cfm.estimator`, and the call."""

    def __init__(self, kernels: Kernels, tensors: Tensors, shape: FlowShape, kind: Kind, packs: Packs | None = None) -> None:
        self.kernels, self.shape, self.kind, self.tensors = kernels, shape, kind, tensors
        self.packs = packs or Fresh()
        self.inner = Kind.F32 if kind is Kind.F32 else Kind.BF16
        t, p = tensors, "cfm.estimator."
        width, mels = shape.width, shape.mels
        merge = _f32(t, p + "cond_x_merge_linear.weight")
        cond, cond_bias = _f32(t, p + "cond_projection.weight"), _f32(t, p + "cond_projection.bias")
        x, prompt, content, style = np.split(merge, np.cumsum([mels, mels, width]), axis=1)
        self.in_x = pack(x, self.inner)
        # the content projection has no activation after it: one matrix with the input layer
        self.in_prompt, self.in_content, self.in_style = prompt.T.copy(), (content @ cond).T.copy(), style.T.copy()
        self.in_bias = _f32(t, p + "cond_x_merge_linear.bias") + content @ cond_bias
        self.layers = tuple(self._layer(i) for i in range(shape.depth))
        if shape.long_skip:
            skip = _f32(t, p + "skip_linear.weight")
            self.skip_h = self._pack("skip_linear.h", lambda: skip[:, :width], lambda: self._get("skip_linear.bias"))
            self.skip_x = pack(np.ascontiguousarray(skip[:, width:]), self.inner)
        self.conv1 = self._linear("conv1")
        self.res_projection = self._linear("res_projection")
        self.waves = tuple(self._wave(i) for i in range(shape.wavenet_layers))
        out, last = folded(t, p + "conv2")[:, :, 0], folded(t, p + "final_layer.linear")
        self.out = pack(out @ last, self.inner, out @ _f32(t, p + "final_layer.linear.bias") + _f32(t, p + "conv2.bias"))
        self._check()
        self._rope: tuple[Floats, Floats] = (np.zeros((0, 1), dtype=np.float32),) * 2
        self._spare: list[EstimatorCall] = []

    # -- weights

    def _pack(self, name: str, w: Callable[[], Floats], bias: Callable[[], Floats] | None = None) -> Weight:
        return self.packs.weight(name, lambda: pack(w(), self.kind, bias() if bias else None, GROUP))

    def _get(self, name: str) -> Floats:
        return _f32(self.tensors, f"cfm.estimator.{name}")

    def _linear(self, name: str) -> Weight:
        return self._pack(name, lambda: self._get(f"{name}.weight"), lambda: self._get(f"{name}.bias"))

    def _layer(self, i: int) -> Layer:
        p, width = f"transformer.layers.{i}.", self.shape.width
        enter = recall = None
        if self.shape.uvit_skips and i > self.shape.depth // 2:
            skip = f"{p}skip_in_linear"
            enter = self._pack(f"{skip}.enter", lambda: self._get(f"{skip}.weight")[:, :width], lambda: self._get(f"{skip}.bias"))
            recall = self._pack(f"{skip}.recall", lambda: self._get(f"{skip}.weight")[:, width:])
        qkv, wo, w2 = (self._plain(p + name) for name in ("attention.wqkv", "attention.wo", "feed_forward.w2"))
        both = [f"{p}feed_forward.w1.weight", f"{p}feed_forward.w3.weight"]
        w13 = self._pack(f"{p}w13", lambda: paired(np.concatenate([self._get(name) for name in both])))
        return Layer(qkv, wo, w13, w2, enter, recall)

    def _plain(self, name: str) -> Weight:
        return self._pack(name, lambda: self._get(f"{name}.weight"))

    def _wave(self, i: int) -> WaveLayer:
        width, is_last = self.shape.width, i == self.shape.wavenet_layers - 1
        gate, both = f"wavenet.in_layers.{i}.conv.conv", f"wavenet.res_skip_layers.{i}.conv.conv"

        def half(name: str, part: slice) -> Weight:
            def weight() -> Floats:
                return folded(self.tensors, f"cfm.estimator.{both}")[part, :, 0]

            return self._pack(f"{both}.{name}", weight, lambda: self._get(f"{both}.bias")[part])

        residual = None if is_last else half("residual", slice(0, width))
        skip = half("skip", slice(0 if is_last else width, None))
        packed = self._pack(gate, lambda: paired(folded(self.tensors, f"cfm.estimator.{gate}")), lambda: paired(self._get(f"{gate}.bias")))
        return WaveLayer(packed, residual, skip, self.shape.wavenet_dilation**i)

    def _check(self) -> None:
        """Raise `ValueError` for the first weight whose size is not what the configuration says: the kernels trust it."""
        s, width = self.shape, self.shape.width
        if width % s.heads or (width // s.heads) % 2:
            raise ValueError(f"hidden_dim {width} does not split into {s.heads} heads of even width")
        if width // s.heads > HEAD_MAX:
            raise ValueError(f"heads of {width // s.heads} channels; the kernels take {HEAD_MAX}")
        for i, layer in enumerate(self.layers):
            sizes = [("wqkv", layer.qkv, 3 * width, width), ("wo", layer.wo, width, width), ("w2", layer.w2, width, layer.w2.k)]
            sizes += [("skip_in_linear", w, width, width) for w in (layer.enter, layer.recall) if w is not None]
            for name, w, n, k in sizes:
                require(w, n, k, 1, f"layer {i} {name}")
            require(layer.w13, 2 * round_up(layer.w2.k, LANES), width, 1, f"layer {i} w1 and w3")
        for i, wave in enumerate(self.waves):
            require(wave.gate, 2 * round_up(width, LANES), width, s.wavenet_kernel, f"wavenet layer {i}")
            for half in (wave.residual, wave.skip):
                require(half or wave.skip, width, width, 1, f"wavenet layer {i} res_skip")
        require(self.in_x, width, s.mels, 1, "cond_x_merge_linear")
        require(self.out, s.mels, width, 1, "conv2")
        for name, w in (("conv1", self.conv1), ("res_projection", self.res_projection)):
            require(w, width, width, 1, name)

    # -- what depends on the time alone

    def _times(self, name: str, times: Sequence[float]) -> Floats:
        """Embeddings of times, [times, D]."""
        t, p = self.tensors, f"cfm.estimator.{name}."
        angles = (np.float32(TIME_SCALE) * np.array(times, dtype=np.float32))[:, None] * _f32(t, p + "freqs")
        x = self._affine(p + "mlp.0", np.concatenate([np.cos(angles), np.sin(angles)], axis=1))
        return self._affine(p + "mlp.2", x * sigmoid(x))

    def _affine(self, name: str, x: Floats) -> Floats:
        """A linear layer of x [n, K]."""
        out: Floats = x @ _f32(self.tensors, f"{name}.weight").T + _f32(self.tensors, f"{name}.bias")
        return out

    def tables(self, times: Sequence[float]) -> list[StepTable]:
        """The tables of some times in [0, 1]. Many at once cost what one does: nearly all of it is reading the weights."""
        t, p, width = self.tensors, "cfm.estimator.", self.shape.width
        t1, t2 = self._times("t_embedder", times), self._times("t_embedder2", times)

        def norm(name: str) -> tuple[Floats, Floats]:
            both = self._affine(f"{name}.project_layer", t1)
            return both[:, :width] * _f32(t, f"{name}.norm.weight"), both[:, width:].copy()

        names = [f"{p}transformer.layers.{i}.{n}" for i in range(self.shape.depth) for n in ("attention_norm", "ffn_norm")]
        cond = t2 @ folded(t, p + "wavenet.cond_layer.conv.conv")[:, :, 0].T + _f32(t, p + "wavenet.cond_layer.conv.conv.bias")
        final = self._affine(p + "final_layer.adaLN_modulation.1", t1 * sigmoid(t1))
        norms = [norm(name) for name in [*names, p + "transformer.norm"]]
        return [
            StepTable(
                tuple((gain[k], shift[k]) for gain, shift in norms), self._gates(cond[k]), (1 + final[k, width:], final[k, :width].copy())
            )
            for k in range(len(times))
        ]

    def _gates(self, condition: Floats) -> tuple[Floats, ...]:
        """Biases of the WaveNet's layers with the condition of one time added."""
        gates = []
        for wave, part in zip(self.waves, condition.reshape(self.shape.wavenet_layers, -1), strict=True):
            assert wave.gate.bias is not None
            gates.append(wave.gate.bias + paired(part.astype(np.float32)))
        return tuple(gates)

    def table(self, time: float) -> StepTable:
        """The table of one time."""
        return self.tables([time])[0]

    # -- what depends on the segment alone

    def static(self, content: Floats, prompt: Floats, style: Floats) -> Floats:
        """The input layer without x: content [T, C], prompt mel [T, mels] (zeros behind it), style [S] -> [T, width]."""
        out: Floats = content @ self.in_content + prompt @ self.in_prompt + (style @ self.in_style + self.in_bias)
        return out.astype(np.float32)

    def static_null(self, frames: int) -> Floats:
        """The same for guidance's empty branch: content, prompt and style all zero."""
        return np.tile(self.in_bias, (frames, 1)).astype(np.float32)

    def rope(self, frames: int) -> tuple[Floats, Floats]:
        """cos, sin [frames, d / 2]."""
        if len(self._rope[0]) < frames:
            half = self.shape.width // self.shape.heads // 2
            rate = 1.0 / ROPE_BASE ** (np.arange(half, dtype=np.float64) / half)
            angles = np.arange(max(frames, 1024), dtype=np.float64)[:, None] * rate
            self._rope = (np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32))
        return self._rope

    # -- the call

    @property
    def reach(self) -> int:
        """Frames to each side that the velocity of a frame depends on behind the transformer."""
        return sum((wave.gate.taps - 1) // 2 * wave.dilation for wave in self.waves)

    def steps(self, x: Floats, static: Floats, table: StepTable, given: int = 0) -> Generator[bool, None, Floats]:
        """Velocity [B * T, mels] of x [T, mels] for the branches stacked in `static` [B * T, width]; zero for the first `given` frames.

        Yields False after each layer. Any number of calls may be under way, each with buffers of its own; they are kept for later ones.
        """
        call = self._spare.pop() if self._spare else EstimatorCall(self)
        try:
            return (yield from call.steps(x, static, table, given))
        finally:
            if len(self._spare) < SPARE_CALLS:
                self._spare.append(call)


def _f32(tensors: Tensors, name: str) -> Floats:
    return np.ascontiguousarray(tensors[name], dtype=np.float32)

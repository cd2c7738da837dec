"""The vocoder's ONNX graph, written node by node: tracing makes six times as many nodes and takes most of an export's time (LOG).

Convolution weights stay in the weight file; what is derived from a few numbers (the resamplers' taps per width, the snakes'
exponentials) is in the graph.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from realtime.engines.indextts2.checkpoint.bigvgan import BETA_EPS, RATIO, TAPS, Activation, AmpBlock, BigVgan

OPSET = 17
IR_VERSION = 8
"""What opset 17 came with; newer ones would shut out older runtimes."""


class Nodes:
    """A graph under construction. Parameters become inputs, named as in the module."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.parameters: dict[str, tuple[int, ...]] = {}
        self.constants: dict[bytes, onnx.TensorProto] = {}

    def add(self, op: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """One node -> the name of its output."""
        name = output or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def parameter(self, name: str, tensor: Tensor) -> str:
        """A tensor of the weight file."""
        self.parameters[name] = tuple(tensor.shape)
        return name

    def constant(self, array: npt.NDArray[np.generic]) -> str:
        """A small tensor inside the graph; equal ones are stored once."""
        key = repr((array.shape, array.dtype)).encode() + array.tobytes()
        if key not in self.constants:
            self.constants[key] = numpy_helper.from_array(array, f"c{len(self.constants)}")
        return self.constants[key].name

    def convolution(self, x: str, conv: nn.Module, name: str, op: str = "Conv") -> str:
        """A convolution of the module, transposed or not, with its own stride, padding and dilation."""
        assert isinstance(conv, nn.Conv1d | nn.ConvTranspose1d)
        inputs = [self.parameter(f"{name}.weight", conv.weight)]
        if conv.bias is not None:
            inputs.append(self.parameter(f"{name}.bias", conv.bias))
        padding = int(conv.padding[0])
        return self.add(op, x, *inputs, strides=list(conv.stride), dilations=list(conv.dilation), pads=[padding, padding])


def vocoder_model(vocoder: BigVgan) -> onnx.ModelProto:
    """mel [B, mels, F] -> wave [B, 1, hop * F]; the convolutions' weights are inputs still."""
    n, config = Nodes(), vocoder.config
    x = n.convolution("mel", vocoder.conv_pre, "conv_pre")
    count = len(config.block_kernels)
    for i in range(len(vocoder.ups)):
        x = n.convolution(x, vocoder.ups[i][0], f"ups.{i}.0", "ConvTranspose")  # type: ignore[index]
        blocks = [_block(n, x, vocoder.resblocks[j], f"resblocks.{j}") for j in range(i * count, (i + 1) * count)]
        total = blocks[0]
        for block in blocks[1:]:
            total = n.add("Add", total, block)
        x = n.add("Mul", total, n.constant(np.array(1 / count, dtype=np.float32)))
    x = n.convolution(_activation(n, x, vocoder.activation_post), vocoder.conv_post, "conv_post")
    if config.tanh:
        n.add("Tanh", x, output="wave")
    else:
        n.add("Clip", x, n.constant(np.array(-1, dtype=np.float32)), n.constant(np.array(1, dtype=np.float32)), output="wave")
    return _model(n, config.mels)


def _block(n: Nodes, x: str, block: nn.Module, name: str) -> str:
    """`AmpBlock.forward`."""
    assert isinstance(block, AmpBlock)
    for i, (first, second) in enumerate(zip(block.convs1, block.convs2, strict=True)):
        y = n.convolution(_activation(n, x, block.activations[2 * i]), first, f"{name}.convs1.{i}")
        y = n.convolution(_activation(n, y, block.activations[2 * i + 1]), second, f"{name}.convs2.{i}")
        x = n.add("Add", x, y)
    return x


def _activation(n: Nodes, x: str, activation: nn.Module) -> str:
    """`Activation.forward`; the doubled gain of the upper rate is in the taps."""
    assert isinstance(activation, Activation)
    channels, act = activation.upsample.channels, activation.act
    edge = TAPS // RATIO - 1
    crop = edge * RATIO + (TAPS - RATIO) // 2
    up = n.constant(np.tile(RATIO * activation.upsample.filter.numpy(), (channels, 1, 1)))
    down = n.constant(np.tile(activation.downsample.lowpass.filter.numpy(), (channels, 1, 1)))
    alpha, beta = (p.detach().exp() if act.log_scale else p.detach() for p in (act.alpha, act.beta))
    u = n.add("ConvTranspose", _padded(n, x, edge, edge), up, strides=[RATIO], pads=[crop, crop], group=channels)
    s = n.add("Sin", n.add("Mul", u, n.constant(alpha.numpy()[:, None])))
    s = n.add("Mul", n.add("Mul", s, s), n.constant((1 / (beta + BETA_EPS)).numpy()[:, None]))
    v = _padded(n, n.add("Add", u, s), TAPS // 2 - 1, TAPS // 2)
    return n.add("Conv", v, down, strides=[RATIO], group=channels)


def _padded(n: Nodes, x: str, left: int, right: int) -> str:
    return n.add("Pad", x, n.constant(np.array([0, 0, left, 0, 0, right])), mode="edge")


def _model(n: Nodes, mels: int) -> onnx.ModelProto:
    mel = helper.make_tensor_value_info("mel", TensorProto.FLOAT, ["batch", mels, "frames"])
    wave = helper.make_tensor_value_info("wave", TensorProto.FLOAT, ["batch", 1, "samples"])
    parameters = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in n.parameters.items()]
    graph = helper.make_graph(n.nodes, "vocoder", [mel, *parameters], [wave], initializer=list(n.constants.values()))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)

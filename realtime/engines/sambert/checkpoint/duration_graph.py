"""The duration loop as one ONNX `Scan`: autoregressive over symbols, so it is built by hand (the exporter can't trace a loop).

gates [T,4H] (from the variance graph) -> log_duration [T] = log(frames + 1). Gates are reordered to (i, f, o, g) so that one sigmoid
covers three of them; each layer's two weight matrices stand side by side, so that a layer is one matrix product.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from realtime.engines.sambert.checkpoint.layers import lstm_weight
from realtime.engines.sambert.checkpoint.variance import DurationPredictor

OPSET = 17
Array = npt.NDArray[np.float32]


class _Body:
    """Collects the nodes and weights of the loop body."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, name: str, value: Tensor | Array) -> str:
        array = value.detach().numpy() if isinstance(value, Tensor) else value
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name))
        return name

    def node(self, op: str, inputs: list[str], outputs: list[str], **attributes: int) -> str:
        self.nodes.append(helper.make_node(op, inputs, outputs, **attributes))  # type: ignore[arg-type]
        return outputs[0]

    def linear(self, x: str, weight: Tensor, bias: Tensor | None, name: str) -> str:
        inputs = [x, self.weight(f"{name}_w", weight.t())]
        if bias is not None:
            inputs.append(self.weight(f"{name}_b", bias))
        return self.node("Gemm", inputs, [name])

    def cell(self, gates: str, c: str, out: str) -> None:
        """LSTM cell from summed gates [1,4H] in order i, f, o, g."""
        self.node("Split", [gates, "split_gates"], [f"{out}_ifo", f"{out}_g"], axis=1)
        self.node("Sigmoid", [f"{out}_ifo"], [f"{out}_s"])
        self.node("Split", [f"{out}_s"], [f"{out}_i", f"{out}_f", f"{out}_o"], axis=1)
        self.node("Tanh", [f"{out}_g"], [f"{out}_t"])
        self.node("Mul", [f"{out}_f", c], [f"{out}_fc"])
        self.node("Mul", [f"{out}_i", f"{out}_t"], [f"{out}_it"])
        self.node("Add", [f"{out}_fc", f"{out}_it"], [f"{out}_c"])
        self.node("Tanh", [f"{out}_c"], [f"{out}_tc"])
        self.node("Mul", [f"{out}_o", f"{out}_tc"], [f"{out}_h"])


def reorder_gates(weight: Tensor) -> Tensor:
    """Rows from torch's order (i, f, g, o) to (i, f, o, g)."""
    i, f, g, o = weight.chunk(4)
    return torch.cat([i, f, o, g])


def duration_graph(predictor: DurationPredictor) -> onnx.ModelProto:
    """Build the graph. Its input is in torch's gate order, as the variance graph gives it."""
    hidden = predictor.lstm.hidden_size
    body = _body(predictor)
    states = ["y", "h0", "c0", "h1", "c1"]
    outputs = ["y_next", "l0_h", "l0_c", "l1_h", "l1_c"]
    shapes = {"y": [1, 1], **{name: [1, hidden] for name in states[1:]}}
    graph = helper.make_graph(
        body.nodes,
        "one_symbol",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, shapes[n]) for n in states]
        + [helper.make_tensor_value_info("gates_t", TensorProto.FLOAT, [4 * hidden])],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, shapes[n]) for n, o in zip(states, outputs, strict=True)]
        + [helper.make_tensor_value_info("y_out", TensorProto.FLOAT, [1])],
        initializer=[w for w in body.weights if w.name == "split_gates"],
    )
    initial = [numpy_helper.from_array(np.zeros(shapes[n], np.float32), f"{n}_zero") for n in states]
    order = np.concatenate([np.arange(hidden) + part * hidden for part in (0, 1, 3, 2)]).astype(np.int64)
    nodes = [
        helper.make_node("Gather", ["gates", "gate_order"], ["gates_ifog"], axis=1),
        helper.make_node(
            "Scan", [f"{n}_zero" for n in states] + ["gates_ifog"], [f"{n}_end" for n in states] + ["ys"], body=graph, num_scan_inputs=1
        ),
        helper.make_node("Squeeze", ["ys", "last_axis"], ["log_duration"]),
    ]
    weights = [w for w in body.weights if w.name != "split_gates"]
    constants = [numpy_helper.from_array(order, "gate_order"), numpy_helper.from_array(np.array([1], np.int64), "last_axis")]
    outer = helper.make_graph(
        nodes,
        "durations",
        [helper.make_tensor_value_info("gates", TensorProto.FLOAT, ["symbols", 4 * hidden])],
        [helper.make_tensor_value_info("log_duration", TensorProto.FLOAT, ["symbols"])],
        initializer=[*weights, *initial, *constants],
    )
    model = helper.make_model(outer, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="realtime")
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model


def _body(predictor: DurationPredictor) -> _Body:
    body, lstm = _Body(), predictor.lstm
    linears = [part for part in predictor.prenet.fcs if isinstance(part, nn.Linear)]
    hidden, width = lstm.hidden_size, linears[-1].out_features
    split = np.array([3 * hidden, hidden], np.int64)
    body.weights.append(numpy_helper.from_array(split, "split_gates"))
    x = "y"
    for i, linear in enumerate(linears):
        x = body.node("Relu", [body.linear(x, linear.weight, linear.bias, f"pre{i}")], [f"pre{i}_r"])
    body.node("Concat", [x, "h0"], ["in0"], axis=1)
    first = torch.cat([lstm_weight(lstm, "weight_ih_l0")[:, :width], lstm_weight(lstm, "weight_hh_l0")], dim=1)
    body.node("Gemm", ["in0", body.weight("own0_w", reorder_gates(first).t()), "gates_t"], ["gates0"])
    body.cell("gates0", "c0", "l0")
    body.node("Concat", ["l0_h", "h1"], ["in1"], axis=1)
    second = torch.cat([lstm_weight(lstm, "weight_ih_l1"), lstm_weight(lstm, "weight_hh_l1")], dim=1)
    body.linear("in1", reorder_gates(second), reorder_gates(lstm_weight(lstm, "bias_ih_l1") + lstm_weight(lstm, "bias_hh_l1")), "gates1")
    body.cell("gates1", "c1", "l1")
    body.node("Relu", [body.linear("l1_h", predictor.fc.weight, predictor.fc.bias, "fc")], ["y_next"])
    body.node("Reshape", ["y_next", body_shape(body)], ["y_out"])
    return body


def body_shape(body: _Body) -> str:
    """The shape [1] as a weight, for the scan output."""
    body.weights.append(numpy_helper.from_array(np.array([1], np.int64), "shape_1"))
    return "shape_1"

"""A graph -> an ONNX file of a few hundred kilobytes whose weights stay in a safetensors file beside it.

ONNX keeps large tensors in external files by offset and length, and a safetensors file is a header and then raw tensors: so one file
of weights, mapped into memory once, serves the graphs and anything else that reads it by key. It also keeps graphs under protobuf's
2 GB. The TorchScript exporter (`dynamo=False`, opset 17) is what the parity figures were measured with.
"""

from __future__ import annotations

import json
import os
import struct
import tempfile
import warnings
from pathlib import Path
from typing import Any

import onnx
import torch

from realtime.engines.indextts2.checkpoint.graphs import Graph

OPSET = 17
ELEMENT = {"F32": onnx.TensorProto.FLOAT, "I64": onnx.TensorProto.INT64, "F16": onnx.TensorProto.FLOAT16}


def write_graph(graph: Graph, *weights: Path) -> Path:
    """Build or trace the graph and write `<name>.onnx` beside its weight files, whole or not at all.

    Raises `KeyError` if a parameter of the graph is in none of the weight files, `ValueError` if its shape differs there.
    """
    model = graph.build() if graph.build else onnx.load_from_string(_traced(graph))
    _point_at(model, graph, weights)
    path = weights[0].parent / f"{graph.name}.onnx"
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(model.SerializeToString())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _traced(graph: Graph) -> bytes:
    """The graph with its parameters left out: they become inputs."""
    graph.module.eval()
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its deprecation, and of Python sizes that are constants on purpose
        torch.onnx.export(
            graph.module,
            tuple(graph.inputs.values()),
            Path(folder) / "graph.onnx",
            dynamo=False,
            export_params=False,
            do_constant_folding=False,  # a folded weight would be a new tensor; the runtime folds when it loads
            opset_version=OPSET,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_axes=graph.axes,
        )
        return (Path(folder) / "graph.onnx").read_bytes()


def _point_at(model: onnx.ModelProto, graph: Graph, weights: tuple[Path, ...]) -> None:
    """Turn the inputs that are parameters into initializers stored in the weight files."""
    stored: dict[str, tuple[Path, int, dict[str, Any]]] = {}
    for path in weights:
        header, start = safetensors_header(path)
        stored |= {key: (path, start, entry) for key, entry in header.items()}
    inputs = [i for i in model.graph.input if i.name in graph.inputs]
    for parameter in model.graph.input:
        if parameter.name in graph.inputs:
            continue
        key = key_of(parameter.name, graph.prefixes)
        path, start, entry = stored[key]
        shape = [d.dim_value for d in parameter.type.tensor_type.shape.dim]
        if entry["shape"] != shape:
            raise ValueError(f"{path.name}: {key!r} is {entry['shape']}, the graph {graph.name!r} has {shape}")
        tensor = onnx.TensorProto(name=parameter.name, data_type=ELEMENT[entry["dtype"]], dims=shape)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        first, end = entry["data_offsets"]
        for name, value in (("location", path.name), ("offset", start + first), ("length", end - first)):
            tensor.external_data.add(key=name, value=str(value))
        model.graph.initializer.append(tensor)
    del model.graph.input[:]
    model.graph.input.extend(inputs)


def key_of(parameter: str, prefixes: dict[str, str]) -> str:
    """The weight file's key of a graph's parameter. Raises `KeyError` if no prefix fits."""
    for start in sorted(prefixes, key=len, reverse=True):
        if parameter.startswith(start):
            return prefixes[start] + parameter.removeprefix(start)
    raise KeyError(parameter)


def safetensors_header(path: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """Entries of a safetensors file and the position of its data."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return header, 8 + length

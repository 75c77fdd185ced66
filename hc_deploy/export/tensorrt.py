"""One-purpose graph passes that make a model one that TensorRT's parser takes; ONNX Runtime runs the result as well.

TensorRT knows uint8 at a network's ends only, where nothing but a Cast may read or write it.
"""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx.helper
from google.protobuf.message import DecodeError

from hc_deploy.errors import DeployError

MOVES = ("Transpose", "Reshape", "Unsqueeze", "Squeeze", "Flatten")
"""Operators that move numbers and do not change them: a Cast may stand before or after."""


def read_model(path: Path, data: bytes | None = None) -> onnx.ModelProto:
    """The model in a file, or in its bytes; DeployError where that is no whole model or lacks a file of weights."""
    try:
        return onnx.load(str(path)) if data is None else onnx.load_model_from_string(data)
    except DecodeError:
        raise DeployError(
            f"{path} is not a whole ONNX file", expected="the file as export.py wrote it", mend="export it again"
        ) from None
    except (onnx.checker.ValidationError, ValueError, OSError, RuntimeError) as error:  # weights in other files
        raise DeployError(
            f"{path} cannot be read with its weights: {str(error).splitlines()[0][:300]}",
            expected="the model and the files that it has weights in, in one folder",
            mend="copy all of them, or export it again",
        ) from None


def cast_uint8_first(model: onnx.ModelProto) -> None:
    """Put the Cast of a uint8 input before the operators that only move it, in place."""
    graph = model.graph
    pixels = {value.name for value in graph.input if value.type.tensor_type.elem_type == onnx.TensorProto.UINT8}
    for index, node in enumerate(list(graph.node)):
        if node.op_type not in MOVES or node.input[0] not in pixels:
            continue
        readers = [other for other in graph.node if node.output[0] in other.input]
        if len(readers) != 1 or readers[0].op_type != "Cast":
            continue
        cast = readers[0]
        moved, result = node.output[0], cast.output[0]
        first = onnx.helper.make_node("Cast", [node.input[0]], [moved], name=cast.name, to=cast.attribute[0].i)
        node.input[0], node.output[0] = moved, result
        graph.node.remove(cast)
        graph.node.insert(index, first)
        _forget_type(graph, moved)


def _forget_type(graph: onnx.GraphProto, name: str) -> None:
    for value in list(graph.value_info):
        if value.name == name:
            graph.value_info.remove(value)

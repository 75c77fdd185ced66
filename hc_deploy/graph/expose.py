"""Values inside a model as outputs of it, for comparisons."""

from __future__ import annotations

import onnx
import onnx.shape_inference

from hc_deploy.graph.model_file import structure


def expose_values(proto: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """A copy of the model whose graph outputs are also `names` (those it has not yet)."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(proto)
    typed = {value.name: value for value in onnx.shape_inference.infer_shapes(structure(proto)).graph.value_info}
    present = {output.name for output in exposed.graph.output}
    for name in names:
        if name not in present and name in typed:
            exposed.graph.output.append(typed[name])
    return exposed


def logits_value(proto: onnx.ModelProto, *, binary: bool = False) -> str:
    """Name of the value that holds the logits: a graph output, or what HCArgmax reads.

    `binary`: of a network with one output channel, which stands behind the threshold's in what HCArgmax reads.
    """
    outputs = {output.name for output in proto.graph.output}
    if "logits" in outputs:
        return "logits"
    name = next(node.input[0] for node in proto.graph.node if node.op_type == "HCArgmax")
    if not binary:
        return name
    return next(node.input[-1] for node in proto.graph.node if node.op_type == "Concat" and name in node.output)

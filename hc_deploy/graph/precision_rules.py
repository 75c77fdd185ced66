"""Which nodes and values of a graph stay in float32 when the rest becomes float16 or bfloat16; `precision.py` rewrites.

A float32 model enters, with the types of its values; indices of nodes, and yes or no for one input or output, leave.
"""

from __future__ import annotations

from collections.abc import Iterator, Set

import onnx
import onnx.defs
import onnx.helper
import onnx.shape_inference

from hc_deploy.graph.functions import OPS, op_name
from hc_deploy.graph.model_file import structure
from hc_deploy.graph.onnx_op import DOMAIN

FLOAT = onnx.TensorProto.FLOAT
STANDARD = ("", "ai.onnx")
CONVOLUTIONS = ("Conv", "ConvTranspose", "DeformConv")
ANCHORS = (*CONVOLUTIONS, "Gemm")
"""Operators with learnt weights, which compute low; so does a MatMul by a constant."""
KEPT = (
    "CumSum", "Exp", "GridSample", "GroupNormalization", "InstanceNormalization", "LayerNormalization", "Log",
    "LogSoftmax", "LpNormalization", "MeanVarianceNormalization", "Pow", "RMSNormalization", "Range", "Reciprocal",
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMean", "ReduceProd", "ReduceSum",
    "ReduceSumSquare", "Softmax", "Softplus", "Sqrt",
)  # fmt: skip
DECIDING = {"GridSample": (1,), "Range": (0, 1, 2), "Resize": (1, 2)}
"""Operators with inputs that are coordinates, scales or sizes, and which ones they are."""
SIZES = ("Shape", "Size")
"""Operators that read no number of their input, so that its type is all one to them."""
INTEGERS = {
    getattr(onnx.TensorProto, f"{sign}INT{bits}") for sign in ("", "U") for bits in (8, 16, 32, 64)
}  # fmt: skip


def protected(model: onnx.ModelProto, types: dict[str, int], *, keep: Set[str]) -> set[int]:
    """Indices of the nodes of `model` that stay in float32. `types`: of its values. `keep`: operators, node names."""
    nodes = list(model.graph.node)
    opset = opset_of(model)
    anchors = _anchors(model)
    after, before = _reach(nodes, anchors)
    producer = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    convolutions = {index for index, node in enumerate(nodes) if node.op_type in ANCHORS}
    deciding = {index for index, node in enumerate(nodes) if _decides(node)}
    kept: set[int] = set()
    for index, node in enumerate(nodes):
        ends = node.domain != DOMAIN and (index not in after or index not in before)
        listed = node.op_type in KEPT or bool(names_of(node) & keep)
        foreign = node.domain not in (*STANDARD, DOMAIN)
        if ends or listed or foreign or _typed_by_attribute(node, opset):
            kept.add(index)
        if node.domain in STANDARD:
            for position in DECIDING.get(node.op_type, ()):
                kept |= set(_slice(nodes, producer, node.input[position : position + 1], stops=convolutions))
            if _rounds(node, types):
                kept |= {index, *_slice(nodes, producer, node.input[:1], stops=anchors | deciding)}
    return kept


def names_of(node: onnx.NodeProto) -> set[str]:
    """What a user may call a node: its operator, the op whose function it calls, its name."""
    return {node.op_type, node.name} | ({op_name(node)} if node.domain == DOMAIN else set())


def follows(node: onnx.NodeProto, index: int, *, low: int, opset: int, outputs: bool) -> bool:
    """Whether an input (or output) of `node` may be of type `low`: the operator's definition in `opset` says."""
    if node.domain == DOMAIN:
        return True
    if not outputs and node.domain in STANDARD and index in DECIDING.get(node.op_type, ()):
        return False
    schema = _schema(node, opset)
    if schema is None:
        return False
    formal = schema.outputs if outputs else schema.inputs
    parameter = formal[min(index, len(formal) - 1)]
    return f"tensor({onnx.TensorProto.DataType.Name(low).lower()})" in _allowed(schema, parameter.type_str)


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the standard operators in `model`."""
    return next((entry.version for entry in model.opset_import if entry.domain in STANDARD), 1)


def _schema(node: onnx.NodeProto, opset: int) -> onnx.defs.OpSchema | None:
    if node.domain not in STANDARD or not onnx.defs.has(node.op_type, opset):
        return None
    return onnx.defs.get_schema(node.op_type, opset)


def _allowed(schema: onnx.defs.OpSchema, variable: str) -> set[str]:
    return {
        name
        for constraint in schema.type_constraints
        if constraint.type_param_str == variable
        for name in constraint.allowed_type_strs
    }


def _typed_by_attribute(node: onnx.NodeProto, opset: int) -> bool:
    """Whether an attribute, not an input, gives an output its float type (EyeLike, ConstantOfShape, ...)."""
    schema = _schema(node, opset)
    if schema is None or node.op_type in ("Cast", "CastLike"):  # these are rewritten
        return False
    given = {parameter.type_str for parameter in schema.inputs}
    return any("tensor(float)" in _allowed(schema, out.type_str) for out in schema.outputs if out.type_str not in given)


def _rounds(node: onnx.NodeProto, types: dict[str, int]) -> bool:
    """Whether `node` makes integers of float32: an integer decides, and half a unit in float16 is another integer."""
    casts = node.op_type in ("Cast", "CastLike")
    return casts and types.get(node.input[0]) == FLOAT and types.get(node.output[0]) in INTEGERS


def _decides(node: onnx.NodeProto) -> bool:
    """Whether a custom op gives a choice: zeros and ones, or a class, which every type holds exactly.

    The other custom ops carry numbers on, such as the ids of superpixels: float16 is exact to 2048, bfloat16 to 256.
    """
    hard = any(attribute.name == "assignment" and attribute.s == b"hard" for attribute in node.attribute)
    return node.domain == DOMAIN and (op_name(node) == "HCArgmax" or (op_name(node) == "HCAssign" and hard))


def _anchors(model: onnx.ModelProto) -> set[int]:
    """Indices of the nodes with learnt weights."""
    constant = {tensor.name for tensor in model.graph.initializer}
    found = set()
    for index, node in enumerate(model.graph.node):
        if node.op_type in ANCHORS or (node.op_type == "MatMul" and constant & set(node.input)):
            found.add(index)
        if constant >= set(node.input) - {""}:
            constant |= set(node.output)
    return found


def _reach(nodes: list[onnx.NodeProto], anchors: set[int]) -> tuple[set[int], set[int]]:
    """Indices of the nodes at or after some anchor, and of those at or before some anchor.

    A size carries no numbers of the map that it is of: what is computed from it is neither after nor before.
    """
    after: set[int] = set()
    reached: set[str] = set()
    for index, node in enumerate(nodes):
        if node.op_type not in SIZES and (index in anchors or reached & set(node.input)):
            after.add(index)
            reached |= set(node.output) - {""}
    before: set[int] = set()
    needed: set[str] = set()
    for index in reversed(range(len(nodes))):
        if nodes[index].op_type not in SIZES and (index in anchors or needed & set(nodes[index].output)):
            before.add(index)
            needed |= set(nodes[index].input) - {""}
    return after, before


def _slice(
    nodes: list[onnx.NodeProto], producer: dict[str, int], names: list[str], *, stops: set[int]
) -> Iterator[int]:
    """Indices of the nodes that compute `names`, back to `stops` (which are not among them) and to sizes."""
    seen: set[int] = set()
    pending = list(names)
    while pending:
        index = producer.get(pending.pop())
        if index is None or index in seen or index in stops or nodes[index].op_type in SIZES:
            continue
        seen.add(index)
        yield index
        pending += nodes[index].input


def value_types(model: onnx.ModelProto) -> dict[str, int]:
    """Element type of each value of `model` that is known, with or without the bodies of the custom ops."""
    described = structure(model)
    told: dict[str, int] = {}
    while True:
        inferred = onnx.shape_inference.infer_shapes(described).graph
        types = {
            value.name: value.type.tensor_type.elem_type
            for value in (*inferred.value_info, *inferred.input, *inferred.output)
        }
        types = told | {name: kind for name, kind in types.items() if kind}
        types |= {tensor.name: tensor.data_type for tensor in model.graph.initializer}
        found = list(_told_by_inputs(model, types))
        if not found:
            return types
        described.graph.value_info.extend(found)
        told |= {value.name: value.type.tensor_type.elem_type for value in found}


def _told_by_inputs(model: onnx.ModelProto, types: dict[str, int]) -> Iterator[onnx.ValueInfoProto]:
    """Outputs whose type `types` lacks (inference needs a body, or fails at a shape) and a definition tells."""
    opset = opset_of(model)
    for node in model.graph.node:
        if not node.output or node.output[0] in types or not node.input or node.input[0] not in types:
            continue
        kind = types[node.input[0]]
        if node.domain == DOMAIN:
            kind = kind if OPS[op_name(node)].output[1] == "T" else onnx.TensorProto.INT32
        else:
            schema = _schema(node, opset)
            if schema is None or schema.outputs[0].type_str != schema.inputs[0].type_str:
                continue
        yield onnx.helper.make_tensor_value_info(node.output[0], kind, None)

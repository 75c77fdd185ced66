"""Precision as part of the graph: a float32 ONNX model -> the same model in float16 or bfloat16, with float32 islands.

TensorRT 11 and TensorRT-RTX are strongly typed: they compute each operator in the type that the graph gives it. So the
types are written into the graph, by one pass for all flavours, and can be run and compared before any engine exists.

What stays in float32:
- the head (normalisation of the image) and the tail (softmax, sums, SLIC's iterations, ordinal counts): every standard
  operator before the first or after the last convolution;
- operators whose float16 loses too much wherever they stand (`KEPT`), and the coordinates of every GridSample, since a
  float16 between -1 and 1 places a pixel of a 1024-wide map no better than to a quarter;
- inputs and outputs of the model, shapes, scales, and whatever an operator's definition fixes to float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx.defs
import onnx.helper
import onnx.numpy_helper

from hc_deploy.errors import DeployError, UsageError
from hc_deploy.export.functions import OPS, add_function_bodies, register_schemas
from hc_deploy.ops.onnx_op import DOMAIN
from hc_deploy.spec import Precision

FLOAT = onnx.TensorProto.FLOAT
LOW_TYPES: dict[Precision, int] = {"fp16": onnx.TensorProto.FLOAT16, "bf16": onnx.TensorProto.BFLOAT16}
ANCHORS = ("Conv", "ConvTranspose", "Gemm", "DeformConv")
KEPT = (
    "CumSum", "Exp", "GridSample", "Log", "LogSoftmax", "Pow", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceMean",
    "ReduceProd", "ReduceSum", "Softmax", "Softplus", "Sqrt",
)  # fmt: skip
COORDINATES = {"GridSample": 1}
"""Operators with an input of coordinates, and which one it is."""
FLOAT16_MAX = 65504.0
BFLOAT16_OPSET = 22
"""The first in which Conv, pooling and Resize are defined for bfloat16."""


def with_precision(model: onnx.ModelProto, precision: Precision, *, keep_fp32: Iterable[str] = ()) -> onnx.ModelProto:
    """A copy of `model` that computes in `precision`; its inputs and outputs keep their types.

    Args:
        model: float32, as `export.py` writes it. It is not changed.
        precision: `fp32` and `tf32` leave the graph as it is (tf32 is how an engine multiplies float32).
        keep_fp32: operator types or node names that stay in float32 besides those named above.

    Raises:
        UsageError: `keep_fp32` names something that the model does not have.
        DeployError: the graph has If, Loop or Scan, whose bodies this pass does not reach.
    """
    _check_names(model, keep_fp32)
    result = _with_opset(model, BFLOAT16_OPSET) if precision == "bf16" else _copy(model)
    if precision in LOW_TYPES:
        _check_control_flow(model)
        _Retyped(result, LOW_TYPES[precision], set(keep_fp32)).rewrite()
    return result


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    result = onnx.ModelProto()
    result.CopyFrom(model)
    return result


def _with_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """`model` with its standard operators in version `opset`; the bodies of the custom ops are written anew for it."""
    import onnx_ir
    from onnxscript import version_converter

    bare = _copy(model)
    del bare.functions[:]
    register_schemas()
    raised = onnx_ir.from_proto(bare)
    version_converter.convert_version(raised, target_version=opset)
    result = onnx_ir.to_proto(raised)
    add_function_bodies(result)
    return result


def _check_names(model: onnx.ModelProto, names: Iterable[str]) -> None:
    known = {name for node in model.graph.node for name in (node.op_type, node.name)}
    unknown = sorted(set(names) - known)
    if unknown:
        types = sorted({node.op_type for node in model.graph.node})
        raise UsageError(f"--keep-fp32 {', '.join(unknown)}", expected=f"node names, or of {', '.join(types)}")


def _check_control_flow(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        if any(
            attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for attribute in node.attribute
        ):
            raise DeployError(
                f"node {node.name} is a {node.op_type} with a graph of its own",
                expected="a graph without control flow for fp16 and bf16",
                mend="--precision fp32",
            )


@dataclass
class _Retyped:
    """The rewriting of one model. A float value lives in one type; a Cast to the other is added once, on demand."""

    model: onnx.ModelProto
    low: int
    keep: set[str]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    stored: dict[str, int] = field(default_factory=dict)
    casts: dict[tuple[str, int], str] = field(default_factory=dict)

    def rewrite(self) -> None:
        graph = self.model.graph
        types = _value_types(self.model)
        self.stored = {name: FLOAT for name, kind in types.items() if kind == FLOAT}
        self.constants = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == FLOAT}
        outputs = {value.name for value in graph.output}
        original = list(graph.node)
        protected = self._protected(original)
        for index, node in enumerate(original):
            wanted = FLOAT if index in protected else self.low
            self._inputs(node, wanted)
            self.nodes.append(node)
            if wanted != FLOAT:
                self._outputs(node, outputs)
        del graph.node[:]
        graph.node.extend(self.nodes)
        self._drop_unused_constants()
        for value in graph.value_info:
            if value.name in self.stored:
                value.type.tensor_type.elem_type = self.stored[value.name]

    def _inputs(self, node: onnx.NodeProto, wanted: int) -> None:
        for index, name in enumerate(node.input):
            if name in self.stored and _follows(node, index, self.low, outputs=False):
                node.input[index] = self._as(name, wanted)
            elif self.stored.get(name, FLOAT) != FLOAT:
                node.input[index] = self._as(name, FLOAT)

    def _outputs(self, node: onnx.NodeProto, graph_outputs: set[str]) -> None:
        if node.op_type == "Cast" and not node.domain:
            for attribute in node.attribute:
                if attribute.name == "to" and attribute.i == FLOAT:
                    attribute.i = self.low
        for index, name in enumerate(node.output):
            if self.stored.get(name) != FLOAT or not _follows(node, index, self.low, outputs=True):
                continue
            if name in graph_outputs:  # it keeps its name and type; the node writes to another
                node.output[index] = f"{name}_low"
                self.stored[node.output[index]] = self.low
                self.nodes.append(_cast(node.output[index], name, FLOAT))
            else:
                self.stored[name] = self.low

    def _as(self, name: str, wanted: int) -> str:
        """The name under which the value `name` is to be had in type `wanted`."""
        if self.stored[name] == wanted:
            return name
        if (name, wanted) not in self.casts:
            copy = f"{name}_as_{onnx.TensorProto.DataType.Name(wanted).lower()}"
            self.casts[name, wanted] = copy
            if name in self.constants:
                self.model.graph.initializer.append(_converted(self.constants[name], copy, wanted))
            else:
                self.nodes.append(_cast(name, copy, wanted))
        return self.casts[name, wanted]

    def _protected(self, nodes: list[onnx.NodeProto]) -> set[int]:
        """Indices of the nodes that stay in float32."""
        producer = {name: index for index, node in enumerate(nodes) for name in node.output}
        after, before = _reach(nodes)
        kept = set()
        for index, node in enumerate(nodes):
            ends = node.domain != DOMAIN and (index not in after or index not in before)
            listed = node.op_type in KEPT or bool({node.op_type, node.name} & self.keep)
            foreign = node.domain not in ("", "ai.onnx", DOMAIN)
            if ends or listed or foreign:
                kept.add(index)
            if node.op_type in COORDINATES:
                kept |= set(_slice(nodes, producer, node.input[COORDINATES[node.op_type]]))
        return kept

    def _drop_unused_constants(self) -> None:
        graph = self.model.graph
        used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
        left = [tensor for tensor in graph.initializer if tensor.name in used]
        del graph.initializer[:]
        graph.initializer.extend(left)


def _reach(nodes: list[onnx.NodeProto]) -> tuple[set[int], set[int]]:
    """Indices of the nodes at or after some anchor, and of those at or before some anchor."""
    after: set[int] = set()
    reached: set[str] = set()
    for index, node in enumerate(nodes):
        if node.op_type in ANCHORS or reached & set(node.input):
            after.add(index)
            reached |= set(node.output)
    before: set[int] = set()
    needed: set[str] = set()
    for index in reversed(range(len(nodes))):
        if nodes[index].op_type in ANCHORS or needed & set(nodes[index].output):
            before.add(index)
            needed |= set(nodes[index].input)
    return after, before


def _slice(nodes: list[onnx.NodeProto], producer: dict[str, int], name: str) -> Iterator[int]:
    """Indices of the nodes that compute `name`, back to the convolutions (which are not among them)."""
    seen: set[int] = set()
    pending = [name]
    while pending:
        index = producer.get(pending.pop())
        if index is None or index in seen or nodes[index].op_type in ANCHORS:
            continue
        seen.add(index)
        yield index
        pending += nodes[index].input


def _follows(node: onnx.NodeProto, index: int, low: int, *, outputs: bool) -> bool:
    """Whether an input (or output) of `node` may be of type `low`: the operator's definition says."""
    if node.domain == DOMAIN:
        return True
    if node.op_type in ("Cast", "CastLike") or (node.op_type == "Constant" and outputs):
        return node.op_type != "Constant"
    if not onnx.defs.has(node.op_type, domain=node.domain):
        return False
    schema = onnx.defs.get_schema(node.op_type, domain=node.domain)
    formal = schema.outputs if outputs else schema.inputs
    parameter = formal[min(index, len(formal) - 1)]
    allowed = {name for entry in schema.type_constraints if entry.type_param_str == parameter.type_str
               for name in entry.allowed_type_strs}  # fmt: skip
    return f"tensor({onnx.TensorProto.DataType.Name(low).lower()})" in allowed


def _value_types(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model)
    values = (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    for node in model.graph.node:  # no inference knows these
        if node.domain == DOMAIN and OPS[node.op_type].output[1] == "T":
            types[node.output[0]] = FLOAT
    return types | {tensor.name: tensor.data_type for tensor in model.graph.initializer}


def _cast(source: str, target: str, to: int) -> onnx.NodeProto:
    return onnx.helper.make_node("Cast", [source], [target], name=f"{target}_cast", to=to)


def _converted(tensor: onnx.TensorProto, name: str, to: int) -> onnx.TensorProto:
    """A weight in the low type; one beyond float16's range is clamped to it."""
    values = onnx.numpy_helper.to_array(tensor)
    if to == onnx.TensorProto.FLOAT16:
        values = np.clip(values, -FLOAT16_MAX, FLOAT16_MAX)
    kind = onnx.helper.tensor_dtype_to_np_dtype(to)
    return onnx.numpy_helper.from_array(np.ascontiguousarray(values.astype(kind)), name)

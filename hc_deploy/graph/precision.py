"""Precision as part of the graph: a float32 ONNX model -> the same model in float16 or bfloat16, with float32 islands.

TensorRT 11 and TensorRT-RTX are strongly typed: they compute each operator in the type that the graph gives it. So the
types are written into the graph, by one pass for all flavours, and can be run and compared before any engine exists.

What stays in float32:
- the head (normalisation of the image) and the tail (softmax, sums, SLIC's iterations, ordinal counts): every standard
  operator before the first or after the last layer with learnt weights;
- operators whose float16 loses too much wherever they stand (`KEPT`), and those that an attribute types;
- whatever ends in coordinates (GridSample), scales (Resize) or a Range, since a float16 between -1 and 1 places a pixel
  of a 1024-wide map no better than to a quarter, and whatever is computed from a Shape;
- whatever is rounded to an integer, through our ops as well, back to the layers with learnt weights and to the choices
  (a hard HCAssign, HCArgmax), which every type holds exactly: superpixel ids are decoded in float32;
- inputs and outputs of the model, and whatever an operator's definition in the model's opset fixes to float32.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx.checker
import onnx.helper
import onnx.numpy_helper
import onnx.shape_inference

from hc_deploy.errors import DeployError, UsageError
from hc_deploy.graph import precision_rules as rules
from hc_deploy.graph.functions import add_function_bodies, register_schemas
from hc_deploy.graph.model_file import check_model
from hc_deploy.graph.onnx_op import DOMAIN
from hc_deploy.graph.precision_rules import FLOAT
from hc_deploy.spec import Precision

LOW_TYPES: dict[Precision, int] = {"fp16": onnx.TensorProto.FLOAT16, "bf16": onnx.TensorProto.BFLOAT16}
TYPE_NAMES = {FLOAT: "fp32", **{kind: name for name, kind in LOW_TYPES.items()}}
LARGEST: dict[int, float] = {onnx.TensorProto.FLOAT16: 65504.0, onnx.TensorProto.BFLOAT16: 3.3895313892515355e38}
MEND = "--precision fp32, or --keep-fp32 NODE"
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
        DeployError: the graph has If, Loop or Scan, whose bodies this pass does not reach, or an operator that it
            cannot retype: the result would not be valid.
    """
    _check_names(model, keep_fp32)
    result = _with_opset(model, BFLOAT16_OPSET) if precision == "bf16" else _copy(model)
    if precision in LOW_TYPES:
        _check_control_flow(model)
        _Retyped(result, LOW_TYPES[precision], set(keep_fp32)).rewrite()
        _check_types(result, precision)
    return result


def expected_types(model: onnx.ModelProto) -> dict[str, int]:
    """How many layers that carry the work (convolutions, custom ops) compute in each type: what an engine should show.

    Args:
        model: as `with_precision` returns it; with or without the bodies of the custom ops.

    Returns:
        Counts by `fp32`, `fp16`, `bf16` of the type that Conv, ConvTranspose, DeformConv and custom ops read first;
        a type that none reads is left out.

    Raises:
        DeployError: such a layer reads another type, or one that is not known.
    """
    types = rules.value_types(model)
    found: Counter[str] = Counter()
    for node in model.graph.node:
        if node.domain != DOMAIN and not (node.domain in rules.STANDARD and node.op_type in rules.CONVOLUTIONS):
            continue
        kind = types.get(node.input[0], onnx.TensorProto.UNDEFINED)
        if kind not in TYPE_NAMES:
            raise DeployError(
                f"{node.op_type} {node.name} reads {onnx.TensorProto.DataType.Name(kind).lower()}",
                expected=f"one of {', '.join(TYPE_NAMES.values())}",
                mend="export it again",
            )
        found[TYPE_NAMES[kind]] += 1
    return dict(found)


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
    known = {name for node in model.graph.node for name in rules.names_of(node)}
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


def _check_types(model: onnx.ModelProto, precision: Precision) -> None:
    try:
        check_model(model)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise DeployError(
            f"in {precision} the graph is not valid: {' '.join(str(error).split())}"[:1000],
            expected="operators that take this precision",
            mend=MEND,
        ) from None


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
        self.types = rules.value_types(self.model)
        self.opset = rules.opset_of(self.model)
        self.stored = {name: FLOAT for name, kind in self.types.items() if kind == FLOAT}
        self.constants = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == FLOAT}
        outputs = {value.name for value in graph.output}
        original = list(graph.node)
        kept = rules.protected(self.model, self.types, keep=self.keep)
        for index, node in enumerate(original):
            wanted = FLOAT if index in kept else self.low
            if wanted != FLOAT:
                self._check_known(node)
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

    def _check_known(self, node: onnx.NodeProto) -> None:
        unknown = [name for name in node.input if name and name not in self.types]
        if unknown:
            raise DeployError(
                f"node {node.name} ({node.op_type}) reads {unknown[0]}, whose type is not known",
                expected="a type in the graph's value_info for what a foreign operator gives",
                mend=MEND,
            )

    def _inputs(self, node: onnx.NodeProto, wanted: int) -> None:
        if node.domain in rules.STANDARD and node.op_type in rules.SIZES:
            return
        for index, name in enumerate(node.input):
            if name in self.stored and self._follows(node, index, outputs=False):
                node.input[index] = self._as(name, wanted)
            elif self.stored.get(name, FLOAT) != FLOAT:
                node.input[index] = self._as(name, FLOAT)

    def _outputs(self, node: onnx.NodeProto, graph_outputs: set[str]) -> None:
        if node.op_type == "Cast" and not node.domain:
            for attribute in node.attribute:
                if attribute.name == "to" and attribute.i == FLOAT:
                    attribute.i = self.low
        for index, name in enumerate(node.output):
            if self.stored.get(name) != FLOAT or not self._follows(node, index, outputs=True):
                continue
            if name in graph_outputs:  # it keeps its name and type; the node writes to another
                node.output[index] = f"{name}_low"
                self.stored[node.output[index]] = self.low
                self.casts[name, self.low] = node.output[index]
                self.nodes.append(_cast(node.output[index], name, FLOAT))
            else:
                self.stored[name] = self.low

    def _follows(self, node: onnx.NodeProto, index: int, *, outputs: bool) -> bool:
        return rules.follows(node, index, low=self.low, opset=self.opset, outputs=outputs)

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

    def _drop_unused_constants(self) -> None:
        graph = self.model.graph
        used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
        left = [tensor for tensor in graph.initializer if tensor.name in used]
        del graph.initializer[:]
        graph.initializer.extend(left)


def _cast(source: str, target: str, to: int) -> onnx.NodeProto:
    return onnx.helper.make_node("Cast", [source], [target], name=f"{target}_cast", to=to)


def _converted(tensor: onnx.TensorProto, name: str, to: int) -> onnx.TensorProto:
    """A weight in the low type; a finite one beyond its range is clamped to it, an infinite one (a mask) stays so."""
    values = onnx.numpy_helper.to_array(tensor)
    values = np.where(np.isfinite(values), np.clip(values, -LARGEST[to], LARGEST[to]), values)
    kind = onnx.helper.tensor_dtype_to_np_dtype(to)
    return onnx.numpy_helper.from_array(np.ascontiguousarray(values.astype(kind)), name)

"""The custom ops inside an ONNX model: schemas for the exporter, function bodies for runtimes without the plugin.

A function body is made of standard operators and cannot branch on a string attribute, so it is written for the
attribute values that the model's nodes carry. Nodes that differ in them call functions of different names: the first
kind keeps the op's own, the others have their attributes behind it (HCAssign_dot_exclude_hard). ONNX has an `overload`
for that, but ONNX Runtime before 1.27 and TensorRT's parser do not read it: they take one body for all, silently.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import onnx
import onnx.defs
import onnx.helper
import onnx.parser
import onnx_ir
from onnx_ir.passes.common import InlinePass

from hc_deploy.cluster_options import ClusterOptions
from hc_deploy.graph.bodies import ONNX_OPS, argmax
from hc_deploy.graph.model_file import check_model
from hc_deploy.graph.onnx_op import DOMAIN, DOMAIN_VERSION, OPSET, PLUGIN_ATTRIBUTES, OnnxOp

FLOAT_TYPES = ["tensor(float)", "tensor(float16)", "tensor(bfloat16)"]
IR_VERSION = 10
LIKE_TYPES = [*FLOAT_TYPES, "tensor(uint8)"]
OPS = {op.name: op for op in ONNX_OPS}


def register_schemas() -> None:
    """Tell onnx of the four ops (once a process), so that the exporter keeps them as nodes."""
    for op in ONNX_OPS:
        if not onnx.defs.has(op.name, domain=DOMAIN):
            onnx.defs.register_schema(_schema(op))


def _schema(op: OnnxOp) -> onnx.defs.OpSchema:
    kinds = {"float": onnx.defs.OpSchema.AttrType.FLOAT, "string": onnx.defs.OpSchema.AttrType.STRING}
    attributes = [*op.attributes, *((name, "string") for name in PLUGIN_ATTRIBUTES)]
    variables = {kind for _, kind in op.inputs}
    return onnx.defs.OpSchema(
        op.name,
        DOMAIN,
        DOMAIN_VERSION,
        inputs=[onnx.defs.OpSchema.FormalParameter(name, kind) for name, kind in op.inputs],
        outputs=[onnx.defs.OpSchema.FormalParameter(*op.output)],
        type_constraints=[
            (name, types, "") for name, types in (("T", FLOAT_TYPES), ("L", LIKE_TYPES)) if name in variables
        ],
        attributes=[onnx.defs.OpSchema.Attribute(name, kinds[kind], "", required=False) for name, kind in attributes],
    )


def op_name(node: onnx.NodeProto) -> str:
    """The op that a node of our domain is, whatever function it calls."""
    return node.op_type.partition("_")[0]


def add_function_bodies(model: onnx.ModelProto) -> None:
    """Append to `model` the bodies of the custom ops it uses, and name each node after its own."""
    opset = next(entry.version for entry in model.opset_import if not entry.domain)
    variants: dict[str, dict[ClusterOptions, str]] = {}
    for node in model.graph.node:
        if node.domain != DOMAIN:
            continue
        op = op_name(node)
        names = variants.setdefault(op, {})
        key = dataclasses.replace(_options(node), tau=ClusterOptions.tau)
        if key not in names:
            names[key] = op if not names else f"{op}_{key.similarity}_{key.border}_{key.assignment}"
            model.functions.append(function_proto(OPS[op], key, name=names[key], opset=opset))
        node.op_type = names[key]


def _options(node: onnx.NodeProto) -> ClusterOptions:
    known = {field.name for field in dataclasses.fields(ClusterOptions)}
    values: dict[str, Any] = {}
    for attribute in node.attribute:
        if attribute.name in known:
            value = onnx.helper.get_attribute_value(attribute)
            values[attribute.name] = value.decode() if isinstance(value, bytes) else value
    return ClusterOptions(**values)


def function_proto(
    op: OnnxOp, options: ClusterOptions, *, name: str | None = None, opset: int = OPSET
) -> onnx.FunctionProto:
    """The body of `op` for the string attributes of `options`, under `name` or its own; tau is the calling node's.

    `opset` is the model's: a function of another version than its model is not valid where an operator changed.
    """
    attributes = [name for name, _ in op.attributes] + list(PLUGIN_ATTRIBUTES)
    inputs = ", ".join(name for name, _ in op.inputs)
    text = f"""<opset_import: ["" : {opset}], domain: "{DOMAIN}">
{name or op.name} <{", ".join(attributes)}> ({inputs}) => ({op.output[0]}) {{{op.body(options)}
}}"""
    return onnx.parser.parse_function(text)


def as_plugin_nodes(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without the bodies: whoever takes it has the plugin or refuses, but never expands a body unasked.

    (TensorRT before 10.7 takes a body even where the plugin is registered.)
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.functions[:]
    for node in result.graph.node:
        if node.domain == DOMAIN:
            node.op_type = op_name(node)
    return result


def as_standard_operators(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy for TensorRT with every custom op replaced by its body."""
    result = onnx_ir.from_proto(model)
    opset = next(entry.version for entry in model.opset_import if not entry.domain)
    for key, function in result.functions.items():
        if function.name == argmax.CHANNELS_FIRST.name:
            body = function_proto(argmax.CHANNELS_FIRST, ClusterOptions(), opset=opset)
            result.functions[key] = onnx_ir.serde.deserialize_function(body)
    InlinePass()(result)
    return onnx_ir.to_proto(result)


def single_op_model(
    op: str,
    inputs: list[tuple[str, int, Sequence[int | str]]],
    output: tuple[int, Sequence[int | str]],
    attributes: dict[str, Any] | None = None,
) -> onnx.ModelProto:
    """A model of one custom op node with its body, to test or time an op alone.

    Args:
        op: name of the op. attributes: its own attributes; the plugin's are added.
        inputs: (name, ONNX element type, shape) each. output: the same without a name; it is called `out`.
            Shapes may hold names for dynamic dimensions.
    """
    register_schemas()
    given = {**(attributes or {}), **PLUGIN_ATTRIBUTES}
    node = onnx.helper.make_node(op, [name for name, _, _ in inputs], ["out"], domain=DOMAIN, **given)
    graph = onnx.helper.make_graph(
        [node],
        op,
        [onnx.helper.make_tensor_value_info(*entry) for entry in inputs],
        [onnx.helper.make_tensor_value_info("out", *output)],
    )
    opsets = [onnx.helper.make_opsetid("", OPSET), onnx.helper.make_opsetid(DOMAIN, DOMAIN_VERSION)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    add_function_bodies(model)
    check_model(model)
    return model

"""Module -> model.onnx: custom ops as nodes with function bodies, the ModelSpec in the metadata, in one file."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from onnxscript import opset19
from onnxscript.values import Opset
from torch import nn

from hc_deploy.errors import DeployError
from hc_deploy.export.adaptive import adaptive_average
from hc_deploy.export.deployed import DeployedNet
from hc_deploy.graph.functions import add_function_bodies, register_schemas
from hc_deploy.graph.model_file import check_model, structure, write_model
from hc_deploy.graph.onnx_op import DOMAIN, DOMAIN_VERSION, OPSET, PLUGIN_ATTRIBUTES
from hc_deploy.spec import METADATA_KEY, ModelSpec

EXAMPLE_BATCH, EXAMPLE_SIZE = 2, (70, 102)
"""Traced for dynamic models: neither 0 nor 1, and not alike, so that no dimension is taken for another."""


@dataclass(frozen=True)
class ExportedModel:
    """An ONNX model, and the torch program it was translated from (its node names are the ONNX value names)."""

    proto: onnx.ModelProto
    program: torch.export.ExportedProgram
    spec: ModelSpec


def export_onnx(net: nn.Module, spec: ModelSpec, *, example: tuple[int, int] = EXAMPLE_SIZE) -> ExportedModel:
    """Translate `net` to ONNX.

    Args:
        net: maps a normalised float image [B,3,H,W] to logits [B,C,h,w]; see `DeployedNet`. A module in it that
            exports as an operator newer than opset 18 says so by its attribute `onnx_opset`.
        spec: what the model eats and gives. Dimensions that are None become dynamic.
        example: (height, width) that dynamic ones are traced at, for a network that does not take any size.

    Raises:
        DeployError: torch cannot trace or translate the network, the result is not valid ONNX, or a dimension that
            should be dynamic is not.
    """
    deployed = DeployedNet(net, spec)
    register_schemas()
    try:
        with _quiet():
            program = torch.onnx.export(
                deployed,
                (_example(spec, example),),
                dynamo=True,
                opset_version=max([OPSET, *(getattr(module, "onnx_opset", OPSET) for module in net.modules())]),
                input_names=["image"],
                output_names=list(spec.outputs),
                dynamic_shapes=_dynamic_shapes(spec),
                custom_translation_table=_translations(dynamic=_dynamic_shapes(spec) is not None),
                verbose=False,
            )
    except Exception as error:  # the exporter raises many kinds; all mean that this network cannot be exported
        raise DeployError(
            f"{spec.arch} cannot be exported: {_reason(error)}",
            expected="a network that torch.export can trace at this size",
            mend=_mend(error, spec),
        ) from error
    assert program is not None and program.exported_program is not None
    proto = program.model_proto
    add_function_bodies(proto)
    _tidy(proto, spec)
    _check(proto, spec)
    _require_dynamic(proto, spec)
    return ExportedModel(proto, program.exported_program, spec)


def save_onnx(model: ExportedModel, path: Path) -> Path | None:
    """Write the model, atomically; the file of its weights where this call made one beside it (`write_model`)."""
    return write_model(model.proto, path)


def _mend(error: BaseException, spec: ModelSpec) -> str:
    text = f"{error} {_reason(error)}".lower()
    if "data-dependent" in text or "data dependent" in text:
        return "torch.where in place of an if on values of tensors"
    return "another --size, or without --dynamic" if _dynamic_shapes(spec) else "another --size"


def _require_dynamic(proto: onnx.ModelProto, spec: ModelSpec) -> None:
    """The exporter may fix a dimension that it was told to keep free, and says nothing of it."""
    dims = proto.graph.input[0].type.tensor_type.shape.dim
    fixed = [
        f"{name} {dims[axis].dim_value}"
        for axis, (name, wanted) in _free_axes(spec).items()
        if wanted is None and dims[axis].dim_value
    ]
    if fixed:
        raise DeployError(
            f"{spec.arch} fixes {' and '.join(fixed)}: it has something of that size (a grid, a table of positions)",
            expected="a network that takes any size, for --dynamic",
            mend="without --dynamic, one --size a model",
        )


def _example(spec: ModelSpec, size: tuple[int, int]) -> torch.Tensor:
    height, width = size if size[0] != size[1] else (size[0], 2 * size[1])  # no dimension is taken for another
    shape = spec.input_shape(batch=spec.batch or EXAMPLE_BATCH, height=spec.height or height, width=spec.width or width)
    generator = torch.Generator().manual_seed(0)
    if spec.input == "uint8":
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return torch.randn(shape, generator=generator)


def _dynamic_shapes(spec: ModelSpec) -> tuple[dict[int, Any]] | None:
    dims = {axis: torch.export.Dim(name, min=1) for axis, (name, fixed) in _free_axes(spec).items() if fixed is None}
    return (dims,) if dims else None


def _free_axes(spec: ModelSpec) -> dict[int, tuple[str, int | None]]:
    """Axes of the input that may be dynamic: name and fixed size, if it has one."""
    row = 1 if spec.input == "uint8" else 2
    return {0: ("batch", spec.batch), row: ("height", spec.height), row + 1: ("width", spec.width)}


def _translations(*, dynamic: bool) -> dict[Any, Any]:
    hc = Opset(DOMAIN, DOMAIN_VERSION)

    def assign(features: Any, seeds: Any, tau: float, similarity: str, border: str, assignment: str) -> Any:
        return hc.HCAssign(
            features, seeds, tau=tau, similarity=similarity, border=border, assignment=assignment, **PLUGIN_ATTRIBUTES
        )

    def decode(coarse: Any, assignment: Any) -> Any:
        return hc.HCDecode(coarse, assignment, **PLUGIN_ATTRIBUTES)

    def upsample(
        coarse: Any, features: Any, seeds: Any, tau: float, similarity: str, border: str, assignment: str
    ) -> Any:
        return hc.HCUpsample(
            coarse, features, seeds, tau=tau, similarity=similarity, border=border, assignment=assignment,
            **PLUGIN_ATTRIBUTES,
        )  # fmt: skip

    def argmax(logits: Any, like: Any) -> Any:
        return hc.HCArgmax(logits, like, **PLUGIN_ATTRIBUTES)

    def deform_conv(x: Any, offset: Any, mask: Any, weight: Any, stride: int) -> Any:
        return opset19.DeformConv(
            x, weight, offset, None, mask, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[stride, stride]
        )

    ops, aten = torch.ops.hc_deploy, torch.ops.aten
    pooling = (aten.adaptive_avg_pool2d.default, aten._adaptive_avg_pool2d.default)
    return {
        **(dict.fromkeys(pooling, adaptive_average) if dynamic else {}),
        ops.deform_conv.default: deform_conv,
        ops.hc_assign.default: assign,
        ops.hc_decode.default: decode,
        ops.hc_upsample.default: upsample,
        ops.hc_argmax.default: argmax,
    }


def _tidy(proto: onnx.ModelProto, spec: ModelSpec) -> None:
    """Drop the exporter's notes (they hold source paths of the exporting machine) and write the spec."""
    for node in proto.graph.node:
        del node.metadata_props[:]
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        del value.metadata_props[:]
    del proto.graph.metadata_props[:]
    del proto.metadata_props[:]
    proto.metadata_props.add(key=METADATA_KEY, value=spec.to_json())
    proto.graph.name = spec.arch


def _check(proto: onnx.ModelProto, spec: ModelSpec) -> None:
    try:
        check_model(proto)
        onnx.shape_inference.infer_shapes(structure(proto), check_type=True, strict_mode=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        raise DeployError(f"{spec.arch} became an invalid ONNX model: {error}", expected="a valid graph") from None


def _reason(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints progress and warns of its own internals; errors still come as exceptions."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        held = io.StringIO()  # of a network that cannot be traced it dumps the graph there
        with warnings.catch_warnings(), contextlib.redirect_stdout(held), contextlib.redirect_stderr(held):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)

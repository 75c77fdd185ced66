"""What a model.onnx holds -> its spec, and lines of (title, text)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from hc_deploy.errors import DeployError
from hc_deploy.spec import METADATA_KEY, ModelSpec

Lines = list[tuple[str, str]]


def describe_graph(path: Path) -> tuple[ModelSpec | None, Lines]:
    """Spec of an ONNX file, where it has our metadata; its inputs, outputs and operators."""
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError):  # ValueError: text that is none
        model = onnx.ModelProto()
    if not model.graph.node:
        raise DeployError(f"{path} is not a whole ONNX file", expected="the file as it was exported")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    spec = ModelSpec.from_json(metadata[METADATA_KEY], source=str(path)) if METADATA_KEY in metadata else None
    lines: Lines = []
    for title, values in (("input", model.graph.input), ("output", model.graph.output)):
        lines += [(title, f"{value.name} {_tensor(value)}") for value in values]
    lines.append(("opsets", ", ".join(f"{entry.domain or 'ai.onnx'} {entry.version}" for entry in model.opset_import)))
    return spec, lines + _operators(model)


def _operators(model: onnx.ModelProto) -> Lines:
    custom = Counter(node.op_type for node in model.graph.node if node.domain)
    standard = Counter(node.op_type for node in model.graph.node if not node.domain)
    bodies = sorted({function.name for function in model.functions})
    return [
        ("custom nodes", ", ".join(f"{count} {name}" for name, count in sorted(custom.items())) or "none"),
        ("with bodies", ", ".join(bodies) or "none"),
        ("standard nodes", ", ".join(f"{count} {name}" for name, count in standard.most_common())),
    ]


def _tensor(value: onnx.ValueInfoProto) -> str:
    tensor = value.type.tensor_type
    dims = [entry.dim_param or str(entry.dim_value) for entry in tensor.shape.dim]
    known = tensor.elem_type in onnx.TensorProto.DataType.values()
    kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower() if known else f"type {tensor.elem_type}"
    return f"{kind} [{', '.join(dims)}]"

"""What a checkpoint or an ONNX file holds -> lines of (title, text)."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from hc_deploy.errors import DeployError
from hc_deploy.export.checkpoint import read_checkpoint
from hc_deploy.export.families import recognise
from hc_deploy.spec import METADATA_KEY, ModelSpec

Lines = list[tuple[str, str]]


def describe_onnx(path: Path) -> Lines:
    """Spec, inputs, outputs and operators of an ONNX file, with or without our metadata."""
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError):  # ValueError: text that is none
        model = onnx.ModelProto()
    if not model.graph.node:
        raise DeployError(f"{path} is not a whole ONNX file", expected="the file as it was exported")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if METADATA_KEY in metadata:
        lines = _spec(ModelSpec.from_json(metadata[METADATA_KEY], source=str(path)))
    else:
        lines = [("kind", f"ONNX without '{METADATA_KEY}' metadata: not made by export.py, hc-deploy cannot run it")]
    for title, values in (("input", model.graph.input), ("output", model.graph.output)):
        lines += [(title, f"{value.name} {_tensor(value)}") for value in values]
    lines.append(("opsets", ", ".join(f"{entry.domain or 'ai.onnx'} {entry.version}" for entry in model.opset_import)))
    return lines + _operators(model)


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


def _spec(spec: ModelSpec) -> Lines:
    sides = [str(side) if side is not None else "any" for side in (spec.batch, spec.height, spec.width)]
    lines = [
        ("kind", "model exported by hc_deploy"),
        ("network", _network(spec.arch, spec.options) + f", level {spec.level}"),
        ("classes", f"{len(spec.classes)}: {', '.join(spec.classes)}"),
        ("takes", f"{spec.input} RGB, batch {sides[0]}, height {sides[1]}, width {sides[2]}"),
        ("gives", ", ".join(spec.outputs)),
    ]
    if spec.input == "float":
        lines.append(("normalisation", f"by the caller: mean {spec.mean}, deviation {spec.std}"))
    return lines


def describe_checkpoint(path: Path) -> Lines:
    """Parameters of a checkpoint and, where it says, its network, classes and training."""
    checkpoint = read_checkpoint(path)
    info = checkpoint.info
    values = sum(math.prod(tensor.shape) for tensor in checkpoint.state.values())
    parts = Counter(name.split(".")[0] for name in checkpoint.state)
    lines = [
        ("kind", "checkpoint"),
        ("tensors", f"{len(checkpoint.state)}, {values / 1e6:.2f} million values"),
        ("parts", ", ".join(f"{name} ({count})" for name, count in parts.items())),
    ]
    if info.arch is None:
        found = recognise(checkpoint.state)
        if found is not None:
            return [*lines, ("family", found.describe())]
        if set(parts) == {"backbone"}:
            return [*lines, ("network", "a backbone alone: python -m models.train NAME --init FILE starts from it")]
        return [*lines, ("network", "not said: name it with --arch")]
    training = ", ".join(f"{name} {value}" for name, value in info.training.items() if not isinstance(value, dict))
    return [
        *lines,
        ("network", _network(info.arch, info.options)),
        ("classes", f"{len(info.classes)}: {', '.join(info.classes)}"),
        ("training", training or "not recorded"),
    ]


def _network(arch: str, options: dict) -> str:
    return ", ".join([arch, *(f"{name} {value}" for name, value in options.items())])

"""Models of a few nodes whose answer is known without running them; some have more classes, or fewer, than usual."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from hc_deploy.classes import numbered_classes
from hc_deploy.spec import METADATA_KEY, ModelSpec

WIDE = 511
TYPES = {"uint8": TensorProto.UINT8, "uint16": TensorProto.UINT16, "int32": TensorProto.INT32}


def classes_of(count: int) -> dict:
    known = numbered_classes(count)
    return {"classes": known.names, "palette": known.palette}


def wide_labels(image):
    """What the wide model says of a BGR image: red + green, so 0 to 510."""
    return image[..., 2].astype(np.int64) + image[..., 1]


def metres(image):
    """What the depth model says: half a metre a level of red, from -20 m to 107.5 m; red 0 has no depth at all."""
    depth = image[..., 2].astype(np.float32) / 2 - 20
    return np.where(image[..., 2] == 0, np.float32(np.nan), depth)


def save(path: Path, spec: ModelSpec, kind: str = "int32") -> Path:
    """A model.onnx for uint8 RGB [B,H,W,3]: `labels` as `wide_labels` in `kind`, `depth` as `metres`."""
    shape = [spec.batch or "b", spec.height or "h", spec.width or "w"]
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["floats", "zero"], ["red"], axis=3),
        helper.make_node("Gather", ["floats", "one"], ["green"], axis=3),
    ]
    constants = [
        helper.make_tensor(name, TensorProto.INT64, [], [value]) for name, value in (("zero", 0), ("one", 1))
    ] + [
        helper.make_tensor(name, TensorProto.FLOAT, [], [value])
        for name, value in (("two", 2.0), ("near", 20.0), ("nothing", 0.0), ("nan", float("nan")), ("middle", 127.5))
    ]
    if spec.task == "depth":
        nodes += [
            helper.make_node("Div", ["red", "two"], ["half"]),
            helper.make_node("Sub", ["half", "near"], ["signed"]),
            helper.make_node("Equal", ["red", "nothing"], ["absent"]),
            helper.make_node("Where", ["absent", "nan", "signed"], ["depth"]),
        ]
        outputs = [helper.make_tensor_value_info("depth", TensorProto.FLOAT, shape)]
    elif "logits" in spec.outputs:  # one channel: above 127.5 of red is class 1
        nodes += [
            helper.make_node("Sub", ["red", "middle"], ["plane"]),
            helper.make_node("Unsqueeze", ["plane", "axis"], ["logits"]),
            helper.make_node("Greater", ["plane", "nothing"], ["above"]),
            helper.make_node("Cast", ["above"], ["labels"], to=TYPES[kind]),
        ]
        constants.append(helper.make_tensor("axis", TensorProto.INT64, [1], [1]))
        outputs = [
            helper.make_tensor_value_info("labels", TYPES[kind], shape),
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, [shape[0], 1, *shape[1:]]),
        ]
    else:
        nodes += [
            helper.make_node("Add", ["red", "green"], ["sum"]),
            helper.make_node("Cast", ["sum"], ["labels"], to=TYPES[kind]),
        ]
        outputs = [helper.make_tensor_value_info("labels", TYPES[kind], shape)]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [*shape, 3])
    graph = helper.make_graph(nodes, "toy", [image], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    model.metadata_props.add(key=METADATA_KEY, value=spec.to_json())
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def wide_spec(**fields) -> ModelSpec:
    return ModelSpec(arch="wide", **classes_of(WIDE), **fields)


def binary_spec(**fields) -> ModelSpec:
    return ModelSpec(arch="binary", **classes_of(2), outputs=("labels", "logits"), **fields)


def depth_spec(**fields) -> ModelSpec:
    return ModelSpec(arch="depth", classes=(), palette=(), task="depth", outputs=("depth",), **fields)

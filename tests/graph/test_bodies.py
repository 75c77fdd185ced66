"""The ONNX function bodies in ONNX Runtime against the torch references, every attribute, odd sizes, three types."""

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper

from hc_deploy.graph.bodies import ONNX_OPS
from hc_deploy.graph.functions import (
    add_function_bodies,
    as_plugin_nodes,
    as_standard_operators,
    function_proto,
    register_schemas,
    single_op_model,
)
from hc_deploy.graph.onnx_op import PLUGIN_ATTRIBUTES
from hc_deploy.ops import ClusterOptions, hc_argmax, hc_assign, hc_decode, hc_upsample
from hc_deploy.runtime.onnxruntime import import_onnxruntime
from tests.ops.test_reference import OPTIONS, SIZES, keywords, maps

TYPES = {torch.float32: TensorProto.FLOAT, torch.float16: TensorProto.FLOAT16}


def run(model, **feeds):
    session = import_onnxruntime().InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {name: tensor.numpy() for name, tensor in feeds.items()})[0]


FEATURES, SEEDS, COARSE = ("B", "K", "H", "W"), ("B", "K", "h", "w"), ("B", "C", "h", "w")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_assign_and_upsample(size, options):
    features, seeds, coarse = maps(size, dtype=torch.float32)
    f32 = TensorProto.FLOAT
    model = single_op_model(
        "HCAssign", [("f", f32, FEATURES), ("s", f32, SEEDS)], (f32, ("B", 9, "H", "W")), keywords(options)
    )
    truth = hc_assign(features.double(), seeds.double(), **keywords(options)).numpy()
    np.testing.assert_allclose(run(model, f=features, s=seeds), truth, atol=2e-5)

    model = single_op_model(
        "HCUpsample",
        [("c", f32, COARSE), ("f", f32, FEATURES), ("s", f32, SEEDS)],
        (f32, ("B", "C", "H", "W")),
        keywords(options),
    )
    truth = hc_upsample(coarse.double(), features.double(), seeds.double(), **keywords(options)).numpy()
    np.testing.assert_allclose(run(model, c=coarse, f=features, s=seeds), truth, atol=5e-5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", TYPES)
def test_decode(size, dtype):
    features, seeds, coarse = maps(size, dtype=dtype)
    assignment = hc_assign(features, seeds)
    kind = TYPES[dtype]
    model = single_op_model(
        "HCDecode", [("c", kind, COARSE), ("a", kind, ("B", 9, "H", "W"))], (kind, ("B", "C", "H", "W"))
    )
    truth = hc_decode(coarse.double(), assignment.double()).numpy()
    np.testing.assert_allclose(run(model, c=coarse, a=assignment), truth, atol=5e-7 if dtype == torch.float32 else 4e-3)


def test_half_precision_accumulates_in_float32():
    features, seeds, coarse = (t * 40 for t in maps((6, 8), dim=64, dtype=torch.float16))
    kind = TensorProto.FLOAT16
    model = single_op_model(
        "HCUpsample",
        [("c", kind, COARSE), ("f", kind, FEATURES), ("s", kind, SEEDS)],
        (kind, ("B", "C", "H", "W")),
        keywords(ClusterOptions()),
    )
    out = run(model, c=coarse, f=features, s=seeds)
    assert out.dtype == np.float16
    np.testing.assert_allclose(out, hc_upsample(coarse, features, seeds).numpy(), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("size", [(64, 96), (53, 101), (3, 5), (1, 1)])
@pytest.mark.parametrize("dtype", TYPES)
def test_argmax(size, dtype):
    logits = torch.randn(2, 5, 7, 13, generator=torch.Generator().manual_seed(1)).to(dtype)
    like = torch.zeros(2, 3, *size, dtype=dtype)
    model = single_op_model(
        "HCArgmax",
        [("logits", TYPES[dtype], ("B", "C", "h", "w")), ("like", TYPES[dtype], ("B", 3, "H", "W"))],
        (TensorProto.INT32, ("B", "H", "W")),
    )
    labels = run(model, logits=logits, like=like)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, hc_argmax(logits, size).numpy())


def test_nodes_with_different_attributes_get_a_body_each():
    """Soft-zero and hard-exclude in one model: both right, each with its own function."""
    register_schemas()
    features, seeds, _ = maps((6, 9), dtype=torch.float32)
    variants = [ClusterOptions(), ClusterOptions(similarity="dot", border="exclude", assignment="hard")]
    f32 = TensorProto.FLOAT
    nodes = [
        helper.make_node("HCAssign", ["f", "s"], [f"out{i}"], domain="hc_deploy", **keywords(v), **PLUGIN_ATTRIBUTES)
        for i, v in enumerate(variants)
    ]
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info("f", f32, FEATURES), helper.make_tensor_value_info("s", f32, SEEDS)],
        [helper.make_tensor_value_info(f"out{i}", f32, ("B", 9, "H", "W")) for i in range(2)],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("hc_deploy", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    add_function_bodies(model)
    for given in (model, as_standard_operators(model)):
        session = import_onnxruntime().InferenceSession(given.SerializeToString(), providers=["CPUExecutionProvider"])
        outputs = session.run(None, {"f": features.numpy(), "s": seeds.numpy()})
        for variant, output in zip(variants, outputs, strict=True):
            np.testing.assert_allclose(output, hc_assign(features, seeds, **keywords(variant)).numpy(), atol=1e-5)
    names = [node.op_type for node in model.graph.node]
    assert names == ["HCAssign", "HCAssign_dot_exclude_hard"] == [function.name for function in model.functions]
    assert not any(entry.overload for entry in (*model.graph.node, *model.functions)), "old runtimes do not know it"
    assert [node.op_type for node in as_plugin_nodes(model).graph.node] == ["HCAssign", "HCAssign"]
    again = as_plugin_nodes(model)
    add_function_bodies(again)
    assert again == model


@pytest.mark.parametrize("op", ONNX_OPS, ids=lambda op: op.name)
def test_constants_are_tensors(op):
    """ONNX Runtime 1.20 to 1.24 take `value_ints` in a function for scalars; onnxslim makes doubles of `value_float`.

    The one left is tau, which an attribute gives.
    """
    for options in OPTIONS if op.attributes else [ClusterOptions()]:
        constants = [node for node in function_proto(op, options).node if node.op_type == "Constant"]
        assert {entry.name for node in constants for entry in node.attribute if entry.name != "value"} <= {
            "value_float"
        }
        assert all(
            entry.name == "value" or entry.ref_attr_name == "tau" for node in constants for entry in node.attribute
        )

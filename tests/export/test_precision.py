"""The precision of a graph: what becomes float16 or bfloat16, what stays, and that the result computes the same."""

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hc_deploy.errors import DeployError, UsageError
from hc_deploy.evaluate.fidelity import BOUNDS
from hc_deploy.evaluate.parity_images import parity_images
from hc_deploy.export.functions import as_plugin_nodes, as_standard_operators
from hc_deploy.export.precision import with_precision
from hc_deploy.export.tensorrt import cast_uint8_first
from hc_deploy.export.verify import measure_precision
from hc_deploy.runtime import open_session
from hc_deploy.runtime.onnxruntime import import_onnxruntime

FIXED = {"batch": 1, "height": 97, "width": 131}
HALF, FLOAT = TensorProto.FLOAT16, TensorProto.FLOAT


def small(export_small, arch, **fields):
    net, model = export_small(arch, (("width", 4), ("classes", 5)) if "_" in arch else SMALL[arch], **(fields or FIXED))
    return net, model


SMALL = {
    "ssn": (("superpixels", 12), ("iterations", 2), ("channels", 8)),
    "hcdorn": (("backbone", "resnet18"), ("width", 8), ("intervals", 6), ("dim", 8)),
}


def consumed_types(model):
    """Types that each operator reads first, as a checker sees them: {op_type: {type: count}}."""
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    values = (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    types |= {tensor.name: tensor.data_type for tensor in inferred.graph.initializer}
    found = {}
    for node in model.graph.node:
        found.setdefault(node.op_type, Counter())[types[node.input[0]]] += 1
    return found


@pytest.mark.parametrize(("precision", "kind"), [("fp16", HALF), ("bf16", TensorProto.BFLOAT16)])
@pytest.mark.parametrize("arch", ["hcpspnet_resnet18", "deeplabv3_resnet18", "hcfpn_resnet18", "hcdorn"])
def test_convolutions_and_custom_ops_compute_in_it(export_small, arch, precision, kind):
    _, model = small(export_small, arch)
    typed = with_precision(model.proto, precision)
    onnx.checker.check_model(typed, full_check=True)
    found = consumed_types(typed)
    for op in {"Conv", "HCUpsample", "HCArgmax"} & set(found):
        assert set(found[op]) == {kind}, op
    assert [value.type for value in typed.graph.output] == [value.type for value in model.proto.graph.output]
    assert typed.graph.input[0] == model.proto.graph.input[0]


def test_the_head_and_the_tail_stay_in_float32(export_small):
    """Normalisation of the pixels, and SLIC's iterations after the last convolution."""
    _, model = small(export_small, "ssn")
    found = consumed_types(with_precision(model.proto, "fp16"))
    assert set(found["Conv"]) == {HALF} and set(found["MatMul"]) == {FLOAT} and set(found["Softmax"]) == {FLOAT}


@pytest.mark.parametrize("arch", ["hcpspnet_resnet18", "hcfcn32_resnet18", "ssn"])
def test_float16_answers_as_float32(export_small, arch):
    _, model = small(export_small, arch)
    fidelity = measure_precision(model, "fp16", parity_images(model.spec, size=(97, 131)), open_session=open_session)
    assert fidelity.failures(BOUNDS["fp16"]) == []
    assert fidelity.failures(BOUNDS["fp32"]) != [] or arch == "ssn", "nothing was rounded: float16 did not take place"


def test_fp32_and_tf32_leave_the_graph_alone(export_small):
    _, model = small(export_small, "hcfcn32_resnet18")
    for precision in ("fp32", "tf32"):
        assert with_precision(model.proto, precision) == model.proto


def test_named_operators_stay(export_small):
    _, model = small(export_small, "hcfcn32_resnet18")
    typed = with_precision(model.proto, "fp16", keep_fp32=["HCUpsample"])
    found = consumed_types(typed)
    assert set(found["HCUpsample"]) == {FLOAT} and set(found["Conv"]) == {HALF}
    first = next(node.name for node in model.proto.graph.node if node.op_type == "Conv")
    found = consumed_types(with_precision(model.proto, "fp16", keep_fp32=[first]))
    assert found["Conv"][FLOAT] == 1 and found["Conv"][HALF] > 1
    with pytest.raises(UsageError, match="Convolution"):
        with_precision(model.proto, "fp16", keep_fp32=["Convolution"])


def net_of(*nodes, inputs, outputs, weights):
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info(*entry) for entry in inputs],
        [helper.make_tensor_value_info(*entry) for entry in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def run(model, **inputs):
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(model.SerializeToString(), options).run(None, inputs)


def test_coordinates_of_a_sampling_stay_in_float32():
    """A grid computed between two convolutions: in float16 it would miss pixels of a 2049-wide map."""
    width = 2049
    model = net_of(
        helper.make_node("Conv", ["image", "first"], ["a"]),
        helper.make_node("Mul", ["a", "zero"], ["nothing"]),
        helper.make_node("Slice", ["nothing", "start", "end", "axes"], ["two"]),
        helper.make_node("Transpose", ["two"], ["moved"], perm=[0, 2, 3, 1]),
        helper.make_node("Add", ["moved", "grid"], ["at"]),
        helper.make_node("GridSample", ["a", "at"], ["sampled"], align_corners=1),
        helper.make_node("Conv", ["sampled", "second"], ["out"]),
        inputs=[("image", FLOAT, [1, 2, 1, width])],
        outputs=[("out", FLOAT, [1, 2, 1, width])],
        weights={
            "first": np.eye(2, dtype=np.float32)[..., None, None],
            "second": np.eye(2, dtype=np.float32)[..., None, None],
            "zero": np.zeros(1, np.float32),
            "start": np.array([0]), "end": np.array([2]), "axes": np.array([1]),
            "grid": np.stack([np.linspace(-1, 1, width), np.zeros(width)], -1)[None, None].astype(np.float32),
        },
    )  # fmt: skip
    image = np.random.default_rng(0).integers(0, 100, (1, 2, 1, width)).astype(np.float32)
    typed = with_precision(model, "fp16")
    assert np.abs(run(typed, image=image)[0] - image).max() < 0.1
    found = consumed_types(typed)
    assert set(found["GridSample"]) == {FLOAT} and set(found["Add"]) == {FLOAT} and set(found["Conv"]) == {HALF}


def test_a_weight_beyond_float16_is_clamped_and_control_flow_is_refused():
    model = net_of(
        helper.make_node("Conv", ["image", "w"], ["a"]),
        helper.make_node("Conv", ["a", "w"], ["out"]),
        inputs=[("image", FLOAT, [1, 1, 2, 2])],
        outputs=[("out", FLOAT, [1, 1, 2, 2])],
        weights={"w": np.full((1, 1, 1, 1), 1e6, np.float32)},
    )
    (weight,) = with_precision(model, "fp16").graph.initializer
    assert numpy_helper.to_array(weight).item() == 65504
    branch = helper.make_graph(
        [helper.make_node("Identity", ["out"], ["y"])], "b", [], [helper.make_tensor_value_info("y", FLOAT, None)]
    )
    condition = helper.make_node("If", ["c"], ["z"], name="choice", then_branch=branch, else_branch=branch)
    model.graph.node.append(condition)
    with pytest.raises(DeployError, match="choice is a If"):
        with_precision(model, "fp16")


def test_uint8_meets_a_cast_first(export_small):
    """TensorRT takes no other operator on uint8; the result is the same model."""
    _, model = small(export_small, "hcfcn32_resnet18")
    changed = onnx.ModelProto()
    changed.CopyFrom(model.proto)
    cast_uint8_first(changed)
    onnx.checker.check_model(changed, full_check=True)
    readers = [node.op_type for node in changed.graph.node if "image" in node.input]
    assert readers == ["Cast"] and [node.op_type for node in model.proto.graph.node if "image" in node.input] != readers
    image = next(iter(parity_images(model.spec, size=(97, 131))))
    np.testing.assert_array_equal(run(changed, image=image)[0], run(model.proto, image=image)[0])


def test_bodies_go_or_are_inlined(export_small):
    _, model = small(export_small, "hcfcn32_resnet18")
    plugins, plain = as_plugin_nodes(model.proto), as_standard_operators(model.proto)
    assert not plugins.functions and any(node.domain == "hc_deploy" for node in plugins.graph.node)
    assert not plain.functions and {node.domain for node in plain.graph.node} == {""}
    image = next(iter(parity_images(model.spec, size=(97, 131))))
    np.testing.assert_array_equal(run(plain, image=image)[0], run(model.proto, image=image)[0])

"""The precision of a graph: what becomes float16 or bfloat16, what stays, and that the result computes the same."""

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hc_deploy.errors import DeployError, UsageError
from hc_deploy.graph.functions import (
    add_function_bodies,
    as_plugin_nodes,
    as_standard_operators,
    register_schemas,
)
from hc_deploy.graph.onnx_op import PLUGIN_ATTRIBUTES
from hc_deploy.graph.precision import expected_types, with_precision
from hc_deploy.graph.precision_rules import value_types
from hc_deploy.parity.fidelity import BOUNDS, measure_fidelity
from hc_deploy.parity.gates import measure_precision
from hc_deploy.parity.id_ties import near_ties
from hc_deploy.parity.images import parity_images
from hc_deploy.runtime import open_session
from hc_deploy.runtime.onnxruntime import import_onnxruntime
from hc_deploy.runtime.session import SessionBase

FIXED = {"batch": 1, "height": 97, "width": 131}
HALF, FLOAT, UINT8 = TensorProto.FLOAT16, TensorProto.FLOAT, TensorProto.UINT8


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
def test_float16_answers_as_float32(export_small, tmp_path, arch):
    _, model = small(export_small, arch)
    path = tmp_path / "model.onnx"
    onnx.save(model.proto, path)
    images = parity_images(model.spec, size=(97, 131))
    fidelity = measure_precision(model.proto, model.spec, path, "fp16", images, open_session=open_session)
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


def net_of(*nodes, inputs, outputs, weights, opset=18):
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info(*entry) for entry in inputs],
        [helper.make_tensor_value_info(*entry) for entry in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


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


def test_uint8_meets_casts_alone(export_small):
    """TensorRT takes no other operator on uint8, neither in the file as it is nor in its typed copies."""
    _, model = small(export_small, "hcpspnet_resnet18", **FIXED, outputs=("labels", "superpixels"))
    for precision in ("fp32", "fp16", "bf16"):
        graph = with_precision(model.proto, precision).graph
        pixels = {name for name, kind in value_types(with_precision(model.proto, precision)).items() if kind == UINT8}
        assert pixels == {"image", "labels"}
        touching = [node.op_type for node in graph.node if pixels & {*node.input, *node.output}]
        assert touching == ["Cast", "Cast"]


def choosing(size, *, assignment="hard"):
    """Ids of the cells of a map of `size`, numbered row by row, decoded to pixels and brought to twice their size.

    Cells have the nine unit vectors in turn, so that the candidates of a pixel all differ: it takes the one that its
    own vector names, and there are no near ties.
    """
    h, w = size
    cells = np.arange(h * w, dtype=np.float32).reshape(1, 1, h, w)
    given = {"features": [1, 9, 2 * h, 2 * w], "seeds": [1, 9, h, w]}
    options = {"tau": 0.07, "similarity": "cosine", "border": "exclude", "assignment": assignment}
    model = net_of(
        helper.make_node("Conv", ["features", "one"], ["f"]),
        helper.make_node("Conv", ["seeds", "one"], ["s"]),
        helper.make_node("HCAssign", ["f", "s"], ["a"], domain="hc_deploy", **options, **PLUGIN_ATTRIBUTES),
        helper.make_node("HCDecode", ["ids", "a"], ["decoded"], domain="hc_deploy", **PLUGIN_ATTRIBUTES),
        helper.make_node("Resize", ["decoded", "", "scales"], ["large"], mode="nearest", nearest_mode="floor",
                         coordinate_transformation_mode="asymmetric"),
        helper.make_node("Squeeze", ["large", "axes"], ["flat"]),
        helper.make_node("Cast", ["flat"], ["superpixels"], to=TensorProto.INT32),
        inputs=[(name, FLOAT, shape) for name, shape in given.items()],
        outputs=[("superpixels", TensorProto.INT32, [1, 4 * h, 4 * w])],
        weights={
            "one": np.eye(9, dtype=np.float32)[..., None, None], "ids": cells, "axes": np.array([1]),
            "scales": np.array([1, 1, 2, 2], np.float32),
        },
    )  # fmt: skip
    model.opset_import.append(helper.make_opsetid("hc_deploy", 1))
    register_schemas()
    add_function_bodies(model)
    return model


def clusters(size):
    """Features and seeds for `choosing`, and the ids that they mean."""
    h, w = size
    rows, columns = np.mgrid[:h, :w]
    kinds = rows % 3 * 3 + columns % 3
    y, x = np.mgrid[: 2 * h, : 2 * w] // 2
    rng = np.random.default_rng(0)
    y = (y + rng.integers(-1, 2, y.shape)).clip(0, h - 1)
    x = (x + rng.integers(-1, 2, x.shape)).clip(0, w - 1)
    unit = np.eye(9, dtype=np.float32)
    maps = {"features": unit[kinds[y, x]], "seeds": unit[kinds]}
    ids = (y * w + x).repeat(2, 0).repeat(2, 1)
    return {name: value.transpose(2, 0, 1)[None].copy() for name, value in maps.items()}, ids[None]


@pytest.mark.parametrize("size", [(53, 47), (257, 259)], ids=["beyond 2048", "beyond 65504"])
def test_ids_of_superpixels_are_exact_in_float16(size):
    """Float16 holds whole numbers to 2048, and none beyond 65504."""
    model = choosing(size)
    feeds, ids = clusters(size)
    assert ids.max() == size[0] * size[1] - 1
    typed = with_precision(model, "fp16")
    onnx.checker.check_model(typed, full_check=True)
    np.testing.assert_array_equal(run(typed, **feeds)[0], ids)
    found = consumed_types(typed)
    assert set(found["Conv"]) == set(found["HCAssign"]) == {HALF} and set(found["HCDecode"]) == {FLOAT}


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("assignment", ["hard", "soft"])
def test_what_ids_are_decoded_from(precision, assignment):
    """A hard assignment is zeros and ones in any type; a soft one is numbers, and stays with what it decodes."""
    typed = with_precision(choosing((3, 5), assignment=assignment), precision)
    types = value_types(typed)
    low = {"fp16": HALF, "bf16": TensorProto.BFLOAT16}[precision]
    for node in typed.graph.node:
        if node.domain == "hc_deploy":
            kinds = {types[name] for name in (*node.input, *node.output)}
            assert kinds == {low if node.op_type == "HCAssign" and assignment == "hard" else FLOAT}, node.op_type
    assert set(consumed_types(typed)["Conv"]) == {low}


def test_ids_through_hcupsample_stay():
    """A network of one's own may decode whole numbers by the fused op."""
    options = {"tau": 0.07, "similarity": "cosine", "border": "exclude", "assignment": "hard"}
    model = choosing((3, 5))
    nodes = list(model.graph.node)
    fused = helper.make_node("HCUpsample", ["ids", "f", "s"], ["decoded"], domain="hc_deploy", **options,
                             **PLUGIN_ATTRIBUTES)  # fmt: skip
    del model.graph.node[:], model.functions[:]
    model.graph.node.extend([*nodes[:2], fused, *nodes[4:]])
    add_function_bodies(model)
    for precision in ("fp16", "bf16"):
        typed = with_precision(model, precision)
        types = value_types(typed)
        (node,) = (node for node in typed.graph.node if node.op_type == "HCUpsample")
        assert {types[name] for name in (*node.input, *node.output)} == {FLOAT}


@pytest.mark.parametrize("options", [(("level", 4),), (("similarity", "dot"), ("tau", 2.0))], ids=str)
def test_ids_of_a_network_differ_at_near_ties_alone(export_small, tmp_path, options):
    _, model = export_small("hcfcn32_resnet18", (("width", 4), *options), outputs=("superpixels",))
    path = tmp_path / "model.onnx"
    onnx.save(model.proto, path)
    images = parity_images(model.spec, size=(321, 353))
    fidelity = measure_precision(model.proto, model.spec, path, "fp16", images, open_session=open_session)
    assert fidelity.superpixel_agreement < 1 and fidelity.wrong_ids == 0 and fidelity.failures(BOUNDS["fp16"]) == []


def test_ids_that_float16_rounded_are_wrong(export_small, tmp_path):
    """2160 cells: 97.6% agree, and what does not is no near tie."""
    _, model = export_small("hcfcn32_resnet18", (("width", 4),), outputs=("superpixels",))
    path = tmp_path / "model.onnx"
    onnx.save(model.proto, path)
    image = next(parity_images(model.spec, size=(1409, 1505)))

    class Rounded(SessionBase):
        spec, name, provider = model.spec, "rounded", "cpu"

        def _load(self, images):
            self.ids = reference.run(images)["superpixels"].astype(np.float16)

        def _execute(self):
            pass

        def _fetch(self):
            return {"superpixels": self.ids.astype(np.int32)}

    with open_session(path) as reference, near_ties(model.proto, model.spec, open_session) as ties:
        fidelity = measure_fidelity(reference, Rounded(), [image], explained=ties, tolerance=BOUNDS["fp16"].tie)
    assert fidelity.superpixel_agreement > BOUNDS["fp16"].decisions and fidelity.wrong_ids > 0.02
    assert "superpixel ids are wrong" in fidelity.failures(BOUNDS["fp16"])[0]


def test_bodies_go_or_are_inlined(export_small):
    _, model = small(export_small, "hcfcn32_resnet18")
    plugins, plain = as_plugin_nodes(model.proto), as_standard_operators(model.proto)
    assert not plugins.functions and any(node.domain == "hc_deploy" for node in plugins.graph.node)
    assert not plain.functions and {node.domain for node in plain.graph.node} == {""}
    image = next(iter(parity_images(model.spec, size=(97, 131))))
    np.testing.assert_array_equal(run(plain, image=image)[0], run(model.proto, image=image)[0])


def between(*nodes, width, weights=None, opset=18, out=(1, 1, 1, None)):
    """Convolutions by one, `image` -> `a` and `b` -> `out`, and `nodes` between them."""
    one = np.ones((1, 1, 1, 1), np.float32)
    return net_of(
        helper.make_node("Conv", ["image", "one"], ["a"]),
        *nodes,
        helper.make_node("Conv", ["b", "one"], ["out"]),
        inputs=[("image", FLOAT, [1, 1, 1, width])],
        outputs=[("out", FLOAT, out)],
        weights={"one": one, **(weights or {})},
        opset=opset,
    )


ATTRIBUTE_TYPED = {
    "ConstantOfShape": ["size", {"value": helper.make_tensor("", FLOAT, [1], [2.0])}],
    "EyeLike": ["plane", {"dtype": FLOAT}],
    "RandomNormalLike": ["plane", {"dtype": FLOAT}],
    "RandomUniformLike": ["plane", {}],
    "Bernoulli": ["zeros", {"dtype": FLOAT}],
}


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("op", ATTRIBUTE_TYPED)
def test_what_an_attribute_types_stays(op, precision):
    source, attributes = ATTRIBUTE_TYPED[op]
    model = between(
        helper.make_node("Squeeze", ["a", "axes"], ["plane"]),
        helper.make_node("Mul", ["plane", "zero"], ["zeros"]),
        helper.make_node("Shape", ["plane"], ["size"]),
        helper.make_node(op, [source], ["made"], **attributes),
        helper.make_node("Add", ["plane", "made"], ["sum"]),
        helper.make_node("Unsqueeze", ["sum", "axes"], ["b"]),
        width=7,
        weights={"axes": np.array([0, 1]), "zero": np.zeros(1, np.float32)},
    )
    typed = with_precision(model, precision)
    onnx.checker.check_model(typed, full_check=True)
    assert FLOAT not in consumed_types(typed)["Conv"] | consumed_types(typed)["Add"]
    if precision == "fp16":
        assert run(typed, image=np.ones((1, 1, 1, 7), np.float32))[0].shape == (1, 1, 1, 7)


def test_a_result_that_is_not_valid_is_refused():
    """The pass does not retype what a sequence holds: it names the node, and with the one before kept it works."""
    model = between(
        helper.make_node("Abs", ["a"], ["abs"]),
        helper.make_node("SequenceConstruct", ["abs", "a"], ["list"], name="pack"),
        helper.make_node("SequenceAt", ["list", "first"], ["b"], name="take"),
        width=3,
        weights={"first": np.array(0)},
    )
    model.graph.value_info.append(helper.make_tensor_value_info("b", FLOAT, [1, 1, 1, 3]))
    with pytest.raises(DeployError, match="in fp16 the graph is not valid") as caught:
        with_precision(model, "fp16")
    assert "take" in caught.value.received and caught.value.mend == "--precision fp32, or --keep-fp32 NODE"
    image = np.array([[[[1, -2, 3]]]], np.float32)
    kept = with_precision(model, "fp16", keep_fp32=["pack"])
    np.testing.assert_array_equal(run(kept, image=image)[0], np.abs(image))


def test_a_value_of_unknown_type_is_refused():
    model = between(helper.make_node("Warp", ["a"], ["b"], domain="elsewhere"), width=3)
    model.graph.node[-1].name = "last"
    model.opset_import.append(helper.make_opsetid("elsewhere", 1))
    with pytest.raises(DeployError, match=r"last \(Conv\) reads b, whose type is not known"):
        with_precision(model, "fp16")
    model.graph.value_info.append(helper.make_tensor_value_info("b", FLOAT, [1, 1, 1, 3]))
    assert expected_types(with_precision(model, "fp16")) == {"fp16": 2}
    assert expected_types(with_precision(model, "fp16", keep_fp32=["last"])) == {"fp16": 1, "fp32": 1}


def test_scales_computed_from_sizes_stay():
    """5001 is no float16: the map would be 5000 wide."""
    model = between(
        helper.make_node("Relu", ["a"], ["map"]),
        helper.make_node("Slice", ["map", "zero", "one_", "last"], ["point"]),
        helper.make_node("Shape", ["map"], ["large"]),
        helper.make_node("Shape", ["point"], ["small"]),
        helper.make_node("Cast", ["large"], ["large_f"], to=FLOAT),
        helper.make_node("Cast", ["small"], ["small_f"], to=FLOAT),
        helper.make_node("Div", ["large_f", "small_f"], ["scales"]),
        helper.make_node("Resize", ["point", "", "scales"], ["b"], mode="nearest"),
        width=None,
        weights={"zero": np.array([0]), "one_": np.array([1]), "last": np.array([3])},
    )
    typed = with_precision(model, "fp16")
    found = consumed_types(typed)
    assert run(typed, image=np.ones((1, 1, 1, 5001), np.float32))[0].shape == (1, 1, 1, 5001)
    assert set(found["Div"]) == {FLOAT} and set(found["Resize"]) == set(found["Shape"]) == {HALF}


DECIDED = {
    "scales": [
        helper.make_node("Concat", ["ones", "sized"], ["scales"], axis=0),
        helper.make_node("Resize", ["a", "", "scales"], ["b"], mode="nearest"),
    ],
    "range": [
        helper.make_node("Squeeze", ["sized"], ["limit"]),
        helper.make_node("Range", ["zero", "limit", "unit"], ["steps"]),
        helper.make_node("Unsqueeze", ["steps", "axes"], ["b"]),
    ],
    "integer": [
        helper.make_node("Cast", ["sized"], ["count"], to=TensorProto.INT64),
        helper.make_node("Concat", ["ones_i", "count"], ["size"], axis=0),
        helper.make_node("Expand", ["a", "size"], ["b"]),
    ],
}


@pytest.mark.parametrize("reader", DECIDED)
def test_numbers_of_a_map_that_end_in_a_size_stay(reader):
    """1001 * 5 = 5005 is 5004 in float16."""
    model = between(
        helper.make_node("Reshape", ["a", "flat"], ["number"]),
        helper.make_node("Mul", ["number", "five"], ["sized"]),
        *DECIDED[reader],
        width=1,
        weights={
            "flat": np.array([1]), "five": np.array([5], np.float32), "ones": np.ones(3, np.float32),
            "ones_i": np.ones(3, np.int64), "zero": np.array(0, np.float32), "unit": np.array(1, np.float32),
            "axes": np.array([0, 1, 2]),
        },
    )  # fmt: skip
    typed = with_precision(model, "fp16")
    assert run(typed, image=np.full((1, 1, 1, 1), 1001, np.float32))[0].shape == (1, 1, 1, 5005)
    assert set(consumed_types(typed)["Mul"]) == {FLOAT} and set(consumed_types(typed)["Conv"]) == {HALF}


def test_a_region_to_resize_stays():
    """From 1001 of 4004 pixels on; the product 0.1 * 2.5 is not what float16 would make of it."""
    model = between(
        helper.make_node("Slice", ["a", "zero", "eight", "last"], ["few"]),
        helper.make_node("Reshape", ["few", "flat"], ["numbers"]),
        helper.make_node("Mul", ["numbers", "factor"], ["roi"]),
        helper.make_node(
            "Resize", ["a", "roi", "", "size"], ["b"],
            coordinate_transformation_mode="tf_crop_and_resize", mode="linear",
        ),
        width=4004,
        weights={
            "zero": np.array([0]), "eight": np.array([8]), "last": np.array([3]), "flat": np.array([8]),
            "factor": np.array([0, 0, 0, 0.2501, 1, 1, 1, 0.7503], np.float32), "size": np.array([1, 1, 1, 3]),
        },
    )  # fmt: skip
    image = np.ones((1, 1, 1, 4004), np.float32)
    image[..., 8:] = np.arange(8, 4004) % 512
    typed = with_precision(model, "fp16")
    found = consumed_types(typed)
    np.testing.assert_allclose(run(typed, image=image)[0], run(model, image=image)[0], atol=0.3)
    assert set(found["Mul"]) == {FLOAT} and set(found["Resize"]) == {HALF}


def test_the_opset_of_the_model_tells_what_an_operator_takes():
    """IsInf reads float16 from opset 20 on."""
    nodes = (
        helper.make_node("IsInf", ["a"], ["infinite"]),
        helper.make_node("Where", ["infinite", "zero", "a"], ["b"]),
    )
    for opset, kind in ((18, FLOAT), (20, HALF)):
        model = between(*nodes, width=3, weights={"zero": np.zeros(1, np.float32)}, opset=opset)
        typed = with_precision(model, "fp16")
        onnx.checker.check_model(typed, full_check=True)
        assert set(consumed_types(typed)["IsInf"]) == {kind}
        assert set(consumed_types(typed)["Conv"]) == {HALF}


def test_a_product_with_a_weight_is_a_layer_and_one_of_two_maps_is_not():
    model = net_of(
        helper.make_node("Conv", ["image", "one"], ["a"]),
        helper.make_node("Transpose", ["w"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["a", "w"], ["b"], name="first"),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("MatMul", ["c", "turned"], ["d"], name="second"),
        helper.make_node("MatMul", ["d", "d"], ["out"], name="maps"),
        inputs=[("image", FLOAT, [1, 1, 3, 3])],
        outputs=[("out", FLOAT, [1, 1, 3, 3])],
        weights={"one": np.ones((1, 1, 1, 1), np.float32), "w": np.eye(3, dtype=np.float32)},
    )
    found = consumed_types(with_precision(model, "fp16"))
    assert found["MatMul"] == {HALF: 2, FLOAT: 1} and set(found["Relu"]) == {HALF}


def test_a_product_with_a_constant_does_not_lower_coordinates():
    """A grid by an affine matrix, as torch's affine_grid writes it, right before the sampling."""
    model = between(
        helper.make_node("Reshape", ["a", "rows"], ["grid"]),
        helper.make_node("MatMul", ["grid", "affine"], ["moved"]),
        helper.make_node("Unsqueeze", ["moved", "first"], ["at"]),
        helper.make_node("GridSample", ["a", "at"], ["b"], align_corners=1),
        width=6,
        weights={
            "rows": np.array([1, 3, 2]), "affine": np.eye(2, dtype=np.float32), "first": np.array([0]),
        },
    )  # fmt: skip
    found = consumed_types(with_precision(model, "fp16"))
    assert set(found["MatMul"]) == set(found["GridSample"]) == {FLOAT} and set(found["Conv"]) == {HALF}


NORMALISING = {
    "InstanceNormalization": (["a", "s", "s"], {}, 18),
    "LayerNormalization": (["a", "s", "s"], {}, 18),
    "GroupNormalization": (["a", "s", "s"], {"num_groups": 1}, 21),
    "RMSNormalization": (["a", "s"], {}, 23),
    "LpNormalization": (["a"], {}, 18),
    "MeanVarianceNormalization": (["a"], {"axes": [2, 3]}, 18),
    "ReduceSumSquare": (["a"], {}, 18),
    "ReduceLogSum": (["a"], {}, 18),
    "ReduceLogSumExp": (["a"], {}, 18),
}


@pytest.mark.parametrize("op", NORMALISING)
def test_sums_over_a_map_stay(op):
    inputs, attributes, opset = NORMALISING[op]
    node = helper.make_node(op, inputs, ["b"], **attributes)
    model = between(node, width=5, weights={"s": np.ones(1, np.float32)}, opset=opset)
    found = consumed_types(with_precision(model, "fp16"))
    assert set(found[op]) == {FLOAT} and set(found["Conv"]) == {HALF}


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_infinite_weights_stay_infinite_and_finite_ones_finite(precision):
    least = float(np.finfo(np.float32).min)
    masks = np.array([-np.inf, np.inf, least, -1.0], np.float32)
    model = between(
        helper.make_node("Max", ["a", "mask"], ["b"]),
        width=4,
        weights={"mask": masks},
        out=(1, 1, 1, 4),
    )
    weights = {tensor.name: tensor for tensor in with_precision(model, precision).graph.initializer}
    (name,) = (name for name in weights if name.startswith("mask"))
    values = numpy_helper.to_array(weights[name]).astype(np.float32)
    bound = {"fp16": -65504.0, "bf16": -(2.0**128 - 2.0**120)}[precision]
    np.testing.assert_array_equal(values, [-np.inf, np.inf, bound, -1.0])


@pytest.mark.parametrize("arch", ["hcpspnet_resnet18", "hcdorn", "ssn"])
def test_expected_types_are_those_of_the_graph(export_small, arch):
    _, model = small(export_small, arch)
    layers = {"Conv", "ConvTranspose", "DeformConv", "HCUpsample", "HCArgmax", "HCAssign", "HCDecode"}
    names = {FLOAT: "fp32", HALF: "fp16", TensorProto.BFLOAT16: "bf16"}
    for precision, keep in (("fp32", []), ("fp16", []), ("bf16", []), ("fp16", ["HCUpsample", "HCArgmax"])):
        known = {node.op_type for node in model.proto.graph.node}
        typed = with_precision(model.proto, precision, keep_fp32=known & set(keep))
        found = consumed_types(typed)
        truth = sum((found[op] for op in layers & set(found)), Counter())
        assert expected_types(typed) == {names[kind]: count for kind, count in truth.items()}
        bare = as_plugin_nodes(typed)
        del bare.graph.value_info[:]
        assert expected_types(bare) == expected_types(typed)


def test_expected_types_refuse_what_they_do_not_know():
    model = between(helper.make_node("Relu", ["a"], ["b"]), width=3)
    assert expected_types(model) == {"fp32": 2}
    model.graph.node[1].domain = "elsewhere"
    model.opset_import.append(helper.make_opsetid("elsewhere", 1))
    with pytest.raises(DeployError, match="reads undefined"):
        expected_types(model)

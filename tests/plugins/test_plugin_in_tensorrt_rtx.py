"""Exported models through the real ONNX parser and builder of TensorRT-RTX with the compiled plugin, on a CPU.

What that shows: our nodes become plugin layers with the right output shapes, an engine is built of them, and what must
be refused is, with a message in TensorRT's log. What it does not: a kernel of the engine running (no GPU).
"""

import json
import subprocess
import sys

import pytest
from onnx import TensorProto, helper

from hc_deploy.export.onnx import export_onnx
from hc_deploy.graph.functions import (
    add_function_bodies,
    as_plugin_nodes,
    as_standard_operators,
    register_schemas,
    single_op_model,
)
from hc_deploy.graph.onnx_op import DOMAIN, PLUGIN_ATTRIBUTES
from hc_deploy.graph.precision import with_precision
from hc_deploy.spec import ModelSpec
from models.load import new_network
from tests.plugins.built import ROOT

TYPES = {"fp32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
OPTIONS = {"tau": 0.25, "similarity": "dot", "border": "exclude", "assignment": "hard"}
DEFAULTS = {"tau": 0.07, "similarity": "cosine", "border": "zero", "assignment": "soft"}

FINE, COARSE = (2, 13, 11, 37), (2, 13, 6, 19)
LOW, WEIGHTS = (2, 19, 6, 19), (2, 9, 11, 37)
OPS = {  # (inputs, output, attributes)
    "HCAssign": ({"features": FINE, "seeds": COARSE}, (2, 9, 11, 37), DEFAULTS),
    "HCDecode": ({"coarse": LOW, "assignment": WEIGHTS}, (2, 19, 11, 37), {}),
    "HCUpsample": ({"coarse": LOW, "features": FINE, "seeds": COARSE}, (2, 19, 11, 37), OPTIONS),
    "HCArgmax": ({"logits": LOW, "like": (2, 3, 41, 97)}, (2, 41, 97), {}),
}


def named(shape):
    """(2, 13, 11, 37) -> batch, 13 and two names: dynamic but for the channels."""
    return tuple(size if axis == 1 and len(shape) == 4 else f"d{axis}_{size}" for axis, size in enumerate(shape))


def profile_of(inputs):
    """Sizes at build: odd and even, the coarse ones always half of the fine ones, rounded up."""

    def sized(shape, batch, height, width):
        if shape[2:] in ((6, 19), (41, 97)):
            height, width = (height + 1) // 2, (width + 1) // 2
        return (batch, shape[1], height, width)

    return {
        name: [sized(shape, *sizes) for sizes in ((1, 3, 4), (2, 11, 37), (4, 31, 100))]
        for name, shape in inputs.items()
    }


def op_case(op, dtype, dynamic):
    inputs, output, attributes = OPS[op]
    shape = named if dynamic else tuple
    out = TensorProto.INT32 if op == "HCArgmax" else TYPES[dtype]
    model = single_op_model(
        op, [(name, TYPES[dtype], shape(size)) for name, size in inputs.items()], (out, shape(output)), attributes
    )
    expected = [-1 if isinstance(size, str) else size for size in shape(output)]
    if dynamic and len(expected) == 4:
        expected[1] = output[1]
    return model, profile_of(inputs) if dynamic else None, expected


def network_case(arch, precision, dynamic):
    key = arch, dynamic
    if key not in exported:
        net, spec = new_network(arch, {"width": 4})
        sizes = {} if dynamic else {"batch": 1, "height": 65, "width": 97}
        fields = {"batch": None, "height": None, "width": None, **sizes}
        exported[key] = export_onnx(net, ModelSpec(**{**vars(spec), **fields})).proto
    return with_precision(exported[key], precision), {
        "image": [(1, 33, 33, 3), (2, 65, 97, 3), (4, 128, 256, 3)]
    } if dynamic else None


exported = {}
NETWORKS = [
    ("hcfcn32_resnet18", "fp32", False), ("hcfcn32_resnet18", "fp16", False),
    ("hcpspnet_resnet18", "fp32", True), ("hcpspnet_resnet18", "fp16", True),
]  # fmt: skip
CASES = [(op, dtype, dynamic) for op in OPS for dtype in TYPES for dynamic in (False, True)]


def two_variants():
    """A soft and a hard HCAssign in one model, as the exporter writes it."""
    register_schemas()
    nodes = [
        helper.make_node("HCAssign", ["features", "seeds"], [out], name=f"node_{out}", domain=DOMAIN, **options,
                         **PLUGIN_ATTRIBUTES)
        for out, options in (("soft", DEFAULTS), ("hard", OPTIONS))
    ]  # fmt: skip
    shapes = [("features", FINE), ("seeds", COARSE)]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes]
    outputs = [helper.make_tensor_value_info(out, TensorProto.FLOAT, WEIGHTS) for out in ("soft", "hard")]
    graph = helper.make_graph(nodes, "two", inputs, outputs)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    add_function_bodies(model)
    return model


def raw(op, inputs, attributes, *, out=TensorProto.FLOAT):
    """A model of one node that nothing has checked, without a body. inputs: name -> (type, shape)."""
    given = {**attributes, **PLUGIN_ATTRIBUTES}
    node = helper.make_node(op, list(inputs), ["out"], name="the_node", domain=DOMAIN, **given)
    values = [helper.make_tensor_value_info(name, *value) for name, value in inputs.items()]
    graph = helper.make_graph([node], op, values, [helper.make_tensor_value_info("out", out, None)])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, 1)])


F32, F16, I32 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT32


def assign(**attributes):
    return raw("HCAssign", {"features": (F32, FINE), "seeds": (F32, COARSE)}, {**DEFAULTS, **attributes})


OURS = 'ERROR: hc_deploy: HCAssign "the_node": '
REFUSED = {
    "negative tau": (assign(tau=-0.07), OURS + "tau is -0.07, expected a number from 3e-33 to 3e+38"),
    "tau of zero": (assign(tau=0.0), OURS + "tau is 0, expected"),
    "tau as text": (assign(tau="0.07"), "tau"),
    "similarity": (assign(similarity="euclid"), OURS + 'similarity is "euclid" (6 characters), expected cosine or dot'),
    "border": (assign(border="Zero"), OURS + 'border is "Zero" (4 characters), expected zero or exclude'),
    "assignment": (assign(assignment=""), OURS + 'assignment is "" (0 characters), expected soft or hard'),
    "coarse size": (
        raw("HCAssign", {"features": (F32, FINE), "seeds": (F32, (2, 13, 5, 19))}, DEFAULTS),
        OURS + "seeds is [2,13,5,19], expected [2,13,6,19]",
    ),
    "coarse size of the dynamic": (
        raw("HCAssign", {"features": (F32, ("B", 13, 11, 37)), "seeds": (F32, ("B", 13, 6, 18))}, DEFAULTS),
        OURS + "seeds is [?,13,6,18], expected [?,13,6,19]",
    ),
    "rank": (
        raw("HCAssign", {"features": (F32, (13, 11, 37)), "seeds": (F32, COARSE)}, DEFAULTS),
        OURS + "features is [13,11,37], expected 4 sizes",
    ),
    "inputs": (raw("HCAssign", {"features": (F32, FINE)}, DEFAULTS), OURS + "1 inputs and 1 outputs, expected 2 and 1"),
    "channels": (
        raw("HCDecode", {"coarse": (F32, LOW), "assignment": (F32, (2, 8, 11, 37))}, {}),
        "assignment is [2,8,11,37], expected [?,9,?,?]",
    ),
    "batch": (
        raw("HCArgmax", {"logits": (F32, LOW), "like": (F32, (3, 3, 41, 97))}, {}, out=I32),
        "logits is [2,19,6,19], expected [3,?,?,?]",
    ),
    "mixed types": (
        raw("HCAssign", {"features": (F16, FINE), "seeds": (F32, COARSE)}, DEFAULTS, out=F16),
        "Failed to find any supported plugin/custom tactic format",
    ),
    "whole numbers": (
        raw("HCDecode", {"coarse": (I32, LOW), "assignment": (I32, WEIGHTS)}, {}, out=I32),
        "Failed to find any supported plugin/custom tactic format",
    ),
}  # fmt: skip


def built(models, library, folder):
    """Results of a process that builds all of `models` (name -> (model, profile)) with TensorRT-RTX."""
    request = []
    for index, (model, profile) in enumerate(models.values()):
        path = folder / f"{index}.onnx"
        path.write_bytes(model.SerializeToString())
        request.append({"path": str(path), "profile": profile, "build": True})
    result = subprocess.run(
        [sys.executable, "-m", "tests.plugins.rtx_builds"],
        input=json.dumps({"library": library and str(library), "models": request}),
        capture_output=True, text=True, cwd=ROOT, timeout=300,
    )  # fmt: skip
    assert result.returncode == 0, f"{result.returncode}: {result.stdout[-2000:]}\n{result.stderr[-2000:]}"
    return dict(zip(models, map(json.loads, result.stdout.splitlines()), strict=True))


@pytest.fixture(scope="module")
def with_plugin(plugins_library, tmp_path_factory):
    models = {case: op_case(*case)[:2] for case in CASES}
    models |= {case: network_case(*case) for case in NETWORKS}
    models |= {name: (model, None) for name, (model, _) in REFUSED.items()}
    model, profile, _ = op_case("HCAssign", "fp32", True)
    profile["seeds"][1] = (2, 13, 7, 19)
    models["profile"] = model, profile
    models["variants"] = two_variants(), None
    models["variants as plugins"] = as_plugin_nodes(two_variants()), None
    return built(models, plugins_library, tmp_path_factory.mktemp("rtx"))


@pytest.fixture(scope="module")
def without_plugin(plugins_library, tmp_path_factory):
    models = {case: op_case(*case)[:2] for case in CASES if case[1] == "fp16"}
    models |= {case: network_case(*case) for case in NETWORKS if not case[2]}
    models["variants"] = two_variants(), None
    models["written out"] = as_standard_operators(two_variants()), None
    return built(models, None, tmp_path_factory.mktemp("rtx_plain"))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_one_op(case, with_plugin):
    result = with_plugin[case]
    _, _, shape = op_case(*case)
    assert result["parsed"], result["messages"]
    assert result["plugins"] == [[case[0], "1", "hc_deploy", shape]] and result["layers"] == 1
    assert result["bytes"] > 1000, result["messages"]
    assert [line for line in result["messages"] if line.startswith("ERROR")] == []


@pytest.mark.parametrize("case", NETWORKS, ids=str)
def test_network(case, with_plugin):
    """Level 2: two HCUpsample of 19 classes from an eighth of an eighth of the image, then the labels."""
    result = with_plugin[case]
    assert result["parsed"], result["messages"]
    names = [node.op_type for node in exported[case[0], case[2]].graph.node if node.domain == DOMAIN]
    assert [plugin[0] for plugin in result["plugins"]] == names == ["HCUpsample", "HCUpsample", "HCArgmax"]
    shapes = [plugin[3] for plugin in result["plugins"]]
    if case[2]:
        assert shapes == [[-1, 19, -1, -1], [-1, 19, -1, -1], [-1, -1, -1]]
    else:
        assert shapes == [[1, 19, 5, 7], [1, 19, 9, 13], [1, 65, 97]]
    assert result["bytes"] > 100_000, result["messages"]


def test_same_files_without_the_plugin_take_the_bodies(without_plugin, with_plugin):
    """Not among them: the dynamic HCPSPNet, whose bodies RTX 1.7.1 parses and its compiler then fails on."""
    for case, result in without_plugin.items():
        if isinstance(case, str):
            continue
        assert result["parsed"], (case, result["messages"])
        assert result["plugins"] == [], case
        assert result["layers"] > with_plugin[case]["layers"] + 10, case
        assert result["bytes"] > 0, (case, result["messages"])


def test_variants_of_an_op(without_plugin, with_plugin):
    """Each has a function of its own name, so that each gets its own body; as plugin nodes both are plugins."""
    assert [plugin[0] for plugin in with_plugin["variants as plugins"]["plugins"]] == ["HCAssign", "HCAssign"]
    assert [plugin[0] for plugin in with_plugin["variants"]["plugins"]] == ["HCAssign"]
    alone, written_out = without_plugin["variants"], without_plugin["written out"]
    assert alone["parsed"] and alone["bytes"] > 0 and alone["layers"] == written_out["layers"]


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, with_plugin):
    result = with_plugin[name]
    assert result["bytes"] == 0
    message = REFUSED[name][1]
    assert [line for line in result["messages"] if message in line], result["messages"]


def test_profile_of_impossible_sizes_is_refused(with_plugin):
    """The likely sizes of a dynamic model must fit one another; they are what TensorRT times the kernels at."""
    result = with_plugin["profile"]
    assert result["parsed"] and result["bytes"] == 0
    assert [line for line in result["messages"] if "seeds is [2,13,7,19], expected [2,13,6,19]" in line]

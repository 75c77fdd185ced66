"""Kernels from Python into TensorRT: the real plugin layer and registry of 10 and 11, asked as the builder asks.

What comes out - kernel name, PTX, launch geometry, integer arguments - is checked against the kernels' source and the
launchers, and run on the CPU: the kernel of that name, with exactly that launch. Not covered here, since it takes a GPU
or the full TensorRT: reading the ONNX node, timing, loading the PTX, launching.
"""

import base64
import ctypes
import itertools
import json
import re
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from hc_deploy.engine import quick_ops, quick_plugins
from hc_deploy.engine.kernel_source import FIXED_K, kernel_folder
from hc_deploy.errors import MissingDependencyError
from hc_deploy.graph import onnx_op
from hc_deploy.graph.bodies import ONNX_OPS
from hc_deploy.ops import ClusterOptions, argmax, assign, decode, upsample
from tests import needs
from tests.engine import tensorrt_stub
from tests.plugins import bounds
from tests.plugins.cluster import OPTIONS, TAU, maps
from tests.plugins.emulated import NAMES, kernels, numbers_of

TRT_TYPES = {torch.float32: "FLOAT", torch.float16: "HALF", torch.bfloat16: "BF16"}
DTYPES = list(TRT_TYPES)
BOTH = [10, 11]
ALL_AXES = 0b1111
SIZES = [(2, (11, 71)), (1, (1, 1)), (3, (8, 65))]
needs_headers = pytest.mark.skipif(
    not (tensorrt_stub.HEADERS / "NvInfer.h").exists(),
    reason=needs.TENSORRT_HEADERS,
)


class Planner:
    """A process of `quick_planner`: what is asked of it, and what TensorRT logged meanwhile."""

    def __init__(self, major, folder):
        self.folder = tempfile.TemporaryDirectory()
        self.log = Path(self.folder.name) / "log"
        command = [sys.executable, "-m", "tests.engine.quick_planner", str(major), str(folder)]
        root = Path(quick_plugins.__file__).parents[2]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, encoding="utf-8", cwd=root
            )

    def __call__(self, do, **request):
        before = len(self.log.read_text(encoding="utf-8"))
        self.process.stdin.write(json.dumps({"do": do, **request}) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        self.logged = self.log.read_text(encoding="utf-8")[before:]
        assert answer, f"the planner died: {self.logged}"
        return json.loads(answer)

    def plan(self, op, dtypes, sizes, fields=(), dynamic=0):
        answer = self("plan", op=op, types=[TRT_TYPES[dtype] for dtype in dtypes], sizes=sizes, fields=fields,
                      dynamic=dynamic)  # fmt: skip
        return answer["value"]

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()
        self.folder.cleanup()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("tensorrt")
    tensorrt_stub.build(place)
    return place


@pytest.fixture(scope="module", params=BOTH)
def planner(request, folder):
    process = Planner(request.param, folder)
    assert process("register") == {"value": None}
    yield process
    process.close()


def fields_of(options):
    return [
        ("tau", "FLOAT32", options.tau),
        ("similarity", "CHAR", options.similarity),
        ("border", "CHAR", options.border),
        ("assignment", "CHAR", options.assignment),
    ]


def launched(plan, moment, inputs, dtype):
    """The planned kernel on the CPU, launched as planned."""
    *geometry, shared_memory = plan["launch"][moment]
    assert shared_memory == 0
    output = (plan["output"][moment], dtype)
    return kernels().launch(plan["kernel"], geometry[:3], geometry[3:], inputs, plan["extra"][moment], output)


def check_ptx(plan, dtype, inputs):
    """One kernel, of that name, whose parameters are what TensorRT will push: pointers, 32-bit integers, a pointer."""
    ptx = base64.b64decode(plan["ptx"]).decode()
    assert re.findall(r"\.visible \.entry (\w+)\(", ptx) == [plan["kernel"]]
    parameters = re.findall(r"\.param \.(\w+) " + plan["kernel"] + r"_param_\d+", ptx.split(".maxntid")[0])
    assert parameters == ["u64"] * inputs + ["u32"] * len(plan["extra"][0]) + ["u64"]
    assert re.search(r"^\.target sm_(\d+)$", ptx, re.M)[1] == ("80" if dtype == torch.bfloat16 else "75")
    threads = int(re.search(r"\.maxntid (\d+), 1, 1", ptx)[1])
    assert all(launch[3:6] == [threads, 1, 1] for launch in plan["launch"])


@needs_headers
def test_registered_as_in_the_cpp_library(planner):
    attributes = {"tau": "FLOAT32", "similarity": "CHAR", "border": "CHAR", "assignment": "CHAR"}
    expected = {op.name: {"version": "1", "fields": attributes if op.attributes else {}} for op in ONNX_OPS}
    assert planner("creators")["value"] == expected
    assert planner("register") == {"value": None}  # again: nothing happens
    assert planner("creators")["value"] == expected


def test_names_are_those_of_the_onnx_nodes():
    names = {"plugin_namespace": quick_plugins.NAMESPACE, "plugin_version": quick_plugins.VERSION}
    assert names == onnx_op.PLUGIN_ATTRIBUTES
    for op, quick in zip(ONNX_OPS, quick_ops.OPS, strict=True):
        assert op.name == quick.name
        assert tuple(name for name, _ in op.inputs) == quick.inputs
        assert bool(op.attributes) == quick.clustered


@needs_headers
@pytest.mark.parametrize("channels", [13, FIXED_K])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_assign_and_upsample(planner, dtype, channels):
    """Batch, H and W known at run time only, K while building."""
    options = ClusterOptions(TAU)
    inputs = [maps(size, batch=batch, channels=channels, dtype=dtype, seed=batch) for batch, size in SIZES]
    plans = {
        name: planner.plan(name, [dtype] * len(order), [[list(moment[i].shape) for i in order] for moment in inputs],
                           fields_of(options), 0b1101)
        for name, order in (("HCAssign", (0, 1)), ("HCUpsample", (2, 0, 1)))
    }  # fmt: skip
    for name, plan in plans.items():
        kernel = f"hc_{name[2:].lower()}_{NAMES[dtype]}"
        assert plan["kernel"] == (f"{kernel}_k64" if channels == FIXED_K else kernel)
        assert plan["output_type"] == TRT_TYPES[dtype]
        check_ptx(plan, dtype, 2 if name == "HCAssign" else 3)
    for moment, (features, seeds, coarse) in enumerate(inputs):
        relative = bounds.relative_weight(features, seeds, options)
        truth = assign.reference(features.double(), seeds.double(), options)
        result = launched(plans["HCAssign"], moment, (features, seeds), dtype)
        bounds.check(result, truth, truth * relative + bounds.rounding(truth, dtype))
        result = launched(plans["HCUpsample"], moment, (coarse, features, seeds), dtype)
        whole = upsample.reference(coarse.double(), features.double(), seeds.double(), options)
        bounds.check(result, whole, bounds.decoded(coarse, truth, relative))


@needs_headers
@pytest.mark.parametrize("dynamic", [0, ALL_AXES])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_decode(planner, dtype, dynamic):
    sizes = SIZES if dynamic else SIZES[:1]
    inputs = []
    for batch, size in sizes:
        _, _, coarse = maps(size, batch=batch, channels=1, classes=7, dtype=dtype, seed=batch)
        weights = torch.rand(batch, 9, *size, generator=torch.Generator().manual_seed(1)).to(dtype)
        inputs.append((coarse, weights))
    shapes = [[list(tensor.shape) for tensor in moment] for moment in inputs]
    plan = planner.plan("HCDecode", [dtype] * 2, shapes, dynamic=dynamic)
    check_ptx(plan, dtype, 2)
    for moment, (coarse, weights) in enumerate(inputs):
        truth = decode.reference(coarse.double(), weights.double())
        result = launched(plan, moment, (coarse, weights), dtype)
        bounds.check(result, truth, bounds.decoded(coarse, weights))


@needs_headers
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_argmax(planner, dtype):
    """`like` is of another type than the logits: its shape alone is read."""
    like_type = torch.float16 if dtype == torch.float32 else torch.float32
    generator = torch.Generator().manual_seed(2)
    cases = [((2, 5, 7, 11), (13, 31)), ((1, 3, 1, 1), (17, 129)), ((2, 4, 9, 20), (5, 7))]
    inputs = [(torch.randn(shape, generator=generator).to(dtype), torch.zeros(shape[0], 3, *size).to(like_type))
              for shape, size in cases]  # fmt: skip
    shapes = [[list(tensor.shape) for tensor in moment] for moment in inputs]
    plan = planner.plan("HCArgmax", [dtype, like_type], shapes, dynamic=ALL_AXES)
    check_ptx(plan, dtype, 2)
    assert plan["output_type"] == "INT32"
    assert all(len(shape) == 3 for shape in plan["output"])
    for moment, (logits, like) in enumerate(inputs):
        size = tuple(like.shape[2:])
        enlarged = torch.nn.functional.interpolate(logits.double(), size=size, mode="bilinear")
        two = enlarged.topk(2, dim=1).values
        clear = two[:, 0] - two[:, 1] > 1e-4
        assert clear.double().mean() > 0.9
        labels = launched(plan, moment, (logits, like), torch.int32)
        assert torch.equal(labels[clear], argmax.reference(logits.double(), size)[clear])


@needs_headers
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join((*vars(options).values(),)[1:]))
def test_attributes_reach_the_kernel(planner, options):
    features, seeds, _ = maps((5, 9), seed=2)
    if options.assignment == "hard":  # no two candidates alike, none near another
        seeds *= 4
    shapes = [[list(features.shape), list(seeds.shape)]]
    plan = planner.plan("HCAssign", [torch.float32] * 2, shapes, fields_of(options))
    assert plan["extra"] == [[*features.shape, *numbers_of(options)]]
    truth = assign.reference(features.double(), seeds.double(), options)
    result = launched(plan, 0, (features, seeds), torch.float32)
    bounds.check(result, truth, truth * bounds.relative_weight(features, seeds, options) + 1e-6)


@needs_headers
def test_attributes_in_any_order_and_absent_ones(planner):
    """A parser passes what the node has, in an order of its own; a text may end in its terminator."""
    shapes = [[[1, 3, 5, 5], [1, 3, 3, 3]]]
    several = [("assignment", "CHAR", "hard\0"), ("tau", "FLOAT64", TAU), ("similarity", "CHAR", "dot")]
    plan = planner.plan("HCAssign", [torch.float32] * 2, shapes, several)
    expected = numbers_of(ClusterOptions(TAU, similarity="dot", assignment="hard"))
    assert plan["extra"] == [[1, 3, 5, 5, *expected]]
    bare = planner.plan("HCAssign", [torch.float32] * 2, shapes)
    # The default, 0.07, is no float32: its inverse is taken of the float32 next to it, as the launchers do.
    bits = int((np.float32(1) / np.float32(0.07)).view(np.int32))
    assert bare["extra"] == [[1, 3, 5, 5, bits, 0]]


GOOD = [[1, 3, 5, 5], [1, 3, 3, 3]]
REFUSED = {
    "negative tau": (GOOD, [("tau", "FLOAT32", -1.0)], "tau=-1.0: expected a positive finite number"),
    "tau is no number": (GOOD, [("tau", "FLOAT32", float("nan"))], "tau=nan: expected a positive finite number"),
    "tau too small": (GOOD, [("tau", "FLOAT32", 1e-36)], "expected a number from 3e-33 to 3e+38"),
    "similarity": (GOOD, [("similarity", "CHAR", "angle")], "similarity='angle': expected one of cosine, dot"),
    "border": (GOOD, [("border", "CHAR", "")], "border='': expected one of zero, exclude"),
    "assignment": (GOOD, [("assignment", "CHAR", "softly")], "assignment='softly': expected one of soft, hard"),
    "unknown attribute": (GOOD, [("temperature", "FLOAT32", 1.0)], "temperature"),
    "rank": ([[1, 3, 5], [1, 3, 3]], [], "HCAssign: features has 3 dimensions"),
    "channels": ([[1, 3, 5, 5], [1, 4, 3, 3]], [], "expected: features [1, 3, 5, 5], seeds [1, 3, 3, 3]"),
    "coarse size": ([[1, 3, 5, 5], [1, 3, 2, 2]], [], "a coarse map is ceil(H/2) x ceil(W/2)"),
}


@needs_headers
@pytest.mark.parametrize("dynamic", [0, ALL_AXES])
@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_a_message(planner, case, dynamic):
    shapes, fields, message = REFUSED[case]
    plan = planner.plan("HCAssign", [torch.float32] * 2, [shapes], fields, dynamic)
    assert plan["failed"] in ("creation", "output types", "launch")
    assert message in planner.logged


@needs_headers
@pytest.mark.parametrize(
    ("op", "shapes"),
    [
        ("HCDecode", [[1, 2, 3, 3], [1, 8, 5, 5]]),
        ("HCDecode", [[2, 2, 3, 3], [1, 9, 5, 5]]),
        ("HCUpsample", [[1, 2, 2, 3], [1, 3, 5, 5], [1, 3, 3, 3]]),
        ("HCArgmax", [[1, 2, 3, 3], [2, 3, 5, 5]]),
    ],
)
def test_sizes_that_do_not_fit_are_refused(planner, op, shapes):
    assert planner.plan(op, [torch.float32] * len(shapes), [shapes])["failed"] == "launch"
    assert f"{op}: " in planner.logged


@needs_headers
def test_one_type_for_all_tensors(planner):
    mixed = planner.plan("HCAssign", [torch.float32, torch.float16], [GOOD])
    assert mixed == {"failed": "supported types"}
    plan = planner.plan("HCAssign", [torch.float32] * 2, [GOOD])
    assert plan["combinations"] == [[name] * 3 for name in TRT_TYPES.values()]
    plan = planner.plan("HCArgmax", [torch.float32] * 2, [GOOD])
    pairs = itertools.product(TRT_TYPES.values(), repeat=2)
    assert sorted(plan["combinations"]) == sorted([*pair, "INT32"] for pair in pairs)


@needs_headers
@pytest.mark.parametrize(
    ("op", "shapes"),
    [("HCDecode", [[1, FIXED_K, 2, 3], [1, 9, 3, 5]]), ("HCArgmax", [[1, 5, 3, FIXED_K], [1, 3, 6, 128]])],
)
def test_kernels_without_an_embedding_have_no_fixed_one(planner, op, shapes):
    plan = planner.plan(op, [torch.float32] * 2, [shapes])
    assert plan["kernel"] == f"hc_{op[2:].lower()}_f32"


@pytest.fixture(scope="module")
def launchers(tmp_path_factory):
    """The functions of launch.cu that choose grids and judge options, compiled from its text."""
    source = (kernel_folder() / "launch.cu").read_text()
    constants = "".join((kernel_folder() / name).read_text() for name in ("cells.cuh", "argmax.cuh", "assign.cuh"))
    lines = [
        '#include "launch.h"',
        "struct dim3 { int x, y, z; dim3(int x, int y, int z) : x(x), y(y), z(z) {} };",
        "namespace hc {",
        *re.findall(r"^constexpr (?:int|float) k\w+ = [^()\n]*;(?= *(?://.*)?$)", constants, re.M),
        "}",
        *re.findall(r"^constexpr int kGridLimit = .*;$", source, re.M),
        *(re.search(rf"^\w+ {name}[\s\S]*?(?=\n\n)", source, re.M)[0]
          for name in (r"ceil_div\(", r"cluster_grid\(", r"label_grid\(", r"legal\(const hc_cluster_options")),
        'extern "C" bool judge(float tau) { return legal({tau, 0, 0, 0}); }',
        'extern "C" int cells(int B, int H, int W, int* at) { dim3 g = cluster_grid(B, H, W);'
        " at[0] = g.x; at[1] = g.y; at[2] = g.z; return hc::kThreads; }",
        'extern "C" int labels(int B, int H, int W, int* at) { dim3 g = label_grid(B, H, W);'
        " at[0] = g.x; at[1] = g.y; at[2] = g.z; return hc::kLabelThreads; }",
    ]  # fmt: skip
    place = tmp_path_factory.mktemp("launchers")
    (place / "grids.cpp").write_text("\n".join(lines))
    subprocess.run(["g++", "-shared", "-fPIC", f"-I{kernel_folder()}", "grids.cpp", "-o", "grids.so"],
                   cwd=place, check=True)  # fmt: skip
    library = ctypes.CDLL(str(place / "grids.so"))
    library.judge.restype, library.judge.argtypes = ctypes.c_bool, [ctypes.c_float]
    return library


@needs_headers
@pytest.mark.parametrize("op", quick_ops.OPS, ids=lambda op: op.name)
def test_geometry_is_that_of_the_launchers(planner, launchers, op):
    """At sizes around the tiles, and a batch over the grid's limit; nothing is run here."""
    moments = [(1, 1, 1), (2, 8, 64), (3, 9, 65), (5, 16, 128), (7, 17, 129), (65535, 1023, 2047), (70001, 2, 2)]
    sizes = []
    for batch, height, width in moments:
        fine, half = (height, width), ((height + 1) // 2, (width + 1) // 2)
        sides = {"features": (13, fine), "assignment": (9, fine), "like": (3, fine), "logits": (5, (3, 4)),
                 "seeds": (13, half), "coarse": (5, half)}  # fmt: skip
        sizes.append([[batch, sides[name][0], *sides[name][1]] for name in op.inputs])
    plan = planner.plan(op.name, [torch.float32] * len(op.inputs), sizes, dynamic=ALL_AXES)
    function = launchers.labels if op.kernel == "argmax" else launchers.cells
    for moment, launch in zip(moments, plan["launch"], strict=True):
        grid = (ctypes.c_int * 3)()
        threads = function(*moment, grid)
        assert launch == [*grid, threads, 1, 1, 0]


@pytest.mark.parametrize("tau", [1e-45, 1e-36, 2.9e-33, 3.1e-33, 1e-30, 0.07, 1.0, 1e38, 2.9e38, 3.1e38])
def test_tau_is_legal_where_the_launchers_take_it(launchers, tau):
    try:
        quick_ops.cluster_options({"tau": np.array([tau], np.float32)})
        taken = True
    except ValueError:
        taken = False
    assert taken == launchers.judge(tau)


@pytest.mark.parametrize("tau", [[], [0.1, 0.2]])
def test_tau_is_one_number(tau):
    with pytest.raises(ValueError, match="expected one number"):
        quick_ops.cluster_options({"tau": np.array(tau, np.float32)})


@needs_headers
@pytest.mark.parametrize("major", BOTH)
def test_one_road_a_process(folder, major):
    """Creators as a C++ library has them are in the registry: this road says so and adds nothing."""
    process = Planner(major, folder)
    process("register_foreign", name="HCDecode")
    before = process("creators")["value"]
    answer = process("register")
    assert answer["error"] == "DeployError"
    assert "HCDecode of a C++ plugin library are registered in this process already" in answer["message"]
    assert process("creators")["value"] == before == {"HCDecode": {"version": "1", "fields": {}}}
    process.close()


@pytest.mark.parametrize("version", ["8.6.1", "10.0.1", "10.8.0.43"])
def test_older_tensorrt_is_refused(version):
    with pytest.raises(MissingDependencyError, match=rf"TensorRT {version} takes no kernels(.|\n)*10\.9 or newer"):
        quick_plugins.register(types.SimpleNamespace(__name__="tensorrt", __version__=version))


def test_tensorrt_rtx_is_refused():
    rtx = types.SimpleNamespace(__name__="tensorrt_rtx", __version__="1.7.1.116")
    with pytest.raises(MissingDependencyError, match=r"plugins of a C\+\+ library only(.|\n)*make plugin"):
        quick_plugins.register(rtx)


def test_flags_are_those_of_the_kernels():
    text = (kernel_folder() / "assign.cuh").read_text()
    named = re.search(r"kDot = (\d+), kExclude = (\d+), kHard = (\d+)", text).groups()
    assert list(quick_ops.FLAGS.values()) == [int(value) for value in named]
    assert f"#define HC_FIXED_K {FIXED_K}\n" in (kernel_folder() / "entries.cuh").read_text()

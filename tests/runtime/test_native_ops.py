"""Native ops in ONNX Runtime: they give what the bodies give, and a library that is none is named at opening."""

import ctypes.util
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from hc_deploy.errors import MissingDependencyError, UsageError
from hc_deploy.export.onnx import save_onnx
from hc_deploy.graph.functions import single_op_model
from hc_deploy.parity.images import parity_images
from hc_deploy.runtime import native_ops, open_session
from hc_deploy.runtime.opening import open_bodies
from plugins.cpu.build import PLUGINS, build
from tests.plugins.cpu import library

NETWORKS = {
    "hcfcn32, level 2": ("hcfcn32_resnet18", (("level", 2),)),
    "hcfcn32, level 4": ("hcfcn32_resnet18", (("level", 4),)),
    "hcpspnet": ("hcpspnet_resnet18", ()),
}
NEAR_TIES = 1e-4  # of the labels: random weights, logits that lie close together


@pytest.fixture(scope="module", autouse=True)
def built():
    return library()


@pytest.fixture(scope="module", params=NETWORKS)
def network(request, export_small, tmp_path_factory):
    arch, options = NETWORKS[request.param]
    _, model = export_small(arch, options)
    path = tmp_path_factory.mktemp("net") / "model.onnx"
    save_onnx(model, path)
    return path, model.spec


def test_a_network_gives_the_labels_of_its_bodies(network):
    path, spec = network
    with open_session(path, kernels="native") as native, open_session(path, kernels="bodies") as bodies:
        assert (native.kernels.kind, bodies.kernels.kind) == ("native", "bodies")
        for image in parity_images(spec, size=(128, 192)):
            ours, theirs = native.run(image)["labels"], bodies.run(image)["labels"]
            assert ours.dtype == theirs.dtype and (ours != theirs).mean() <= NEAR_TIES


def test_auto_takes_native_and_gates_do_not(network):
    path, _ = network
    with open_session(path) as session, open_bodies(path) as gate:
        assert session.kernels.kind == "native" and session.kernels.detail == native_ops.instruction_set()
        assert str(gate.kernels) == "bodies (as asked)"


def test_the_native_op_is_what_runs(tmp_path):
    """A body that gives zeros is not taken; it is without the library."""
    import onnxruntime

    maps = [("coarse", TensorProto.FLOAT, (1, 2, 2, 3)), ("assignment", TensorProto.FLOAT, (1, 9, 4, 6))]
    model = single_op_model("HCDecode", maps, (TensorProto.FLOAT, (1, 2, 4, 6)))
    last = model.functions[0].node[-1]
    zero = onnx.helper.make_node("Sub", [last.output[0] + "_kept"] * 2, [last.output[0]])
    last.output[0] += "_kept"
    model.functions[0].node.append(zero)
    feeds = {name: np.ones(shape, np.float32) for name, _, shape in maps}
    sums = []
    for kernels in ("native", "bodies"):
        options = onnxruntime.SessionOptions()
        native_ops.register(options, kernels, "cpu")
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        sums.append(float(session.run(None, feeds)[0].sum()))
    assert sums[0] > 0 and sums[1] == 0


def test_maps_that_do_not_fit_are_named(tmp_path):
    import onnxruntime

    sides = {"features": ("B", "K", "H", "W"), "seeds": ("B", "L", "h", "w")}
    inputs = [(name, TensorProto.FLOAT, shape) for name, shape in sides.items()]
    model = single_op_model("HCAssign", inputs, (TensorProto.FLOAT, ("B", 9, "H", "W")), {"tau": 0.1})
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    native_ops.register(options, "native", "cpu")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    features = np.ones((1, 3, 5, 7), np.float32)
    with pytest.raises(Exception, match=r"HCAssign: seeds is \(1, 3, 2, 4\), expected \(1, 3, 3, 4\)"):
        session.run(None, {"features": features, "seeds": np.ones((1, 3, 2, 4), np.float32)})
    empty = {"features": features[:0], "seeds": np.ones((0, 3, 3, 4), np.float32)}
    assert session.run(None, empty)[0].shape == (0, 9, 5, 7)


@pytest.mark.parametrize(("name", "value", "said"), [("tau", -1.0, "tau=-1"), ("border", "mirror", "border='mirror'")])
def test_an_illegal_attribute_is_named(name, value, said):
    import onnxruntime

    inputs = [("features", TensorProto.FLOAT, (1, 3, 4, 6)), ("seeds", TensorProto.FLOAT, (1, 3, 2, 3))]
    model = single_op_model("HCAssign", inputs, (TensorProto.FLOAT, (1, 9, 4, 6)), {"tau": 0.1, "border": "zero"})
    attributes = {attribute.name: attribute for attribute in model.graph.node[0].attribute}
    attributes[name].CopyFrom(onnx.helper.make_attribute(name, value))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    native_ops.register(options, "native", "cpu")
    with pytest.raises(Exception, match=said):
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def half_built(folder):
    whole = folder / "libhalf.so"
    whole.write_bytes(native_ops.LIBRARY.read_bytes()[:5000])
    return whole


def of_another_interface(folder):
    sources = folder / "sources"
    for part in ("cpu", "onnxruntime"):
        shutil.copytree(PLUGINS / part, sources / part, ignore=shutil.ignore_patterns("__pycache__"))
    header = sources / "cpu" / "hc_cpu.h"
    header.write_text(header.read_text().replace("#define HC_CPU_INTERFACE 1", "#define HC_CPU_INTERFACE 7"))
    return build(folder, folder=sources)


LIBRARIES = {
    "missing": (lambda folder: folder / "absent.so", "absent.so is not built"),
    "half-built": (half_built, "cannot be loaded"),
    "foreign": (lambda folder: Path(ctypes.util.find_library("m") or "libm.so.6"), "not built|cannot be loaded"),
    "of another interface": (of_another_interface, "has interface 7"),
}


@pytest.mark.parametrize("kind", LIBRARIES)
def test_a_library_that_cannot_be_used_is_named_at_opening(kind, tmp_path, export_small, monkeypatch):
    make, said = LIBRARIES[kind]
    _, model = export_small("hcpspnet_resnet18")
    save_onnx(model, tmp_path / "model.onnx")
    monkeypatch.setattr(native_ops, "LIBRARY", make(tmp_path))
    with pytest.raises(MissingDependencyError, match=f"(?s)(?:{said}).*make native"):
        open_session(tmp_path, kernels="native")
    with open_session(tmp_path) as session:
        assert session.kernels.kind == "bodies"
        assert "make native" in str(session.kernels)


def test_other_choices_and_providers_are_refused(network):
    path, _ = network
    with pytest.raises(UsageError, match="auto, native, bodies"):
        open_session(path, kernels="fast")
    with pytest.raises(UsageError, match="provider cpu"):
        native_ops.register(None, "native", "cuda")
    assert native_ops.register(None, "auto", "cuda").kind == "bodies"
    with pytest.raises(UsageError, match="--kernels with the engine"):
        path.with_suffix(".engine").write_bytes(b"")
        open_session(path.with_suffix(".engine"), kernels="bodies")

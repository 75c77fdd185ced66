"""Files that say what is not true: of their graph, of their weights, of themselves."""

import hashlib
import json
import os
import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from hc_deploy.describe import describe
from hc_deploy.engine import sidecar as sidecar_module
from hc_deploy.errors import DeployError, UsageError
from hc_deploy.graph.external_data import external_files
from hc_deploy.graph.provider import for_tensorrt_provider
from hc_deploy.runtime import open_session
from hc_deploy.runtime.graph_check import Tensor, check_graph
from hc_deploy.runtime.tensorrt import TensorRtSession
from hc_deploy.spec import ModelSpec
from hc_deploy.video.frame import Frame
from hc_deploy.video.stages import infer
from hc_deploy.video.timing import StageTimes
from tests.field.small_models import IMAGE, LABELS, ROOT, run, save, spec_fields
from tests.field.test_bombs import sidecar_beside

U8, I32, I64, F16, F32 = (
    TensorProto.UINT8, TensorProto.INT32, TensorProto.INT64, TensorProto.FLOAT16, TensorProto.FLOAT
)  # fmt: skip
FREE = {"image": (U8, ["b", "h", "w", 3]), "labels": (U8, ["b", "h", "w"])}
LIES = {
    "size": ({"height": 40_000, "width": 40_000}, {}, "input image uint8 [1, 8, 8, 3]"),
    "height alone": ({"height": 9}, {}, "input image"),
    "batch": ({"batch": 2}, {}, "input image"),
    "any size": ({"batch": None, "height": None, "width": None}, {}, "input image"),
    "any batch": ({"batch": None}, {}, "input image"),
    "kind of input": ({"input": "float"}, {}, "input image"),
    "type of input": ({}, {"image": (I32, [1, 8, 8, 3])}, "input image int32"),
    "channels": ({}, {"image": (U8, [1, 8, 8, 4])}, "input image uint8 [1, 8, 8, 4]"),
    "rank": ({}, {"image": (U8, [1, 8, 8, 3, 1])}, "input image"),
    "outputs": ({"outputs": ["labels", "logits"]}, {}, "outputs labels"),
    "another output": ({"outputs": ["superpixels"]}, {}, "outputs labels"),
    "task": ({"task": "depth", "classes": [], "palette": [], "outputs": ["depth"]}, {}, "outputs labels"),
    "type of labels": ({}, {"labels": (F32, [1, 8, 8])}, "output labels float32"),
    "classes": ({"outputs": ["labels", "logits"]}, {"logits": [1, 5, 2, 2]}, "output logits float32 [1, 5, 2, 2]"),
    "classes beyond uint8": ({"classes": ["x"] * 300, "palette": [[0, 0, 0]] * 300}, {}, "output labels uint8"),
}


@pytest.mark.parametrize("case", LIES)
def test_metadata_that_does_not_fit_the_graph(tmp_path, case):
    changed, graph, says = LIES[case]
    path = save(tmp_path / "a.onnx", spec_fields(**changed), **graph)
    with pytest.raises(DeployError) as caught:
        open_session(path)
    assert str(path) in caught.value.received and says in caught.value.received
    assert caught.value.expected and "python export.py" in caught.value.mend
    assert ("refused", caught.value.received) in describe(path)


@pytest.mark.parametrize(
    ("changed", "graph"),
    [
        ({}, {}),
        ({"batch": None, "height": None, "width": None}, FREE),
        ({"height": None}, {"image": (U8, [1, "h", 8, 3]), "labels": (U8, [1, "h", 8])}),
        ({}, FREE),  # a graph that takes more than the metadata promises
        ({}, {"labels": (I32, [1, 8, 8])}),
        ({"outputs": ["labels", "logits"]}, {"logits": [1, 2, 3, 5]}),
        ({"outputs": ["labels", "logits"]}, {"logits": [1, 1, 3, 5]}),  # two classes by a threshold
        ({}, {"logits": [1, 2, 3, 5]}),  # an output that nobody asked for
    ],
)
def test_metadata_that_fits(tmp_path, changed, graph):
    path = save(tmp_path / "a.onnx", spec_fields(**changed), **graph)
    image = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)
    with open_session(path) as session:
        np.testing.assert_array_equal(session.run(image)["labels"], image.max(axis=3))


def test_a_model_without_shapes_of_its_outputs_or_with_two_inputs():
    spec = ModelSpec("a", ("x",), ((0, 0, 0),))
    image = Tensor("image", "uint8", (None, None, None, 3))
    check_graph(spec, [image], [Tensor("labels", "uint8", None)], source="a.onnx")
    for inputs in ([], [image, image], [Tensor("picture", "uint8", image.sides)], [Tensor("image", "uint8", None)]):
        with pytest.raises(DeployError, match="does not fit its graph"):
            check_graph(spec, inputs, [Tensor("labels", "uint8", None)], source="a.onnx")


def test_ids_that_are_no_class(tmp_path):
    """Labels do not show in a graph how many they are: the first frame with one too many tells."""
    path = save(tmp_path / "a.onnx", spec_fields())
    frame = Frame(0, 0.0, np.ones((8, 8, 3), np.uint8))
    with open_session(path) as session:
        assert (next(infer([frame], session, StageTimes())).labels == 1).all()
        frame.image[3, 4, 1] = 2
        with pytest.raises(DeployError, match="gives the class 2, and its metadata names 2") as caught:
            next(infer([frame], session, StageTimes()))
    assert caught.value.expected == "ids from 0 to 1"


@pytest.mark.parametrize("sides", [(2, None, None), (None, 9, None), (1, 8, 8, 1), (8, 8), (None, None, 7)])
def test_outputs_of_another_shape(sides):
    """ONNX Runtime corrects a shape that it can infer; TensorRT tells its own."""
    spec = ModelSpec("a", ("x",), ((0, 0, 0),), batch=1, height=8, width=8)
    image = Tensor("image", "uint8", (1, 8, 8, 3))
    check_graph(spec, [image], [Tensor("labels", "uint8", (1, None, 8))], source="a.onnx")
    with pytest.raises(DeployError, match="output labels uint8") as caught:
        check_graph(spec, [image], [Tensor("labels", "uint8", sides)], source="a.onnx")
    assert caught.value.expected == "labels of shape [1, 8, 8]"


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.97, 1.0])
def test_a_damaged_model_never_gives_more_than_an_error(tmp_path, share):
    """Cut anywhere, or with any byte changed: opened, or one DeployError."""
    data = save(tmp_path / "whole.onnx", spec_fields()).read_bytes()
    path = tmp_path / "a.onnx"
    rng = np.random.default_rng(int(100 * share))
    for _ in range(40):
        bad = bytearray(data[: int(share * len(data))])
        bad[rng.integers(len(bad))] = rng.integers(256)
        path.write_bytes(bad)
        try:
            open_session(path).close()
        except DeployError as error:
            assert str(path) in error.received and error.expected
        try:
            describe(path)
        except DeployError as error:
            assert str(path) in error.received


def with_text(path, key, value):
    """The model with bytes in its metadata, which need not be text."""
    model = onnx.load(path)
    del model.metadata_props[:]
    entry = b"\x0a" + bytes([len(key)]) + key + b"\x12" + bytes([len(value)]) + value
    path.write_bytes(model.SerializeToString() + b"\x72" + bytes([len(entry)]) + entry)
    return path


@pytest.mark.parametrize(("key", "value"), [(b"hc_deploy", b"\xff\xfe"), (b"hc_deploy", b"")])
def test_metadata_that_is_no_text(tmp_path, key, value):
    path = with_text(save(tmp_path / "a.onnx", spec_fields()), key, value)
    for read in (open_session, describe):
        with pytest.raises(DeployError, match=r"a\.onnx"):
            read(path)


def failing(path, *, factor=None):
    """A graph that looks harmless and fails when it runs: at a Reshape, or at room for `factor` times the image."""
    if factor is None:
        changed = [helper.make_node("Reshape", ["wide", "shape"], ["odd"])]
        constant = helper.make_tensor("shape", I64, [4], [7, 1, 1, -1])
    else:
        changed = [
            helper.make_node("Shape", ["wide"], ["sides"]),
            helper.make_node("Mul", ["sides", "times"], ["huge"]),
            helper.make_node("ConstantOfShape", ["huge"], ["odd"]),
        ]
        constant = helper.make_tensor("times", I64, [3], [factor, 1, 1])
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["largest"], keepdims=0, axes=[3]),
        helper.make_node("Cast", ["largest"], ["wide"], to=F32),
        *changed,
        helper.make_node("ReduceMax", ["odd"], ["one"], keepdims=0),
        helper.make_node("Add", ["wide", "one"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["labels"], to=U8),
    ]
    ends = [helper.make_tensor_value_info(name, *value) for name, value in FREE.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [constant])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    model.metadata_props.add(key="hc_deploy", value=json.dumps(spec_fields(batch=None, height=None, width=None)))
    onnx.save(model, path)
    return path


def test_out_of_memory_while_running_is_one_error(tmp_path):
    path = failing(tmp_path / "a.onnx", factor=2**36)
    with open_session(path) as session, pytest.raises(DeployError, match="out of memory") as caught:
        session.run(np.zeros((1, 64, 64, 3), np.uint8))
    assert caught.value.expected == "enough memory" and caught.value.mend


def test_a_failure_inside_the_runtime_is_one_error(tmp_path):
    with open_session(failing(tmp_path / "a.onnx")) as session:
        assert session.run(np.zeros((1, 7, 5, 3), np.uint8))["labels"].shape == (1, 7, 5)
        with pytest.raises(DeployError, match="failed on cpu while running") as caught:
            session.run(np.zeros((1, 4, 5, 3), np.uint8))
    assert caught.value.expected and caught.value.mend and "\n" not in caught.value.received


def external(path, location, **more):
    """A model whose one weight lies in another file."""
    weight = TensorProto(name="w", data_type=U8, dims=[1], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **more}.items():
        weight.external_data.add(key=key, value=value)
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["largest"], keepdims=0, axes=[3]),
        helper.make_node("Max", ["largest", "w"], ["labels"]),
    ]
    ends = [helper.make_tensor_value_info(name, *value) for name, value in (("image", IMAGE), ("labels", LABELS))]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    model.metadata_props.add(key="hc_deploy", value=json.dumps(spec_fields()))
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def folder(tmp_path):
    """A folder with weights, a link out of it, a pipe and a folder, beside a file that is not the model's."""
    (tmp_path / "secret").write_bytes(b"\x09")
    inside = tmp_path / "model"
    (inside / "sub").mkdir(parents=True)
    (inside / "w.bin").write_bytes(b"\x07")
    (inside / "sub" / "w.bin").write_bytes(b"\x07")
    (inside / "link").symlink_to("../secret")
    (inside / "circle").symlink_to("circle")
    os.mkfifo(inside / "pipe")
    return inside


@pytest.mark.parametrize(
    "location",
    ["none.bin", "../secret", "sub/../../secret", "/etc/hostname", "/dev/zero", "link", "circle", "pipe", "sub", "",
     ".", "w.bin/x", "x" * 300, "w\0.bin"],
)  # fmt: skip
@pytest.mark.parametrize("read", [open_session, for_tensorrt_provider])
def test_weights_outside_the_folder_are_not_read(folder, location, read):
    path = external(folder / "a.onnx", location, length="1")
    with pytest.raises(DeployError, match=r"a\.onnx") as caught:
        read(path)
    assert caught.value.expected and len(str(caught.value)) < 1500


@pytest.mark.parametrize(
    "more", [{"length": "99999999999"}, {"offset": "-4096"}, {"length": "1x"}, {"offset": "9" * 40}]
)
def test_weights_with_a_wrong_place_in_their_file(folder, more):
    for read in (open_session, for_tensorrt_provider):
        with pytest.raises(DeployError, match=r"a\.onnx"):
            read(external(folder / "a.onnx", "w.bin", **more))


@pytest.mark.parametrize("location", ["w.bin", "sub/w.bin", "./w.bin"])
def test_weights_beside_the_model_are_read(folder, location):
    path = external(folder / "a.onnx", location, length="1")
    assert list(external_files(path.read_bytes(), source=path)) == [location]
    with open_session(path) as session:
        assert (session.run(np.zeros((1, 8, 8, 3), np.uint8))["labels"] == 7).all()


def test_external_data_is_found_wherever_a_tensor_may_stand():
    def tensor(location):
        made = TensorProto(name="t", data_type=F32, dims=[1], data_location=TensorProto.EXTERNAL)
        made.external_data.add(key="location", value=location)
        made.external_data.add(key="offset", value="5")
        return made

    inner = helper.make_graph([helper.make_node("Constant", [], ["i"], value=tensor("in_a_branch"))], "b", [], [])
    nodes = [
        helper.make_node("Constant", [], ["c"], value=tensor("in_a_constant")),
        helper.make_node("If", ["c"], ["d"], then_branch=inner),
        helper.make_node("Any", [], ["e"], many=[tensor("in_a_list"), tensor("in_a_constant")], graphs=[inner]),
    ]
    model = helper.make_model(helper.make_graph(nodes, "g", [], [], [tensor("in_the_graph")]))
    sparse = onnx.SparseTensorProto(values=tensor("in_values"), indices=tensor("in_indices"), dims=[1])
    model.graph.sparse_initializer.append(sparse)
    function = model.functions.add(name="f", domain="d")
    function.node.add(op_type="Constant").attribute.add(name="value", type=4).t.CopyFrom(tensor("in_a_function"))
    function.attribute_proto.add(name="default", type=4).t.CopyFrom(tensor("in_a_default"))
    model.training_info.add().initialization.initializer.append(tensor("in_training"))
    found = list(external_files(model.SerializeToString(), source="m.onnx"))
    assert found == sorted([
        "in_a_branch", "in_a_constant", "in_a_list", "in_the_graph", "in_values", "in_indices", "in_a_function",
        "in_a_default", "in_training",
    ])  # fmt: skip


def test_graphs_nested_without_end_are_refused():
    message = b"location"
    for _ in range(200):  # attribute.g holding graph.node holding attribute
        for field in (0x32, 0x2A, 0x0A):
            size, digits = len(message), b""
            while size > 127:
                digits, size = digits + bytes([size & 127 | 128]), size >> 7
            message = bytes([field]) + digits + bytes([size]) + message
    with pytest.raises(DeployError, match="not a whole ONNX file"):
        external_files(b"\x3a" + bytes([len(message) & 127 | 128, len(message) >> 7]) + message, source="m.onnx")


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_expected_hash_of_a_model(tmp_path):
    path = save(tmp_path / "a.onnx", spec_fields())
    image = np.full((1, 8, 8, 3), 9, np.uint8)
    assert dict(describe(path))["sha256"] == sha256(path)
    for typed in (sha256(path), sha256(path).upper()):
        with open_session(path, expect_sha256=typed) as session:
            assert (session.run(image)["labels"] == 9).all()
    for wrong in ("", "ab", "z" * 64, sha256(path) + "0", " " + sha256(path)[1:]):
        with pytest.raises(UsageError, match="--expect-sha256"):
            open_session(path, expect_sha256=wrong)


def test_another_model_than_expected_is_not_parsed(tmp_path, monkeypatch):
    expected = sha256(save(tmp_path / "a.onnx", spec_fields()))
    (tmp_path / "a.onnx").write_bytes(b"anything")
    monkeypatch.setattr("hc_deploy.runtime.onnxruntime._open", lambda *_: pytest.fail("it was parsed"))
    monkeypatch.setattr("hc_deploy.runtime.onnxruntime.external_files", lambda *_, **__: pytest.fail("it was parsed"))
    with pytest.raises(DeployError, match="is not opened") as caught:
        open_session(tmp_path / "a.onnx", expect_sha256=expected)
    assert hashlib.sha256(b"anything").hexdigest() in caught.value.received and expected in caught.value.expected


def test_a_hash_does_not_vouch_for_weights_in_other_files(folder):
    path = external(folder / "a.onnx", "w.bin", length="1")
    with pytest.raises(DeployError, match=r"does not vouch for: w\.bin"):
        open_session(path, expect_sha256=sha256(path))


def test_an_engine_with_a_sidecar_that_fits_is_still_another_one(tmp_path, monkeypatch):
    """Whoever replaces an engine can write its sidecar as well: the hash that the user knows tells."""
    path = sidecar_beside(tmp_path)
    expected = sha256(path)
    with pytest.raises(DeployError) as caught:
        TensorRtSession(path, expect_sha256=expected)  # passes the hash; there is no TensorRT or no GPU
    assert "sha256" not in caught.value.received
    shutil.copy(path.with_name("model.engine.json"), tmp_path / "kept.json")
    path.write_bytes(b"another engine")
    fields = json.loads((tmp_path / "kept.json").read_text())
    fields["engine"] |= {"bytes": path.stat().st_size, "sha256": sha256(path)}
    path.with_name("model.engine.json").write_text(json.dumps(fields))
    assert sidecar_module.verify_engine(path).engine.sha256 == sha256(path)
    monkeypatch.setattr(sidecar_module, "read_json", lambda *_: pytest.fail("the sidecar was parsed"))
    for call in (
        lambda: open_session(path, expect_sha256=expected),
        lambda: TensorRtSession(path, expect_sha256=expected),
    ):
        with pytest.raises(DeployError, match=sha256(path)) as caught:
            call()
        assert expected in caught.value.expected and "is not opened" in caught.value.received


def test_commands_take_the_expected_hash(tmp_path):
    path = save(tmp_path / "a.onnx", spec_fields())
    (tmp_path / "picture.ppm").write_bytes(b"P6\n8 8\n255\n" + bytes(192))
    infer = ("-m", "hc_deploy", "infer", path, "picture.ppm", "-o", "out", "--expect-sha256")
    video = ("-m", "hc_deploy", "video", path, "picture.ppm", "-o", "out.mp4", "--expect-sha256")
    bench = (ROOT / "bench.py", "run", "one=a.onnx", "-o", "r.json", "--rounds", "3", "--expect-sha256")
    for command, name in ((infer, ""), (video, ""), (bench, ""), (bench, "one=")):
        assert run(*command, name + sha256(path), cwd=tmp_path).code in (0, 5)  # 5: three samples scatter
        ended = run(*command, name + "0" * 64, cwd=tmp_path)
        assert ended.code == 1 and ended.err.count("is not opened") == 1, ended
    pair = (ROOT / "bench.py", "run", "one=a.onnx", "two=a.onnx", "-o", "r.json", "--rounds", "3")
    for hashes in ([sha256(path)], ["three=" + sha256(path)], ["one=" + sha256(path)] * 2, ["one=ab"]):
        options = [part for text in hashes for part in ("--expect-sha256", text)]
        assert run(*pair, *options, cwd=tmp_path).code == 2
    good, bad = ["--expect-sha256", "one=" + sha256(path)], ["--expect-sha256", "two=" + "0" * 64]
    assert run(*pair, *good, *bad, cwd=tmp_path).code == 1
    assert run(*pair, *good, cwd=tmp_path).code in (0, 5)

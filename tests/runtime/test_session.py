"""The Session contract, held by every runtime that runs here, and what `open_session` refuses."""

import json
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from hc_deploy.errors import DeployError, MissingDependencyError, UsageError
from hc_deploy.export.deployed import DeployedNet
from hc_deploy.runtime import onnxruntime as onnxruntime_module
from hc_deploy.runtime import open_session
from hc_deploy.runtime.onnxruntime import OnnxRuntimeSession, import_onnxruntime
from hc_deploy.runtime.torch import TorchSession
from hc_deploy.spec import METADATA_KEY, ModelSpec
from tests.runtime.conftest import SIZE


@pytest.fixture(params=["onnxruntime", "torch", "cuda", "tensorrt", "tensorrt-rtx"])
def session(request, exported, on_gpu):
    folder, net, spec = exported
    if request.param not in ("onnxruntime", "torch"):
        path = on_gpu(request.param)
        with open_session(path, provider="cuda" if request.param == "cuda" else None) as session:
            yield session
        return
    opened = open_session(folder, threads=1) if request.param == "onnxruntime" else TorchSession(
        DeployedNet(net, spec), spec, name="net"
    )  # fmt: skip
    with opened as session:
        yield session


def picture(seed=0, shape=(1, *SIZE, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_contract(session):
    outputs = session.run(picture())
    assert session.name == "net" and session.spec.size == SIZE
    assert outputs["labels"].shape == (1, *SIZE) and outputs["labels"].dtype == np.uint8
    assert outputs["logits"].dtype == np.float32
    other = session.run(picture(1))
    assert not np.array_equal(outputs["logits"], other["logits"]), "outputs of a run stay as they were"
    session.load(picture())
    session.execute()
    for name, value in session.fetch().items():
        np.testing.assert_array_equal(value, outputs[name])


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((1, 33, 65), np.uint8), ((0, 33, 65, 3), np.uint8), ((2, 33, 65, 3), np.uint8), ((1, 32, 65, 3), np.uint8),
     ((1, 33, 65, 4), np.uint8), ((1, 33, 65, 3), np.float32)],
)  # fmt: skip
def test_wrong_input_says_what_fits(session, shape, dtype):
    with pytest.raises(DeployError, match=r"shape \(1, 33, 65, 3\) and type uint8"):
        session.run(np.zeros(shape, dtype))


def test_executing_without_input_is_refused(session):
    with pytest.raises(DeployError, match="nothing is loaded"):
        session.execute()


def test_requested_provider_is_the_actual_one_or_an_error(exported):
    folder, _, _ = exported
    with pytest.raises(UsageError, match="cpu, cuda, tensorrt"):
        open_session(folder, provider="npu")
    for provider in {"cuda", "tensorrt"} - available():
        with pytest.raises(MissingDependencyError, match=r"onnxruntime-gpu\[cuda,cudnn\]"):
            open_session(folder, provider=provider)


def available():
    names = {"CUDAExecutionProvider": "cuda", "TensorrtExecutionProvider": "tensorrt"}
    return {names[name] for name in import_onnxruntime().get_available_providers() if name in names}


def test_a_silent_fallback_is_an_error(exported, monkeypatch):
    """What onnxruntime does when a provider's library does not load: another one runs, with a warning in the log."""
    folder, _, _ = exported
    ort = import_onnxruntime()
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    with pytest.raises(MissingDependencyError, match="fell back|no CUDAExecutionProvider|CUDAExecutionProvider"):
        OnnxRuntimeSession(folder / "model.onnx", provider="cuda")


class FakeSession:
    """onnxruntime.InferenceSession with what a GPU provider would answer."""

    failure: Exception | None = None
    takers = ("CUDAExecutionProvider",)

    def __init__(self, model, options, *, providers, enable_fallback):
        assert enable_fallback == 0, "onnxruntime's own fallback prints to standard output"
        assert options.get_session_config_entry("session.record_ep_graph_assignment_info") == "1"
        if self.failure is not None:
            raise self.failure
        self.asked = [entry[0] if isinstance(entry, tuple) else entry for entry in providers]

    def get_providers(self):
        return [*self.asked, "CPUExecutionProvider"]

    def get_provider_graph_assignment_info(self):
        return [SimpleNamespace(ep_name=name) for name in self.takers]


@pytest.fixture
def fake(monkeypatch):
    ort = import_onnxruntime()
    session = type("Session", (FakeSession,), {})
    names = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: names)
    monkeypatch.setattr(ort, "InferenceSession", session)
    monkeypatch.setattr(
        "hc_deploy.runtime.onnxruntime._for_tensorrt", lambda path, data: (b"", [(names[0], {}), names[1]])
    )
    return session


@pytest.mark.parametrize("failure", [RuntimeError("CUDA failure 35: old driver\nmore"), ValueError("CUDA failure 35")])
def test_a_provider_that_does_not_start_says_why(exported, fake, failure, capfd):
    fake.failure = failure
    with pytest.raises(
        MissingDependencyError, match="^CUDAExecutionProvider does not start: CUDA failure 35"
    ) as caught:
        OnnxRuntimeSession(exported[0] / "model.onnx", provider="cuda")
    assert "more" not in str(caught.value) and capfd.readouterr().out == ""


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_provider_that_takes_no_node_is_refused(exported, fake, provider):
    """`tensorrt` may leave every node to CUDA; get_providers names it first all the same."""
    fake.takers = ("CPUExecutionProvider",) if provider == "cuda" else ("CUDAExecutionProvider", "CPUExecutionProvider")
    with pytest.raises(DeployError, match=r"takes no node of .*model\.onnx: all would run on C"):
        OnnxRuntimeSession(exported[0] / "model.onnx", provider=provider)


def test_nodes_that_were_taken_are_fine(exported, fake, monkeypatch):
    """A share is enough; and an onnxruntime that does not tell is believed."""
    path, ort = exported[0] / "model.onnx", import_onnxruntime()
    options = onnxruntime_module._options(ort, None)
    fake.takers = ("CUDAExecutionProvider", "TensorrtExecutionProvider")
    assert isinstance(onnxruntime_module._open(ort, path, "tensorrt", options), fake)
    monkeypatch.delattr(FakeSession, "get_provider_graph_assignment_info")
    assert isinstance(onnxruntime_module._open(ort, path, "tensorrt", options), fake)


def test_the_real_onnxruntime_tells_who_took_the_nodes(exported):
    with open_session(exported[0], threads=1) as session:
        told = session._session.get_provider_graph_assignment_info()
    assert {part.ep_name for part in told} == {"CPUExecutionProvider"}


def test_cuda_is_loaded_from_its_wheels_for_gpu_providers_alone(monkeypatch, capfd):
    ort, calls = import_onnxruntime(), []
    monkeypatch.setattr(ort, "preload_dlls", lambda: calls.append(1) or print("Failed to load libcudnn.so.9"))
    onnxruntime_module.preload(ort, "cpu")
    assert calls == []
    onnxruntime_module.preload(ort, "cuda")
    onnxruntime_module.preload(ort, "tensorrt")
    assert calls == [1, 1] and capfd.readouterr().out == ""
    monkeypatch.delattr(ort, "preload_dlls")  # before 1.21
    onnxruntime_module.preload(ort, "cuda")


def test_threads(exported):
    with open_session(exported[0], threads=1) as session:
        assert session._session.get_session_options().intra_op_num_threads == 1
    with pytest.raises(UsageError, match="expected: 1 to"):
        open_session(exported[0], threads=0)


def test_onnx_without_our_metadata(tmp_path):
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", value[:1], value[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "a.onnx")
    with pytest.raises(DeployError, match="without 'hc_deploy' metadata"):
        open_session(tmp_path / "a.onnx")


@pytest.mark.parametrize("content", ["text", "{}", '{"schema": 99}', '{"schema": 1, "arch": "x"}', "[1]"])
def test_damaged_metadata(exported, tmp_path, content):
    model = onnx.load(exported[0] / "model.onnx")
    next(entry for entry in model.metadata_props if entry.key == METADATA_KEY).value = content
    onnx.save(model, tmp_path / "a.onnx")
    with pytest.raises(DeployError, match="export the model again"):
        open_session(tmp_path / "a.onnx")


def test_bad_files(exported, tmp_path):
    data = (exported[0] / "model.onnx").read_bytes()
    for name, content, message in [
        ("cut.onnx", data[: len(data) // 2], "cannot be opened"),
        ("text.onnx", b"not a model", "cannot be opened"),
        ("empty.onnx", b"", "empty"),
        ("net.safetensors", b"x", "by its name a checkpoint"),
        ("net.txt", b"x", "is no model that runs"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DeployError, match=message):
            open_session(tmp_path / name)
    with pytest.raises(DeployError, match="does not exist"):
        open_session(tmp_path / "none.onnx")
    with pytest.raises(DeployError, match=r"folder without model\.onnx"):
        open_session(tmp_path)


def test_spec_survives_its_json():
    spec = ModelSpec(arch="a", classes=("x", "y"), palette=((1, 2, 3), (4, 5, 6)), height=3, options={"tau": 0.1})
    assert ModelSpec.from_json(spec.to_json(), source="test") == spec


def test_more_threads_than_the_machine_can_bear_are_refused(exported):
    with pytest.raises(UsageError, match="on this machine"):
        open_session(exported[0], threads=100_000)


@pytest.mark.parametrize(
    "changed",
    [
        {"task": "painting"},
        {"outputs": ["depth"]},
        {"classes": "abc"},
        {"palette": [[0, 0, 999]] * 19},
        {"palette": [[0, 0]] * 19},
        {"mean": [0.1, 0.2]},
        {"std": [0.0, 1.0, 1.0]},
        {"mean": [float("nan")] * 3},
        {"options": [1]},
        {"height": "512"},
        {"arch": 5},
    ],
    ids=str,
)
def test_metadata_of_a_wrong_kind(exported, tmp_path, changed):
    model = onnx.load(exported[0] / "model.onnx")
    entry = next(entry for entry in model.metadata_props if entry.key == METADATA_KEY)
    entry.value = json.dumps({**json.loads(entry.value), **changed})
    onnx.save(model, tmp_path / "a.onnx")
    with pytest.raises(DeployError, match="a.onnx"):
        open_session(tmp_path / "a.onnx")

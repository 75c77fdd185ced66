"""The sidecar vouches for its engine, or the engine is not opened."""

import json
from dataclasses import replace

import pytest

from hc_deploy.describe import describe
from hc_deploy.engine.options import BuildOptions, Shape, ShapeRange
from hc_deploy.engine.sidecar import FileRecord, Layers, Sidecar, read_sidecar, sidecar_path, verify_engine
from hc_deploy.errors import DeployError, MissingDependencyError, UsageError
from hc_deploy.runtime import open_session
from hc_deploy.runtime.engine_check import register_plugins, require_device, require_version
from hc_deploy.spec import ModelSpec
from hc_deploy.system.gpu import Gpu

SHAPE = Shape(1, 64, 64)
T4 = Gpu("T4", "570.1", None, None, "7.5")


@pytest.fixture
def engine(tmp_path):
    path = tmp_path / "model.engine"
    path.write_bytes(b"an engine " * 1000)
    sidecar = Sidecar(
        spec=ModelSpec("fcn", ("road",), ((1, 2, 3),), batch=1, height=64, width=64, options={"level": 2}),
        options=BuildOptions("tensorrt", "fp16", ShapeRange(SHAPE, SHAPE, SHAPE)),
        version="10.16.1",
        engine=FileRecord.of(path),
        onnx=FileRecord("model.onnx", 3, "ab"),
        layers=Layers("network", 5, {"HCUpsample": 2}, {"fp16": 4, "fp32": 1}, {"fp16": 4}),
        plugin=FileRecord("libhc_plugins.so", 4, "cd"),
        device=T4,
        seconds=1.5,
        created="2026-01-01T00:00:00+00:00",
    )
    sidecar.write(path)
    return path, sidecar


def test_round_trip(engine):
    path, sidecar = engine
    assert verify_engine(path) == sidecar
    assert sidecar.layers.shares() == "fp16 100%"


def test_inspecting(engine):
    path, _ = engine
    lines = dict(describe(path))
    assert "tensorrt 10.16.1" in lines["kind"] and "fp16 100%" in lines["precision"]
    assert "libhc_plugins.so" in lines["plugin"] and "2 HCUpsample" in lines["layers"]
    assert "T4 (7.5), driver 570.1" in lines["built"] and lines["takes"].endswith("1x64x64")
    path.write_bytes(b"cut")
    with pytest.raises(DeployError, match="is not opened"):
        describe(path)


@pytest.mark.parametrize("change", [lambda d: d[:-1], lambda d: d + b"x", lambda d: b"y" + d[1:]])
def test_another_engine_is_not_opened(engine, change):
    path, sidecar = engine
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DeployError, match="is not opened") as caught:
        open_session(path)
    assert sidecar.engine.sha256[:12] in str(caught.value) and "--engine tensorrt --precision fp16" in str(caught.value)


def test_missing_and_empty_files(engine, tmp_path):
    path, _ = engine
    sidecar_path(path).unlink()
    with pytest.raises(DeployError, match="no sidecar model.engine.json"):
        open_session(path)
    path.write_bytes(b"")
    with pytest.raises(DeployError, match="0 bytes"):
        open_session(path)
    with pytest.raises(DeployError, match="does not exist"):
        open_session(tmp_path / "other.engine")


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: '{"schema": 9}',
        lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != "layers"}),
        lambda text: json.dumps({**json.loads(text), "more": 1}),
        lambda text: json.dumps({**json.loads(text), "engine": 3}),
        lambda text: json.dumps({**json.loads(text), "options": {"flavour": "tensorrt"}}),
        lambda text: json.dumps({**json.loads(text), "spec": {"schema": 1}}),
        lambda text: "[" * 100_000,
        lambda text: '{"a":' * 100_000,
        lambda text: text.replace('"schema": 1', '"schema": true', 1),
        lambda text: text.replace('"seconds": 1.5', '"seconds": NaN'),
        lambda text: text.replace('"seconds": 1.5', '"seconds": 1' + "0" * 400),
    ],
)
def test_a_sidecar_that_is_none(engine, edit):
    path, _ = engine
    beside = sidecar_path(path)
    edited = edit(beside.read_text())
    assert edited != beside.read_text()
    beside.write_text(edited)
    with pytest.raises(DeployError) as caught:
        read_sidecar(path)
    assert "model.engine.json" in str(caught.value)


WRONG = {
    "version": [3, None, []],
    "created": [1, {}],
    "seconds": ["1.5", None, True, [1]],
    "device": ["T4", [], {"name": "T4"}],
    "device.name": [3, None],
    "device.compute_capability": [7.5, []],
    "device.clock_mhz": ["fast", {}],
    "plugin": [True, "libhc_plugins.so", {"name": "a"}],
    "plugin.sha256": [None, 5],
    "plugin.bytes": ["4", 4.5, None],
    "engine": [None, []],
    "engine.name": [None, "", "../model.engine", "/etc/passwd", ".."],
    "engine.bytes": ["10", None],
    "engine.sha256": [None, 0, []],
    "onnx.name": [7, "a/b.onnx"],
    "layers": [None, []],
    "layers.source": [4],
    "layers.count": ["5", 5.5, None],
    "layers.plugins": [None, [], {"HCUpsample": "2"}, {"HCUpsample": None}],
    "layers.types": [["fp16"], "fp16"],
    "layers.computing": [{"fp16": "4"}, 4],
    "options": [None, [], "fp16"],
    "options.flavour": ["tensorflow", None, [], {}],
    "options.precision": ["int8", 16],
    "options.plugin": ["both", False],
    "options.plugin_library": [3, []],
    "options.carry_plugin": ["yes", 1, None],
    "options.workspace_mib": [0, "64", 1.5],
    "options.optimization_level": [6, "3"],
    "options.version_compatible": ["no", None],
    "options.hardware": ["any", None],
    "options.timing_cache": [1],
    "options.keep_fp32": ["Softmax", [1], None],
    "options.compute_capabilities": ["8.6", [8.6], ["86"], ["8.6"]],
    "options.profile": [None, [], {}],
    "options.profile.least": [None, [1, 64, 64]],
    "options.profile.least.batch": ["1", None, 1.5, True, 0, -1, 5],
    "options.profile.most.width": [[64], 32],
    "spec": [None, [], "fcn", 3],
    "spec.arch": [5],
    "spec.outputs": [["depth"], "labels", [[]]],
    "spec.batch": ["1", 0],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_field_of_a_wrong_kind(engine, name, value):
    """Whatever was written into it, what comes is a message that names the file; nothing else escapes."""
    path, _ = engine
    beside = sidecar_path(path)
    fields = json.loads(beside.read_text())
    *folders, last = name.split(".")
    holder = fields
    for folder in folders:
        holder = holder[folder]
    assert json.dumps(holder[last]) != json.dumps(value)
    holder[last] = value
    beside.write_text(json.dumps(fields))
    for read in (read_sidecar, describe, open_session):
        with pytest.raises(DeployError) as caught:
            read(path)
        assert str(beside) in caught.value.received and caught.value.expected and caught.value.mend
        assert not isinstance(caught.value, UsageError)
        assert "\n" not in caught.value.received


@pytest.mark.parametrize("name", ["more", "options.more", "engine.more", "layers.more", "device.more"])
def test_a_field_that_is_not_known(engine, name):
    path, _ = engine
    beside = sidecar_path(path)
    fields = json.loads(beside.read_text())
    *folders, last = name.split(".")
    (fields[folders[0]] if folders else fields)[last] = 1
    beside.write_text(json.dumps(fields))
    with pytest.raises(DeployError, match=r"model\.engine\.json: .*more"):
        read_sidecar(path)


def test_inspecting_beside_another_onnx(engine):
    path, sidecar = engine
    assert "beside" not in dict(describe(path))
    onnx = path.with_name("model.onnx")
    onnx.write_bytes(b"exported again")
    assert "another model.onnx" in dict(describe(path))["beside"]
    replace(sidecar, onnx=FileRecord.of(onnx)).write(path)
    assert "beside" not in dict(describe(path))


def test_inspecting_a_sidecar(engine):
    path, _ = engine
    with pytest.raises(UsageError, match="is the sidecar of an engine") as caught:
        describe(sidecar_path(path))
    assert caught.value.mend == f"hc-deploy inspect {path}"


def test_inspecting_where_a_gpu_cannot_open_it(engine, monkeypatch):
    """A GPU answers, but no runtime of the engine's is here, or it fails: the sidecar's lines stand all the same."""
    path, _ = engine
    before = describe(path)
    monkeypatch.setattr("hc_deploy.system.gpu.read_gpu", lambda **_: T4)

    def refuse(path):
        raise MissingDependencyError("pycuda cannot be imported\nat all", mend="pip install pycuda")

    monkeypatch.setattr("hc_deploy.runtime.tensorrt.TensorRtSession", refuse)
    lines = describe(path)
    assert lines[:-1] == before[:-1] and len(lines) == 12
    assert lines[-1] == ("engine", "not opened: pycuda cannot be imported")


def test_another_tensorrt(engine):
    _, sidecar = engine
    require_version(sidecar, "10.16.1")
    for version in ("10.16.0", "11.4.0"):
        with pytest.raises(DeployError, match=f"tensorrt 10.16.1, installed is {version}"):
            require_version(sidecar, version)
    compatible = replace(sidecar, options=replace(sidecar.options, version_compatible=True))
    require_version(compatible, "11.4.0")
    with pytest.raises(DeployError, match="installed is 10.9"):
        require_version(compatible, "10.9.0")


def test_another_gpu(engine):
    _, sidecar = engine
    require_device(sidecar, "T4", "7.5")
    with pytest.raises(DeployError, match=r"7.5 \(T4\); this GPU is H200, 9.0"):
        require_device(sidecar, "H200", "9.0")
    ampere = replace(sidecar, options=replace(sidecar.options, hardware="ampere_plus"))
    require_device(ampere, "H200", "9.0")
    with pytest.raises(DeployError, match="8.0 and newer"):
        require_device(replace(ampere, device=replace(T4, compute_capability="8.6")), "T4", "7.5")
    rtx = replace(sidecar.options, flavour="tensorrt-rtx", compute_capabilities=("8.6", "12.0"))
    require_device(replace(sidecar, options=rtx, device=None), "RTX 5090", "12.0")
    with pytest.raises(DeployError, match="8.6, 12.0; this GPU is H200"):
        require_device(replace(sidecar, options=rtx, device=None), "H200", "9.0")


def test_another_plugin(engine, tmp_path):
    _, sidecar = engine
    apart = replace(sidecar, options=replace(sidecar.options, carry_plugin=False))
    library = tmp_path / "libhc_plugins.so"
    library.write_bytes(b"another")
    with pytest.raises(DeployError, match="built with, cd"):
        register_plugins(None, apart, library)
    register_plugins(None, sidecar, library)  # it travels in the engine: no library is looked at


def test_no_tensorrt_here(engine):
    path, _ = engine
    try:
        import tensorrt  # noqa: F401
    except ImportError:
        with pytest.raises(MissingDependencyError, match="tensorrt cannot be imported"):
            open_session(path)
    else:
        pytest.skip("TensorRT is installed here")

"""The sidecar vouches for its engine, or the engine is not opened."""

import json
from dataclasses import replace

import pytest

from hc_deploy.describe import describe
from hc_deploy.engine.options import BuildOptions, Shape, ShapeRange
from hc_deploy.engine.sidecar import FileRecord, Layers, Sidecar, read_sidecar, sidecar_path, verify_engine
from hc_deploy.errors import DeployError, MissingDependencyError
from hc_deploy.gpu import Gpu
from hc_deploy.runtime import open_session
from hc_deploy.runtime.engine_check import register_plugins, require_device, require_version
from hc_deploy.spec import ModelSpec

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
    ],
)
def test_a_sidecar_that_is_none(engine, edit):
    path, _ = engine
    beside = sidecar_path(path)
    beside.write_text(edit(beside.read_text()))
    with pytest.raises(DeployError) as caught:
        read_sidecar(path)
    assert "model.engine.json" in str(caught.value)


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
    pytest.importorskip("hc_deploy")
    try:
        import tensorrt  # noqa: F401
    except ImportError:
        with pytest.raises(MissingDependencyError, match="tensorrt cannot be imported"):
            open_session(path)
    else:
        pytest.skip("TensorRT is installed here")

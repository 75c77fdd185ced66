"""A small network as model.onnx, and on a GPU where there is one."""

from dataclasses import replace

import pytest

from hc_deploy.engine.build import run_builder
from hc_deploy.engine.options import BuildOptions, Shape, ShapeRange
from hc_deploy.export.onnx import export_onnx, save_onnx
from hc_deploy.runtime.onnxruntime import import_onnxruntime
from hc_deploy.system.gpu import read_gpu
from models.load import new_network
from tests import needs

SIZE = (33, 65)


@pytest.fixture(scope="package")
def exported(tmp_path_factory):
    net, spec = new_network("hcfcn32_resnet18", {"width": 4})
    spec = replace(spec, batch=1, height=SIZE[0], width=SIZE[1], outputs=("labels", "logits"))
    folder = tmp_path_factory.mktemp("runtime") / "net"
    save_onnx(export_onnx(net, spec), folder / "model.onnx")
    return folder, net, spec


@pytest.fixture(scope="package")
def on_gpu(exported, tmp_path_factory):
    """on_gpu(kind): what to open for the same network on a GPU, an engine or (`cuda`) the model; skipped where that is
    not to be had."""
    folder, _, spec = exported
    built = {}

    def path_on_gpu(kind):
        if read_gpu() is None:
            pytest.skip(needs.GPU)
        if kind == "cuda":
            if "CUDAExecutionProvider" not in import_onnxruntime().get_available_providers():
                pytest.skip("onnxruntime-gpu is not installed")
            return folder
        pytest.importorskip(kind.replace("-", "_"))
        if kind not in built:
            engine = tmp_path_factory.mktemp(kind) / "net" / "model.engine"
            options = BuildOptions(kind, "fp32", ShapeRange.of(spec, Shape(1, *SIZE)), plugin="none")
            run_builder(folder / "model.onnx", engine, spec, options)
            built[kind] = engine
        return built[kind]

    return path_on_gpu

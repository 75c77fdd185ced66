"""model.onnx -> the model for ONNX Runtime's TensorRT provider, which knows plugins by the domain `trt.plugins`."""

from __future__ import annotations

from pathlib import Path

from hc_deploy import install
from hc_deploy.errors import DeployError

PROVIDER_DOMAIN = "trt.plugins"


def for_tensorrt_provider(path: Path, data: bytes | None = None) -> tuple[bytes, bool]:
    """The model with its custom ops in the provider's domain and without their bodies, and whether it has such ops.

    `data`: the bytes of the file, where they have been read.

    The provider registers every plugin of TensorRT's registry as an operator of that domain, under the plugin's name.

    Raises:
        DeployError: the file is not a whole ONNX model, or has more than 2 GiB of weights.
        MissingDependencyError: the onnx package is not installed.
    """
    rewrites = "--provider tensorrt rewrites the model, and needs more than running it"
    with install.importing(rewrites, extra="export", mend=install.EXPORT):
        from hc_deploy.graph.functions import as_plugin_nodes
        from hc_deploy.graph.model_file import is_large, read_model
        from hc_deploy.graph.onnx_op import DOMAIN
    model = as_plugin_nodes(read_model(path, data))
    if is_large(model):
        raise DeployError(
            f"{path} has more weights than one ONNX file holds",
            expected="less than 2 GiB, for --provider tensorrt",
            mend="build an engine: python export.py CHECKPOINT --engine tensorrt, or --provider cuda",
        )
    custom = [node for node in model.graph.node if node.domain == DOMAIN]
    for node in custom:
        node.domain = PROVIDER_DOMAIN
    for opset in model.opset_import:
        if opset.domain == DOMAIN:
            opset.domain = PROVIDER_DOMAIN
    return model.SerializeToString(), bool(custom)

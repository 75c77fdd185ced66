"""The GPU under a TensorRT session: one stream, memory, copies and CUDA graphs, by pycuda or by cuda-bindings.

pycuda has to be compiled where it is installed; cuda-bindings, NVIDIA's own, comes as a wheel. What is installed is
used, pycuda where both are. The primary context of the device is used, which torch and ONNX Runtime share, so that all
of them may live in one process.
"""

from __future__ import annotations

import importlib.util
from typing import Literal

from hc_deploy import install
from hc_deploy.errors import MissingDependencyError
from hc_deploy.runtime.device_interface import CudaDevice

Layer = Literal["pycuda", "cuda-bindings"]
LAYERS: dict[Layer, str] = {"pycuda": "pycuda", "cuda-bindings": "cuda.bindings"}
"""What can drive the GPU, and the module that shows whether it is installed; the first that is there is used."""


def installed_layers() -> list[Layer]:
    """What can drive the GPU here, best first; nothing is imported."""
    return [layer for layer, module in LAYERS.items() if _installed(module)]


def open_device(index: int = 0, *, layer: Layer | None = None) -> CudaDevice:
    """A device.

    Args:
        index: which, in the order of CUDA (CUDA_VISIBLE_DEVICES counts). layer: by what; None: the first installed.

    Raises:
        MissingDependencyError: neither layer is installed, or there is no driver. DeployError: no such device.
    """
    found = [layer] if layer else installed_layers()
    if not found:
        raise MissingDependencyError(
            "neither pycuda nor cuda-bindings is installed",
            expected="one of them, to run an engine on the GPU",
            mend=f"{install.CUDA_BINDINGS}, or {install.PYCUDA} (compiles)",
        )
    if found[0] == "pycuda":
        from hc_deploy.runtime.device_pycuda import PycudaDevice

        return PycudaDevice(index)
    from hc_deploy.runtime.device_bindings import BindingsDevice

    return BindingsDevice(index)


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package around it
        return False

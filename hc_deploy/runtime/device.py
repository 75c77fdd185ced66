"""The GPU under a TensorRT session: one stream, memory, copies and CUDA graphs, by pycuda or by cuda-bindings.

pycuda has to be compiled where it is installed; cuda-bindings, NVIDIA's own, comes as a wheel. What is installed is
used, pycuda where both are. The primary context of the device is used, which torch and ONNX Runtime share, so that all
of them may live in one process.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

import numpy as np

from hc_deploy import install
from hc_deploy.errors import DeployError, MissingDependencyError
from hc_deploy.runtime.session import Array

CAPTURE_THREAD_LOCAL = 1
STREAM_NON_BLOCKING = 1
"""Work on the default stream (torch's) neither waits for this one nor breaks a capture on it."""
Layer = Literal["pycuda", "cuda-bindings"]
LAYERS: dict[Layer, str] = {"pycuda": "pycuda", "cuda-bindings": "cuda.bindings"}
"""What can drive the GPU, and the module that shows whether it is installed; the first that is there is used."""


class CudaError(DeployError):
    """The driver refused a call."""


class DeviceMemory(Protocol):
    """Memory on the device: `int()` of it is its address."""

    def __int__(self) -> int: ...

    def free(self) -> None: ...


class CudaGraph(Protocol):
    """A captured sequence of work, bound to the addresses and sizes that it was captured with."""

    def launch(self) -> None: ...

    def free(self) -> None: ...


class CudaDevice(Protocol):
    """A device, opened.

    Attributes:
        name, compute_capability: of the device ("9.0"). stream: handle of the stream that all work is queued on.
    """

    name: str
    compute_capability: str

    @property
    def stream(self) -> int: ...

    def active(self) -> AbstractContextManager[None]:
        """Make the device current in this thread for the block; the driver's errors become ours."""

    def allocate(self, size: int) -> DeviceMemory:
        """Device memory of `size` bytes."""

    def pinned(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """A host array that copies to and from the device run beside the stream's work."""

    def upload(self, target: DeviceMemory, source: Array) -> None:
        """Queue a copy from a pinned array."""

    def download(self, target: Array, source: DeviceMemory) -> None:
        """Queue a copy into a pinned array."""

    def synchronize(self) -> None:
        """Wait until all that was queued is done."""

    def free_bytes(self) -> int:
        """Memory that is free on the device."""

    def capture(self, queue: Callable[[], None]) -> CudaGraph:
        """What `queue` puts on the stream, as a graph: launched by one call. Nothing runs while it is captured."""

    def close(self) -> None:
        """Let go of the stream and of the context (others may still hold it)."""


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


def out_of_memory(said: str, free: int, total: int) -> DeployError:
    """The error of an allocation that the device refused; sizes in bytes."""
    return DeployError(
        f"the GPU is out of memory: {said}; {free / 1e9:.2f} of {total / 1e9:.2f} GB are free",
        expected="room for the engine and its images",
        mend="a smaller --max-shape or --batch, or close what else runs on it",
    )


def no_gpu(said: str) -> MissingDependencyError:
    """The error of a driver that does not start."""
    return MissingDependencyError(
        f"no GPU answers: {said}", expected="an NVIDIA GPU and its driver", mend="hc-deploy doctor"
    )


def no_such_gpu(index: int, count: int) -> DeployError:
    """The error of a device that is not there."""
    return DeployError(f"GPU {index}", expected=f"0 to {count - 1} on this machine")


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package around it
        return False

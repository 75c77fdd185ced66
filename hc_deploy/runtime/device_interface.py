"""What a TensorRT session asks of the GPU, whatever drives it: the protocols, and the errors that all drivers share."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np

from hc_deploy.errors import DeployError, MissingDependencyError
from hc_deploy.runtime.session import Array

CAPTURE_THREAD_LOCAL = 1
STREAM_NON_BLOCKING = 1
"""Work on the default stream (torch's) neither waits for this one nor breaks a capture on it."""


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

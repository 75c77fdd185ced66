"""The GPU through cuda-bindings, behind `runtime.device_interface`. The only module that imports them."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from hc_deploy.errors import MissingDependencyError
from hc_deploy.runtime.device_interface import (
    CAPTURE_THREAD_LOCAL,
    STREAM_NON_BLOCKING,
    CudaError,
    DeviceMemory,
    no_gpu,
    no_such_gpu,
    out_of_memory,
)
from hc_deploy.runtime.session import Array

OUT_OF_MEMORY = 2
"""CUDA_ERROR_OUT_OF_MEMORY of cuda.h."""


class BindingsDevice:
    """A device, opened; see `hc_deploy.runtime.device.open_device`."""

    def __init__(self, index: int = 0) -> None:
        self._cuda = _import_bindings()
        cuda = self._cuda
        try:
            self._call(cuda.cuInit, 0)
        except CudaError as error:
            raise no_gpu(error.received) from None
        count = self._call(cuda.cuDeviceGetCount)
        if not 0 <= index < count:
            raise no_such_gpu(index, count)
        self._device = self._call(cuda.cuDeviceGet, index)
        self.name: str = self._call(cuda.cuDeviceGetName, 256, self._device).rstrip(b"\0").decode()
        kinds = cuda.CUdevice_attribute
        self.compute_capability = ".".join(
            str(self._call(cuda.cuDeviceGetAttribute, kind, self._device))
            for kind in (
                kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
            )
        )
        self._context = self._call(cuda.cuDevicePrimaryCtxRetain, self._device)
        with self.active():
            self._stream = self._call(cuda.cuStreamCreate, STREAM_NON_BLOCKING)

    @contextmanager
    def active(self) -> Iterator[None]:
        self._call(self._cuda.cuCtxPushCurrent, self._context)
        try:
            yield
        finally:
            self._cuda.cuCtxPopCurrent()

    @property
    def stream(self) -> int:
        return int(self._stream)

    def allocate(self, size: int) -> Memory:
        address = self._call(self._cuda.cuMemAlloc, max(size, 1))
        return Memory(int(address), lambda: self._call(self._cuda.cuMemFree, address))

    def pinned(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        size = int(np.prod(shape)) * dtype.itemsize
        address = int(self._call(self._cuda.cuMemHostAlloc, max(size, 1), 0))
        memory: Any = (ctypes.c_uint8 * size).from_address(address)
        # The array's views keep `memory` alive; with the last of them it goes back. A process that ends frees all.
        weakref.finalize(memory, self._free_pinned, address).atexit = False
        return np.frombuffer(memory, dtype=np.uint8, count=size).view(dtype).reshape(shape)

    def upload(self, target: DeviceMemory, source: Array) -> None:
        self._call(self._cuda.cuMemcpyHtoDAsync, int(target), source.ctypes.data, source.nbytes, self._stream)

    def download(self, target: Array, source: DeviceMemory) -> None:
        self._call(self._cuda.cuMemcpyDtoHAsync, target.ctypes.data, int(source), target.nbytes, self._stream)

    def synchronize(self) -> None:
        self._call(self._cuda.cuStreamSynchronize, self._stream)

    def free_bytes(self) -> int:
        return int(self._call(self._cuda.cuMemGetInfo)[0])

    def capture(self, queue: Callable[[], None]) -> Graph:
        cuda = self._cuda
        self._call(cuda.cuStreamBeginCapture, self._stream, cuda.CUstreamCaptureMode(CAPTURE_THREAD_LOCAL))
        try:
            queue()
        except BaseException:  # a capture that is not ended leaves the stream unusable
            _, graph = cuda.cuStreamEndCapture(self._stream)
            if graph is not None and int(graph):
                cuda.cuGraphDestroy(graph)
            raise
        graph = self._call(cuda.cuStreamEndCapture, self._stream)
        try:
            executable = self._call(cuda.cuGraphInstantiate, graph, 0)
        finally:
            cuda.cuGraphDestroy(graph)
        return Graph(
            lambda: self._call(cuda.cuGraphLaunch, executable, self._stream),
            lambda: self._call(cuda.cuGraphExecDestroy, executable),
        )

    def close(self) -> None:
        with self.active():
            self._call(self._cuda.cuStreamDestroy, self._stream)
        self._call(self._cuda.cuDevicePrimaryCtxRelease, self._device)

    def _free_pinned(self, address: int) -> None:
        """In the primary context, whichever thread drops the array; it is retained for as long as that takes."""
        cuda = self._cuda
        error, context = cuda.cuDevicePrimaryCtxRetain(self._device)
        if int(error):
            return
        cuda.cuCtxPushCurrent(context)
        cuda.cuMemFreeHost(address)
        cuda.cuCtxPopCurrent()
        cuda.cuDevicePrimaryCtxRelease(self._device)

    def _call(self, function: Callable[..., tuple[Any, ...]], *arguments: Any) -> Any:
        """What the driver's function gives after its error code: nothing, a value or a tuple."""
        code, *values = function(*arguments)
        if int(code) == 0:
            return values[0] if len(values) == 1 else tuple(values)
        _, text = self._cuda.cuGetErrorString(code)
        said = f"{function.__name__} failed: {(text or b'?').decode()} ({int(code)})"
        if int(code) == OUT_OF_MEMORY:
            _, free, total = self._cuda.cuMemGetInfo()
            raise out_of_memory(said, free, total)
        raise CudaError(said, mend="hc-deploy doctor")


class Memory:
    """See `DeviceMemory`."""

    def __init__(self, address: int, free: Callable[[], None]) -> None:
        self._address, self._free = address, free

    def __int__(self) -> int:
        return self._address

    def free(self) -> None:
        self._free()


class Graph:
    """See `CudaGraph`."""

    def __init__(self, launch: Callable[[], None], free: Callable[[], None]) -> None:
        self.launch, self.free = launch, free


def _import_bindings() -> Any:
    try:
        from cuda.bindings import driver
    except ImportError as error:
        raise MissingDependencyError(
            f"cuda-bindings cannot be imported ({error})", expected="cuda-bindings", mend="hc-deploy doctor"
        ) from None
    return driver

"""The GPU through pycuda, behind `runtime.device_interface`. The only module that imports pycuda.

pycuda has no CUDA graphs: those few calls go to the driver itself.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from hc_deploy.errors import MissingDependencyError
from hc_deploy.runtime.device_interface import (
    CAPTURE_THREAD_LOCAL,
    STREAM_NON_BLOCKING,
    CudaError,
    no_gpu,
    no_such_gpu,
    out_of_memory,
)
from hc_deploy.runtime.session import Array


class PycudaDevice:
    """A device, opened; see `hc_deploy.runtime.device.open_device`."""

    def __init__(self, index: int = 0) -> None:
        self._cuda = _import_pycuda()
        count = self._cuda.Device.count()
        if not 0 <= index < count:
            raise no_such_gpu(index, count)
        device = self._cuda.Device(index)
        self.name = device.name()
        self.compute_capability = ".".join(str(part) for part in device.compute_capability())
        self._driver = ctypes.CDLL("libcuda.so.1")
        self._context = device.retain_primary_context()
        with self.active():
            self._stream = self._cuda.Stream(STREAM_NON_BLOCKING)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make the device current in this thread for the block; the driver's errors become ours."""
        self._context.push()
        try:
            yield
        except self._cuda.MemoryError as error:
            raise out_of_memory(str(error), *self._cuda.mem_get_info()) from None
        except self._cuda.Error as error:
            raise CudaError(f"the GPU failed: {error}", mend="hc-deploy doctor") from None
        finally:
            self._context.pop()

    @property
    def stream(self) -> int:
        """The stream's handle."""
        return int(self._stream.handle)

    def allocate(self, size: int) -> Any:
        """Device memory of `size` bytes; `int()` of it is its address, `free()` gives it back."""
        return self._cuda.mem_alloc(max(size, 1))

    def pinned(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """A host array that copies to and from the device run beside the stream's work."""
        array: Array = self._cuda.pagelocked_empty(shape, dtype)
        return array

    def upload(self, target: Any, source: Array) -> None:
        """Queue a copy from a pinned array."""
        self._cuda.memcpy_htod_async(target, source, self._stream)

    def download(self, target: Array, source: Any) -> None:
        """Queue a copy into a pinned array."""
        self._cuda.memcpy_dtoh_async(target, source, self._stream)

    def synchronize(self) -> None:
        """Wait until all that was queued is done."""
        self._stream.synchronize()

    def free_bytes(self) -> int:
        """Memory that is free on the device."""
        return int(self._cuda.mem_get_info()[0])

    def capture(self, queue: Callable[[], None]) -> PycudaGraph:
        """What `queue` puts on the stream, as a graph: launched by one call. Nothing runs while it is captured."""
        stream, graph = ctypes.c_void_p(self.stream), ctypes.c_void_p()
        self._call("cuStreamBeginCapture_v2", stream, ctypes.c_int(CAPTURE_THREAD_LOCAL))
        try:
            queue()
        except BaseException:  # a capture that is not ended leaves the stream unusable
            self._driver.cuStreamEndCapture(stream, ctypes.byref(graph))
            self._driver.cuGraphDestroy(graph)
            raise
        self._call("cuStreamEndCapture", stream, ctypes.byref(graph))
        executable = ctypes.c_void_p()
        try:
            self._call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_ulonglong(0))
        finally:
            self._driver.cuGraphDestroy(graph)
        return PycudaGraph(self._call, executable, stream)

    def close(self) -> None:
        """Let go of the stream and of the context (others may still hold it)."""
        with self.active():
            self._stream = None
        self._context.detach()
        # pycuda 2026.1 pushes a primary context that is not current to release it, and leaves it on the stack.
        self._driver.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._driver, name)(*arguments)
        if code:
            text = ctypes.c_char_p()
            self._driver.cuGetErrorString(code, ctypes.byref(text))
            raise CudaError(f"{name} failed: {(text.value or b'?').decode()} ({code})", mend="hc-deploy doctor")


class PycudaGraph:
    """A captured sequence of work, bound to the addresses and sizes that it was captured with."""

    def __init__(self, call: Callable[..., None], executable: ctypes.c_void_p, stream: ctypes.c_void_p) -> None:
        self._call, self._executable, self._stream = call, executable, stream

    def launch(self) -> None:
        """Queue it on its stream."""
        self._call("cuGraphLaunch", self._executable, self._stream)

    def free(self) -> None:
        """Give it back; it cannot be launched afterwards."""
        self._call("cuGraphExecDestroy", self._executable)


def _import_pycuda() -> Any:
    """pycuda.driver, initialised."""
    try:
        import pycuda.driver as cuda
    except ImportError as error:
        raise MissingDependencyError(
            f"pycuda cannot be imported ({error})",
            expected="pycuda and an NVIDIA driver (libcuda.so.1)",
            mend="hc-deploy doctor",
        ) from None
    try:
        cuda.init()
    except cuda.Error as error:
        raise no_gpu(str(error)) from None
    return cuda

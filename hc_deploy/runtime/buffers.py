"""Room for the tensors of one run: device memory and pinned host memory, kept from run to run and grown when needed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hc_deploy.runtime.device_interface import CudaDevice, CudaGraph
from hc_deploy.runtime.session import Array


@dataclass
class Buffer:
    """One tensor, on the device and pinned on the host, both of `capacity` bytes."""

    device: Any = None
    host: Array | None = None
    capacity: int = 0

    def reserve(self, gpu: CudaDevice, size: int) -> None:
        """Make room for `size` bytes; what it held is lost if it grows."""
        if size <= self.capacity:
            return
        self.free()
        self.device = gpu.allocate(size)
        self.host = gpu.pinned((size,), np.dtype(np.uint8))
        self.capacity = size

    def view(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """The first bytes of the host's side as an array."""
        assert self.host is not None
        size = int(np.prod(shape)) * dtype.itemsize
        return self.host[:size].view(dtype).reshape(shape)

    def free(self) -> None:
        """Give both back."""
        if self.device is not None:
            self.device.free()
        self.device, self.host, self.capacity = None, None, 0


@dataclass
class Buffers:
    """A buffer a tensor by name, the shapes they hold now, and the graph that was captured for their addresses.

    One set is enough: `load`, `execute` and `fetch` come in this order, so no image is taken while an answer is read.
    """

    tensors: dict[str, Buffer] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    graph: CudaGraph | None = None

    def host(self, name: str, dtype: np.dtype[Any]) -> Array:
        """The host's side of a tensor, in the shape that it has now."""
        return self.tensors[name].view(self.shapes[name], dtype)

    def size(self) -> int:
        """Bytes on the device."""
        return sum(buffer.capacity for buffer in self.tensors.values())

    def forget_shapes(self) -> None:
        """What was captured and shaped holds no longer; the memory stays."""
        self.shapes = {}
        if self.graph is not None:
            self.graph.free()
            self.graph = None

    def free(self) -> None:
        """Give everything back."""
        self.forget_shapes()
        for buffer in self.tensors.values():
            buffer.free()
        self.tensors.clear()

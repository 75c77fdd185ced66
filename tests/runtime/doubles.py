"""Doubles of the GPU and of TensorRT under an engine's session.

They hold memory by address and run work only where the session queued it, so a wrong address, shape or order shows.
"""

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np

from hc_deploy.engine.options import BuildOptions, Shape, ShapeRange
from hc_deploy.engine.sidecar import FileRecord, Layers, Sidecar
from hc_deploy.spec import ModelSpec
from hc_deploy.system.gpu import Gpu

PROFILE = ShapeRange(Shape(1, 4, 4), Shape(1, 8, 8), Shape(2, 16, 16))


class Memory:
    def __init__(self, gpu, size):
        self.gpu, self.data = gpu, np.full(size, 0xA5, np.uint8)
        gpu.next += 1 << 20
        self.address = gpu.next
        gpu.memory[self.address] = self.data

    def __int__(self):
        return self.address

    def free(self):
        del self.gpu.memory[self.address]


class Graph:
    def __init__(self, gpu, work):
        self.gpu, self.work = gpu, work
        gpu.graphs.append(self)

    def launch(self):
        self.gpu.launched += 1
        self.gpu.queue += self.work

    def free(self):
        self.gpu.graphs.remove(self)


class GpuDouble:
    """The interface of CudaDevice: queued work runs when it is synchronised."""

    name, compute_capability, stream = "Double", "8.6", 7

    def __init__(self):
        self.memory, self.queue, self.graphs, self.strategies = {}, [], [], []
        self.next, self.launched, self.captures, self.depth, self.closed, self.capturing = 0, 0, 0, 0, False, None
        self.refusal: Exception | None = None

    @contextmanager
    def active(self):
        self.depth += 1
        yield
        self.depth -= 1

    def allocate(self, size):
        assert self.depth
        return Memory(self, size)

    def pinned(self, shape, dtype):
        return np.full(shape, 0x5A, dtype)

    def upload(self, target, source):
        self.queue.append(lambda: target.data.__setitem__(slice(source.nbytes), source.view(np.uint8).reshape(-1)))

    def download(self, target, source):
        self.queue.append(
            lambda: target.view(np.uint8).reshape(-1).__setitem__(slice(None), source.data[: target.nbytes])
        )

    def put(self, work):
        (self.queue if self.capturing is None else self.capturing).append(work)

    def synchronize(self):
        work, self.queue = self.queue, []
        for item in work:
            item()

    def capture(self, queue):
        assert not self.queue, "captured while work was under way"
        self.captures += 1
        self.capturing = []
        try:
            queue()
            if self.refusal is not None:
                raise self.refusal
            return Graph(self, self.capturing)
        finally:
            self.capturing = None

    def free_bytes(self):
        return 1000

    def close(self):
        self.closed = True


class Context:
    def __init__(self, gpu):
        self.gpu, self.addresses, self.shape, self.profiler = gpu, {}, None, None

    def set_input_shape(self, name, shape):
        self.shape = tuple(shape)
        return True

    def get_tensor_shape(self, name):
        return self.shape[:3]

    def set_tensor_address(self, name, address):
        self.addresses[name] = address

    def execute_async_v3(self, stream):
        """labels = the red channel + 1, from and to the addresses of this moment."""
        assert stream == self.gpu.stream and self.gpu.depth
        source, target, shape = self.addresses["image"], self.addresses["labels"], self.shape

        def work():
            image = self.gpu.memory[source][: int(np.prod(shape))].reshape(shape)
            self.gpu.memory[target][: int(np.prod(shape[:3]))] = (image[..., 0] + 1).reshape(-1)
            if self.profiler is not None:
                self.profiler.report_layer_time("add", 1.0)
                self.profiler.report_layer_time("slice", 2.0)

        self.gpu.put(work)
        return True


def module(gpu, opened):
    """A TensorRT of one engine with the tensors `image` and `labels`."""
    names = ["image", "labels"]

    class Engine:
        num_io_tensors = 2
        device_memory_size_v2 = 64
        get_tensor_name = staticmethod(names.__getitem__)
        get_tensor_mode = staticmethod(lambda name: "in" if name == "image" else "out")
        get_tensor_dtype = staticmethod(lambda name: np.uint8)
        get_tensor_shape = staticmethod(lambda name: (-1, -1, -1, 3) if name == "image" else (-1, -1, -1))
        create_runtime_config = staticmethod(SimpleNamespace)

        @staticmethod
        def create_execution_context(config=None):
            gpu.strategies.append(getattr(config, "cuda_graph_strategy", None))
            return Context(gpu)

    class Runtime:
        engine_host_code_allowed = False

        def __init__(self, logger):
            opened.append(self)

        def deserialize_cuda_engine(self, data):
            return Engine() if data.startswith(b"engine") else None

    class Base:
        """Of a logger and of a profiler."""

    return SimpleNamespace(
        __name__="tensorrt", __version__="10.9.0", Runtime=Runtime, ILogger=Base, IProfiler=Base,
        nptype=lambda kind: kind,
        TensorIOMode=SimpleNamespace(OUTPUT="out"), CudaGraphStrategy=SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole"),
    )  # fmt: skip


def write(path, data, **changed):
    """An engine file for `module`, and its sidecar; `data` starts with b"engine" for one that opens."""
    path.write_bytes(data)
    fields = {
        "spec": ModelSpec("fcn", ("road",), ((1, 2, 3),)),
        "options": BuildOptions("tensorrt", "fp16", PROFILE),
        "version": "10.9.0",
        "engine": FileRecord.of(path),
        "onnx": FileRecord("model.onnx", 3, "ab"),
        "layers": Layers("network", 5, {"HCUpsample": 2}, computing={"fp16": 4, "fp32": 1}),
        "plugin": FileRecord("libhc_plugins.so", 4, "cd"),
        "device": Gpu("Double", "1", None, None, "8.6"),
        "seconds": 1.5,
        "created": "2026",
    }
    Sidecar(**{**fields, **changed}).write(path)

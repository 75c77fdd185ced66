"""A Session on a TensorRT engine: `model.engine` and its sidecar in, outputs out. Full, lean and RTX runtimes.

The sidecar is checked before a byte of the engine is given to TensorRT: flavour, version, GPU, plugin and hash. An
engine that carries our plugin holds code for the host; it is allowed to run only because its hash is the sidecar's.

Two slots of buffers take turns: `load` fills the one that `fetch` does not read, so the next frame may be copied in
while the last answer is still being read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hc_deploy.engine.flavours import error_logger
from hc_deploy.engine.options import Shape
from hc_deploy.engine.sidecar import read_engine
from hc_deploy.errors import DeployError
from hc_deploy.ran import Runtime
from hc_deploy.runtime.buffers import Buffer, Slot
from hc_deploy.runtime.device import open_device
from hc_deploy.runtime.engine_check import (
    register_plugins,
    require_device,
    require_truth,
    require_version,
    runtime_module,
)
from hc_deploy.runtime.session import Array, Outputs, SessionBase, session_name

SLOTS = 2
IMAGE = "image"


@dataclass(frozen=True)
class LayerTime:
    """Mean time of one layer of the engine, in milliseconds."""

    name: str
    milliseconds: float


@dataclass(frozen=True)
class Memory:
    """Bytes on the device: scratch of the engine, images and outputs of both slots, and what is left free."""

    engine: int
    buffers: int
    free: int


class TensorRtSession(SessionBase):
    """One `model.engine` on the first GPU, run as a CUDA graph that is captured anew for each shape.

    See `open_session` for errors.

    Args:
        path: the engine; its sidecar stands beside it.
        plugin: the plugin library, for an engine that does not carry it; None: the one that `make plugin` built.
        expect_sha256: the engine's hash, as its user knows it; None: the sidecar's word is enough.
    """

    def __init__(self, path: Path, *, plugin: Path | None = None, expect_sha256: str | None = None) -> None:
        self._sidecar, data = read_engine(path, expect_sha256=expect_sha256)
        self.spec, self.name = self._sidecar.spec, session_name(path)
        self.provider: str = self._sidecar.options.flavour
        self._trt = runtime_module(self._sidecar)
        require_version(self._sidecar, self._trt.__version__)
        register_plugins(self._trt, self._sidecar, plugin)
        layers = self._sidecar.layers
        self.runtime = Runtime(
            self._trt.__name__, self._trt.__version__, self._sidecar.options.precision, layers.computing, layers.source
        )
        # TensorRT-RTX captures by itself, once the kernels for a shape are there.
        self._graphs_by_runtime = self.provider == "tensorrt-rtx"
        self._slots = [Slot() for _ in range(SLOTS)]
        self._shape: tuple[int, ...] | None = None
        self._loaded: int | None = None
        self._done: int | None = None
        self._messages: list[str] = []
        self._runtime: Any = None
        self._engine: Any = None
        self._context: Any = None
        self._outputs: dict[str, np.dtype[Any]] = {}
        self._gpu: Any = open_device()  # None once it is closed
        try:
            require_device(self._sidecar, self._gpu.name, self._gpu.compute_capability)
            with self._gpu.active():
                self._open(path, data)
        except BaseException:
            self.close()
            raise

    def load(self, images: Array) -> None:
        if self._gpu is None:
            raise DeployError(f"{self.name} is closed", expected="an open session")
        images = self._checked(images)
        profile, shape = self._sidecar.options.profile, _shape(images, self.spec.input)
        if not profile.holds(shape):
            raise DeployError(
                f"{self.name}: images of {shape}",
                expected=f"batch x height x width within this engine's profile, {profile}",
                mend="build with --min-shape and --max-shape around it",
            )
        index = 0 if self._done is None else (self._done + 1) % SLOTS
        slot = self._slots[index]
        with self._gpu.active():
            self._fit(slot, images.shape)
            buffer = slot.buffers[IMAGE]
            staged = buffer.view(images.shape, images.dtype)
            np.copyto(staged, images)
            self._gpu.upload(buffer.device, staged)
            self._gpu.synchronize()
        self._loaded = index

    def execute(self) -> None:
        if self._loaded is None:
            raise DeployError(f"{self.name}: nothing is loaded", expected="load(images) before execute()")
        slot = self._slots[self._loaded]
        with self._gpu.active():
            if slot.graph is not None:
                slot.graph.launch()
            else:
                self._bind(slot)
                self._enqueue()
            self._gpu.synchronize()
            if not self._graphs_by_runtime and slot.graph is None:
                # From the next run on: in a first run of a shape TensorRT settles state that cannot be captured.
                slot.graph = self._gpu.capture(self._enqueue)
        self._done = self._loaded

    def fetch(self) -> Outputs:
        if self._done is None:
            raise DeployError(f"{self.name}: nothing was executed", expected="execute() before fetch()")
        slot = self._slots[self._done]
        staged = {name: slot.buffers[name].view(slot.shapes[name], dtype) for name, dtype in self._outputs.items()}
        with self._gpu.active():
            for name, array in staged.items():
                self._gpu.download(array, slot.buffers[name].device)
            self._gpu.synchronize()
        return {name: array.copy() for name, array in staged.items()}

    def memory(self) -> Memory:
        """What the session holds on the device, and what is free."""
        with self._gpu.active():
            buffers = sum(buffer.capacity for slot in self._slots for buffer in slot.buffers.values())
            return Memory(self._scratch(), buffers, self._gpu.free_bytes())

    def profile_layers(self, images: Array, *, runs: int = 20) -> list[LayerTime]:
        """Mean time of each layer over `runs` runs, slowest first; TensorRT's own clock, without a CUDA graph."""
        profiler = _profiler(self._trt)
        self.load(images)
        assert self._loaded is not None
        with self._gpu.active():
            try:
                self._bind(self._slots[self._loaded])
                self._context.profiler = profiler
                for _ in range(runs):
                    self._enqueue()
                    self._gpu.synchronize()
            finally:  # a profiler cannot be taken off a context
                self._context = None
                self._context = self._new_context()
                self._shape = None
        self._loaded = self._done = None
        times = [LayerTime(name, total / runs) for name, total in profiler.totals.items()]
        return sorted(times, key=lambda entry: -entry.milliseconds)

    def close(self) -> None:
        """Free buffers, graphs, engine and context."""
        gpu, self._gpu = self._gpu, None
        if gpu is None:
            return
        try:
            with gpu.active():
                for slot in self._slots:
                    slot.free()
                self._loaded = self._done = None
        finally:
            with gpu.active():
                self._context = self._engine = self._runtime = None
            gpu.close()

    def _open(self, path: Path, data: bytes) -> None:
        options = self._sidecar.options
        self._runtime = self._trt.Runtime(error_logger(self._trt, self._messages.append))
        # Our plugin, or the lean runtime in a version-compatible engine: host code, of the bytes that were checked.
        if self._sidecar.carries_plugin or options.version_compatible:
            self._runtime.engine_host_code_allowed = True
        self._engine = self._runtime.deserialize_cuda_engine(data)
        if self._engine is None:
            raise DeployError(
                f"{path} cannot be opened by {options.flavour} {self._trt.__version__}: {self._said()}",
                expected="an engine for this machine",
                mend=self._sidecar.rebuild(),
            )
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        self._outputs = {
            name: np.dtype(self._trt.nptype(self._engine.get_tensor_dtype(name)))
            for name in names
            if self._engine.get_tensor_mode(name) == self._trt.TensorIOMode.OUTPUT
        }
        require_truth(self._sidecar, self._trt, self._engine, source=str(path))
        self._context = self._new_context()

    def _new_context(self) -> Any:
        if self._graphs_by_runtime:
            config = self._engine.create_runtime_config()
            config.cuda_graph_strategy = self._trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            context = self._engine.create_execution_context(config)
        else:
            context = self._engine.create_execution_context()
        if context is None:
            raise DeployError(
                f"{self.name}: no room for the engine's {self._scratch() / 1e6:.0f} MB of scratch "
                f"({self._gpu.free_bytes() / 1e6:.0f} MB free): {self._said()}",
                expected="enough memory on the GPU",
                mend="build with a smaller --max-shape or --workspace",
            )
        return context

    def _scratch(self) -> int:
        """Bytes of scratch memory of the engine; TensorRT 10.0 has the older name alone."""
        size = getattr(self._engine, "device_memory_size_v2", None)
        return int(self._engine.device_memory_size if size is None else size)

    def _fit(self, slot: Slot, shape: tuple[int, ...]) -> None:
        """Make the context, and the room in a slot, fit images of `shape`."""
        if shape != self._shape:
            if not self._context.set_input_shape(IMAGE, shape):
                raise DeployError(f"{self.name}: TensorRT refuses images of {shape}: {self._said()}")
            self._shape = shape
            for each in self._slots:  # a graph holds for the shape that the context had
                each.drop_graph()
        if slot.shapes.get(IMAGE) == shape:
            return
        slot.drop_graph()
        image = np.dtype(np.uint8 if self.spec.input == "uint8" else np.float32)
        shapes: dict[str, tuple[int, ...]] = {}
        slot.shapes = {}  # stands while the memory is being asked for
        for name, dtype in {IMAGE: image, **self._outputs}.items():
            shapes[name] = tuple(shape if name == IMAGE else self._context.get_tensor_shape(name))
            slot.buffers.setdefault(name, Buffer()).reserve(self._gpu, int(np.prod(shapes[name])) * dtype.itemsize)
        slot.shapes = shapes

    def _bind(self, slot: Slot) -> None:
        for name, buffer in slot.buffers.items():
            self._context.set_tensor_address(name, int(buffer.device))

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._gpu.stream):
            raise DeployError(f"{self.name} failed on the GPU: {self._said()}", mend="hc-deploy doctor")

    def _said(self) -> str:
        return "; ".join(" ".join(message.split()) for message in self._messages[-2:]) or "TensorRT gave no reason"


def _shape(images: Array, kind: str) -> Shape:
    batch, first, second, third = images.shape
    return Shape(batch, first, second) if kind == "uint8" else Shape(batch, second, third)


def _profiler(trt: Any) -> Any:
    class Profiler(trt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.totals: dict[str, float] = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.totals[layer_name] = self.totals.get(layer_name, 0.0) + ms

    return Profiler()

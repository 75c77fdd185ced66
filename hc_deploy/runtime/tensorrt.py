"""A Session on a TensorRT engine: `model.engine` and its sidecar in, outputs out. Full, lean and RTX runtimes.

The sidecar is checked before a byte of the engine is given to TensorRT: flavour, version, GPU, plugin and hash. An
engine that carries our plugin holds code for the host; it is allowed to run only because its hash is the sidecar's.
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
from hc_deploy.runtime.buffers import Buffer, Buffers
from hc_deploy.runtime.device import open_device
from hc_deploy.runtime.engine_check import (
    register_plugins,
    require_device,
    require_truth,
    require_version,
    runtime_module,
)
from hc_deploy.runtime.layer_times import LayerTime, layer_clock
from hc_deploy.runtime.session import Array, Outputs, SessionBase, session_name

IMAGE = "image"


@dataclass(frozen=True)
class Memory:
    """Bytes on the device: scratch of the engine, images and outputs, and what is left free."""

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

    Attributes:
        no_graph_because: why it runs without a CUDA graph at the shape that was loaded last; None where nothing is
            known against one. TensorRT-RTX captures by itself and does not tell.
    """

    _copies = True

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
        self.no_graph_because: str | None = None
        self._buffers = Buffers()
        self._messages: list[str] = []
        self._runtime: Any = None
        self._engine: Any = None
        self._context: Any = None
        self._outputs: dict[str, np.dtype[Any]] = {}
        self._gpu = open_device()
        try:
            require_device(self._sidecar, self._gpu.name, self._gpu.compute_capability)
            with self._gpu.active():
                self._open(path, data)
        except BaseException:
            self.close()
            raise

    def memory(self) -> Memory:
        """What the session holds on the device, and what is free."""
        self._require_open()
        with self._gpu.active():
            return Memory(self._scratch(), self._buffers.size(), self._gpu.free_bytes())

    def profile_layers(self, images: Array, *, runs: int = 20) -> list[LayerTime]:
        """Mean time of each layer over `runs` runs, slowest first; TensorRT's own clock, without a CUDA graph.

        Nothing is loaded afterwards.
        """
        self.load(images)
        profiler = layer_clock(self._trt)
        self._unload()
        with self._failing("being profiled"), self._gpu.active():
            try:
                self._bind()
                self._context.profiler = profiler
                for _ in range(runs):
                    self._enqueue()
                    self._gpu.synchronize()
            finally:  # a profiler cannot be taken off a context
                self._buffers.forget_shapes()
                self._context = None
                self._context = self._new_context()
        return profiler.means(runs)

    def _load(self, images: Array) -> None:
        profile, shape = self._sidecar.options.profile, _shape(images, self.spec.input)
        if not profile.holds(shape):
            raise DeployError(
                f"{self.name}: images of {shape}",
                expected=f"batch x height x width within this engine's profile, {profile}",
                mend="build with --min-shape and --max-shape around it",
            )
        with self._gpu.active():
            self._fit(images.shape, images.dtype)
            staged = self._buffers.host(IMAGE, images.dtype)
            np.copyto(staged, images)
            self._gpu.upload(self._buffers.tensors[IMAGE].device, staged)
            self._gpu.synchronize()

    def _execute(self) -> None:
        graph = self._buffers.graph
        with self._gpu.active():
            if graph is not None:
                graph.launch()
            else:
                self._bind()
                self._enqueue()
            self._gpu.synchronize()
            if graph is None and self.no_graph_because is None and not self._graphs_by_runtime:
                self._capture()

    def _capture(self) -> None:
        """A graph for the next runs of this shape: in the first one TensorRT settles state that cannot be captured.

        An engine with work that cannot be captured (a loop, a plugin that waits) goes on without, and is not tried
        again until the shape changes.
        """
        try:
            self._buffers.graph = self._gpu.capture(self._enqueue)
        except DeployError as error:
            self.no_graph_because = error.received

    def _fetch(self) -> Outputs:
        staged = {name: self._buffers.host(name, dtype) for name, dtype in self._outputs.items()}
        with self._gpu.active():
            for name, array in staged.items():
                self._gpu.download(array, self._buffers.tensors[name].device)
            self._gpu.synchronize()
        return {name: array.copy() for name, array in staged.items()}

    def _close(self) -> None:
        """Free buffers, graph, engine and context."""
        try:
            with self._gpu.active():
                self._buffers.free()
        finally:
            with self._gpu.active():
                self._context = self._engine = self._runtime = None
            self._gpu.close()

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

    def _fit(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Make the context and the buffers fit images of `shape`."""
        buffers = self._buffers
        if buffers.shapes.get(IMAGE) == shape:
            return
        buffers.forget_shapes()  # stands where something below fails
        self.no_graph_because = None
        if not self._context.set_input_shape(IMAGE, shape):
            raise DeployError(f"{self.name}: TensorRT refuses images of {shape}: {self._said()}")
        shapes = {name: tuple(self._context.get_tensor_shape(name)) for name in self._outputs} | {IMAGE: shape}
        for name, kind in {IMAGE: dtype, **self._outputs}.items():
            buffers.tensors.setdefault(name, Buffer()).reserve(self._gpu, int(np.prod(shapes[name])) * kind.itemsize)
        buffers.shapes = shapes

    def _bind(self) -> None:
        for name, buffer in self._buffers.tensors.items():
            self._context.set_tensor_address(name, int(buffer.device))

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._gpu.stream):
            raise DeployError(f"{self.name} failed on the GPU: {self._said()}", mend="hc-deploy doctor")

    def _said(self) -> str:
        return "; ".join(" ".join(message.split()) for message in self._messages[-2:]) or "TensorRT gave no reason"


def _shape(images: Array, kind: str) -> Shape:
    batch, first, second, third = images.shape
    return Shape(batch, first, second) if kind == "uint8" else Shape(batch, second, third)

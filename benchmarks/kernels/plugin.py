"""The TensorRT plugin's own road: a case's kernel through `enqueue`, as TensorRT's runtime calls it, without an engine.

A case and its tensors enter, the output leaves. The registry is that of a real TensorRT (the lean runtime is enough);
the plugin is the one that engines load. Needs `libenqueue.so`, built from tests/plugins/contract.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.kernels.cases import Case
from hc_deploy.engine.quick_ops import OPS
from hc_deploy.errors import DeployError

HARNESS = Path(__file__).resolve().parents[2] / "build" / "plugins" / "contract" / "libenqueue.so"
"""What `cmake --build build/plugins --target enqueue` makes."""
TYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 7}
"""nvinfer1::DataType."""
OPENED = {1: "TensorRT's library cannot be opened", 2: "it has no plugin registry", 3: "the plugins are refused"}
STEPS = {1: "no creator", 2: "createPlugin", 3: "attachToContext", 4: "onShapeChange", 5: "enqueue"}


@dataclass(frozen=True)
class PluginFiles:
    """libenqueue.so, TensorRT's runtime library (`libnvinfer.so.*` or `libnvinfer_lean.so.*`), libhc_plugins.so."""

    harness: Path
    tensorrt: Path
    plugins: Path


class PluginRoad:
    """The plugin in a registry; once a process.

    Raises:
        DeployError: a library cannot be opened.
    """

    def __init__(self, files: PluginFiles) -> None:
        try:
            self._library = ctypes.CDLL(str(files.harness))
        except OSError as error:
            raise DeployError(f"{files.harness}: {error}") from None
        failed = self._library.hc_open(str(files.tensorrt).encode(), str(files.plugins).encode())
        if failed:
            raise DeployError(f"{files.tensorrt}, {files.plugins}: {OPENED[failed]}")

    def run(self, case: Case, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """The case's output; queued on the current stream, and waited for on a GPU.

        Raises:
            DeployError: the step that the plugin refused.
        """
        op = next(op for op in OPS if op.kernel == case.op)
        shapes, pointers = [tuple(tensor.shape) for tensor in inputs], [tensor.data_ptr() for tensor in inputs]
        if case.op == "argmax":  # `like`: its shape is read, never its elements
            shapes.append((case.batch, 1, *case.fine))
            pointers.append(0)
        dtype = torch.int32 if case.op == "argmax" else inputs[0].dtype
        out = torch.empty(tuple(op.output(*shapes)), dtype=dtype, device=inputs[0].device)
        flat = [size for shape in shapes for size in shape]
        options = case.options
        stream = torch.cuda.current_stream(out.device).cuda_stream if out.is_cuda else None
        failed = self._library.hc_enqueue(
            op.name.encode(), TYPES[inputs[0].dtype], len(shapes), (ctypes.c_int64 * len(flat))(*flat),
            (ctypes.c_int64 * out.ndim)(*out.shape), out.ndim, ctypes.c_float(options.tau if op.clustered else 0.0),
            options.similarity.encode(), options.border.encode(), options.assignment.encode(),
            (ctypes.c_void_p * len(pointers))(*pointers), ctypes.c_void_p(out.data_ptr()), ctypes.c_void_p(stream),
        )  # fmt: skip
        if failed:
            raise DeployError(f"{case.name}: {STEPS[failed]} failed")
        if out.is_cuda:
            torch.cuda.synchronize(out.device)
        return out

"""The ahead-of-time road without TensorRT: each kernel's PTX, as an engine would carry it, launched through the driver.

A case enters, the output of a launch with the plugin's own kernel, integers and geometry leaves. `Driver` is CUDA's
driver in the context that torch uses; `Emulated` runs the same launches on the CPU.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from benchmarks.kernels.cases import WITH_EMBEDDING, Case
from hc_deploy.engine import nvrtc
from hc_deploy.engine.kernel_source import FIXED_K, Element, Kernel, kernel_folder
from hc_deploy.engine.quick_ops import GRID_LIMIT, LABELS, OPS, cluster_arguments
from hc_deploy.errors import DeployError, MissingDependencyError
from hc_deploy.system.gpu import driver_version

ELEMENTS: dict[str, Element] = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
Three = tuple[int, int, int]


@dataclass(frozen=True)
class Launch:
    """One launch: kernel, grid and block, pointers of the inputs, integers, pointer of the output, in this order."""

    kernel: Kernel
    grid: Three
    block: Three
    inputs: tuple[int, ...]
    integers: tuple[int, ...]
    output: int


class Launcher(Protocol):
    """Runs a launch to its end, or raises a DeployError."""

    def run(self, launch: Launch) -> None: ...


def run_ahead(launcher: Launcher, case: Case, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
    """The output of the case's kernel on `inputs`, launched by `launcher`."""
    op = next(op for op in OPS if op.kernel == case.op)
    shapes, pointers = [tuple(tensor.shape) for tensor in inputs], [tensor.data_ptr() for tensor in inputs]
    if case.op == "argmax":  # `like`: its shape is read, never its elements
        shapes.append((case.batch, 1, *case.fine))
        pointers.append(pointers[0])
    sizes = tuple(int(size) for size in op.arguments(*shapes))
    fixed = case.op in WITH_EMBEDDING and case.embedding == FIXED_K
    integers = (*sizes, *(cluster_arguments(case.options) if op.clustered else ()))
    dtype = torch.int32 if case.op == "argmax" else inputs[0].dtype
    out = torch.empty(tuple(op.output(*shapes)), dtype=dtype, device=inputs[0].device)
    rows, columns = case.fine if op.tile is LABELS else case.coarse_size
    launch = Launch(
        kernel=Kernel(case.op, ELEMENTS[case.dtype], fixed),
        grid=(-(-columns // op.tile.columns), -(-rows // op.tile.rows), min(case.batch, GRID_LIMIT)),
        block=(op.tile.threads, 1, 1),
        inputs=tuple(pointers),
        integers=integers,
        output=out.data_ptr(),
    )
    launcher.run(launch)
    return out


class Driver:
    """CUDA's driver, in the primary context of a device: the one torch's tensors live in.

    Args:
        index: the device. library: file name of the driver.

    Raises:
        MissingDependencyError: no driver, or no NVRTC. DeployError: the driver refuses something; its own words.
    """

    def __init__(self, index: int = 0, *, library: str = "libcuda.so.1") -> None:
        self._compiler = nvrtc.Nvrtc()
        try:
            self._driver = ctypes.CDLL(library)
        except OSError as error:
            raise MissingDependencyError(
                f"{library} cannot be loaded: {error}", expected="an NVIDIA driver", mend="install the driver"
            ) from None
        nvrtc.check_driver(self._compiler.version, driver_version(library))
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self._call("cuInit", ctypes.c_uint(0))
        self._call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(index))
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._call("cuCtxSetCurrent", context)

    def run(self, launch: Launch) -> None:
        """On the legacy default stream, then wait for the device."""
        function = self._function(launch.kernel)
        pointers = [ctypes.c_void_p(value) for value in (*launch.inputs, launch.output)]
        values = [*pointers[:-1], *(ctypes.c_int(value) for value in launch.integers), pointers[-1]]
        addresses = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        geometry = [ctypes.c_uint(size) for size in (*launch.grid, *launch.block)]
        self._call("cuLaunchKernel", function, *geometry, ctypes.c_uint(0), None, addresses, None)
        self._call("cuCtxSynchronize")

    @functools.cache  # noqa: B019 - one driver a process, and its modules must outlive the launches
    def _function(self, kernel: Kernel) -> ctypes.c_void_p:
        ptx = self._compiler.compile(kernel.source, architecture=kernel.architecture, include=[kernel_folder()])
        module, function = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuModuleLoadData", ctypes.byref(module), ctypes.c_char_p(ptx))
        self._call("cuModuleGetFunction", ctypes.byref(function), module, ctypes.c_char_p(kernel.name.encode()))
        return function

    def _call(self, name: str, *arguments: object) -> None:
        error = getattr(self._driver, name)(*arguments)
        if error:
            text = ctypes.c_char_p()
            self._driver.cuGetErrorString(error, ctypes.byref(text))
            raise DeployError(f"{name}: {(text.value or b'unknown error').decode()} (error {error})")


class Emulated:
    """The same launches by the library that runs the kernels on the CPU.

    Args:
        library: what `plugins/emulator/build.py` made.
    """

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))

    def run(self, launch: Launch) -> None:
        """On the CPU, to its end."""
        inputs = (ctypes.c_void_p * len(launch.inputs))(*launch.inputs)
        integers = (ctypes.c_int * len(launch.integers))(*launch.integers)
        three = ctypes.c_int * 3
        error = self._library.hc_emulated_kernel(
            launch.kernel.name.encode(), three(*launch.grid), three(*launch.block),
            inputs, len(launch.inputs), integers, len(launch.integers), ctypes.c_void_p(launch.output),
        )  # fmt: skip
        if error:
            raise DeployError(f"{launch.kernel.name}: the emulator refused the launch (error {error})")

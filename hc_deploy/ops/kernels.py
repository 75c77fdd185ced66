"""The CUDA kernels from Python, through the C interface of plugins/kernels/launch.h: tensors in, tensor out.

`hc_deploy.ops` calls them on CUDA tensors once `make plugin` has built `LIBRARY`. What they do not compute goes through
the torch reference on the GPU: float64, inputs of several types, empty maps, and everything while no library is built
(`hc-deploy doctor` says which). A library that is there but cannot be loaded or launched is an error.
"""

from __future__ import annotations

import ctypes
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Literal

import torch

from hc_deploy.cluster_options import ClusterOptions
from hc_deploy.errors import DeployError
from hc_deploy.ops import cells

LIBRARY = Path(__file__).resolve().parents[1] / "lib" / "libhc_kernels.so"
TYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}
"""`enum hc_type` of launch.h."""
LARGEST_INT = 2**31 - 1
FUNCTIONS = {"hc_assign": (3, 5, True), "hc_decode": (3, 5, False), "hc_upsample": (4, 6, True),
             "hc_argmax": (2, 7, False)}  # fmt: skip
"""Of launch.h: pointers, integers (the type first), whether the options follow. The stream is last."""
BUILD = "make plugin"


class _Options(ctypes.Structure):
    _fields_ = (
        ("tau", ctypes.c_float), ("dot", ctypes.c_int), ("exclude", ctypes.c_int), ("hard", ctypes.c_int),
    )  # fmt: skip


class KernelLibrary:
    """One built library of launchers. Each method checks its tensors, allocates the output and queues the kernel on the
    current stream of the tensors' device; inputs that are not contiguous are copied first.

    Args:
        path: `LIBRARY`, or the same sources compiled for the CPU.
        device_type: `cuda`, or `cpu` for the library that runs on the CPU.

    Raises (all methods too):
        DeployError: `path` is no such library, or a launch fails; the message holds CUDA's own words.
        ValueError: tensors whose shapes, types or devices do not fit.
    """

    def __init__(self, path: Path, *, device_type: Literal["cuda", "cpu"] = "cuda") -> None:
        self.path, self.device_type = path, device_type
        try:
            self._library = ctypes.CDLL(str(path))
            for name, (pointers, integers, options) in FUNCTIONS.items():
                getattr(self._library, name).argtypes = [
                    *[ctypes.c_void_p] * pointers, *[ctypes.c_int] * integers, *[_Options] * options, ctypes.c_void_p,
                ]  # fmt: skip
            self._library.hc_error_string.restype = ctypes.c_char_p
        except (OSError, AttributeError) as error:
            raise DeployError(
                f"{path} cannot be loaded: {error}", expected="the kernels of plugins/kernels", mend=BUILD
            ) from None

    def assign(
        self, features: torch.Tensor, seeds: torch.Tensor, options: ClusterOptions | None = None
    ) -> torch.Tensor:
        """HCAssign: features [B,K,H,W], seeds [B,K,h,w] -> [B,9,H,W]."""
        cells.check_sizes("hc_assign", features, seeds)
        cells.check_embeddings("hc_assign", features, seeds)
        batch, channels, height, width = features.shape
        out = features.new_empty(batch, cells.CANDIDATES, height, width)
        return self._launch("hc_assign", (features, seeds), out, (batch, channels, height, width), options)

    def decode(self, coarse: torch.Tensor, assignment: torch.Tensor) -> torch.Tensor:
        """HCDecode: coarse [B,C,h,w], assignment [B,9,H,W] -> [B,C,H,W]."""
        cells.check_sizes("hc_decode", assignment, coarse)
        cells.check_candidates("hc_decode", assignment)
        batch, _, height, width = assignment.shape
        out = coarse.new_empty(batch, coarse.shape[1], height, width)
        return self._launch("hc_decode", (coarse, assignment), out, (batch, coarse.shape[1], height, width))

    def upsample(
        self,
        coarse: torch.Tensor,
        features: torch.Tensor,
        seeds: torch.Tensor,
        options: ClusterOptions | None = None,
    ) -> torch.Tensor:
        """HCUpsample: coarse [B,C,h,w], features [B,K,H,W], seeds [B,K,h,w] -> [B,C,H,W]."""
        cells.check_sizes("hc_upsample", features, seeds)
        cells.check_sizes("hc_upsample", features, coarse)
        cells.check_embeddings("hc_upsample", features, seeds)
        batch, channels, height, width = features.shape
        out = coarse.new_empty(batch, coarse.shape[1], height, width)
        sizes = (batch, coarse.shape[1], channels, height, width)
        return self._launch("hc_upsample", (coarse, features, seeds), out, sizes, options)

    def argmax(self, logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """HCArgmax: logits [B,C,h,w] -> int32 [B,H,W] at `size` (H, W)."""
        if logits.ndim != 4:
            raise ValueError(f"hc_argmax: got logits {tuple(logits.shape)}, expected [B,C,h,w]")
        labels = logits.new_empty(logits.shape[0], *size, dtype=torch.int32)
        return self._launch("hc_argmax", (logits,), labels, (*logits.shape, *size))

    def _launch(
        self,
        name: str,
        inputs: tuple[torch.Tensor, ...],
        out: torch.Tensor,
        sizes: tuple[int, ...],
        options: ClusterOptions | None = None,
    ) -> torch.Tensor:
        self._check(name, inputs, sizes)
        contiguous = [tensor.contiguous() for tensor in inputs]
        pointers = [tensor.data_ptr() for tensor in (*contiguous, out)]
        arguments: list[object] = [*pointers, TYPES[inputs[0].dtype], *sizes]
        if FUNCTIONS[name][2]:
            arguments.append(_as_struct(options or ClusterOptions()))
        with _current(out.device):
            stream = torch.cuda.current_stream(out.device).cuda_stream if out.is_cuda else None
            error = getattr(self._library, name)(*arguments, stream)
        if error:
            said = self._library.hc_error_string(error).decode()
            shapes = ", ".join(str(tuple(tensor.shape)) for tensor in inputs)
            raise DeployError(
                f"{name} on {shapes} of {inputs[0].dtype}, {options}, {out.device}: {said} (error {error})",
                expected="a launch; sizes of at least 1 within the limits of plugins/kernels/launch.h",
                mend=f"{BUILD}, on the machine of this GPU; CUDA_LAUNCH_BLOCKING=1 shows an earlier kernel's error",
            )
        return out

    def _check(self, name: str, inputs: tuple[torch.Tensor, ...], sizes: tuple[int, ...]) -> None:
        kinds = sorted({f"{tensor.dtype} on {tensor.device}" for tensor in inputs})
        if len(kinds) > 1 or inputs[0].dtype not in TYPES or inputs[0].device.type != self.device_type:
            legal = f"one of {', '.join(map(str, TYPES))} on one {self.device_type} device"
            raise ValueError(f"{name}: got {', '.join(kinds)}, expected {legal}")
        if max(sizes) > LARGEST_INT:
            raise ValueError(f"{name}: got a size of {max(sizes)}, expected at most {LARGEST_INT}")


def library_for(*inputs: torch.Tensor) -> KernelLibrary | None:
    """The kernels that compute an op of `inputs`; None where the torch reference does (see the module)."""
    first = inputs[0]
    if first.dtype not in TYPES or any(
        tensor.dtype != first.dtype or tensor.device != first.device or not tensor.numel() for tensor in inputs
    ):
        return None
    return built_library(first.device.type)


@cache
def built_library(device_type: str) -> KernelLibrary | None:
    """What `make plugin` built for tensors of `device_type`, loaded once; None where there is nothing."""
    if device_type != "cuda" or not LIBRARY.is_file():
        return None
    return KernelLibrary(LIBRARY)


def _as_struct(options: ClusterOptions) -> _Options:
    return _Options(options.tau, options.similarity == "dot", options.border == "exclude", options.assignment == "hard")


def _current(device: torch.device) -> AbstractContextManager[object]:
    """The device of the tensors is the launch's device, whichever one is current."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()

"""The kernels for CPUs, for tests: torch tensors in, torch tensor out, on one instruction set and in parts of rows.

Outputs lie between guard zones and are filled beforehand, as those of the emulated CUDA kernels (`emulated.Output`).
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
import torch

from hc_deploy.ops import ClusterOptions
from plugins.cpu.build import LIBRARIES, LIBRARY, SETS, found_compiler
from tests import needs
from tests.plugins.built import build
from tests.plugins.emulated import TYPES, Options, Output, placed

NAMES = tuple(SETS.get(platform.machine(), ("serial",)))
INVALID = 1


class CpuKernels:
    """A built library on the instruction set `name`. Each call is made in parts of `rows` rows, the last ones first."""

    def __init__(self, path: Path, name: str, *, rows: int = 3) -> None:
        self.library, self.name, self.rows = ctypes.CDLL(str(path)), name, rows
        self.library.hc_cpu_error_string.restype = ctypes.c_char_p
        self.library.hc_cpu_instruction_set.restype = ctypes.c_char_p

    def call(self, name: str, pointers: Sequence[int], numbers: Sequence[object]) -> int:
        """A function of hc_cpu.h on this instruction set; returns its error code."""
        assert self.library.hc_cpu_use(self.name.encode()) == 0
        return getattr(self.library, name)(*map(ctypes.c_void_p, pointers), *numbers)

    def run(
        self,
        name: str,
        inputs: Sequence[torch.Tensor],
        output: tuple[Sequence[int], torch.dtype],
        numbers: Sequence[object],
        rows: int,
        offsets: Sequence[int],
    ) -> torch.Tensor:
        offsets = offsets or [0] * (len(inputs) + 1)
        given = [placed(tensor, offset) for tensor, offset in zip(inputs, offsets, strict=False)]
        out = Output(*output, offsets[-1])
        pointers = [*(tensor.data_ptr() for tensor in given), out.pointer()]
        for image in range(inputs[0].shape[0]):
            for first in reversed(range(0, rows, self.rows)):
                part = (image, first, min(first + self.rows, rows))
                error = self.call(name, pointers, [TYPES[inputs[0].dtype], *numbers, *part])
                assert error == 0, self.library.hc_cpu_error_string(error)
        return out.take()

    def assign(
        self, features: torch.Tensor, seeds: torch.Tensor, options: ClusterOptions, *, offsets: Sequence[int] = ()
    ) -> torch.Tensor:
        batch, _, height, width = features.shape
        output = ((batch, 9, height, width), features.dtype)
        numbers = (*features.shape[1:], Options.of(options))
        return self.run("hc_cpu_assign", (features, seeds), output, numbers, seeds.shape[2], offsets)

    def decode(self, coarse: torch.Tensor, assignment: torch.Tensor, *, offsets: Sequence[int] = ()) -> torch.Tensor:
        shape = (*coarse.shape[:2], *assignment.shape[2:])
        inputs = (coarse, assignment)
        return self.run("hc_cpu_decode", inputs, (shape, coarse.dtype), shape[1:], coarse.shape[2], offsets)

    def upsample(
        self,
        coarse: torch.Tensor,
        features: torch.Tensor,
        seeds: torch.Tensor,
        options: ClusterOptions,
        *,
        offsets: Sequence[int] = (),
    ) -> torch.Tensor:
        shape = (*coarse.shape[:2], *features.shape[2:])
        numbers = (coarse.shape[1], *features.shape[1:], Options.of(options))
        inputs = (coarse, features, seeds)
        return self.run("hc_cpu_upsample", inputs, (shape, coarse.dtype), numbers, seeds.shape[2], offsets)

    def argmax(self, logits: torch.Tensor, size: tuple[int, int], *, offsets: Sequence[int] = ()) -> torch.Tensor:
        output = ((logits.shape[0], *size), torch.int32)
        return self.run("hc_cpu_argmax", (logits,), output, (*logits.shape[1:], *size), size[0], offsets)


@cache
def library() -> Path:
    """hc_deploy/lib/libhc_cpu.so of these sources; the test is skipped without a compiler."""
    if found_compiler() is None:
        pytest.skip(needs.COMPILER)
    build("python3", "plugins/cpu/build.py")
    return LIBRARIES / LIBRARY


@cache
def cpu_kernels(name: str) -> CpuKernels:
    """Those of one instruction set; the test is skipped where this CPU lacks it."""
    kernels = CpuKernels(library(), name)
    if kernels.library.hc_cpu_use(name.encode()):
        pytest.skip(f"this CPU has no {name}")
    return kernels

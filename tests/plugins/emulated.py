"""The CUDA kernels on the CPU, for tests: torch tensors in, torch tensor out; no GPU, no nvcc.

Every output lies between two guard zones and is filled beforehand with bits that no kernel writes (a NaN, or -1 as a
label): a call fails if a guard was touched or an element of the output was not written.
"""

from __future__ import annotations

import ctypes
import math
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch

from hc_deploy.ops import ClusterOptions
from plugins.emulator.build import LAUNCHERS, build

TYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}
NAMES = {torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16"}
GUARD = 64  # elements
UNTOUCHED = -1  # all bits set: NaN with a payload that no arithmetic makes


class Options(ctypes.Structure):
    """`hc_cluster_options` of launch.h."""

    _fields_ = (("tau", ctypes.c_float), ("dot", ctypes.c_int), ("exclude", ctypes.c_int), ("hard", ctypes.c_int))

    @classmethod
    def of(cls, options: ClusterOptions) -> Options:
        return cls(options.tau, *map(int, flags(options)))


def flags(options: ClusterOptions) -> tuple[bool, bool, bool]:
    """dot, exclude, hard."""
    return options.similarity == "dot", options.border == "exclude", options.assignment == "hard"


def numbers_of(options: ClusterOptions) -> list[int]:
    """As launch arguments of an entry: the bits of 1/tau, and the flags."""
    inverse = struct.pack("<f", 1 / options.tau)
    return [struct.unpack("<i", inverse)[0], sum(flag << bit for bit, flag in enumerate(flags(options)))]


class Output:
    """Memory for a kernel's output, `offset` elements past an aligned address."""

    def __init__(self, shape: Sequence[int], dtype: torch.dtype, offset: int = 0) -> None:
        self.shape, self.dtype, self.offset = tuple(shape), dtype, offset
        self.size = math.prod(shape)
        bits = torch.int32 if dtype.itemsize == 4 else torch.int16
        self.memory = torch.full((2 * GUARD + offset + self.size,), UNTOUCHED, dtype=bits)
        self.start = GUARD + offset

    def pointer(self) -> int:
        return self.memory[self.start :].data_ptr()

    def unwritten(self) -> bool:
        return bool((self.memory == UNTOUCHED).all())

    def take(self) -> torch.Tensor:
        """The output; AssertionError if a guard was touched or an element was not written."""
        inside = self.memory[self.start : self.start + self.size]
        assert (self.memory[: self.start] == UNTOUCHED).all(), "written before the output's start"
        assert (self.memory[self.start + self.size :] == UNTOUCHED).all(), "written past the output's end"
        assert (inside != UNTOUCHED).all(), f"{int((inside == UNTOUCHED).sum())} elements were not written"
        return inside.view(self.dtype).reshape(self.shape).clone()


def placed(tensor: torch.Tensor, offset: int) -> torch.Tensor:
    """A copy that starts `offset` elements past an aligned address."""
    memory = torch.empty(tensor.numel() + offset, dtype=tensor.dtype)
    memory[offset:] = tensor.flatten()
    return memory[offset:]


class Kernels:
    """An emulated library. `offsets` of a call: how far each input and, last, the output lies past alignment."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.library = ctypes.CDLL(str(path))
        self.library.hc_error_string.restype = ctypes.c_char_p

    def call(self, name: str, pointers: Sequence[int], numbers: Sequence[int], options: Options | None = None) -> int:
        """A function of launch.h; returns its error code."""
        tail = [] if options is None else [options]
        return getattr(self.library, name)(*map(ctypes.c_void_p, pointers), *numbers, *tail, None)

    def run(
        self,
        name: str,
        inputs: Sequence[torch.Tensor],
        output: tuple[Sequence[int], torch.dtype],
        numbers: Sequence[int],
        *,
        options: ClusterOptions | None = None,
        offsets: Sequence[int] = (),
    ) -> torch.Tensor:
        """A function of launch.h on tensors: guards checked, an error code is an AssertionError."""
        offsets = offsets or [0] * (len(inputs) + 1)
        given = [placed(tensor, offset) for tensor, offset in zip(inputs, offsets, strict=False)]
        out = Output(*output, offsets[-1])
        pointers = [*(tensor.data_ptr() for tensor in given), out.pointer()]
        error = self.call(name, pointers, [TYPES[inputs[0].dtype], *numbers], options and Options.of(options))
        assert error == 0, self.error_string(error)
        return out.take()

    def assign(
        self, features: torch.Tensor, seeds: torch.Tensor, options: ClusterOptions, *, offsets: Sequence[int] = ()
    ) -> torch.Tensor:
        batch, _, height, width = features.shape
        output = ((batch, 9, height, width), features.dtype)
        return self.run("hc_assign", (features, seeds), output, features.shape, options=options, offsets=offsets)

    def decode(self, coarse: torch.Tensor, assignment: torch.Tensor, *, offsets: Sequence[int] = ()) -> torch.Tensor:
        shape = (*coarse.shape[:2], *assignment.shape[2:])
        return self.run("hc_decode", (coarse, assignment), (shape, coarse.dtype), shape, offsets=offsets)

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
        numbers = (*coarse.shape[:2], *features.shape[1:])
        inputs = (coarse, features, seeds)
        return self.run("hc_upsample", inputs, (shape, coarse.dtype), numbers, options=options, offsets=offsets)

    def argmax(self, logits: torch.Tensor, size: tuple[int, int], *, offsets: Sequence[int] = ()) -> torch.Tensor:
        output = ((logits.shape[0], *size), torch.int32)
        return self.run("hc_argmax", (logits,), output, (*logits.shape, *size), offsets=offsets)

    def launch(
        self,
        entry: str,
        grid: Sequence[int],
        block: Sequence[int],
        inputs: Sequence[torch.Tensor],
        numbers: Sequence[int],
        output: tuple[Sequence[int], torch.dtype],
    ) -> torch.Tensor:
        """An entry of entries.cuh with exactly these launch parameters; an error code is an AssertionError."""
        out = Output(*output)
        error = self.launch_error(entry, grid, block, [tensor.data_ptr() for tensor in inputs], numbers, out.pointer())
        assert error == 0, self.error_string(error)
        return out.take()

    def launch_error(
        self,
        entry: str,
        grid: Sequence[int],
        block: Sequence[int],
        inputs: Sequence[int],
        numbers: Sequence[int],
        output: int,
    ) -> int:
        return self.library.hc_emulated_kernel(
            entry.encode(),
            (ctypes.c_int * 3)(*grid),
            (ctypes.c_int * 3)(*block),
            (ctypes.c_void_p * len(inputs))(*inputs),
            len(inputs),
            (ctypes.c_int * len(numbers))(*numbers),
            len(numbers),
            ctypes.c_void_p(output),
        )

    def error_string(self, error: int) -> str:
        return self.library.hc_error_string(error).decode()

    @contextmanager
    def order(self, order: int) -> Iterator[None]:
        """Threads of a block run forward (0), backward (1) or shuffled with this seed."""
        self.library.hc_emulator_order(order)
        try:
            yield
        finally:
            self.library.hc_emulator_order(0)

    @contextmanager
    def only_block(self, x: int, y: int, z: int) -> Iterator[None]:
        """Launches run this block alone."""
        self.library.hc_emulator_only_block(x, y, z)
        try:
            yield
        finally:
            self.library.hc_emulator_only_block(-1, -1, -1)


@cache
def kernels() -> Kernels:
    """The emulated library, built once a process (4 s)."""
    return Kernels(build(Path(_folder().name)))


@cache
def _folder() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="hc_emulated_")


def edited_sources(folder: Path, file: str, edit: Callable[[str], str]) -> Path:
    """A copy of the kernels and the emulator with one file edited: the launchers to build from."""
    for part in (LAUNCHERS.parent, LAUNCHERS.parent.parent / "emulator"):
        shutil.copytree(part, folder / part.name)
    path = folder / LAUNCHERS.parent.name / file
    text = path.read_text()
    edited = edit(text)
    assert edited != text, f"the edit does not apply to {file}"
    path.write_text(edited)
    return folder / LAUNCHERS.parent.name / LAUNCHERS.name

"""What the kernels are checked on: a list of cases leaves; a case makes its own input tensors, from a seed.

Inputs are drawn on the CPU and moved, so that a case is the same on every machine and needs no other kernel on the GPU.
"""

from __future__ import annotations

import itertools
import math
import zlib
from dataclasses import dataclass
from typing import Literal

import torch

from hc_deploy.ops import ClusterOptions, assign

Op = Literal["assign", "decode", "upsample", "argmax"]
Data = Literal["normal", "large", "tiny", "equal", "nan"]
OPS: tuple[Op, ...] = ("assign", "decode", "upsample", "argmax")
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
WITH_EMBEDDING = ("assign", "upsample")
ALL_OPTIONS = tuple(
    ClusterOptions(tau, similarity, border, assignment)
    for (tau, similarity), border, assignment in itertools.product(
        ((0.07, "cosine"), (1.5, "cosine"), (1.5, "dot"), (8.0, "dot")), ("zero", "exclude"), ("soft", "hard")
    )
)
SCALES: dict[Data, float] = {"normal": 1, "large": 40, "tiny": 1e-7, "equal": 0, "nan": 1}
"""`large`: the square sum of 64 channels, 100,000, overflows float16. `tiny`: float16 holds it as denormals only."""
PAPER = ClusterOptions()
SIZES = ((1, 1), (2, 3), (1, 131), (131, 1), (7, 13), (16, 66), (37, 131), (64, 128), (127, 258), (257, 353))
ENLARGEMENTS = (
    ((64, 128), (1024, 2048)), ((53, 101), (257, 353)), ((31, 37), (31, 37)), ((90, 70), (41, 33)),
    ((5, 300), (129, 20)), ((1, 1), (40, 260)), ((257, 353), (1028, 1412)),
)  # fmt: skip
"""Logits' size and labels' size: powers of two, primes, the same, smaller, one axis each way."""


@dataclass(frozen=True)
class Case:
    """One call of one kernel.

    Attributes:
        op, dtype: which kernel. fine: (H, W); the labels' size for argmax. batch, embedding (K), classes (C): sizes.
        options: of assign and upsample. coarse: size of argmax's logits, ceil(fine / 2) elsewhere.
        data: how the inputs are drawn. offset: elements by which every input lies off its allocation's start, so
            that wide loads are not aligned.
    """

    op: Op
    dtype: str
    fine: tuple[int, int]
    batch: int = 2
    embedding: int = 64
    classes: int = 5
    options: ClusterOptions = PAPER
    coarse: tuple[int, int] | None = None
    data: Data = "normal"
    offset: int = 0

    @property
    def coarse_size(self) -> tuple[int, int]:
        """(h, w)."""
        return self.coarse or ((self.fine[0] + 1) // 2, (self.fine[1] + 1) // 2)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of the inputs, in the kernel's order; for decode the embeddings from which its assignment is made."""
        features, seeds = (self.batch, self.embedding, *self.fine), (self.batch, self.embedding, *self.coarse_size)
        coarse = (self.batch, self.classes, *self.coarse_size)
        return {
            "assign": (features, seeds), "decode": (coarse, features, seeds), "upsample": (coarse, features, seeds),
            "argmax": (coarse,),
        }[self.op]  # fmt: skip

    @property
    def name(self) -> str:
        """Unique and readable."""
        parts = [self.op, self.dtype, f"{self.fine[0]}x{self.fine[1]}", f"batch {self.batch}"]
        if self.op in WITH_EMBEDDING:
            o = self.options
            parts += [f"K {self.embedding}", f"tau {o.tau:g} {o.similarity} {o.border} {o.assignment}"]
        if self.op != "assign":
            parts.append(f"C {self.classes}")
        if self.op == "argmax":
            parts.append(f"from {self.coarse_size[0]}x{self.coarse_size[1]}")
        return ", ".join([*parts, self.data, *([f"offset {self.offset}"] if self.offset else [])])

    def inputs(self, device: torch.device) -> tuple[torch.Tensor, ...]:
        """The tensors that the kernel takes, on `device`; copies alone run there."""
        generator = torch.Generator().manual_seed(zlib.crc32(self.name.encode()))
        maps = [self._draw(shape, generator) for shape in self.shapes]
        if self.op == "decode":
            weights = assign.reference(maps[1].float(), maps[2].float(), ClusterOptions(tau=0.5))
            maps = [maps[0], self._offset(weights.to(DTYPES[self.dtype]))]
        return tuple(self._offset(tensor.to(device)) for tensor in maps)

    def _draw(self, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
        values = torch.randn(shape, generator=generator)
        if self.data == "equal":
            values = torch.ones(shape)
        elif self.data == "nan":
            values.view(-1)[values.numel() // 3] = math.nan
        else:
            values *= SCALES[self.data]
        return values.to(DTYPES[self.dtype])

    def _offset(self, tensor: torch.Tensor) -> torch.Tensor:
        room = tensor.new_empty(tensor.numel() + self.offset)
        return room[self.offset :].view(tensor.shape).copy_(tensor)


def all_cases() -> list[Case]:
    """For a GPU: each op, type, path of the code, attribute and kind of data, at odd, prime, tiny and wide sizes."""
    cases: list[Case] = []
    for op, dtype in itertools.product(OPS, DTYPES):
        widths = (64, 5) if op in WITH_EMBEDDING else (5,)
        for fine in SIZES:
            cases += [Case(op, dtype, fine, embedding=k) for k in widths]
        cases += [Case(op, dtype, (2, 3), batch=65537, embedding=3, classes=2)]  # more images than a grid is deep
        cases += _paths(op, dtype)
    return cases


def few_cases() -> list[Case]:
    """For the sanitizer and the dry run: each op, type and path once, at sizes of one or two blocks."""
    cases: list[Case] = []
    for op, dtype in itertools.product(OPS, DTYPES):
        cases += [Case(op, dtype, (7, 67)), Case(op, dtype, (10, 70), offset=1), Case(op, dtype, (10, 70), batch=1)]
        if op in WITH_EMBEDDING:
            hard = ClusterOptions(1.5, "dot", "exclude", "hard")
            cases += [Case(op, dtype, (7, 67), embedding=5), Case(op, dtype, (9, 12), embedding=3, options=hard)]
        if op == "argmax":
            cases += [Case(op, dtype, (33, 131), coarse=(9, 17)), Case(op, dtype, (5, 9), coarse=(11, 30))]
        cases += [Case(op, dtype, (5, 7), data=data) for data in ("large", "tiny", "equal", "nan")]
    return cases


def _paths(op: Op, dtype: str) -> list[Case]:
    """Every branch of one kernel."""
    small = (21, 67)
    cases = [Case(op, dtype, small, data=data) for data in ("large", "tiny", "equal", "nan")]
    cases += [Case(op, dtype, (22, 68), offset=offset) for offset in (1, 2, 3)]
    if op in WITH_EMBEDDING:
        cases += [Case(op, dtype, small, embedding=k) for k in (1, 3, 4, 63, 65, 128)]
        cases += [Case(op, dtype, small, embedding=k, options=o) for k in (64, 7) for o in ALL_OPTIONS]
        hard = ClusterOptions(assignment="hard")
        cases += [Case(op, dtype, small, data=data, options=hard) for data in ("equal", "nan")]
    if op != "assign":
        cases += [Case(op, dtype, small, classes=c) for c in (1, 3, 4, 19, 150)]
    if op == "argmax":
        cases += [Case(op, dtype, fine, coarse=coarse, classes=19) for coarse, fine in ENLARGEMENTS]
        cases.append(Case(op, dtype, (31, 37), coarse=(31, 37), data="nan"))
    return cases

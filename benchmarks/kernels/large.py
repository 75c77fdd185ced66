"""Maps of more elements than a 32-bit offset reaches: each kernel on one, its last rows against float64.

The ops are local: the last rows of an output need the last rows of the inputs alone, so the truth is that of a strip.
An offset that has lost its upper bits reads or writes far away from there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch

from benchmarks.kernels.cases import DTYPES, Case
from benchmarks.kernels.check import Outcome, differences, enlarged_rows, judge, label_gap, poisoned, run_kernel
from hc_deploy.ops import cells
from hc_deploy.ops.kernels import KernelLibrary

ELEMENTS = 2**31
STRIP_CELLS = 4
MARGIN_ROWS = 2
"""Rows at the strip's top whose upper candidates lie outside it."""
RESERVE = 1.1
LARGEST_NORMAL = 6.0
"""Of 2^31 normal numbers about the largest; it bounds the allowed gap of labels alone."""


def large_cases(elements: int = ELEMENTS) -> tuple[Case, ...]:
    """Each holds a tensor of more than `elements`: input, output, many images, logits, labels."""
    deep = _side(elements, 64)
    image = _side(elements, 64 * 33)
    return (
        Case("assign", "float16", (deep, deep), batch=1),
        Case("assign", "float16", (image, image), batch=33),
        Case("decode", "float16", (deep, deep), batch=1, classes=64),
        Case("upsample", "float16", (deep, deep), batch=1, classes=64),
        Case("argmax", "float16", (_side(elements, 19),) * 2, batch=1, classes=19, coarse=(_side(elements, 19),) * 2),
        Case("argmax", "float16", (_side(elements, 1),) * 2, batch=1, classes=2, coarse=(101, 131)),
    )


def check_large(
    library: KernelLibrary, device: torch.device, *, elements: int = ELEMENTS, free: int | None = None
) -> Iterator[Outcome | str]:
    """One outcome a case, or why it was left out. `free`: bytes that may be used; None: no limit."""
    for case in large_cases(elements):
        needed = int(RESERVE * _bytes(case))
        if free is not None and needed > free:
            yield f"{case.name}: needs {needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free"
        else:
            outcome = _check_one(library, case, device)
            yield replace(outcome, name=case.name, road=f"launcher, over {elements} elements")


def _check_one(library: KernelLibrary, case: Case, device: torch.device) -> Outcome:
    generator = torch.Generator(device).manual_seed(1)
    dtype = DTYPES[case.dtype]
    inputs = tuple(torch.randn(shape, generator=generator, device=device, dtype=dtype) for shape in _input_shapes(case))
    with poisoned():
        out = run_kernel(library, case, inputs)
    if case.op == "argmax":
        rows = range(case.fine[0] - 2 * STRIP_CELLS, case.fine[0])
        values = enlarged_rows(inputs[0], case.fine, rows)
        return judge(case, *label_gap(case, out[:, rows.start :], values, LARGEST_NORMAL))
    strip_inputs = tuple(_last_rows(tensor, case) for tensor in inputs)
    height = max(tensor.shape[2] for tensor in strip_inputs)
    strip = replace(case, fine=(height, case.fine[1]), batch=1)
    error, allowed, _ = differences(strip, out[-1:, :, -height:], strip_inputs)
    return judge(case, error[:, :, MARGIN_ROWS:], allowed[:, :, MARGIN_ROWS:])


def _input_shapes(case: Case) -> tuple[tuple[int, ...], ...]:
    """As the case's, but for decode, which is given an assignment as it comes."""
    if case.op == "decode":
        return case.shapes[0], (case.batch, cells.CANDIDATES, *case.fine)
    return case.shapes


def _last_rows(tensor: torch.Tensor, case: Case) -> torch.Tensor:
    """The last `STRIP_CELLS` rows of cells of the last image."""
    first_cell = case.coarse_size[0] - STRIP_CELLS
    fine = tensor.shape[2] == case.fine[0]
    return tensor[-1:, :, 2 * first_cell if fine else first_cell :].contiguous()


def _side(elements: int, channels: int) -> int:
    """Odd side of a square map that has more than `elements` with that many channels."""
    side = math.isqrt(elements // channels) + 1
    return side + 1 - side % 2


def _bytes(case: Case) -> int:
    """Inputs and output."""
    element = DTYPES[case.dtype].itemsize
    inputs = sum(math.prod(shape) for shape in _input_shapes(case)) * element
    output = {"assign": cells.CANDIDATES * element, "argmax": 4}.get(case.op, case.classes * element)
    return inputs + case.batch * output * math.prod(case.fine)

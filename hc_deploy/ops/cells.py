"""The geometry all clustering ops share, in torch: 2x2 pixels a cell, nine candidate cells a pixel.

The parent cell of fine pixel (i, j) is (i//2, j//2). Its candidates are the 3x3 cells around the parent, row-major:
n = 3*(dy+1) + (dx+1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

CANDIDATES = 9


def check_sizes(name: str, fine: torch.Tensor, coarse: torch.Tensor) -> None:
    """ValueError unless `coarse` [B,*,h,w] is the downsampled map of `fine` [B,*,H,W]: h = ceil(H/2), w = ceil(W/2)."""
    if fine.ndim != 4 or coarse.ndim != 4:
        raise ValueError(f"{name}: got ranks {fine.ndim} and {coarse.ndim}, expected two 4-D maps")
    expected = (fine.shape[0], (fine.shape[2] + 1) // 2, (fine.shape[3] + 1) // 2)
    received = (coarse.shape[0], coarse.shape[2], coarse.shape[3])
    if received != expected:
        raise ValueError(
            f"{name}: coarse map has (batch, height, width) {received}, expected {expected} "
            f"for a fine map of {tuple(fine.shape)}"
        )


def check_embeddings(name: str, features: torch.Tensor, seeds: torch.Tensor) -> None:
    """ValueError unless both have the same K: one seed channel would broadcast."""
    if features.shape[1] != seeds.shape[1]:
        raise ValueError(
            f"{name}: features have {features.shape[1]} channels and seeds {seeds.shape[1]}, expected the same"
        )


def check_candidates(name: str, assignment: torch.Tensor) -> None:
    """ValueError unless `assignment` has nine channels."""
    if assignment.shape[1] != CANDIDATES:
        raise ValueError(f"{name}: assignment has {assignment.shape[1]} candidates, expected {CANDIDATES}")


def accumulation_dtype(tensor: torch.Tensor) -> torch.dtype:
    """float32 whatever the I/O type, except that float64 stays itself (it is the tests' truth)."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def to_cells(fine: torch.Tensor) -> torch.Tensor:
    """[B,K,H,W] -> [B,K,h,2,w,2]; odd sizes are padded with zeros at the bottom and right."""
    batch, channels, height, width = fine.shape
    padded = F.pad(fine, (0, width % 2, 0, height % 2))
    return padded.reshape(batch, channels, (height + 1) // 2, 2, (width + 1) // 2, 2)


def from_cells(cells: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """[B,C,h,2,w,2] -> [B,C,H,W]: the inverse of `to_cells`."""
    batch, channels, h, _, w, _ = cells.shape
    return cells.reshape(batch, channels, 2 * h, 2 * w)[:, :, :height, :width].contiguous()


def candidates(coarse: torch.Tensor) -> list[torch.Tensor]:
    """[B,C,h,w] -> nine maps [B,C,h,1,w,1], each cell's neighbour n, zeros outside; they broadcast against `to_cells`.

    One map a candidate, multiplied and added one after the other: on 2 cores at fine map 64x128, K=64, C=19 that takes
    a third of the time of one batched product over cells, whose thousands of tiny products also wait for each other
    when the machine is busy.
    """
    _, _, h, w = coarse.shape
    padded = F.pad(coarse, (1, 1, 1, 1))
    return [padded[:, :, n // 3 : n // 3 + h, None, n % 3 : n % 3 + w, None] for n in range(CANDIDATES)]


def recomputed_gradients(
    reference: Callable[..., torch.Tensor], inputs: Sequence[torch.Tensor], grad: torch.Tensor
) -> tuple[torch.Tensor | None, ...]:
    """Gradients of `reference(*inputs)`, run again: cheaper in memory than keeping its nine-fold intermediates."""
    with torch.enable_grad():
        leaves = [tensor.detach().requires_grad_() for tensor in inputs]
        return torch.autograd.grad(reference(*leaves), leaves, grad)

"""HCDecode: coarse [B,C,h,w] and assignment [B,9,H,W] -> [B,C,H,W], Eq. 2 (the paper's Appendix C).

out = sum over n of assignment_n * coarse_n
"""

from __future__ import annotations

from typing import Any

import torch

from hc_deploy.ops import cells, kernels


def reference(coarse: torch.Tensor, assignment: torch.Tensor) -> torch.Tensor:
    """The truth all other implementations are tested against: plain torch, differentiable."""
    dtype = cells.accumulation_dtype(coarse)
    weights = cells.to_cells(assignment.to(dtype))
    neighbours = cells.candidates(coarse.to(dtype))
    decoded = weights[:, :1] * neighbours[0]
    for n in range(1, cells.CANDIDATES):
        decoded = decoded + weights[:, n : n + 1] * neighbours[n]
    return cells.from_cells(decoded, assignment.shape[2], assignment.shape[3]).to(coarse.dtype)


@torch.library.custom_op("hc_deploy::hc_decode", mutates_args=())
def _hc_decode(coarse: torch.Tensor, assignment: torch.Tensor) -> torch.Tensor:
    cells.check_sizes("hc_decode", assignment, coarse)
    cells.check_candidates("hc_decode", assignment)
    library = kernels.library_for(coarse, assignment)
    return library.decode(coarse, assignment) if library else reference(coarse, assignment)


@_hc_decode.register_fake
def _(coarse: torch.Tensor, assignment: torch.Tensor) -> torch.Tensor:
    return coarse.new_empty(coarse.shape[0], coarse.shape[1], assignment.shape[2], assignment.shape[3])


def _save(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    return cells.recomputed_gradients(reference, ctx.saved_tensors, grad)


_hc_decode.register_autograd(_backward, setup_context=_save)


def hc_decode(coarse: torch.Tensor, assignment: torch.Tensor) -> torch.Tensor:
    """Decode a coarse map to the fine resolution through the assignment (Eq. 2).

    Args:
        coarse: [B,C,h,w]. assignment: weights of `hc_assign`, [B,9,H,W] with h = ceil(H/2), w = ceil(W/2).

    Returns:
        [B,C,H,W] in the type of `coarse`.

    Raises:
        ValueError: the maps do not fit each other.
    """
    return torch.ops.hc_deploy.hc_decode(coarse, assignment)

"""HCAssign: features [B,K,H,W] and seeds [B,K,h,w] -> assignment [B,9,H,W], Eq. 4 over nine candidates.

assignment_n = softmax over n of sim(feature, seed_n) / tau
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from hc_deploy.cluster_options import NORM_FLOOR, Assignment, Border, ClusterOptions, Similarity
from hc_deploy.ops import cells, kernels


def reference(features: torch.Tensor, seeds: torch.Tensor, options: ClusterOptions) -> torch.Tensor:
    """The truth all other implementations are tested against: plain torch, differentiable when soft."""
    dtype = cells.accumulation_dtype(features)
    pixels, centres = features.to(dtype), seeds.to(dtype)
    if options.similarity == "cosine":
        pixels = F.normalize(pixels, dim=1, eps=NORM_FLOOR)
        centres = F.normalize(centres, dim=1, eps=NORM_FLOOR)
    own = cells.to_cells(pixels)
    logits = torch.stack([(own * seed).sum(1) for seed in cells.candidates(centres)], dim=1) / options.tau
    if options.border == "exclude":
        inside = torch.cat(cells.candidates(torch.ones_like(centres[:, :1])), dim=1)
        logits = logits.masked_fill(inside == 0, -torch.inf)
    if options.assignment == "hard":
        weights = F.one_hot(logits.argmax(1), cells.CANDIDATES).movedim(-1, 1).to(dtype)
    else:
        weights = logits.softmax(1)
    return cells.from_cells(weights, features.shape[2], features.shape[3]).to(features.dtype)


@torch.library.custom_op("hc_deploy::hc_assign", mutates_args=())
def _hc_assign(
    features: torch.Tensor, seeds: torch.Tensor, tau: float, similarity: str, border: str, assignment: str
) -> torch.Tensor:
    cells.check_sizes("hc_assign", features, seeds)
    cells.check_embeddings("hc_assign", features, seeds)
    options = ClusterOptions(tau, similarity, border, assignment)  # type: ignore[arg-type]
    library = kernels.library_for(features, seeds)
    return library.assign(features, seeds, options) if library else reference(features, seeds, options)


@_hc_assign.register_fake
def _(
    features: torch.Tensor, seeds: torch.Tensor, tau: float, similarity: str, border: str, assignment: str
) -> torch.Tensor:
    return features.new_empty(features.shape[0], cells.CANDIDATES, features.shape[2], features.shape[3])


def _save(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.options = ClusterOptions(*inputs[2:])


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
    if ctx.options.assignment == "hard":
        raise ValueError("hc_assign: assignment='hard' has no gradient, expected 'soft' for training")
    grads = cells.recomputed_gradients(lambda f, s: reference(f, s, ctx.options), ctx.saved_tensors, grad)
    return (*grads, None, None, None, None)


_hc_assign.register_autograd(_backward, setup_context=_save)


def hc_assign(
    features: torch.Tensor,
    seeds: torch.Tensor,
    *,
    tau: float = 0.07,
    similarity: Similarity = "cosine",
    border: Border = "zero",
    assignment: Assignment = "soft",
) -> torch.Tensor:
    """Assign each pixel of the fine map to the nine seeds around its parent cell (Eq. 4; Eq. 1 when hard).

    Args:
        features: fine map in the embedding space, [B,K,H,W].
        seeds: downsampled map in the same space, [B,K,h,w] with h = ceil(H/2), w = ceil(W/2).
        tau, similarity, border, assignment: see `ClusterOptions`.

    Returns:
        Weights [B,9,H,W] in the type of `features`; candidate n = 3*(dy+1) + (dx+1).

    Raises:
        ValueError: the maps do not fit each other, or an attribute is not legal.
    """
    return torch.ops.hc_deploy.hc_assign(features, seeds, tau, similarity, border, assignment)

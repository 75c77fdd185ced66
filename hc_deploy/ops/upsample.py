"""HCUpsample: HCDecode(coarse, HCAssign(features, seeds)) as one op, so that a kernel need not write the assignment."""

from __future__ import annotations

from typing import Any

import torch

from hc_deploy.cluster_options import Assignment, Border, ClusterOptions, Similarity
from hc_deploy.ops import assign, cells, decode, kernels


def reference(
    coarse: torch.Tensor, features: torch.Tensor, seeds: torch.Tensor, options: ClusterOptions
) -> torch.Tensor:
    """The composition of the two references; the assignment stays in the accumulation type."""
    dtype = cells.accumulation_dtype(features)
    assignment = assign.reference(features.to(dtype), seeds.to(dtype), options)
    return decode.reference(coarse.to(dtype), assignment).to(coarse.dtype)


@torch.library.custom_op("hc_deploy::hc_upsample", mutates_args=())
def _hc_upsample(
    coarse: torch.Tensor,
    features: torch.Tensor,
    seeds: torch.Tensor,
    tau: float,
    similarity: str,
    border: str,
    assignment: str,
) -> torch.Tensor:
    cells.check_sizes("hc_upsample", features, seeds)
    cells.check_sizes("hc_upsample", features, coarse)
    cells.check_embeddings("hc_upsample", features, seeds)
    options = ClusterOptions(tau, similarity, border, assignment)  # type: ignore[arg-type]
    library = kernels.library_for(coarse, features, seeds)
    if library is None:
        return reference(coarse, features, seeds, options)
    return library.upsample(coarse, features, seeds, options)


@_hc_upsample.register_fake
def _(
    coarse: torch.Tensor,
    features: torch.Tensor,
    seeds: torch.Tensor,
    tau: float,
    similarity: str,
    border: str,
    assignment: str,
) -> torch.Tensor:
    return coarse.new_empty(coarse.shape[0], coarse.shape[1], features.shape[2], features.shape[3])


def _save(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    ctx.save_for_backward(*inputs[:3])
    ctx.options = ClusterOptions(*inputs[3:])


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
    if ctx.options.assignment == "hard":
        raise ValueError("hc_upsample: assignment='hard' has no gradient, expected 'soft' for training")
    grads = cells.recomputed_gradients(lambda c, f, s: reference(c, f, s, ctx.options), ctx.saved_tensors, grad)
    return (*grads, None, None, None, None)


_hc_upsample.register_autograd(_backward, setup_context=_save)


def hc_upsample(
    coarse: torch.Tensor,
    features: torch.Tensor,
    seeds: torch.Tensor,
    *,
    tau: float = 0.07,
    similarity: Similarity = "cosine",
    border: Border = "zero",
    assignment: Assignment = "soft",
) -> torch.Tensor:
    """One step of Eq. 3: assign the fine pixels to the seeds and decode the coarse map through that.

    Args:
        coarse: map to decode, [B,C,h,w].
        features: fine map in the embedding space, [B,K,H,W].
        seeds: downsampled map in the same space, [B,K,h,w] with h = ceil(H/2), w = ceil(W/2).
        tau, similarity, border, assignment: see `ClusterOptions`.

    Returns:
        [B,C,H,W] in the type of `coarse`.

    Raises:
        ValueError: the maps do not fit each other, or an attribute is not legal.
    """
    return torch.ops.hc_deploy.hc_upsample(coarse, features, seeds, tau, similarity, border, assignment)

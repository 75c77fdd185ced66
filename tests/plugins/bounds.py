"""How far a kernel's result may lie from the float64 truth: bounds derived from its arithmetic, not tuned.

u = 2^-24 is float32's rounding unit. A sum of K products in float32 errs by at most K*u times the sum of the absolute
products, whatever its order (Higham, Accuracy and Stability of Numerical Algorithms, 3.1).
"""

from __future__ import annotations

import torch

from hc_deploy.ops import ClusterOptions, decode

UNIT = 2.0**-24
SMALLEST = {torch.float32: 2.0**-126, torch.float16: 2.0**-24, torch.bfloat16: 2.0**-126}
"""Below this an output's rounding is absolute: the smallest normal number (its kernels may flush), in float16 the
smallest number at all."""


def rounding(value: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Of a value to its type in memory."""
    return value.abs() * (torch.finfo(dtype).eps / 2) + SMALLEST[dtype]


def logit(features: torch.Tensor, seeds: torch.Tensor, options: ClusterOptions) -> float:
    """Largest error of a logit. Cosine: the product and two norms, of which a root halves the error, err by 2K*u of
    1/tau (Cauchy-Schwarz); dot: the product errs by K*u of |x||s|/tau. Scaling adds a few u."""
    channels = features.shape[1]
    if options.similarity == "cosine":
        return (2 * channels + 16) * UNIT / options.tau
    size = features.double().norm(dim=1).max() * seeds.double().norm(dim=1).max()
    return float((channels + 8) * UNIT * size / options.tau)


def relative_weight(features: torch.Tensor, seeds: torch.Tensor, options: ClusterOptions) -> float:
    """Largest relative error of a weight before it is rounded: logits that err by d make it err by exp(2d) - 1; the
    exponential, nine additions and a division err by 16u."""
    if options.assignment == "hard":
        return 0.0
    return float(torch.tensor(2 * logit(features, seeds, options), dtype=torch.float64).expm1()) + 16 * UNIT


def decoded(coarse: torch.Tensor, weights: torch.Tensor, relative: float = 0.0) -> torch.Tensor:
    """Of a decode whose weights err by `relative`, with the rounding of its result."""
    sizes = decode.reference(coarse.double().abs(), weights.double().abs())
    return sizes * (relative + 11 * UNIT) + rounding(sizes, coarse.dtype)


def check(result: torch.Tensor, truth: torch.Tensor, bound: torch.Tensor | float) -> None:
    """Within the bound; what is infinite or NaN in the truth is exactly that in the result."""
    assert result.shape == truth.shape
    got = result.double()
    same = (got == truth) | (got.isnan() & truth.isnan())
    wrong = ~(same | ((got - truth).abs() <= bound))
    if wrong.any():
        at = tuple(int(i) for i in wrong.nonzero()[0])
        raise AssertionError(f"{int(wrong.sum())} wrong, first at {at}: {got[at]} instead of {truth[at]}")

"""One kernel's output against float64: a case and a library enter, an Outcome leaves.

The allowed error is derived, not tuned: K rounded float32 multiply-adds a similarity, and one rounding to the type of
the output. Where a hard assignment or a label differs, the truth's own values must lie so close together that this
error explains it; equal values do not where the arithmetic is exact: then the first must win.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from benchmarks.kernels.cases import Case
from hc_deploy.cluster_options import ClusterOptions
from hc_deploy.ops import assign, decode, upsample
from hc_deploy.ops.kernels import KernelLibrary

EPS = 2.0**-23
"""float32: a rounding is half of it."""
MOST_TIES = 0.05
"""Pixels of a hard upsample that may lie too close to a tie to be compared."""


@dataclass(frozen=True)
class Outcome:
    """One check.

    Attributes:
        name, op, dtype: of the case. road: how the kernel was launched.
        error: largest absolute error; for hard assignments and labels the largest gap between what was chosen and the
            largest, in the truth's values. allowed: what is allowed at the worst place. share: largest error / allowed.
        left_out: share of the pixels that were too close to a tie to compare (hard upsample only).
    """

    name: str
    op: str
    dtype: str
    road: str
    error: float
    allowed: float
    share: float
    left_out: float
    passed: bool


@contextmanager
def poisoned() -> Iterator[None]:
    """New tensors are filled with NaN or the largest integer: what a kernel leaves unwritten is no right answer."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def run_kernel(library: KernelLibrary, case: Case, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """The case's kernel on `inputs`."""
    if case.op == "assign":
        return library.assign(*inputs, case.options)
    if case.op == "decode":
        return library.decode(*inputs)
    if case.op == "upsample":
        return library.upsample(*inputs, case.options)
    return library.argmax(inputs[0], case.fine)


def check(case: Case, out: torch.Tensor, inputs: tuple[torch.Tensor, ...], *, road: str = "launcher") -> Outcome:
    """`out` of the case's kernel on `inputs`, against float64 on the same device."""
    return judge(case, *differences(case, out, inputs), road=road)


def judge(
    case: Case, error: torch.Tensor, allowed: torch.Tensor, kept: torch.Tensor | None = None, *, road: str = "launcher"
) -> Outcome:
    """Error and allowed error of each element -> the outcome; `kept`: pixels to compare, None for all."""
    compared = error if kept is None else torch.where(kept, error, 0.0)
    shares = (compared / allowed).nan_to_num(nan=math.inf).flatten()
    worst = shares.argmax()
    left_out = 0.0 if kept is None else 1 - kept.double().mean().item()
    return Outcome(
        name=case.name,
        op=case.op,
        dtype=case.dtype,
        road=road,
        error=compared.max().item(),
        allowed=allowed.flatten()[worst].item(),
        share=shares[worst].item(),
        left_out=left_out,
        passed=shares[worst].item() <= 1 and left_out <= MOST_TIES,
    )


def differences(
    case: Case, out: torch.Tensor, inputs: tuple[torch.Tensor, ...]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Error and allowed error of each element, and which pixels can be compared (None: all)."""
    if case.op == "argmax":
        values = enlarged_rows(inputs[0], case.fine, range(case.fine[0]))
        return *label_gap(case, out, values, _largest(inputs[0])), None
    wide = tuple(tensor.double() for tensor in inputs)
    if case.op == "assign" and case.options.assignment == "hard":
        return *_hard(case, out, wide), None
    if case.op == "assign":
        truth, bound = assign.reference(*wide, case.options), logit_error(case, wide[0], wide[1])
    elif case.op == "decode":
        truth, bound = decode.reference(*wide), 16 * EPS * _largest(wide[0])
    else:
        truth = upsample.reference(*wide, case.options)
        soft = 2 * logit_error(case, wide[1], wide[2]) if case.options.assignment == "soft" else 0.0
        bound = (soft + 16 * EPS) * _largest(wide[0])
    hard = case.op == "upsample" and case.options.assignment == "hard"
    return *_compare(out, truth, bound), _far_from_ties(case, wide) if hard else None


def logit_error(case: Case, features: torch.Tensor, seeds: torch.Tensor) -> float:
    """How far a similarity / tau in float32 may lie from the truth: K + 8 roundings of its largest possible value.

    Weights of a softmax move by no more than their logits do.
    """
    largest = 1.0
    if case.options.similarity == "dot":
        largest = _largest(features.norm(dim=1)) * _largest(seeds.norm(dim=1))
    return (case.embedding + 8) * EPS * largest / case.options.tau + 8 * EPS


def _compare(out: torch.Tensor, truth: torch.Tensor, bound: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Error and allowed error of each element; a NaN on one side alone is an infinite error."""
    kind = torch.finfo(out.dtype)
    allowed = 0.51 * kind.eps * truth.abs() + kind.smallest_normal * kind.eps + bound
    error = (out.double() - truth).abs()
    error = torch.where(out.double() == truth, 0.0, error)
    error = torch.where(out.isnan() & truth.isnan(), 0.0, error.nan_to_num(nan=math.inf))
    return error, torch.where(allowed.isnan(), bound, allowed)


def _hard(case: Case, out: torch.Tensor, wide: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights of 0 and a single 1; the gap, in logits, between the chosen candidate and the largest."""
    log_weights = _soft(case, wide[0], wide[1]).log()
    truth = assign.reference(*wide, case.options).argmax(1)
    chosen = out.double().argmax(1)
    one_hot = torch.zeros_like(log_weights).scatter_(1, chosen[:, None], 1.0)
    gap = log_weights.amax(1) - log_weights.gather(1, chosen[:, None])[:, 0]
    gap = torch.where(chosen == truth, 0.0, torch.where(gap > 0, gap, math.inf))
    gap = torch.where((out.double() == one_hot).all(1), gap, math.inf)
    return gap, torch.full_like(gap, 2 * logit_error(case, wide[0], wide[1]))


def _far_from_ties(case: Case, wide: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """[B,1,H,W]: pixels whose largest candidate leads by more than the error, or is exactly as large as the second."""
    first, second = _soft(case, wide[1], wide[2]).log().topk(2, dim=1).values.unbind(1)
    gap = first - second
    return ((gap == 0) | ~(gap <= 2 * logit_error(case, wide[1], wide[2])))[:, None]


def _soft(case: Case, features: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
    """The softmax whose largest weight a hard assignment takes."""
    options = case.options
    soft = ClusterOptions(options.tau, options.similarity, options.border)
    return assign.reference(features, seeds, soft)


def label_gap(
    case: Case, labels: torch.Tensor, values: torch.Tensor, largest: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gap and allowed gap of int32 `labels` [B,R,W] in the enlarged logits `values` [B,C,R,W]."""
    legal = labels.long().clamp(0, case.classes - 1)
    gap = values.amax(1) - values.gather(1, legal[:, None])[:, 0]
    # Sums of the same value in float64 may round apart in float32; where nothing is summed, the first must win.
    exact = case.data == "equal" or case.coarse_size == case.fine
    explained = gap > 0 if exact else gap >= 0
    gap = torch.where(legal == values.argmax(1), 0.0, torch.where(explained, gap, math.inf))
    gap = torch.where(legal == labels, gap, math.inf)
    # float32 places a pixel to within a rounding of its coordinate, on each axis, once for the scale and once for it.
    allowed = EPS * (8 + 4 * sum(case.coarse_size)) * largest
    return gap, torch.full_like(gap, allowed)


def enlarged_rows(logits: torch.Tensor, size: tuple[int, int], rows: range) -> torch.Tensor:
    """Rows of the bilinear (half-pixel) enlargement of logits [B,C,h,w], by its definition in float64: [B,C,R,W]."""
    if tuple(logits.shape[2:]) == size:  # as torch does: a weight of 0 beside a NaN would make a NaN
        return logits[:, :, rows.start : rows.stop].double()
    low, high, weight = _between(logits.shape[2], size[0], rows, logits.device)
    upper, lower = logits[:, :, low].double(), logits[:, :, high].double()
    banded = upper * (1 - weight[:, None]) + lower * weight[:, None]
    low, high, weight = _between(logits.shape[3], size[1], range(size[1]), logits.device)
    return banded[..., low] * (1 - weight) + banded[..., high] * weight


def _between(
    sources: int, targets: int, positions: range, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The two source positions around each target's centre, and the weight of the second."""
    places = torch.arange(positions.start, positions.stop, dtype=torch.float64, device=device)
    centre = ((places + 0.5) * sources / targets - 0.5).clamp(min=0)
    low = centre.long().clamp(max=sources - 1)
    return low, (low + 1).clamp(max=sources - 1), (centre - low).clamp(0, 1)


def _largest(tensor: torch.Tensor) -> float:
    """Largest finite magnitude."""
    low, high = tensor.nan_to_num(nan=0.0).aminmax()
    return max(-low.item(), high.item())

"""Labels that differ where either is right: the reference's logits and two label maps -> the pixels of near ties."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hc_deploy.runtime.session import Array, Outputs
from hc_deploy.spec import ModelSpec

NEAR_TIE = 1e-5
"""Of the largest |logit|: what float32 loses on the way through a network, so that either label is right."""


def near_ties(truth: Outputs, labels: Array, spec: ModelSpec) -> NDArray[np.bool_]:
    """Pixels whose label in `labels` [B,H,W] is another than in `truth`, and as good.

    Args:
        truth: `labels` [B,H,W] and `logits` [B,C,h,w] of the reference; C is 1 where the sign of the distance to the
            threshold decides between two classes.
    """
    logits = truth["logits"]
    apart = np.nonzero(truth["labels"] != labels)
    ties = np.zeros(labels.shape, bool)
    if apart[0].size == 0:
        return ties
    if logits.shape[1] == 1:
        margin = enlarged_at(logits, apart, np.zeros_like(apart[0]), labels.shape) - spec.threshold_logit
    else:
        one, other = (array[apart].astype(np.int64) for array in (truth["labels"], labels))
        margin = enlarged_at(logits, apart, one, labels.shape) - enlarged_at(logits, apart, other, labels.shape)
    ties[apart] = np.abs(margin) <= NEAR_TIE * float(np.abs(logits).max())
    return ties


def enlarged_labels(logits: Array, spec: ModelSpec, size: tuple[int, int]) -> Array:
    """Classes [B,H,W] at `size` from logits [B,C,h,w], as HCArgmax defines them; C is 1 as in `near_ties`."""
    if spec.threshold is not None:
        logits = np.concatenate([np.full_like(logits, spec.threshold_logit), logits], axis=1)
    sides = [_between(np.arange(fine), fine, coarse) for fine, coarse in zip(size, logits.shape[2:], strict=True)]
    (top, bottom, down), (left, right, across) = ((low, high, share.astype(np.float32)) for low, high, share in sides)
    labels = np.zeros((logits.shape[0], *size), spec.label_type)
    for image, planes in enumerate(logits.astype(np.float32)):
        most = np.full(size, -np.inf, np.float32)
        for label, plane in enumerate(planes):  # one class at a time: all of them enlarged may not fit into memory
            rows = plane[top] + down[:, None] * (plane[bottom] - plane[top])
            value = rows[:, left] + across * (rows[:, right] - rows[:, left])
            labels[image][value > most] = label
            np.maximum(most, value, out=most)
    return labels


def enlarged_at(logits: Array, at: tuple[Array, ...], channels: Array, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Values of the bilinear (half-pixel) enlargement of `logits` [B,C,h,w] to `shape` [B,H,W], in float64.

    Args:
        at: images, rows and columns of the enlargement, [N] each. channels: [N], of each.
    """
    image, sides = at[0], []
    for index, fine, coarse in zip(at[1:], shape[1:], logits.shape[2:], strict=True):
        sides.append(_between(index, fine, coarse))
    (top, bottom, down), (left, right, across) = sides

    def row(y: Array) -> NDArray[np.float64]:
        first, second = (logits[image, channels, y, x].astype(np.float64) for x in (left, right))
        return first + across * (second - first)

    upper: NDArray[np.float64] = row(top)
    return upper + down * (row(bottom) - upper)


def _between(index: Array, fine: int, coarse: int) -> tuple[Array, Array, Array]:
    """Between which two coarse pixels those of an enlarged side lie (half-pixel), and the share of the second."""
    position = np.maximum((index + 0.5) * coarse / fine - 0.5, 0.0)
    low = position.astype(np.int64)
    return low, np.minimum(low + 1, coarse - 1), position - low

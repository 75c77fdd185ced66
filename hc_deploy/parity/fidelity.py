"""How faithfully one runtime repeats another: outputs of two sessions on the same images -> agreement figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hc_deploy.errors import DeployError, GateError
from hc_deploy.evaluate.metrics import ConfusionMatrix, label_boundaries
from hc_deploy.parity.label_ties import near_ties
from hc_deploy.runtime.session import Array, Outputs, Session
from hc_deploy.spec import Precision

NearTies = Callable[[Array, Array, Array, float], NDArray[np.bool_]]
"""(image, ids of the reference, ids of the candidate, tolerance) -> for each pixel whose id differs, in the order of
np.nonzero, whether a near tie of the assignment leads to the candidate's."""
SAME_DEPTH = 1e-3
QUANTILE = 0.9999


@dataclass(frozen=True)
class Bounds:
    """What counts as faithful.

    Attributes:
        pixels: least share of pixels with the same label.
        decisions: least share of the same depths, and of the same superpixel ids where near ties are not known: there
            one decided otherwise shows in a whole interval, or in all pixels of a cell.
        error: largest difference of the logits, as a share of their range.
        tie: difference of two similarities, as cosines, up to which a rounding may choose the other candidate. Any
            other id is wrong, be it one pixel's.
    """

    pixels: float
    decisions: float
    error: float
    tie: float


BOUNDS: dict[Precision, Bounds] = {
    "fp32": Bounds(0.9999, 0.999, 1e-3, 1e-4),
    "tf32": Bounds(0.995, 0.95, 1e-2, 2e-3),
    "fp16": Bounds(0.995, 0.95, 1e-2, 2e-3),
    "bf16": Bounds(0.97, 0.80, 5e-2, 2e-2),
}
"""By precision. On the parity images the trained networks agree to 99.86% and 0.0017 in fp16 (ONNX Runtime), to 98.5%
and 0.018 in bf16 (torch); DORN with random weights to 96.9% of its depths in fp16. tf32 has the mantissa of fp16.
In fp16 ids differ at ties of up to 5e-4 (two trained networks, four random ones, level 2 and 4)."""


@dataclass(frozen=True)
class Fidelity:
    """A candidate session against the reference session, over a set of images; None where a figure has no meaning.

    Attributes:
        images: how many images were compared.
        pixel_agreement: share of pixels with the same label, 0..1.
        boundary_agreement: the same over the pixels at a label boundary of the reference (NaN when there are none).
        near_ties: share of pixels with another label where the logits of the two are equal to a float32's rounding in
            the reference (of a network with one logit: where that is equal to the threshold's). None without logits.
        mean_iou: mIoU of the candidate's labels with the reference's as truth, 0..1.
        logit_error: 99.99% quantile of |difference|, as a share of the reference's largest |logit|.
        superpixel_agreement: share of pixels with the same superpixel id.
        wrong_ids: share of pixels with another id that no near tie explains; must be 0.
        depth_agreement: share of pixels whose depth differs by at most 0.1% of the reference's largest. An ordinal
            regression decides between intervals, so a margin that rounds across zero moves a pixel by a whole one.
    """

    images: int
    pixel_agreement: float | None = None
    boundary_agreement: float | None = None
    mean_iou: float | None = None
    logit_error: float | None = None
    superpixel_agreement: float | None = None
    wrong_ids: float | None = None
    depth_agreement: float | None = None
    near_ties: float | None = None

    def failures(self, bounds: Bounds = BOUNDS["fp32"]) -> list[str]:
        """One line for each bound that does not hold; empty when faithful. NaN fails, and so does nothing at all.

        A near tie passes for agreement.
        """
        labels = None if self.pixel_agreement is None else self.pixel_agreement + (self.near_ties or 0.0)
        compared = (labels, self.superpixel_agreement, self.depth_agreement, self.logit_error)
        lines = ["nothing was compared"] if self.images == 0 or compared == (None,) * 4 else []
        ids = self.superpixel_agreement if self.wrong_ids is None else None
        for share, bound, what in (
            (labels, bounds.pixels, "pixels"),
            (ids, bounds.decisions, "superpixel ids"),
            (self.depth_agreement, bounds.decisions, "depths"),
        ):
            if share is not None and not share >= bound:
                lines.append(f"{share:.4%} of {what} agree, expected {bound:.2%}")
        if self.wrong_ids:
            lines.append(f"{self.wrong_ids:.4%} of superpixel ids are wrong: no near tie leads to them, expected none")
        if self.logit_error is not None and not self.logit_error <= bounds.error:
            lines.append(f"logits differ by {self.logit_error:.2e} of their range, expected {bounds.error:.0e}")
        return lines

    def summary(self, *, reference: str = "torch") -> str:
        """One line for people; `reference` is what it was compared with."""
        parts = []
        if self.pixel_agreement is not None:
            parts.append(f"{self.pixel_agreement:.4%} of pixels as {reference}")
        if self.near_ties:
            parts.append(f"{self.near_ties:.4%} near ties")
        if self.superpixel_agreement is not None:
            rest = " (the rest near ties)" if self.wrong_ids == 0 and self.superpixel_agreement < 1 else ""
            parts.append(f"{self.superpixel_agreement:.4%} of superpixel ids{rest}")
        if self.depth_agreement is not None:
            parts.append(f"{self.depth_agreement:.4%} of depths")
        if self.logit_error is not None:
            parts.append(f"logits within {self.logit_error:.1e} of their range")
        return ", ".join(parts) + f" ({self.images} images)"


def measure_fidelity(
    reference: Session,
    candidate: Session,
    images: Iterable[Array],
    *,
    explained: NearTies | None = None,
    tolerance: float = 0.0,
) -> Fidelity:
    """Run both sessions on each image and compare what the reference gives (labels come with logits).

    Args:
        explained: tells which superpixel ids a near tie explains, within `tolerance`; without it wrong ids are not
            counted.

    Raises:
        DeployError: the candidate lacks an output or gives it in another shape; labels that are no classes.
    """
    matrix = ConfusionMatrix(len(reference.spec.classes), ignore=None)
    same, boundary, ties, ids, depths, wrong = _Share(), _Share(), _Share(), _Share(), _Share(), _Share()
    errors, count = [], 0
    for count, image in enumerate(images, start=1):  # noqa: B007 - the count is used after the loop
        truth, given = reference.run(image), candidate.run(image)
        _require_same_shapes(truth, given, candidate.name)
        if "labels" in truth:
            equal = truth["labels"] == given["labels"]
            same.add(equal)
            boundary.add(equal[label_boundaries(truth["labels"])])
            matrix.update(given["labels"], truth["labels"])
        if "superpixels" in truth:
            equal = truth["superpixels"] == given["superpixels"]
            ids.add(equal)
            if explained is not None:
                other = ~equal
                if other.any():
                    other[other] = ~explained(image, truth["superpixels"], given["superpixels"], tolerance)
                wrong.add(other)
        if "depth" in truth:
            depths.add(same_depths(truth["depth"], given["depth"]))
        if "logits" in truth:
            errors.append(range_error(truth["logits"], given["logits"]))
            if "labels" in truth:
                ties.add(near_ties(truth, given["labels"], reference.spec))
    segments = same.total > 0
    return Fidelity(
        images=count,
        pixel_agreement=same.value() if segments else None,
        boundary_agreement=boundary.value() if segments else None,
        near_ties=ties.value() if ties.total else None,
        mean_iou=matrix.mean_iou() if segments else None,
        logit_error=max(errors) if errors else None,
        superpixel_agreement=ids.value() if ids.total else None,
        wrong_ids=wrong.value() if wrong.total else None,
        depth_agreement=depths.value() if depths.total else None,
    )


def _require_same_shapes(truth: Outputs, given: Outputs, candidate: str) -> None:
    """A missing output is no agreement, and numpy would stretch one of another batch."""
    for name, array in truth.items():
        if name not in given:
            raise DeployError(
                f"{candidate} gives {', '.join(given) or 'nothing'}", expected=f"{name}, as the reference does"
            )
        if given[name].shape != array.shape and name != "logits":  # `range_error` calls that infinite
            raise DeployError(
                f"{candidate} gives {name} of shape {given[name].shape}", expected=f"{array.shape}, as the reference"
            )


def require_fidelity(
    fidelity: Fidelity, *, candidate: str, cause: str, precision: Precision = "fp32", mend: str | None = None
) -> None:
    """GateError (exit code 3) when a bound of `precision` does not hold; `cause` names the worst operator."""
    failures = fidelity.failures(BOUNDS[precision])
    if failures:
        raise GateError(
            f"{candidate} does not repeat the trained network: " + "; ".join(failures) + f"\n{cause}".rstrip(),
            expected="the same answer as torch",
            mend=mend,
        )


def same_depths(truth: Array, given: Array) -> NDArray[np.bool_]:
    """Whether two maps of metres agree, pixel by pixel: to 0.1% of the largest finite depth, or both in infinity."""
    finite = np.abs(truth[np.isfinite(truth)])
    most = float(finite.max()) if finite.size else 0.0
    with np.errstate(invalid="ignore"):  # inf - inf
        return (np.abs(truth - given) <= SAME_DEPTH * most) | (np.isinf(truth) & (truth == given))


def range_error(truth: Array, given: Array) -> float:
    """99.99% quantile of |difference| over the largest |truth|; infinite when a value is not finite or missing."""
    if truth.shape != given.shape or not (np.isfinite(given).all() and np.isfinite(truth).all()):
        return float("inf")
    scale = float(np.abs(truth).max()) or 1.0
    return float(np.quantile(np.abs(truth.astype(np.float64) - given), QUANTILE)) / scale


class _Share:
    """Running share of true values."""

    def __init__(self) -> None:
        self.true = self.total = 0

    def add(self, mask: NDArray[np.bool_]) -> None:
        self.true += int(mask.sum())
        self.total += mask.size

    def value(self) -> float:
        return self.true / self.total if self.total else float("nan")

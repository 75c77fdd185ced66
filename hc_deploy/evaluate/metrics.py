"""Segmentation metrics from a confusion matrix, numpy alone. A pixel is counted once, ignored by name, or refused."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hc_deploy.errors import DeployError

IGNORE = 255
"""The label of pixels without ground truth in Cityscapes, PASCAL VOC and ADE20K."""
Labels = NDArray[np.integer] | NDArray[np.bool_]


@dataclass
class ConfusionMatrix:
    """Counts of (truth, prediction) pairs, [classes,classes]; rows are the truth.

    Attributes:
        classes: labels are 0..classes-1. ignore: the label of the truth whose pixels are not counted, None: there is
            none.
        ignored: pixels that were left out for it.

    Raises:
        DeployError: `ignore` is one of the classes: its pixels would be lost.
    """

    classes: int
    ignore: int | None = IGNORE

    def __post_init__(self) -> None:
        if self.ignore is not None and 0 <= self.ignore < self.classes:
            raise DeployError(
                f"the ignore label {self.ignore} with {self.classes} classes",
                expected="a label that is no class, or None",
                mend="ignore=None",
            )
        self.counts: NDArray[np.int64] = np.zeros((self.classes, self.classes), np.int64)
        self.ignored = 0

    def update(self, prediction: Labels, truth: Labels) -> None:
        """Add the pixels of two label maps of one shape.

        Raises:
            DeployError: shapes that differ; labels that are no whole numbers; labels of the truth outside the classes
                that are not `ignore`; predictions outside the classes where the truth is one. Nothing is counted then.
        """
        if prediction.shape != truth.shape:
            raise DeployError(f"prediction {prediction.shape} and truth {truth.shape}", expected="one shape")
        for name, labels in (("prediction", prediction), ("truth", truth)):
            if labels.dtype != np.bool_ and not np.issubdtype(labels.dtype, np.integer):
                raise DeployError(f"{name} of type {labels.dtype}", expected="labels as whole numbers")
        counted = np.ones(truth.shape, bool) if self.ignore is None else truth != self.ignore
        rows = self._checked(truth[counted], "truth")
        columns = self._checked(prediction[counted], "prediction")
        pairs = np.bincount(rows * self.classes + columns, minlength=self.classes**2)
        self.counts += pairs.reshape(self.classes, self.classes)
        self.ignored += truth.size - rows.size

    def _checked(self, labels: Labels, name: str) -> NDArray[np.int64]:
        if labels.size and not (labels.min() >= 0 and labels.max() < self.classes):
            outside = np.unique(labels[(labels < 0) | (labels >= self.classes)])
            shown = ", ".join(map(str, outside[:5].tolist())) + (", ..." if outside.size > 5 else "")
            ignored = "" if name == "prediction" or self.ignore is None else f", or {self.ignore} to leave a pixel out"
            raise DeployError(f"labels of the {name}: {shown}", expected=f"0 to {self.classes - 1}{ignored}")
        return labels.astype(np.int64)

    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of each class; NaN where a class is in neither map."""
        union = self.counts.sum(0) + self.counts.sum(1) - np.diag(self.counts)
        return np.divide(np.diag(self.counts), union, out=np.full(self.classes, np.nan), where=union > 0)

    def mean_iou(self) -> float:
        """mIoU over the classes that occur, in 0..1; NaN where none does."""
        iou = self.iou()
        return float(np.nanmean(iou)) if not np.isnan(iou).all() else float("nan")

    def pixel_accuracy(self) -> float:
        """Share of the counted pixels that are right, in 0..1; NaN where none was counted."""
        total = int(self.counts.sum())
        return float(np.diag(self.counts).sum() / total) if total else float("nan")


def label_boundaries(labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Pixels of label maps [B,H,W] whose right or lower neighbour has another label, and those neighbours."""
    edge = np.zeros(labels.shape, bool)
    across = labels[..., :, 1:] != labels[..., :, :-1]
    down = labels[..., 1:, :] != labels[..., :-1, :]
    edge[..., :, 1:] |= across
    edge[..., :, :-1] |= across
    edge[..., 1:, :] |= down
    edge[..., :-1, :] |= down
    return edge

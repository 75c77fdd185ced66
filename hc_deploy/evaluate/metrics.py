"""Segmentation metrics from a confusion matrix, numpy alone. Label 255 (and any outside the classes) is ignored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IGNORE = 255


@dataclass
class ConfusionMatrix:
    """Counts of (truth, prediction) pairs, [classes,classes]; rows are the truth."""

    classes: int

    def __post_init__(self) -> None:
        self.counts: NDArray[np.int64] = np.zeros((self.classes, self.classes), np.int64)

    def update(self, prediction: NDArray[np.integer], truth: NDArray[np.integer]) -> None:
        """Add the pixels of two label maps of one shape."""
        if prediction.shape != truth.shape:
            raise ValueError(f"prediction {prediction.shape} and truth {truth.shape}, expected one shape")
        known = (truth >= 0) & (truth < self.classes)
        pairs = truth[known].astype(np.int64) * self.classes + prediction[known]
        self.counts += np.bincount(pairs, minlength=self.classes**2).reshape(self.classes, self.classes)

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

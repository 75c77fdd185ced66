"""uint8 RGB images -> what a network is fed: the spec's normalisation in plain numpy, which graphs are held against."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hc_deploy.spec import ModelSpec

GRAY_WEIGHTS = (0.299, 0.587, 0.114)
"""Of red, green and blue (ITU-R 601), rounded to whole numbers as OpenCV and Pillow do."""


def normalise(images: NDArray[Any], spec: ModelSpec) -> NDArray[np.float32]:
    """uint8 RGB [B,H,W,3] -> float32 [B,C,H,W], C as the spec's channels."""
    values: NDArray[Any] = images.astype(np.float64)
    if spec.channels == "gray":
        values = np.rint(values @ np.asarray(GRAY_WEIGHTS))[..., None]
    elif spec.channels == "bgr":
        values = values[..., ::-1]
    scaled = (values / spec.scale - np.asarray(spec.mean)) / np.asarray(spec.std)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2), dtype=np.float32)

"""What the answer of each task looks like to people: drawn over the frame, stored as PNG, summed up in words.

segmentation  class ids uint8       class colours and a legend       8-bit ids
superpixels   ids int32             boundaries                       16-bit ids
depth         metres float32        near red to far blue             16-bit millimetres, 0 beyond 65.5 m
"""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np

from hc_deploy.runtime.session import Array
from hc_deploy.spec import ModelSpec, Output, Task
from hc_deploy.video.overlay import YELLOW, Overlay, OverlayOptions, draw_boundaries

ANSWERS: dict[Task, Output] = {"segmentation": "labels", "superpixels": "superpixels", "depth": "depth"}
"""Task -> the output that holds its answer."""
MOST = 2**16 - 1


class Drawer(Protocol):
    """Draws an answer over a frame; see `Overlay.draw`."""

    def draw(self, image: Array, labels: Array, superpixels: Array | None, *, time_s: float) -> Array: ...


def drawer_for(spec: ModelSpec, options: OverlayOptions) -> Drawer:
    """What draws the answers of the spec's task."""
    if spec.task == "superpixels":
        return Boundaries()
    if spec.task == "depth":
        return DepthColours(options.alpha)
    return Overlay(spec, options)


class Boundaries:
    """Superpixel boundaries in yellow over the frame (Fig. 3 of the paper)."""

    def draw(self, image: Array, labels: Array, superpixels: Array | None, *, time_s: float) -> Array:
        drawn = image.copy()
        draw_boundaries(drawn, labels, np.full_like(image, YELLOW))
        return drawn


class DepthColours:
    """Depth in colours, near red to far blue, over the frame; each frame's own range, logarithmic."""

    def __init__(self, alpha: float) -> None:
        self._alpha = alpha

    def draw(self, image: Array, labels: Array, superpixels: Array | None, *, time_s: float) -> Array:
        depth = np.log(np.maximum(labels, 1e-3))
        low, high = float(depth.min()), float(depth.max())
        near = (255 * (high - depth) / max(high - low, 1e-6)).astype(np.uint8)
        colours = cv2.applyColorMap(near, cv2.COLORMAP_TURBO)
        return cv2.addWeighted(image, 1 - self._alpha, colours, self._alpha, 0)


def stored(answer: Array, task: Task) -> Array:
    """The answer as an image that PNG holds: uint8 or uint16 [H,W]. Ids beyond 65,535 wrap around."""
    if task == "depth":
        millimetres = np.rint(1000.0 * answer)
        return np.where(millimetres <= MOST, millimetres, 0).astype(np.uint16)
    return answer.astype(np.uint16) if task == "superpixels" else answer


def in_words(answer: Array, task: Task) -> str:
    """'143 superpixels', '0.9 to 7.2 m, median 2.3 m'; empty for a segmentation, whose classes have a table."""
    if task == "superpixels":
        return f"{np.unique(answer).size} superpixels"
    if task == "depth":
        return f"{answer.min():.2f} to {answer.max():.2f} m, median {float(np.median(answer)):.2f} m"
    return ""

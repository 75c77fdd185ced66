"""What the answer of each task looks like to people: drawn over the frame, stored as PNG, summed up in words.

segmentation  class ids uint8, uint16 or int32    class colours and a legend    8-bit ids, 16-bit beyond 256 classes
superpixels   ids int32                           boundaries                    16-bit ids
depth         metres float32                      near red to far blue          16-bit millimetres, 0: no measurement
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from hc_deploy.errors import DeployError
from hc_deploy.runtime.session import Array
from hc_deploy.spec import ModelSpec, Output, Task
from hc_deploy.video.overlay import YELLOW, Overlay, OverlayOptions, draw_boundaries

ANSWERS: dict[Task, Output] = {"segmentation": "labels", "superpixels": "superpixels", "depth": "depth"}
"""Task -> the output that holds its answer."""
MOST = 2**16 - 1
"""The largest value of a PNG: an id, or millimetres."""
ID_TYPES = (np.uint8, np.uint16, np.int32)


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
    """Depth in colours, near red to far blue, over the frame; each frame's own range, logarithmic.

    Infinity is the farthest. Where nothing was measured (0, below, NaN) the colour is black.
    """

    def __init__(self, alpha: float) -> None:
        self._alpha = alpha

    def draw(self, image: Array, labels: Array, superpixels: Array | None, *, time_s: float) -> Array:
        seen = labels > 0
        measured = labels[seen & np.isfinite(labels)]
        nearest, farthest = (float(measured.min()), float(measured.max())) if measured.size else (1.0, 1.0)
        low, high = np.log(max(nearest, 1e-3)), np.log(max(farthest, 1e-3))
        depth = np.log(np.clip(np.where(seen, labels, farthest), max(nearest, 1e-3), max(farthest, 1e-3)))
        near = np.rint(255 * (high - depth) / max(high - low, 1e-6)).astype(np.uint8)
        colours = cv2.applyColorMap(near, cv2.COLORMAP_TURBO)
        if not seen.all():
            colours[~seen] = 0
        return cv2.addWeighted(image, 1 - self._alpha, colours, self._alpha, 0)


@dataclass
class Clipped:
    """How many pixels of depth 16-bit millimetres could not hold, over all maps that were stored.

    Attributes:
        unmeasured: below 0 m or no number: stored as 0. beyond: above 65.535 m: stored as 65.535 m.
    """

    unmeasured: int = 0
    beyond: int = 0

    def in_words(self) -> str:
        """One line; empty where every pixel was held."""
        parts = []
        if self.unmeasured:
            parts.append(f"{_pixels(self.unmeasured)} below 0 m or NaN stored as 0 (no measurement)")
        if self.beyond:
            parts.append(f"{_pixels(self.beyond)} beyond {MOST / 1000} m stored as {MOST / 1000} m")
        return "; ".join(parts)


def checked(answer: Array, task: Task) -> Array:
    """A map as the outputs of a session hold it, its numbers of a kind that is drawn and stored.

    Returns:
        The same values: ids in uint8, uint16 or int32, depths in float32.

    Raises:
        DeployError: ids that are no whole numbers or exceed int32; depths that are whole numbers.
    """
    if task == "depth":
        if not np.issubdtype(answer.dtype, np.floating):
            raise DeployError(f"depth of type {answer.dtype}", expected="metres as floating-point numbers")
        return answer.astype(np.float32, copy=False)
    if answer.dtype in ID_TYPES:
        return answer
    if answer.dtype != np.bool_ and not np.issubdtype(answer.dtype, np.integer):
        raise DeployError(f"class or superpixel ids of type {answer.dtype}", expected="whole numbers")
    narrow = answer.astype(np.int32)
    if not np.array_equal(narrow, answer):
        raise DeployError(f"ids from {answer.min()} to {answer.max()}", expected="ids that fit int32")
    return narrow


def stored(answer: Array, spec: ModelSpec, clipped: Clipped) -> Array:
    """The answer as an image that PNG holds, uint8 or uint16 [H,W].

    Depth is rounded to millimetres, a measured one to 1 at least; what they cannot hold is clamped and counted in
    `clipped`.

    Raises:
        DeployError: an id that the PNG cannot hold. It would wrap around into another.
    """
    if spec.task == "depth":
        return _millimetres(answer, clipped)
    narrow = spec.task == "segmentation" and len(spec.classes) <= 2**8
    held = np.uint8 if narrow else np.uint16
    if answer.dtype != held and answer.size:
        low, high = int(answer.min()), int(answer.max())
        if low < 0 or high > np.iinfo(held).max:
            raise DeployError(
                f"ids from {low} to {high}",
                expected=f"0 to {np.iinfo(held).max}, what a PNG of {8 * np.dtype(held).itemsize} bits holds",
                mend="a model with fewer of them; hc_deploy.runtime.open_session(MODEL) gives the ids themselves",
            )
    return answer.astype(held, copy=False)


def _pixels(count: int) -> str:
    return "1 pixel" if count == 1 else f"{count} pixels"


def _millimetres(metres: Array, clipped: Clipped) -> Array:
    millimetres = np.rint(np.float32(1000) * metres)
    beyond = millimetres > MOST
    clipped.unmeasured += int(np.count_nonzero(~(metres >= 0)))
    clipped.beyond += int(np.count_nonzero(beyond))
    return np.where(metres > 0, np.clip(millimetres, 1, MOST), 0).astype(np.uint16)


def in_words(answer: Array, task: Task) -> str:
    """'143 superpixels', '0.9 to 7.2 m, median 2.3 m'; empty for a segmentation, whose classes have a table."""
    if task == "superpixels":
        return f"{np.unique(answer).size} superpixels"
    if task == "depth":
        measured = answer[answer > 0]
        if not measured.size:
            return "no depth above 0 m"
        return f"{measured.min():.2f} to {measured.max():.2f} m, median {float(np.median(measured)):.2f} m"
    return ""

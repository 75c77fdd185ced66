"""The picture and its label map, drawn together so that their silhouettes coincide.

The picture is anti-aliased, the label map is not. Both get the same sub-pixel outline.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from .camera import Pixel
from .light import Colour

SHIFT = 4  # OpenCV's fixed point: outlines are drawn to 1/16 pixel
UNIT = 1 << SHIFT


class Canvas:
    """One frame while it is being painted: `image` uint8 [H, W, 3] RGB and `labels` uint8 [H, W]."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.height, self.width = size
        self.image = np.zeros((*size, 3), np.uint8)
        self.labels = np.full(size, 255, np.uint8)

    def window(self, outline: Sequence[Pixel]) -> tuple[int, int, int, int] | None:
        """Columns and rows (x0, y0, x1, y1) of the frame that an outline can touch; None if it touches none."""
        if len(outline) < 3:
            return None
        columns, rows = zip(*outline, strict=True)
        x0, x1 = max(int(min(columns)) - 1, 0), min(int(max(columns)) + 2, self.width)
        y0, y1 = max(int(min(rows)) - 1, 0), min(int(max(rows)) + 2, self.height)
        return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None

    def fill(self, outline: Sequence[Pixel], colour: Colour, label: int | None, *, convex: bool = True) -> None:
        """Paint a polygon given in pixels; `label` None leaves the labels as they are."""
        if self.window(outline) is None:
            return
        points = fixed(outline)
        if convex:
            cv2.fillConvexPoly(self.image, points, colour, cv2.LINE_AA, SHIFT)
            if label is not None:
                cv2.fillConvexPoly(self.labels, points, int(label), cv2.LINE_8, SHIFT)
            return
        cv2.fillPoly(self.image, [points], colour, cv2.LINE_AA, SHIFT)
        if label is not None:
            cv2.fillPoly(self.labels, [points], int(label), cv2.LINE_8, SHIFT)

    def fill_label(self, outline: Sequence[Pixel], label: int) -> None:
        """Fill a convex polygon of the label map only."""
        if self.window(outline) is not None:
            cv2.fillConvexPoly(self.labels, fixed(outline), int(label), cv2.LINE_8, SHIFT)

    def bar(self, a: Pixel, b: Pixel, width: float, colour: Colour, label: int | None) -> None:
        """Paint a straight bar with flat ends, `width` pixels wide but never under one."""
        half = max(width, 1.0) / 2
        dx, dy = b[0] - a[0], b[1] - a[1]
        length = math.hypot(dx, dy) or 1.0
        # OpenCV's polygons reach over their edge: 0.45 px a side plain, 0.7 px a side anti-aliased (measured).
        for target, reach in ((self.image, 0.7), (self.labels, 0.45)):
            if target is self.labels and label is None:
                return
            grow = max(half - reach, 0.05)
            nx, ny = -dy / length * grow, dx / length * grow
            corners = [(a[0] + nx, a[1] + ny), (b[0] + nx, b[1] + ny), (b[0] - nx, b[1] - ny), (a[0] - nx, a[1] - ny)]
            if self.window(corners) is None:
                return
            if target is self.image:
                cv2.fillConvexPoly(target, fixed(corners), colour, cv2.LINE_AA, SHIFT)
            else:
                cv2.fillConvexPoly(target, fixed(corners), int(label or 0), cv2.LINE_8, SHIFT)

    def limb(self, a: Pixel, b: Pixel, width: float, colour: Colour, label: int | None) -> None:
        """Paint a bar with round ends, a whole number of pixels wide."""
        # OpenCV paints 2, 4, 6 as 3, 5, 7 pixels, and 3, 5, 7 as 5, 7, 9 (measured on 60 slanted lines each)
        thickness = 1 if width < 2 else 2 * max(round((width - 1) / 2), 1)
        start, end = (tuple(p) for p in fixed([a, b]).tolist())
        cv2.line(self.image, start, end, colour, thickness, cv2.LINE_AA, SHIFT)
        if label is not None:
            cv2.line(self.labels, start, end, int(label), thickness, cv2.LINE_8, SHIFT)

    def strokes(self, path: Sequence[Pixel], width: float, colour: Colour, *, closed: bool) -> None:
        """Paint a thin path on the picture only."""
        thickness = max(int(width + 0.5), 1)
        cv2.polylines(self.image, [fixed(path)], closed, colour, thickness, cv2.LINE_AA, SHIFT)

    def sheet(
        self, texture: np.ndarray, to_pixels: np.ndarray, outline: Sequence[Pixel], tone: np.ndarray, label: int
    ) -> None:
        """Paint a textured plane.

        texture: uint8 [h, w, 3], or [h, w, 4] with holes where the fourth channel is under 128 (the label map has
        no holes); to_pixels: [3, 3] from texture to frame pixels; tone: [3, 4] affine colour change.
        """
        window = self.window(outline)
        if window is None:
            return
        x0, y0, x1, y1 = window
        shift = np.array([[1, 0, -x0], [0, 1, -y0], [0, 0, 1]], np.float64)
        warped = cv2.warpPerspective(
            texture, shift @ to_pixels, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        mask: np.ndarray = np.zeros((y1 - y0, x1 - x0), np.uint8)
        cv2.fillConvexPoly(mask, fixed([(u - x0, v - y0) for u, v in outline]), 255, cv2.LINE_8, SHIFT)
        part = self.labels[y0:y1, x0:x1]
        cv2.copyTo(np.full_like(mask, int(label)), mask, part)
        if texture.shape[2] == 4:
            mask = cv2.bitwise_and(mask, cv2.threshold(warped[..., 3], 127, 255, cv2.THRESH_BINARY)[1])
            warped = np.ascontiguousarray(warped[..., :3])
        cv2.copyTo(cv2.transform(warped, tone), mask, self.image[y0:y1, x0:x1])

    def sprite(self, picture: np.ndarray, box: tuple[float, float, float, float], tone: np.ndarray, label: int) -> None:
        """Paint a cut-out: picture uint8 [h, w, 4], opaque where the fourth channel is over 127, into the pixel
        box (left, top, width, height)."""
        left, top, wide, high = box
        window = self.window([(left, top), (left + wide, top), (left + wide, top + high)])
        if window is None or wide < 1 or high < 1:
            return
        x0, y0, x1, y1 = window
        rows, columns = picture.shape[:2]
        to_frame = np.array([[wide / columns, 0, left - x0], [0, high / rows, top - y0]])
        warped = cv2.warpAffine(picture, to_frame, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR)
        mask = cv2.threshold(warped[..., 3], 127, 255, cv2.THRESH_BINARY)[1]
        colours = cv2.transform(np.ascontiguousarray(warped[..., :3]), tone)
        cv2.copyTo(colours, mask, self.image[y0:y1, x0:x1])
        cv2.copyTo(np.full_like(mask, int(label)), mask, self.labels[y0:y1, x0:x1])


def fixed(points: Sequence[Pixel]) -> np.ndarray:
    """Pixels as OpenCV's fixed-point int32 [n, 2]."""
    return np.array([(int(u * UNIT), int(v * UNIT)) for u, v in points], np.int32)

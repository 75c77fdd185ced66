"""The legend: swatches and names of the classes in sight, in the frame's upper left corner.

A class enters as soon as it covers 0.1% of the pixels and leaves one second after it last did: a class near the limit
would otherwise make the legend flicker.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from hc_deploy.runtime.session import Array
from hc_deploy.shown import visible

MIN_SHARE = 0.001
LINGER_S = 1.0
WIDTH_SHARE = 0.25
TEXT_SHARE, MIN_TEXT, MAX_TEXT = 0.020, 7, 44
"""Height of a capital: share of the frame's height, and its limits in pixels (below 7 letters run together)."""
BACKDROP = 0.35
"""What is left of the frame's brightness behind the text."""
FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True)
class Panel:
    """A drawn legend: frame * keep / 255 + paint. paint, keep: uint8 [h,w,3]."""

    paint: Array
    keep: Array


@dataclass(frozen=True)
class Layout:
    """Sizes in pixels. text: height of a capital; row: distance of two rows; names: as they fit."""

    text: int
    row: int
    width: int
    names: tuple[str, ...]


class Legend:
    """Remembers when each class was last in sight; draws a panel that is rendered only when it changes."""

    def __init__(self, classes: tuple[str, ...], palette: tuple[tuple[int, int, int], ...]) -> None:
        self._classes, self._palette = tuple(visible(name) for name in classes), palette  # OpenCV dies of others
        self._seen: dict[int, tuple[float, float]] = {}
        self._key: tuple[object, ...] = ()
        self._panel: Panel | None = None

    def draw(self, image: Array, labels: Array, *, time_s: float) -> None:
        """Draw the legend of `labels` (ids [H,W]) into `image` (uint8 BGR [H,W,3])."""
        present = self.present(labels, time_s=time_s)
        key = (present, image.shape)
        if key != self._key:
            self._key, self._panel = key, self._render(present, image.shape[0], image.shape[1])
        if self._panel is not None:
            height, width = self._panel.paint.shape[:2]
            corner = image[:height, :width]
            cv2.multiply(corner, self._panel.keep, dst=corner, scale=1 / 255)
            cv2.add(corner, self._panel.paint, dst=corner)

    def present(self, labels: Array, *, time_s: float) -> tuple[int, ...]:
        """Class ids in sight within the last second, in the order of the classes."""
        shares = class_shares(labels, len(self._classes))
        for label in np.flatnonzero(shares > MIN_SHARE):
            self._seen[int(label)] = (time_s, float(shares[label]))
        return tuple(sorted(label for label, (seen, _) in self._seen.items() if 0 <= time_s - seen <= LINGER_S))

    def _render(self, present: tuple[int, ...], height: int, width: int) -> Panel | None:
        layout = fit(tuple(self._classes[label] for label in present), height, width)
        if layout is None:
            return None
        room = max(1, (height - layout.row) // layout.row)
        if len(present) > room:  # the largest stay
            largest = sorted(present, key=lambda label: -self._seen[label][1])[:room]
            present = tuple(sorted(largest))
            layout = fit(tuple(self._classes[label] for label in present), height, width)
        return None if layout is None else render(layout, [self._palette[label] for label in present])


def class_shares(labels: Array, classes: int) -> Array:
    """float64 [classes]: the share of the pixels of `labels` (whole numbers [H,W]) that each class covers.

    An id that is no class counts as a pixel and for no class.
    """
    shares: Array = np.zeros(classes)
    if labels.dtype == np.uint8:
        counts = cv2.calcHist([labels], [0], None, [256], [0, 256]).ravel()[:classes]
    else:
        counts = np.bincount(labels[(labels >= 0) & (labels < classes)], minlength=classes)
    shares[: counts.size] = counts
    return shares / max(1, labels.size)


def fit(names: tuple[str, ...], height: int, width: int) -> Layout | None:
    """The largest layout within a quarter of `width`: small letters first, then short names; None if none fits."""
    if not names:
        return None
    text = round(min(max(TEXT_SHARE * height, MIN_TEXT), MAX_TEXT))
    limit = int(WIDTH_SHARE * width)
    while text > MIN_TEXT and _width(names, text) > limit:
        text -= 1
    if 3 * text > height:
        return None
    if _width(names, text) > limit:
        names = tuple(_initials(name) for name in names)
    longest = max(len(name) for name in names)
    while longest > 5 and _width(names, text) > limit:
        longest -= 1
        names = tuple(name if len(name) <= longest else name[: longest - 1].rstrip(" .") + "." for name in names)
    if _width(names, text) > limit:
        return None
    return Layout(text, round(1.8 * text), _width(names, text), names)


def render(layout: Layout, colours: list[tuple[int, int, int]]) -> Panel:
    """Draw the panel; `colours` are RGB, one a name."""
    text, row = layout.text, layout.row
    height = row * len(colours) + row // 2
    paint: Array = np.zeros((height, layout.width, 3), np.uint8)
    letters: Array = np.zeros((height, layout.width), np.uint8)
    keep: Array = np.full((height, layout.width, 3), round(255 * BACKDROP), np.uint8)
    scale, thickness = _scale(text), _thickness(text)
    for index, (name, colour) in enumerate(zip(layout.names, colours, strict=True)):
        top = row // 2 + index * row
        swatch = (slice(top, top + text), slice(text, text + _swatch(text)))
        paint[swatch], keep[swatch] = colour[::-1], 0
        origin = (2 * text + _swatch(text), top + text)
        cv2.putText(letters, name, origin, FONT, scale, 255, thickness, cv2.LINE_AA)
    paint = cv2.add(paint, cv2.merge([letters] * 3))
    keep = cv2.multiply(keep, cv2.merge([255 - letters] * 3), scale=1 / 255)
    return Panel(paint, keep)


def _initials(name: str) -> str:
    """'traffic light' -> 't. light': cutting the end would make two of a kind alike."""
    *first, last = name.split() or [name]
    return " ".join([*(f"{word[0]}." for word in first), last])


def _swatch(text: int) -> int:
    return round(1.6 * text)


def _scale(text: int) -> float:
    return cv2.getFontScaleFromHeight(FONT, text, _thickness(text))


def _thickness(text: int) -> int:
    return max(1, round(text / 9))


def _width(names: tuple[str, ...], text: int) -> int:
    """Margin, swatch, gap, the longest name, margin."""
    scale, thickness = _scale(text), _thickness(text)
    longest = max(cv2.getTextSize(name, FONT, scale, thickness)[0][0] for name in names)
    return 3 * text + _swatch(text) + longest

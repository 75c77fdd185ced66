"""The pinhole camera. Points in metres enter, pixels leave.

World axes: x to the right, y up, z forward along the street; the ground is y = 0. Points are handed in relative to
the camera's place along the street, so z = 0 is beside the driver.

Plain Python floats on purpose: a face has four points, and four points cost 4 us here against 20 us through numpy.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

Point = tuple[float, float, float]
Pixel = tuple[float, float]

NEAR = 0.6  # metres: nothing nearer than this is drawn


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks down the street.

    focal: pixels; centre: principal point (column, row) in pixels; x, height: metres; yaw (to the right) and
    pitch (upwards): radians.
    """

    focal: float
    centre: Pixel
    x: float
    height: float
    yaw: float
    pitch: float

    @cached_property
    def _turn(self) -> tuple[float, float, float, float]:
        return math.cos(self.yaw), math.sin(self.yaw), math.cos(self.pitch), math.sin(self.pitch)

    def rotate(self, x: float, y: float, z: float) -> Point:
        """A direction of the world in camera axes (right, up, depth)."""
        cos_yaw, sin_yaw, cos_pitch, sin_pitch = self._turn
        along = x * sin_yaw + z * cos_yaw
        return x * cos_yaw - z * sin_yaw, y * cos_pitch - along * sin_pitch, along * cos_pitch + y * sin_pitch

    def see(self, points: Iterable[Point]) -> list[Point]:
        """World points in camera axes (right, up, depth), metres."""
        cos_yaw, sin_yaw, cos_pitch, sin_pitch = self._turn
        seen = []
        for x, y, z in points:
            x -= self.x
            y -= self.height
            along = x * sin_yaw + z * cos_yaw
            seen.append(
                (x * cos_yaw - z * sin_yaw, y * cos_pitch - along * sin_pitch, along * cos_pitch + y * sin_pitch)
            )
        return seen

    def outline(self, points: Sequence[Point]) -> list[Pixel]:
        """A polygon of world points as pixels, cut at the near plane; empty if all of it is nearer."""
        seen = self.see(points)
        if min(p[2] for p in seen) < NEAR:
            seen = _cut(seen)
        column, row = self.centre
        return [(column + self.focal * x / z, row - self.focal * y / z) for x, y, z in seen]

    def depth(self, x: float, z: float) -> float:
        """Depth in metres of a point of the street."""
        return (x - self.x) * self._turn[1] + z * self._turn[0]

    def horizon(self) -> float:
        """Row of the horizon, in pixels, at the middle column."""
        return self.centre[1] + self.focal * math.tan(self.pitch)

    def plane(self, origin: Point, along: Point, down: Point) -> np.ndarray:
        """Homography [3, 3] from (s, t) on the plane origin + s * along + t * down to pixels."""
        start = self.see([origin])[0]
        axes = np.array([self.rotate(*along), self.rotate(*down), start]).T
        intrinsics = np.array([[self.focal, 0, self.centre[0]], [0, -self.focal, self.centre[1]], [0, 0, 1]])
        return intrinsics @ axes

    def ground(self, size: tuple[int, int], top: int) -> tuple[np.ndarray, np.ndarray]:
        """Ground (x, z) in metres, float32 [H - top, W] each, that the pixels from row `top` down look at."""
        height, width = size
        right = ((np.arange(width, dtype=np.float32) - self.centre[0]) / self.focal)[None, :]
        up = ((self.centre[1] - np.arange(top, height, dtype=np.float32)) / self.focal)[:, None]
        fall = np.minimum(up * math.cos(self.pitch) + math.sin(self.pitch), -1e-3)
        along = math.cos(self.pitch) - up * math.sin(self.pitch)
        reach = (-self.height / fall).astype(np.float32)
        x = (right * math.cos(self.yaw) + along * math.sin(self.yaw)) * reach + self.x
        z = (along * math.cos(self.yaw) - right * math.sin(self.yaw)) * reach
        return x.astype(np.float32), z.astype(np.float32)


def _cut(polygon: Sequence[Point]) -> list[Point]:
    """The part of a polygon (camera axes) that lies beyond the near plane (Sutherland and Hodgman)."""
    kept: list[Point] = []
    for a, b in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        if a[2] >= NEAR:
            kept.append(a)
        if (a[2] >= NEAR) != (b[2] >= NEAR):
            share = (NEAR - a[2]) / (b[2] - a[2])
            kept.append((a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1]), NEAR))
    return kept

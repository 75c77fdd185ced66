"""A pen that paints in metres: canvas, camera and light in one hand. World points enter, painted pixels leave."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .camera import Camera, Pixel, Point
from .canvas import Canvas
from .labels import Label
from .light import Colour, Light
from .textures import Texture


@dataclass(frozen=True)
class Pen:
    """Paints on a canvas what a camera sees under a light."""

    canvas: Canvas
    camera: Camera
    light: Light

    def scale(self, x: float, z: float) -> float:
        """Pixels per metre at a point of the street; 0 behind the camera."""
        depth = self.camera.depth(x, z)
        return self.camera.focal / depth if depth > 0.6 else 0.0

    def face(
        self, points: Sequence[Point], colour: Colour, label: Label | None, *, lit: float, convex: bool = True
    ) -> None:
        """A flat polygon of brightness factor `lit`."""
        outline = self.camera.outline(points)
        if len(outline) >= 3:
            depth = self.camera.depth(points[0][0], points[0][2])
            self.canvas.fill(outline, self.light.shade(colour, depth, lit), label, convex=convex)

    def limb(self, a: Point, b: Point, width: float, colour: Colour, label: Label | None, *, lit: float) -> None:
        """A round-ended bar `width` metres thick."""
        (ax, ay, az), (bx, by, bz) = self.camera.see((a, b))
        if min(az, bz) < 0.6:
            return
        column, row = self.camera.centre
        focal = self.camera.focal
        start, end = (
            (column + focal * ax / az, row - focal * ay / az),
            (column + focal * bx / bz, row - focal * by / bz),
        )
        self.canvas.limb(start, end, width * focal / az, self.light.shade(colour, az, lit), label)

    def bar(self, a: Point, b: Point, width: float, colour: Colour, label: Label | None, *, lit: float) -> None:
        """A flat-ended bar `width` metres thick."""
        (ax, ay, az), (bx, by, bz) = self.camera.see((a, b))
        if min(az, bz) < 0.6:
            return
        column, row = self.camera.centre
        focal = self.camera.focal
        start, end = (
            (column + focal * ax / az, row - focal * ay / az),
            (column + focal * bx / bz, row - focal * by / bz),
        )
        self.canvas.bar(start, end, 2 * width * focal / (az + bz), self.light.shade(colour, az, lit), label)

    def board(
        self,
        middle: Point,
        shape: Sequence[Pixel],
        colour: Colour,
        label: Label | None,
        *,
        lit: float,
        convex: bool = True,
    ) -> None:
        """A polygon that faces the camera; `shape`: offsets (right, up) in metres."""
        right, up, depth = self.camera.see([middle])[0]
        if depth < 0.6:
            return
        column, row = self.camera.centre
        zoom = self.camera.focal / depth
        outline = [(column + zoom * (right + dx), row - zoom * (up + dy)) for dx, dy in shape]
        self.canvas.fill(outline, self.light.shade(colour, depth, lit), label, convex=convex)

    def sprite(self, pyramid: tuple[np.ndarray, ...], foot: Point, size: tuple[float, float], *, lit: float) -> None:
        """A crown that faces the camera: `foot` is the middle of its lower edge, `size` (width, height) metres."""
        right, up, depth = self.camera.see([foot])[0]
        if depth < 0.8:
            return
        zoom = self.camera.focal / depth
        wide, high = size[0] * zoom, size[1] * zoom
        level = int(np.clip(math.floor(math.log2(max(96.0 / max(high, 1.0), 1.0))), 0, len(pyramid) - 1))
        left = self.camera.centre[0] + zoom * right - wide / 2
        top = self.camera.centre[1] - zoom * up - high
        self.canvas.sprite(pyramid[level], (left, top, wide, high), self.tone(depth, lit), Label.VEGETATION)

    def tone(self, depth: float, lit: float) -> np.ndarray:
        """The affine colour change [3, 4] of a surface of brightness factor `lit` at a depth."""
        veil = self.light.veil(depth)
        gain = (1 - veil) * lit
        sky = self.light.horizon
        return np.array(
            [[gain, 0, 0, sky[0] * veil], [0, gain, 0, sky[1] * veil], [0, 0, gain, sky[2] * veil]], np.float32
        )

    def wall(self, texture: Texture, corners: tuple[Point, Point], height: float, label: Label, *, lit: float) -> None:
        """An upright textured plane over the ground line from one corner to the other, `height` metres tall."""
        (ax, ay, az), (bx, _, bz) = corners
        outline = self.camera.outline([(ax, ay + height, az), (bx, ay + height, bz), (bx, ay, bz), (ax, ay, az)])
        window = self.canvas.window(outline)
        if window is None:
            return
        tall = max(p[1] for p in outline) - min(p[1] for p in outline)
        broad = max(p[0] for p in outline) - min(p[0] for p in outline)
        face = texture.level(1.1 * tall, 1.6 * broad)
        rows, columns = face.shape[:2]
        to_pixels = self.camera.plane(
            (ax, ay + height, az), ((bx - ax) / columns, 0.0, (bz - az) / columns), (0.0, -height / rows, 0.0)
        )
        depth = max(min(self.camera.depth(ax, az), self.camera.depth(bx, bz)), 0.0)
        middle = (depth + max(self.camera.depth(ax, az), self.camera.depth(bx, bz))) / 2
        self.canvas.sheet(face, to_pixels, outline, self.tone(middle, lit), label)


def disc(radius: float, corners: int = 12, turn: float = 0.0) -> list[Pixel]:
    """A regular polygon around (0, 0), metres."""
    return [
        (radius * math.sin(turn + 2 * math.pi * k / corners), radius * math.cos(turn + 2 * math.pi * k / corners))
        for k in range(corners)
    ]


def rectangle(width: float, height: float, middle: Pixel = (0.0, 0.0)) -> list[Pixel]:
    """An upright rectangle around a point, metres."""
    x, y = middle
    return [
        (x - width / 2, y - height / 2), (x + width / 2, y - height / 2),
        (x + width / 2, y + height / 2), (x - width / 2, y + height / 2),
    ]  # fmt: skip

"""A vehicle's body: a side profile drawn out to a width, on wheels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from .camera import Point
from .labels import Label
from .light import Colour
from .pen import Pen

TYRE: Colour = (24, 24, 26)


@dataclass(frozen=True)
class Frame:
    """Axes of one thing: (right, up, forward) in metres to the world."""

    x: float
    z: float
    heading: float

    def at(self, a: float, y: float, forward: float) -> Point:
        """A point of the thing in the world."""
        c, s = math.cos(self.heading), math.sin(self.heading)
        return self.x + a * c + forward * s, y, self.z - a * s + forward * c

    def normal(self, a: float, forward: float) -> tuple[float, float]:
        """A horizontal direction (x, z)."""
        c, s = math.cos(self.heading), math.sin(self.heading)
        return a * c + forward * s, -a * s + forward * c


@dataclass(frozen=True)
class Body:
    """A profile drawn out: width, span (rear, front) and height in metres."""

    profile: Sequence[tuple[float, float, bool]]
    width: float
    span: tuple[float, float]
    height: float
    colour: Colour
    glass: Colour
    label: Label

    def along(self, share: float) -> float:
        """Metres forward of a share of the length."""
        return self.span[0] + share * (self.span[1] - self.span[0])

    def half(self, share: float) -> float:
        """Half the width at a share of the height: bodies are narrower above the belt."""
        tall = self.height > 2.0
        return self.width / 2 * (1.0 if share < 0.66 or tall else 1.0 - 0.45 * (share - 0.66))


def draw_body(pen: Pen, frame: Frame, body: Body) -> int:
    """Paint the skin that faces the camera; tells which flank that is (-1 left, 1 right, 0 none)."""
    light = pen.light
    points = body.profile
    for (s0, h0, glass), (s1, h1, _) in pairwise(points):
        l0, l1, y0, y1 = body.along(s0), body.along(s1), h0 * body.height, h1 * body.height
        up, forward = l1 - l0, -(y1 - y0)  # outward normal of the piece in (up, forward)
        size = math.hypot(up, forward) or 1.0
        nx, nz = frame.normal(0, forward / size)
        middle = frame.at(0, (y0 + y1) / 2, (l0 + l1) / 2)
        if (pen.camera.x - middle[0]) * nx - middle[2] * nz + (pen.camera.height - middle[1]) * up / size <= 0:
            continue
        a0, a1 = body.half(h0), body.half(h1)
        quad = [frame.at(-a0, y0, l0), frame.at(a0, y0, l0), frame.at(a1, y1, l1), frame.at(-a1, y1, l1)]
        lit = light.facing(nx, nz) + 0.22 * light.exposure * max(up / size, 0) * (0.5 + light.sun)
        pen.face(quad, body.colour, body.label, lit=lit)
        if glass:
            b0, b1 = a0 * 0.88, a1 * 0.88
            ya, yb, la, lb = y0 + 0.06 * (y1 - y0), y0 + 0.9 * (y1 - y0), l0 + 0.06 * (l1 - l0), l0 + 0.9 * (l1 - l0)
            pane = [frame.at(-b0, ya, la), frame.at(b0, ya, la), frame.at(b1, yb, lb), frame.at(-b1, yb, lb)]
            pen.face(pane, body.glass, None, lit=lit)
    for side in (-1, 1):
        nx, nz = frame.normal(side, 0)
        edge = frame.at(side * body.width / 2, 0, 0)
        if (pen.camera.x - edge[0]) * nx - edge[2] * nz > 0:
            outline = [frame.at(side * body.half(h), h * body.height, body.along(s)) for s, h, _ in points]
            pen.face(outline, body.colour, body.label, lit=light.facing(nx, nz), convex=False)
            return side
    return 0


def paint_treads(pen: Pen, frame: Frame, body: Body) -> None:
    """The treads seen under the end that faces the camera."""
    if pen.scale(frame.x, frame.z) < 4:
        return
    end = body.span[0] if frame.normal(0, 1)[1] > 0 else body.span[1]
    forward = end * 0.8
    for side in (-1, 1):
        a, b = side * body.width * 0.48, side * body.width * 0.33
        quad = [frame.at(a, 0, forward), frame.at(b, 0, forward), frame.at(b, 0.4, forward), frame.at(a, 0.4, forward)]
        pen.face(quad, TYRE, body.label, lit=0.8)


def paint_wheels(pen: Pen, frame: Frame, body: Body, side: int, axles: int) -> None:
    if not side or pen.scale(frame.x, frame.z) < 3:
        return
    radius = 0.32 if body.height < 2 and body.span[1] < 3 else 0.46
    a = side * (body.width / 2 + 0.01)
    places = {2: (0.19, 0.81), 3: (0.14, 0.28, 0.85), 4: (0.1, 0.2, 0.8, 0.9)}[axles]
    detail = pen.scale(frame.x, frame.z) > 12
    lit = pen.light.facing(*frame.normal(side, 0))
    for place in places:
        forward = body.along(place)
        for size, colour, label in ((radius, TYRE, body.label), (radius * 0.58, (128, 130, 134), None)):
            if label is None and not detail:
                continue
            rim = [
                frame.at(a, radius + size * math.sin(k * math.pi / 6), forward + size * math.cos(k * math.pi / 6))
                for k in range(12)
            ]
            pen.face(rim, colour, label, lit=lit)

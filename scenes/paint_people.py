"""People on foot and on two wheels: jointed bars in three dimensions, so that any heading looks right."""

import math

from .bodies import TYRE, Frame
from .labels import Label
from .light import Colour, scaled
from .pen import Pen, disc
from .records import Kind, Thing

SKINS: tuple[Colour, ...] = ((228, 186, 158), (198, 148, 118), (142, 98, 72), (92, 62, 48))
HAIRS: tuple[Colour, ...] = ((38, 30, 26), (92, 62, 38), (172, 138, 88), (128, 126, 124), (22, 22, 24))


def paint_person(pen: Pen, thing: Thing, x: float, z: float, time_s: float) -> None:
    """A person who stands or walks at (x, z)."""
    if pen.scale(x, z) == 0:
        return
    t, h, frame = thing.traits, thing.height, Frame(x, z, thing.heading)
    pace = math.hypot(*thing.speed)
    phase = 2 * math.pi * (time_s * (0.75 * pace) + t[0]) if pace else 2 * math.pi * t[0]
    swing = 0.42 if pace else 0.08
    lit = pen.light.facing(-0.3, -0.9)
    hip, shoulder, build = 0.52 * h, 0.81 * h, 0.9 + 0.4 * t[1]
    legs, coat = thing.second, thing.colour
    long_coat, distant = t[2] < 0.25, pen.scale(x, z) < 7  # under a dozen pixels tall: no arms, no feet
    for side in (-1, 1):  # legs, then the arms beside the trunk
        turn = swing * math.sin(phase + (math.pi if side > 0 else 0))
        knee = frame.at(side * 0.08, hip * 0.52, 0.5 * hip * math.sin(turn) + 0.05)
        lift = 0.06 * max(math.cos(phase + (math.pi if side > 0 else 0)), 0) if pace else 0
        foot = frame.at(side * 0.09, 0.05 + lift, hip * math.sin(turn) * 0.95 - (0.12 if turn < 0 and pace else 0))
        pen.limb(frame.at(side * 0.08, hip, 0), knee, 0.15 * build, legs, Label.PERSON, lit=lit)
        pen.limb(knee, foot, 0.11 * build, legs, Label.PERSON, lit=lit * 0.93)
        if distant:
            continue
        toe = frame.at(side * 0.1, 0.04, hip * math.sin(turn) * 0.95 + 0.14)
        pen.limb(foot, toe, 0.09, (34, 30, 30), Label.PERSON, lit=lit)
    _trunk(pen, frame, (hip * (0.72 if long_coat else 0.97), shoulder), 0.2 * build, coat, Label.PERSON, lit, 0.0)
    for side in () if distant else (-1, 1):
        turn = swing * 0.8 * math.sin(phase + (0 if side > 0 else math.pi))
        wide = 0.2 * build + 0.04
        elbow = frame.at(side * (wide + 0.03), 0.63 * h, 0.19 * h * math.sin(turn))
        hand = frame.at(side * wide, 0.48 * h, 0.33 * h * math.sin(turn) + 0.06)
        sleeve = scaled(coat, 0.88)
        pen.limb(frame.at(side * wide, shoulder - 0.04, 0), elbow, 0.095 * build, sleeve, Label.PERSON, lit=lit)
        pen.limb(elbow, hand, 0.08 * build, sleeve if t[3] < 0.75 else _skin(t), Label.PERSON, lit=lit)
    _head(pen, frame, 0.93 * h, t, Label.PERSON, lit, 0.0)
    if t[5] < 0.22:  # a rucksack
        bag = (40 + 180 * t[6], 40 + 150 * t[7], 40 + 150 * t[8])
        pen.limb(frame.at(0, 0.62 * h, -0.16), frame.at(0, 0.76 * h, -0.16), 0.26, bag, Label.PERSON, lit=lit)
    elif t[5] < 0.4:
        hand = frame.at(0.28 * build, 0.4 * h, 0)
        bag = (30 + 200 * t[6], 30 + 170 * t[7], 30 + 170 * t[8])
        pen.board(hand, [(-0.14, -0.16), (0.14, -0.16), (0.11, 0.12), (-0.11, 0.12)], bag, Label.PERSON, lit=lit)


def _trunk(
    pen: Pen,
    frame: Frame,
    rise: tuple[float, float],
    half: float,
    colour: Colour,
    label: Label,
    lit: float,
    lean: float,
) -> None:
    """Hips to shoulders: as wide as the shoulders across, two thirds of that when seen from the side."""
    low, high = rise
    view = math.atan2(frame.x - pen.camera.x, frame.z)
    wide = half * (0.62 + 0.38 * abs(math.cos(frame.heading - view)))
    base, top = frame.at(0, low, 0), frame.at(0, high, lean)
    depth = min(z for _, _, z in pen.camera.see([base, top]))
    if depth < 0.6:
        return
    (u0, v0), (u1, v1) = pen.camera.outline([base, top])
    zoom = pen.camera.focal / depth
    a, b, c = wide * 0.88 * zoom, wide * zoom, wide * 0.55 * zoom
    rise_px = 0.08 * zoom
    shape = [(u0 - a, v0), (u0 + a, v0), (u1 + b, v1 + rise_px), (u1 + c, v1 - rise_px * 0.3),
             (u1 - c, v1 - rise_px * 0.3), (u1 - b, v1 + rise_px)]  # fmt: skip
    pen.canvas.fill(shape, pen.light.shade(colour, depth, lit), label)


def _skin(t: tuple[float, ...]) -> Colour:
    return SKINS[int(t[9] * 4)]


def _head(
    pen: Pen,
    frame: Frame,
    height: float,
    t: tuple[float, ...],
    label: Label,
    lit: float,
    lean: float,
    helmet: Colour | None = None,
) -> None:
    pen.limb(frame.at(0, height - 0.2, lean), frame.at(0, height - 0.08, lean), 0.11, _skin(t), label, lit=lit)
    middle = frame.at(0, height, lean)
    oval = [(dx * 0.85, dy * 1.1) for dx, dy in disc(0.12, 10)]
    back = math.cos(frame.heading) > 0.3
    hair = helmet or HAIRS[int(t[10] * 5)]
    pen.board(middle, oval, hair if back else _skin(t), label, lit=lit)
    cap = [(dx * 1.08, dy * 1.12 + 0.015) for dx, dy in oval if dy > -0.02]
    pen.board(middle, cap, hair, label, lit=lit)


def paint_two_wheeler(pen: Pen, thing: Thing, x: float, z: float, time_s: float) -> None:
    """A bicycle or motorcycle, with a rider if it moves."""
    if pen.scale(x, z) == 0:
        return
    frame = Frame(x, z, thing.heading)
    lit = pen.light.facing(-0.3, -0.9)
    moving = thing.speed != (0.0, 0.0)
    if thing.kind is Kind.BICYCLE:
        _bicycle(pen, thing, frame, lit, time_s)
    else:
        _motorcycle(pen, thing, frame, lit)
    if moving:
        _rider(pen, thing, frame, lit, time_s)


def _wheel(pen: Pen, frame: Frame, forward: float, radius: float, label: Label, lit: float, solid: float) -> None:
    """A wheel: its disc belongs to the label; only the tyre (and a solid hub) is painted."""
    ring = [
        frame.at(0, radius + radius * math.sin(k * math.pi / 8), forward + radius * math.cos(k * math.pi / 8))
        for k in range(16)
    ]
    outline = pen.camera.outline(ring)
    if len(outline) < 3:
        return
    zoom = pen.scale(frame.x, frame.z)
    depth = pen.camera.depth(frame.x, frame.z)
    if solid:
        pen.canvas.fill(outline, pen.light.shade(TYRE, depth, lit), label)
        hub = [
            frame.at(
                0,
                radius + solid * radius * math.sin(k * math.pi / 4),
                forward + solid * radius * math.cos(k * math.pi / 4),
            )
            for k in range(8)
        ]
        pen.face(hub, (130, 132, 136), None, lit=lit)
    else:
        pen.canvas.fill_label(outline, label)
        pen.canvas.strokes(outline, 0.045 * zoom, pen.light.shade(TYRE, depth, lit), closed=True)
        if zoom > 40 and len(outline) == 16:  # not cut at the near plane
            for k in range(4):
                pen.canvas.strokes(
                    [outline[k * 2], outline[k * 2 + 8]],
                    1.0,
                    pen.light.shade((110, 110, 112), depth, lit),
                    closed=False,
                )
    if max(p[0] for p in outline) - min(p[0] for p in outline) > 0.5 * radius * zoom:
        return
    # seen from behind, a wheel is its tread
    pen.bar(
        frame.at(0, 0, forward), frame.at(0, radius * 2, forward), 0.05 if not solid else 0.13, TYRE, label, lit=lit
    )


def _bicycle(pen: Pen, thing: Thing, frame: Frame, lit: float, time_s: float) -> None:
    label, colour = Label.BICYCLE, thing.colour
    for forward in (-0.52, 0.52) if math.cos(thing.heading) < 0 else (0.52, -0.52):
        _wheel(pen, frame, forward, 0.34, label, lit, 0.0)
    crank, seat, head, front, rear = (-0.05, 0.3), (-0.2, 0.88), (0.34, 0.9), (0.52, 0.34), (-0.52, 0.34)
    for a, b in ((crank, seat), (crank, head), (rear, crank), (rear, seat), (seat, head), (head, front)):
        start, end = frame.at(0, a[1] * 0.97, a[0]), frame.at(0, b[1] * 0.97, b[0])
        pen.limb(start, end, 0.05, colour, label, lit=lit)
    pen.limb(frame.at(0, 0.92, -0.32), frame.at(0, 0.94, -0.06), 0.09, TYRE, label, lit=lit)
    pen.limb(frame.at(0, 0.86, 0.34), frame.at(0, 1.02, 0.36), 0.045, (60, 60, 62), label, lit=lit)
    pen.limb(frame.at(-0.28, 1.03, 0.3), frame.at(0.28, 1.03, 0.3), 0.045, (52, 52, 54), label, lit=lit)
    if thing.traits[4] < 0.3:
        pen.board(
            frame.at(0, 0.78, -0.62),
            [(-0.17, -0.1), (0.17, -0.1), (0.2, 0.12), (-0.2, 0.12)],
            (112, 88, 58),
            label,
            lit=lit,
        )


def _motorcycle(pen: Pen, thing: Thing, frame: Frame, lit: float) -> None:
    label, colour, dark = Label.MOTORCYCLE, thing.colour, (42.0, 42.0, 45.0)
    toward = math.cos(thing.heading) < 0
    for forward in (-0.7, 0.7) if toward else (0.7, -0.7):
        _wheel(pen, frame, forward, 0.31, label, lit, 0.5)
    pen.limb(frame.at(0, 0.42, -0.3), frame.at(0, 0.42, 0.25), 0.36, dark, label, lit=lit)
    pen.limb(frame.at(0, 0.31, 0.7), frame.at(0, 0.95, 0.42), 0.09, (150, 152, 155), label, lit=lit)
    pen.limb(frame.at(0, 0.76, 0.05), frame.at(0, 0.8, 0.34), 0.3, colour, label, lit=lit)
    pen.limb(frame.at(0, 0.75, -0.55), frame.at(0, 0.74, -0.1), 0.2, dark, label, lit=lit)
    pen.limb(frame.at(0, 0.62, -0.75), frame.at(0, 0.68, -0.35), 0.22, colour, label, lit=lit)
    pen.limb(frame.at(-0.36, 1.0, 0.36), frame.at(0.36, 1.0, 0.36), 0.06, dark, label, lit=lit)
    for side in (-1, 1):
        pen.limb(frame.at(side * 0.3, 1.0, 0.4), frame.at(side * 0.38, 1.15, 0.42), 0.07, dark, label, lit=lit)
    if toward:
        pen.board(frame.at(0, 0.85, 0.55), disc(0.12, 10), (240, 238, 220), label, lit=1.0)
        return
    pen.board(
        frame.at(0, 0.7, -0.86),
        [(-0.11, -0.05), (0.11, -0.05), (0.11, 0.05), (-0.11, 0.05)],
        (190, 28, 26),
        label,
        lit=1.0,
    )
    pen.board(
        frame.at(0, 0.5, -0.9),
        [(-0.12, -0.08), (0.12, -0.08), (0.12, 0.08), (-0.12, 0.08)],
        (226, 224, 212),
        label,
        lit=lit,
    )


def _rider(pen: Pen, thing: Thing, frame: Frame, lit: float, time_s: float) -> None:
    """The human: hips on the seat, hands on the bar, feet on the pedals."""
    t, label, motor = thing.traits, Label.RIDER, thing.kind is Kind.MOTORCYCLE
    seat, lean = (0.86, 0.1) if motor else (0.96, 0.12 + 0.14 * t[0])
    back, top = (-0.22, 1.42) if motor else (-0.2, 1.5)
    turn = 2 * math.pi * (time_s * 1.3 + t[1])
    trousers = thing.second
    coat = (40 + 200 * t[5], 40 + 190 * t[6], 35 + 200 * t[7])
    for side in (-1, 1):
        if motor:
            foot, knee = frame.at(side * 0.2, 0.3, -0.05), frame.at(side * 0.26, 0.72, 0.26)
        else:
            spin = turn + (math.pi if side > 0 else 0)
            low = (-0.05 + 0.17 * math.cos(spin), 0.3 + 0.17 * math.sin(spin))
            foot = frame.at(side * 0.11, low[1], low[0])
            knee = frame.at(side * 0.13, 0.5 * (low[1] + seat) + 0.06, 0.5 * (low[0] + back) + 0.28)
        pen.limb(frame.at(side * 0.1, seat, back), knee, 0.16, trousers, label, lit=lit)
        pen.limb(knee, foot, 0.12, trousers, label, lit=lit * 0.92)
        pen.limb(foot, frame.at(side * 0.12, 0.29 if motor else low[1], 0.12), 0.09, (30, 28, 28), label, lit=lit)
    body = Frame(*frame.at(0, 0, back)[::2], frame.heading)
    _trunk(pen, body, (seat - 0.06, top), 0.22, coat, label, lit, lean * 1.6)
    grip = 1.03 if not motor else 1.0
    for side in (-1, 1):
        shoulder = frame.at(side * 0.21, top - 0.06, back + lean * 1.6)
        elbow = frame.at(side * 0.3, (top + grip) / 2 - 0.1, back + lean + 0.22)
        sleeve = scaled(coat, 0.87)
        pen.limb(shoulder, elbow, 0.11, sleeve, label, lit=lit)
        pen.limb(elbow, frame.at(side * 0.27, grip, 0.32), 0.09, sleeve, label, lit=lit)
    helmet = (30 + 215 * t[8], 30 + 205 * t[2], 30 + 205 * t[3]) if motor or t[8] < 0.5 else None
    _head(pen, body, top + 0.21, t, label, lit, lean * 1.9, helmet)

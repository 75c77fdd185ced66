"""Cars, vans, trucks, buses and trams: a side profile drawn out to a width."""

from .bodies import Body, Frame, draw_body, paint_treads, paint_wheels
from .labels import Label
from .light import Colour, scaled
from .pen import Pen
from .records import Kind, Thing

# A profile runs from the rear bottom over the roof to the front bottom: (share of length from the rear, share of
# height, is the piece that starts here glass?). The belt is where the glass begins.
PROFILES: dict[str, tuple[tuple[float, float, bool], ...]] = {
    "saloon": (
        (0.0, 0.2, False), (0.0, 0.62, False), (0.14, 0.66, True), (0.27, 0.98, False), (0.55, 1.0, True),
        (0.72, 0.68, False), (0.97, 0.56, False), (1.0, 0.2, False),
    ),
    "hatch": (
        (0.0, 0.2, False), (0.0, 0.6, True), (0.1, 0.97, False), (0.52, 1.0, True), (0.71, 0.68, False),
        (0.97, 0.55, False), (1.0, 0.2, False),
    ),
    "estate": (
        (0.0, 0.2, False), (0.01, 0.6, True), (0.06, 0.96, False), (0.58, 1.0, True), (0.74, 0.66, False),
        (0.97, 0.54, False), (1.0, 0.2, False),
    ),
    "van": (
        (0.0, 0.14, False), (0.0, 0.6, True), (0.01, 0.92, False), (0.03, 1.0, False), (0.72, 1.0, True),
        (0.86, 0.6, False), (0.99, 0.48, False), (1.0, 0.14, False),
    ),
    "cab": (
        (0.0, 0.16, False), (0.0, 0.8, False), (0.1, 0.82, False), (0.75, 0.82, True), (0.97, 0.45, False),
        (1.0, 0.42, False), (1.0, 0.12, False),
    ),
    "box": (
        (0.0, 0.1, False), (0.0, 0.48, True), (0.01, 1.0, False), (0.99, 1.0, True), (1.0, 0.4, False),
        (1.0, 0.1, False),
    ),
}  # fmt: skip
LABELS = {
    Kind.CAR: Label.CAR,
    Kind.VAN: Label.CAR,
    Kind.TRUCK: Label.TRUCK,
    Kind.BUS: Label.BUS,
    Kind.TRAM: Label.TRAIN,
}


def paint_vehicle(pen: Pen, thing: Thing, x: float, z: float) -> None:
    """One motor vehicle or tram with its middle at (x, z)."""
    if pen.scale(x, z) == 0 and thing.kind not in (Kind.TRAM, Kind.BUS, Kind.TRUCK):
        return
    frame = Frame(x, z, thing.heading)
    label, (width, length) = LABELS[thing.kind], thing.extent
    if thing.kind is Kind.TRUCK:
        _truck(pen, thing, frame)
        return
    style = {Kind.VAN: "van", Kind.BUS: "box", Kind.TRAM: "box"}.get(thing.kind)
    style = style or ("saloon", "hatch", "estate", "hatch")[int(thing.traits[0] * 4)]
    tall = thing.height * (0.94 + 0.2 * thing.traits[1] if thing.kind is Kind.CAR else 1.0)
    glass = _glass(thing)
    body = Body(PROFILES[style], width, (-length / 2, length / 2), tall, thing.colour, glass, label)
    paint_treads(pen, frame, body)
    side = draw_body(pen, frame, body)
    if thing.kind in (Kind.BUS, Kind.TRAM):
        _coach(pen, thing, frame, body, side)
    else:
        _panes(pen, frame, body, side, style)
    paint_wheels(pen, frame, body, side, 2 if thing.kind is not Kind.TRAM else 4)
    _ends(pen, thing, frame, body)


def _glass(thing: Thing) -> Colour:
    tone = 28 + 60 * thing.traits[2]
    return tone * 0.92, tone, tone * 1.08


def _panes(pen: Pen, frame: Frame, body: Body, side: int, style: str) -> None:
    """Side windows of a car or van."""
    if not side or pen.scale(frame.x, frame.z) < 5:
        return
    lit = pen.light.facing(*frame.normal(side, 0))
    roof = [(s, h) for s, h, _ in body.profile if h > 0.9]
    rear, front = roof[0][0], roof[-1][0]
    if style == "van":
        rear = front - 0.16
    low, high = (0.68, 0.93) if style != "van" else (0.6, 0.92)
    spread = 0.11 if style != "van" else 0.06
    cuts = [rear - 0.6 * spread, (rear + front) / 2 + 0.02, front + spread]
    tops = [rear + 0.02, (rear + front) / 2 + 0.02, front]
    for k in (0, 1):
        quad = []
        for share, level in (
            (cuts[k] + 0.01, low),
            (cuts[k + 1] - 0.01, low),
            (tops[k + 1] - 0.01, high),
            (tops[k] + 0.01, high),
        ):
            quad.append(frame.at(side * (body.half(level) + 0.005), level * body.height, body.along(share)))
        pen.face(quad, body.glass, None, lit=lit)
    seam = [(frame.at(side * body.width / 2, y * body.height, body.along(0.5))) for y in (0.25, 0.66)]
    pen.limb(seam[0], seam[1], 0.02, scaled(body.colour, 0.6), None, lit=lit)


def _coach(pen: Pen, thing: Thing, frame: Frame, body: Body, side: int) -> None:
    """Window band, doors and a stripe of a bus or tram."""
    if not side:
        return
    lit, h, a = pen.light.facing(*frame.normal(side, 0)), body.height, side * (body.width / 2 + 0.01)
    count = max(int((body.span[1] - body.span[0]) / 1.6), 2)

    def panel(s0: float, s1: float, y0: float, y1: float, colour: Colour) -> None:
        l0, l1 = body.along(s0), body.along(s1)
        quad = [frame.at(a, y0 * h, l0), frame.at(a, y0 * h, l1), frame.at(a, y1 * h, l1), frame.at(a, y1 * h, l0)]
        pen.face(quad, colour, None, lit=lit)

    panel(0.0, 1.0, 0.16, 0.24 + 0.15 * thing.traits[3], thing.second)
    for k in range(count):
        panel((k + 0.07) / count, (k + 0.93) / count, 0.48, 0.84, body.glass)
        if k % 4 == 1:
            panel((k + 0.15) / count, (k + 0.85) / count, 0.12, 0.82, scaled(body.glass, 0.8 + 12))


def _truck(pen: Pen, thing: Thing, frame: Frame) -> None:
    """A cab and a load on a chassis, the farther of the two first."""
    (width, length), tall, dark = thing.extent, thing.height, (42.0, 42.0, 45.0)
    rear, split, front = -length / 2, length / 2 - 2.2, length / 2
    raised = [(s, max(h, 0.3), False) for s, h, _ in PROFILES["box"]]
    beam = ((0.0, 0.4, False), (0.0, 0.95, False), (1.0, 0.95, False), (1.0, 0.4, False))
    load = Body(raised, width, (rear, split - 0.15), tall, thing.second, thing.second, Label.TRUCK)
    cab = Body(PROFILES["cab"], width * 0.96, (split, front), tall * 1.02, thing.colour, _glass(thing), Label.TRUCK)
    whole = Body(raised, width, (rear, front), 1.2, dark, dark, Label.TRUCK)
    paint_treads(pen, frame, whole)
    draw_body(pen, frame, Body(beam, width * 0.9, (rear, front), 1.1, dark, dark, Label.TRUCK))
    ahead = frame.normal(0, 1)
    cab_is_far = ahead[0] * (frame.x - pen.camera.x) + ahead[1] * frame.z > 0
    side = 0
    for part in (cab, load) if cab_is_far else (load, cab):
        side = draw_body(pen, frame, part)
        if not side:
            continue
        lit, a = pen.light.facing(*frame.normal(side, 0)), side * (width / 2 + 0.01)
        if part is cab:
            pane = ((0.5, 0.7), (0.5, 1.8), (0.76, 1.6), (0.76, 0.7))
            pen.face([frame.at(a, tall * y, split + forward) for y, forward in pane], cab.glass, None, lit=lit)
        elif thing.traits[4] < 0.6:
            mark = ((0.55, 0.2), (0.55, 0.8), (0.8, 0.8), (0.8, 0.2))
            pen.face([frame.at(a, tall * y, load.along(s)) for y, s in mark], thing.colour, None, lit=lit)
    paint_wheels(pen, frame, whole, side, 3)
    _ends(pen, thing, frame, whole)


def _ends(pen: Pen, thing: Thing, frame: Frame, body: Body) -> None:
    """Lights, number plate and bumper of the end that faces the camera."""
    if pen.scale(frame.x, frame.z) < 6:
        return
    rear = frame.normal(0, 1)[1] * frame.z + frame.normal(0, 1)[0] * (frame.x - pen.camera.x) > 0
    forward = body.span[0] - 0.01 if rear else body.span[1] + 0.01
    lit = pen.light.facing(*frame.normal(0, -1 if rear else 1))
    base = 0.45 if body.height < 2 else 0.6
    w = body.width / 2

    def panel(a0: float, a1: float, y0: float, y1: float, colour: Colour, shine: float) -> None:
        quad = [
            frame.at(a0, y0, forward),
            frame.at(a1, y0, forward),
            frame.at(a1, y1, forward),
            frame.at(a0, y1, forward),
        ]
        pen.face(quad, colour, None, lit=shine)

    panel(-w * 0.98, w * 0.98, base - 0.13, base, (52, 53, 55), lit)
    braking = thing.traits[5] < 0.3
    lamp = ((235, 45, 38) if braking else (140, 22, 24)) if rear else (238, 236, 222)
    for side in (-1, 1):
        panel(side * w * 0.95, side * w * 0.68, base + 0.14, base + 0.3 + 0.1 * thing.traits[6], lamp, max(lit, 0.9))
    panel(-0.26, 0.26, base + 0.03, base + 0.14, (228, 226, 214), lit)
    if not rear:
        panel(-w * 0.5, w * 0.5, base + 0.16, base + 0.27, (36, 36, 38), lit)

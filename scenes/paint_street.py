"""Street furniture: lamps, posts, signs, signals, railings, trees and bushes."""

import math

from .labels import Label
from .light import Colour, scaled
from .paint_lots import Stock, paint_tree
from .pen import Pen, disc, rectangle
from .records import Kind, Thing

METALS: tuple[Colour, ...] = (
    (62, 64, 66), (118, 121, 124), (168, 170, 170), (42, 58, 48), (88, 70, 58), (205, 205, 200),
)  # fmt: skip
RED, WHITE, BLUE, YELLOW, GREEN = (188, 28, 32), (232, 232, 228), (28, 78, 172), (238, 198, 42), (28, 112, 66)
LAMPS = ((228, 42, 32), (242, 178, 42), (58, 222, 128))


def paint_furniture(pen: Pen, stock: Stock, thing: Thing, x: float, z: float, time_s: float) -> None:
    """One piece of street furniture at (x, z) metres."""
    t = thing.traits
    lit = pen.light.facing(-1 if x > 0 else 1, -1)
    if thing.kind is Kind.LAMP:
        _lamp(pen, thing, x, z, lit)
    elif thing.kind is Kind.POST:
        colour = METALS[int(t[0] * 6)]
        high = 0.75 + 0.35 * t[1]
        pen.bar((x, 0, z), (x, high, z), 0.08 + 0.1 * t[2], colour, Label.POLE, lit=lit)
        if t[3] < 0.5:
            pen.bar((x, high * 0.75, z), (x, high * 0.88, z), 0.09 + 0.1 * t[2], WHITE, Label.POLE, lit=lit)
    elif thing.kind is Kind.SIGN:
        _sign_post(pen, thing, x, z, lit)
    elif thing.kind is Kind.SIGNAL:
        _signal(pen, thing, x, z, lit, time_s)
    elif thing.kind is Kind.TREE:
        paint_tree(pen, stock, (x, z), thing.height * (0.75 + 0.5 * t[0]), (0, 1, 3, 4)[int(t[1] * 4)], lit)
    elif thing.kind is Kind.BUSH:
        grow = 0.8 + 0.7 * t[0]
        pen.sprite(stock.crown(2 + 3 * int(t[1] * 2)), (x, -0.15, z), (1.7 * grow, 1.5 * grow), lit=lit)
    else:
        _railing(pen, thing, x, z, lit)


def _lamp(pen: Pen, thing: Thing, x: float, z: float, lit: float) -> None:
    t = thing.traits
    colour = METALS[int(t[0] * 6)]
    top, inwards = thing.height, -1 if x > 0 else 1
    pen.bar((x, 0, z), (x, 1.1, z), 0.2 + 0.08 * t[1], colour, Label.POLE, lit=lit)
    pen.bar((x, 1.0, z), (x, top, z), 0.11 + 0.08 * t[2], colour, Label.POLE, lit=lit)
    if t[3] < 0.65:  # a curved arm over the road
        reach = 0.9 + 1.6 * t[4]
        knee = (x + inwards * reach * 0.5, top + 0.45, z)
        tip = (x + inwards * reach, top + 0.55, z)
        pen.bar((x, top, z), knee, 0.09, colour, Label.POLE, lit=lit)
        pen.bar(knee, tip, 0.09, colour, Label.POLE, lit=lit)
        pen.bar(tip, (tip[0] + inwards * 0.6, tip[1], z), 0.16, (190, 190, 185), Label.POLE, lit=lit)
    else:
        pen.board((x, top + 0.2, z), disc(0.24, 10), (215, 212, 195), Label.POLE, lit=lit)
    if t[5] < 0.3:
        _plate(pen, thing, (x, 2.5, z - 0.1), lit)


def _sign_post(pen: Pen, thing: Thing, x: float, z: float, lit: float) -> None:
    t = thing.traits
    top = 2.3 + 0.9 * t[1]
    pen.bar((x, 0, z), (x, top, z), 0.07 + 0.03 * t[2], METALS[1 + int(t[0] * 2)], Label.POLE, lit=lit)
    _plate(pen, thing, (x, top - 0.1, z - 0.05), lit)
    if t[3] < 0.4:
        low = (x, top - 0.85 - 0.2 * t[4], z - 0.05)
        pen.board(low, rectangle(0.55, 0.28 + 0.2 * t[5]), WHITE, Label.TRAFFIC_SIGN, lit=lit)
        pen.board(low, rectangle(0.4, 0.06), (40, 40, 40), None, lit=lit)


def _plate(pen: Pen, thing: Thing, middle: tuple[float, float, float], lit: float) -> None:
    """One of ten signs; the shape is the label, what is on it is paint."""
    t = thing.traits
    size = 0.3 + 0.16 * t[6]
    pick, sign = int(t[7] * 10), Label.TRAFFIC_SIGN
    dark = (25.0, 25.0, 28.0)
    if pick < 2:  # a prohibition
        pen.board(middle, disc(size, 16), RED, sign, lit=lit)
        pen.board(middle, disc(size * 0.74, 16), WHITE if t[8] < 0.7 else YELLOW, None, lit=lit)
        pen.board(middle, rectangle(size * 0.6, size * 0.5), dark, None, lit=lit)
    elif pick == 2:  # no entry
        pen.board(middle, disc(size, 16), RED, sign, lit=lit)
        pen.board(middle, rectangle(size * 1.4, size * 0.36), WHITE, None, lit=lit)
    elif pick == 3:  # an order
        pen.board(middle, disc(size, 16), BLUE, sign, lit=lit)
        arrow = [(-size * 0.5, -size * 0.1), (size * 0.1, -size * 0.6), (size * 0.5, size * 0.5)]
        pen.board(middle, arrow, WHITE, None, lit=lit)
    elif pick in (4, 5):  # a warning, or give way
        turn = 0.0 if pick == 4 else math.pi
        pen.board(middle, disc(size * 1.25, 3, turn), RED, sign, lit=lit)
        pen.board(middle, disc(size * 0.8, 3, turn), WHITE, None, lit=lit)
        if pick == 4:
            pen.board(middle, rectangle(size * 0.16, size * 0.5), dark, None, lit=lit)
    elif pick == 6:  # stop
        pen.board(middle, disc(size * 1.05, 8, math.pi / 8), RED, sign, lit=lit)
        pen.board(middle, rectangle(size * 1.3, size * 0.35), WHITE, None, lit=lit)
    elif pick == 7:  # priority
        pen.board(middle, disc(size * 1.1, 4), WHITE, sign, lit=lit)
        pen.board(middle, disc(size * 0.8, 4), YELLOW, None, lit=lit)
    elif pick == 8:  # parking, crossing
        pen.board(middle, rectangle(size * 1.8, size * 1.8), BLUE, sign, lit=lit)
        pen.board(middle, disc(size * 0.65, 3 if t[8] < 0.5 else 5), WHITE, None, lit=lit)
    else:  # directions
        wide = 1.0 + 1.1 * t[8]
        colour = (YELLOW, BLUE, GREEN, WHITE)[int(t[9] * 4)]
        pen.board(middle, rectangle(wide, 0.4 + 0.3 * t[10]), colour, sign, lit=lit)
        ink = dark if colour in (YELLOW, WHITE) else WHITE
        pen.board(middle, rectangle(wide * 0.75, 0.08, (0, 0.07)), ink, None, lit=lit)
        pen.board(middle, rectangle(wide * 0.5, 0.07, (-wide * 0.1, -0.1)), ink, None, lit=lit)


def _signal(pen: Pen, thing: Thing, x: float, z: float, lit: float, time_s: float) -> None:
    t = thing.traits
    colour = METALS[int(t[0] * 3)]
    state = (0, 2, 1)[int((time_s * 0.07 + t[1]) * 3) % 3]
    top, inwards = thing.height, -1 if x > 0 else 1
    if t[2] < 0.35:  # a mast with a second light over the road
        high, reach = 5.2 + 0.6 * t[3], 2.4 + 2.4 * t[4]
        pen.bar((x, 0, z), (x, high, z), 0.17, colour, Label.POLE, lit=lit)
        pen.bar((x, high, z), (x + inwards * reach, high + 0.1, z), 0.12, colour, Label.POLE, lit=lit)
        _head(pen, (x + inwards * reach, high - 0.35, z - 0.1), state, t[5], lit)
    else:
        pen.bar((x, 0, z), (x, top, z), 0.11, colour, Label.POLE, lit=lit)
    _head(pen, (x - inwards * 0.12, top - 0.45, z - 0.1), state, t[5], lit)
    if t[6] < 0.35:  # for those on foot
        middle = (x + inwards * 0.2, 2.15, z - 0.1)
        pen.board(middle, rectangle(0.26, 0.5), (34, 35, 36), Label.TRAFFIC_LIGHT, lit=lit)
        walk = (0, -0.12) if state == 0 else (0, 0.12)
        glow = [(dx + walk[0], dy + walk[1]) for dx, dy in disc(0.085, 8)]
        pen.board(middle, glow, LAMPS[2 - state if state != 1 else 0], None, lit=1.0)


def _head(pen: Pen, middle: tuple[float, float, float], state: int, look: float, lit: float) -> None:
    case = (30.0, 32.0, 33.0) if look < 0.7 else (66.0, 72.0, 52.0)
    if look < 0.25:
        pen.board(middle, rectangle(0.52, 1.16), (26, 26, 27), Label.TRAFFIC_LIGHT, lit=lit)
        pen.board(middle, rectangle(0.44, 1.08), (205, 205, 200), None, lit=lit)
    pen.board(middle, rectangle(0.34, 0.98), case, Label.TRAFFIC_LIGHT, lit=lit)
    for place in range(3):
        on = place == state
        colour = LAMPS[place] if on else scaled(LAMPS[place], 0.25)
        lens = [(dx, dy + 0.3 * (1 - place)) for dx, dy in disc(0.115 if on else 0.1, 10)]
        pen.board(middle, lens, colour, None, lit=1.0 if on else lit)


def _railing(pen: Pen, thing: Thing, x: float, z: float, lit: float) -> None:
    """Two metres of railing along the kerb; the holes between its bars are fence too, as in Cityscapes."""
    t = thing.traits
    colour = METALS[int(t[0] * 6)] if t[1] < 0.8 else RED
    a, b, top = z - 1.0, z + 1.0, 0.95 + 0.15 * t[2]
    if a < 1.0:
        return
    if t[3] < 0.5:
        pen.canvas.fill_label(pen.camera.outline([(x, 0.12, a), (x, 0.12, b), (x, top, b), (x, top, a)]), Label.FENCE)
        count = 8 if pen.scale(x, z) > 25 else 4
        for k in range(1, count):
            at = a + (b - a) * k / count
            pen.bar((x, 0.12, at), (x, top, at), 0.022, colour, Label.FENCE, lit=lit)
        pen.bar((x, 0.12, a), (x, 0.12, b), 0.04, colour, Label.FENCE, lit=lit)
    elif t[3] < 0.75:  # a crash barrier
        quad = [(x, 0.42, a), (x, 0.42, b), (x, 0.75, b), (x, 0.75, a)]
        pen.face(quad, (165, 168, 172), Label.FENCE, lit=lit)
    else:
        pen.bar((x, top * 0.55, a), (x, top * 0.55, b), 0.05, colour, Label.FENCE, lit=lit)
    if not 0.5 <= t[3] < 0.75:
        pen.bar((x, top, a), (x, top, b), 0.055, colour, Label.FENCE, lit=lit)
    for at in (b, a):
        pen.bar((x, 0, at), (x, top, at), 0.06, colour, Label.FENCE, lit=lit)

"""The frontage: buildings, walls, fences, hedges and parks, from the far end of the street to the near one."""

import math

import numpy as np

from . import textures
from .labels import Label
from .light import Colour, scaled
from .pen import Pen
from .records import BEHIND, LOOP, Lot, LotKind, World

STOREY = 3.1  # metres
CROWNS = ("round", "tall", "bush", "round", "sparse", "bush")


class Stock:
    """The textures of one scene, made when first seen."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._faces: dict[tuple[int, str], textures.Texture] = {}
        self._crowns: dict[int, tuple[np.ndarray, ...]] = {}

    def crown(self, index: int) -> tuple[np.ndarray, ...]:
        """One of six crowns of the scene."""
        if index not in self._crowns:
            rng = np.random.default_rng([self._world.seed, 11, index])
            green = rng.uniform(62, 128)
            colour = (green * rng.uniform(0.62, 1.02), green, green * rng.uniform(0.35, 0.8))
            if rng.random() < 0.12:
                colour = (green * 1.45, green * 0.95, green * 0.45)
            kind = CROWNS[index]
            self._crowns[index] = textures.crown(int(rng.integers(0, 6)) + 6 * index, kind, colour)
        return self._crowns[index]

    def face(self, lot: Lot, part: str) -> textures.Texture:
        """The texture of a part of a lot: 'front', 'flank', 'wall' or 'fence'."""
        key = (lot.seed, part)
        if key not in self._faces:
            self._faces[key] = textures.Texture(_make_face(lot, part))
        return self._faces[key]


def _make_face(lot: Lot, part: str) -> np.ndarray:
    t = lot.traits
    if part == "wall":
        style = ("brick", "concrete", "stone")[int(t[3] * 3)]
        colour = _stone(t[4], t[5], t[6])
        return textures.masonry(lot.seed, colour, style, lot.length / max(lot.height, 1.0))
    if part == "fence":
        style = ("bars", "mesh", "planks")[int(t[3] * 3)]
        dark = 25 + 200 * t[4] ** 1.5
        colour = (dark, dark * (0.9 + 0.2 * t[5]), dark * (0.8 + 0.3 * t[6]))
        if style == "planks":
            colour = (90 + 110 * t[4], 70 + 85 * t[4], 45 + 75 * t[5])
        return textures.fence(lot.seed, colour, style, lot.length / lot.height)
    wall = _stone(t[4], t[5], t[6])
    spec = textures.Facade(
        seed=lot.seed % 100003,
        storeys=max(int(lot.height / STOREY), 1),
        bays=max(int((lot.length if part == "front" else lot.depth) / (1.9 + 1.8 * t[7])), 1),
        wall=wall,
        trim=scaled(wall, 0.7 + 0.75 * t[8], 245.0),
        glass=(45 + 85 * t[9], 55 + 90 * t[9], 65 + 100 * t[9]),
        base=scaled(wall, 0.6 + 0.5 * t[10], 245.0),
        window=(0.34 + 0.3 * t[11] if part == "front" else 0.22 + 0.2 * t[11], 0.42 + 0.25 * t[12]),
        shop=t[13] < 0.42 and part == "front",
        balconies=t[14] < 0.2,
        bands=t[15] < 0.35,
    )
    return textures.facade(spec)


def _stone(tone: float, warmth: float, kind: float) -> Colour:
    value = 70 + 160 * tone
    if kind < 0.18:  # brick
        return 100 + 70 * tone, 55 + 45 * warmth, 45 + 35 * warmth
    if kind < 0.32:  # painted
        shift = 2 * math.pi * warmth
        return tuple(value * (0.85 + 0.22 * math.cos(shift + k * 2.1)) for k in range(3))  # type: ignore[return-value]
    return value * (0.95 + 0.1 * warmth), value * (0.93 + 0.04 * warmth), value * (0.98 - 0.22 * warmth)


def paint_lots(pen: Pen, world: World, stock: Stock, travelled: float) -> None:
    """All lots, far to near."""
    placed = [((lot.z - travelled + BEHIND) % LOOP - BEHIND, lot) for lot in world.lots]
    for z, lot in sorted(placed, key=lambda entry: -entry[0]):
        if z + lot.length > 1.5 and z < LOOP - BEHIND - 20:
            _paint_lot(pen, world, stock, lot, z)


def _paint_lot(pen: Pen, world: World, stock: Stock, lot: Lot, z: float) -> None:
    if lot.kind is LotKind.CROSSING:
        return
    if lot.kind is LotKind.BUILDING:
        _building(pen, stock, lot, z)
        return
    _ground_behind(pen, world, lot, z)
    _rear(pen, stock, lot, z)
    if lot.kind is LotKind.WALL:
        _wall(pen, stock, lot, z)
    elif lot.kind is LotKind.FENCE:
        _fence(pen, stock, lot, z)
    elif lot.kind is LotKind.HEDGE:
        step = 1.1
        for k in range(int(lot.length / step), -1, -1):
            foot = (lot.side * (lot.front + 0.7), -0.25, z + k * step)
            grow = lot.height * (1.35 + 0.25 * math.sin(k * 2.4 + lot.seed % 7))
            pen.sprite(stock.crown(2 + 3 * (lot.seed % 2)), foot, (2.6, grow), lit=pen.light.facing(-lot.side, -1))


def _wall(pen: Pen, stock: Stock, lot: Lot, z: float) -> None:
    front, back, h = lot.side * lot.front, lot.side * (lot.front + 0.3), lot.height
    near, far = max(z, -20.0), z + lot.length
    lit, stone = pen.light.facing(-lot.side, 0), _stone(lot.traits[4], 0.5, 0.9)
    pen.wall(stock.face(lot, "wall"), ((front, 0.0, z), (front, 0.0, far)), h, Label.WALL, lit=lit)
    if h < pen.camera.height:  # its top can be seen
        cap = [(front, h, near), (back, h, near), (back, h, far), (front, h, far)]
        pen.face(cap, stone, Label.WALL, lit=pen.light.exposure)
    if z > 1:
        flank = [(front, 0.0, z), (back, 0.0, z), (back, h, z), (front, h, z)]
        pen.face(flank, stone, Label.WALL, lit=pen.light.facing(0, -1))


def _fence(pen: Pen, stock: Stock, lot: Lot, z: float) -> None:
    front, lit = lot.side * lot.front, pen.light.facing(-lot.side, 0)
    corners = ((front, 0.0, z), (front, 0.0, z + lot.length))
    pen.wall(stock.face(lot, "fence"), corners, lot.height, Label.FENCE, lit=lit)
    dark = 40 + 130 * lot.traits[4]
    posts = max(int(lot.length / 2.5), 1)
    for k in range(posts, -1, -1):
        at = z + lot.length * k / posts
        if at > 1.5 and pen.scale(front, at) > 2:
            foot, top = (front, 0.0, at), (front, lot.height + 0.12, at)
            pen.bar(foot, top, 0.09, (dark, dark, dark), Label.FENCE, lit=lit)


def _building(pen: Pen, stock: Stock, lot: Lot, z: float) -> None:
    side, light = lot.side, pen.light
    front, back, h = side * lot.front, side * (lot.front + lot.depth), lot.height
    end = z + lot.length
    wall = _stone(lot.traits[4], lot.traits[5], lot.traits[6])
    if h < 9 or lot.traits[16] < 0.3:  # a pitched roof
        ridge = h + 0.45 * lot.depth * (0.5 + lot.traits[17])
        middle = (front + back) / 2
        tile = (90 + 90 * lot.traits[18], 60 + 50 * lot.traits[19], 50 + 45 * lot.traits[19])
        roof = [(front - side * 0.3, h - 0.1, z), (front - side * 0.3, h - 0.1, end), (middle, ridge, end)]
        pen.face([*roof, (middle, ridge, z)], tile, Label.BUILDING, lit=light.exposure)
        if z > 0.7:
            gable = [(front, h, z), (back, h, z), (middle, ridge, z)]
            pen.face(gable, wall, Label.BUILDING, lit=light.facing(0, -1))
    if z > 0.7 and lot.flank:
        corners = ((front, 0.0, z), (back, 0.0, z))
        pen.wall(stock.face(lot, "flank"), corners, h, Label.BUILDING, lit=light.facing(0, -1))
    pen.wall(
        stock.face(lot, "front"), ((front, 0.0, z), (front, 0.0, end)), h, Label.BUILDING, lit=light.facing(-side, 0)
    )
    if lot.traits[20] < 0.5 and 1.5 < z + lot.length / 2 < 60:  # awnings or a sign that stands out
        top = 2.9
        colour = (40 + 200 * lot.traits[21], 40 + 200 * lot.traits[22], 40 + 200 * lot.traits[23])
        a, b = z + lot.length * 0.2, z + lot.length * 0.7
        if a > 1.5 and lot.traits[13] < 0.42:
            out = front - side * 1.2
            quad = [(front, top, a), (front, top, b), (out, top - 0.6, b), (out, top - 0.6, a)]
            pen.face(quad, colour, Label.BUILDING, lit=light.exposure)


def _ground_behind(pen: Pen, world: World, lot: Lot, z: float) -> None:
    near, far = max(z, 0.7), z + lot.length
    a, b = lot.side * lot.front, lot.side * (lot.front + 30)
    grass = world.street.grass
    tone = 0.85 + 0.3 * lot.traits[1]
    colour = scaled(grass, tone)
    quad = [(a, 0.0, near), (a, 0.0, far), (b, 0.0, far), (b, 0.0, near)]
    pen.face(quad, colour, Label.TERRAIN, lit=pen.light.exposure * 0.95)


def _rear(pen: Pen, stock: Stock, lot: Lot, z: float) -> None:
    """What stands behind a wall, a fence or in a park: perhaps a house, trees and bushes."""
    side, t, light = lot.side, lot.traits, pen.light
    if t[2] < 0.55:
        x = side * (lot.front + 12 + 6 * t[3])
        tall = 6 + 9 * t[17]
        lit = light.facing(-side, 0)
        pen.wall(stock.face(lot, "flank"), ((x, 0.0, z), (x, 0.0, z + lot.length)), tall, Label.BUILDING, lit=lit)
    count = int(3 + 5 * t[18]) if lot.kind is not LotKind.PARK else 9
    rng = np.random.default_rng(lot.seed)
    places = sorted(
        ((rng.uniform(0, lot.length), rng.uniform(1.5, 9), rng.random(3)) for _ in range(count)), key=lambda p: -p[0]
    )
    for along, inwards, looks in places:
        at = (side * (lot.front + inwards), z + along)
        if at[1] < 2:
            continue
        shine = light.facing(-side * 0.5, -0.5)
        if looks[0] < 0.5:
            grow = 0.9 + 1.5 * looks[1]
            pen.sprite(
                stock.crown(2 + 3 * int(looks[2] * 2)), (at[0], -0.2, at[1]), (grow * 1.6, grow * 1.4), lit=shine
            )
            continue
        paint_tree(pen, stock, at, 5 + 5 * looks[1], int(looks[2] * 2), shine)


def paint_tree(pen: Pen, stock: Stock, at: tuple[float, float], height: float, crown: int, lit: float) -> None:
    """A trunk and a crown, both vegetation; at: (x, z) metres."""
    x, z = at
    bark = (78.0, 64.0, 52.0)
    fork = height * 0.45
    pen.bar((x, 0, z), (x, fork, z), 0.05 * height**0.85, bark, Label.VEGETATION, lit=lit)
    if pen.scale(x, z) > 4:
        pen.bar((x, fork * 0.85, z), (x - 0.14 * height, height * 0.72, z), 0.12, bark, Label.VEGETATION, lit=lit)
        pen.bar((x, fork * 0.8, z), (x + 0.12 * height, height * 0.68, z), 0.12, bark, Label.VEGETATION, lit=lit)
    spread = height * (0.85 if crown != 1 else 0.6)
    pen.sprite(stock.crown(crown), (x, height * 0.22, z), (spread, height * 0.88), lit=lit)

"""What stands where: a seed enters, a World of frozen records leaves.

The street repeats every LOOP metres, so a clip of any length drives through one and the same world. A side of the
street is -1 (left) or 1 (right); from the middle outwards come the lanes, parking, verge, pavement, then the lots.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from .light import Light, draw_light

LOOP = 240.0  # metres after which the street repeats
BEHIND = 40.0  # metres behind the camera that are still looked at

Colour = tuple[float, float, float]


class LotKind(StrEnum):
    BUILDING = "building"
    WALL = "wall"
    FENCE = "fence"
    HEDGE = "hedge"
    PARK = "park"
    CROSSING = "crossing"


class Kind(StrEnum):
    """What a thing in the street is."""

    CAR = "car"
    VAN = "van"
    TRUCK = "truck"
    BUS = "bus"
    TRAM = "tram"
    MOTORCYCLE = "motorcycle"
    BICYCLE = "bicycle"
    PERSON = "person"
    LAMP = "lamp"
    POST = "post"
    SIGN = "sign"
    SIGNAL = "signal"
    TREE = "tree"
    BUSH = "bush"
    RAILING = "railing"


@dataclass(frozen=True)
class Verges:
    """Widths of one side in metres, from the road outwards."""

    verge: float
    walk: float
    parking: bool


@dataclass(frozen=True)
class Street:
    """The cross-section of the road and its colours (RGB). Lengths in metres."""

    lane: float
    lanes: int
    half: float
    left: Verges
    right: Verges
    tracks: float | None  # x of the middle of the tram tracks
    crossings: tuple[float, ...]
    asphalt: Colour
    paving: Colour
    kerb: Colour
    grass: Colour
    paint: Colour
    dashed: bool
    edged: bool

    def side(self, side: int) -> Verges:
        """The strips beside the road on a side."""
        return self.right if side > 0 else self.left

    def front(self, side: int) -> float:
        """Distance of the lots from the middle of the road."""
        strips = self.side(side)
        return self.half + strips.verge + strips.walk


@dataclass(frozen=True)
class Lot:
    """A piece of frontage from z to z + length. `traits` are uniform random numbers for the painter."""

    kind: LotKind
    side: int
    z: float
    length: float
    front: float
    height: float
    depth: float
    seed: int
    flank: bool  # its near flank can be seen
    traits: tuple[float, ...]


@dataclass(frozen=True)
class Thing:
    """Something in the street, with its middle at (x, z) at time 0.

    heading: radians, 0 looks along the street away from the camera; speed: (x, z) metres a second, where `reach`
    bounds the walk in x (0: no bound); extent: (width, length) in its own axes, metres.
    """

    kind: Kind
    x: float
    z: float
    heading: float
    speed: tuple[float, float]
    reach: float
    extent: tuple[float, float]
    height: float
    colour: Colour
    second: Colour
    traits: tuple[float, ...]


@dataclass(frozen=True)
class Drive:
    """How the camera moves: metres, seconds, radians; focal and horizon in frame heights."""

    x: float
    height: float
    speed: float
    focal: float
    horizon: float
    yaw: float
    sway: float
    phase: float


@dataclass(frozen=True)
class World:
    """A whole scene."""

    seed: int
    street: Street
    light: Light
    drive: Drive
    lots: tuple[Lot, ...]
    things: tuple[Thing, ...]
    skyline: tuple[tuple[float, float, float, bool], ...]  # (x, width, height, is it trees?) at the end of the street


def build_world(seed: int) -> World:
    """The world of a seed."""
    from .traffic import furnish  # the two modules share the records above

    rng = np.random.default_rng([seed, 7])
    street = _street(rng)
    drive = Drive(
        x=street.lane / 2 + street.lane * int(rng.integers(0, street.lanes)) + float(rng.normal(0, 0.15)),
        height=float(rng.uniform(1.2, 1.75)),
        speed=float(rng.uniform(5, 10)),
        focal=float(rng.uniform(1.15, 2.1)),
        horizon=float(rng.uniform(0.38, 0.52)),
        yaw=float(rng.normal(0, 0.06)),
        sway=float(rng.uniform(0.004, 0.015)),
        phase=float(rng.uniform(0, 2 * math.pi)),
    )
    lots = tuple(_lots(rng, street, -1) + _lots(rng, street, 1))
    return World(
        seed=seed,
        street=street,
        light=draw_light(rng),
        drive=drive,
        lots=lots,
        things=tuple(furnish(rng, street, drive, lots)),
        skyline=tuple(
            (float(x), float(rng.uniform(8, 22)), float(rng.uniform(5, 26)), bool(rng.random() < 0.45))
            for x in np.arange(-150, 150, 9.0)
        ),
    )


def traits(rng: np.random.Generator, count: int = 12) -> tuple[float, ...]:
    """Uniform random numbers in 0..1."""
    return tuple(float(v) for v in rng.random(count))


def grey(rng: np.random.Generator, low: float, high: float, spread: float) -> Colour:
    """A colour near grey."""
    red, green, blue = (float(c) for c in np.clip(rng.uniform(low, high) + rng.normal(0, spread, 3), 5, 250))
    return red, green, blue


def _street(rng: np.random.Generator) -> Street:
    lane, lanes = float(rng.uniform(2.9, 3.7)), int(rng.choice([1, 2], p=[0.7, 0.3]))
    parking = bool(rng.random() < 0.65)
    sides = [
        Verges(
            verge=float(rng.uniform(0.9, 2.6)) if rng.random() < 0.42 else 0.0,
            walk=float(rng.uniform(1.8, 4.5)),
            parking=parking,
        )
        for _ in range(2)
    ]
    half = lane * lanes + (2.2 if parking else 0.3)
    first = float(rng.uniform(18, 75))
    green = rng.uniform(0.75, 1.2)
    grass = (float(rng.uniform(75, 135)), float(rng.uniform(95, 140) * green), float(rng.uniform(45, 85)))
    return Street(
        lane=lane,
        lanes=lanes,
        half=half,
        left=sides[0],
        right=sides[1],
        tracks=-lane / 2 if rng.random() < 0.35 else None,
        crossings=(first, first + float(rng.uniform(60, 110))),
        asphalt=grey(rng, 62, 142, 6),
        paving=grey(rng, 95, 188, 10),
        kerb=grey(rng, 120, 205, 6),
        grass=grass if rng.random() < 0.8 else (150.0, 130.0, 95.0),
        paint=(228.0, 228.0, 222.0) if rng.random() < 0.85 else (225.0, 190.0, 70.0),
        dashed=bool(rng.random() < 0.75),
        edged=bool(rng.random() < 0.4),
    )


def _lots(rng: np.random.Generator, street: Street, side: int) -> list[Lot]:
    lots: list[Lot] = []
    share = np.array([0.58, 0.13, 0.13, 0.08, 0.08]) * rng.uniform(0.3, 1.7, 5)
    kinds = [LotKind.BUILDING, LotKind.WALL, LotKind.FENCE, LotKind.HEDGE, LotKind.PARK]
    tall = rng.uniform(6, 20)
    z = 0.0
    while z < LOOP - 1:
        gap = next((c for c in street.crossings if abs(c - 5 - z) < 0.1), None)
        stop = min([c - 5 for c in street.crossings if c - 5 > z + 0.1] + [LOOP])
        kind = LotKind.CROSSING if gap else kinds[rng.choice(5, p=share / share.sum())]
        length = 10.0 if gap else min(float(rng.uniform(8, 20)), stop - z)
        if not gap and stop - z - length < 5:
            length = min(stop - z, 24.0)
        front = street.front(side)
        height = {
            LotKind.BUILDING: float(np.clip(tall + rng.normal(0, 4), 4, 26)),
            LotKind.WALL: float(rng.uniform(1.0, 3.2)),
            LotKind.FENCE: float(rng.uniform(0.9, 2.2)),
            LotKind.HEDGE: float(rng.uniform(1.0, 2.6)),
        }.get(kind, 0.0)
        lots.append(
            Lot(
                kind=kind, side=side, z=z, length=length, front=front, height=height,
                depth=float(rng.uniform(8, 16)), seed=int(rng.integers(0, 2**31)), flank=True,
                traits=traits(rng, 24),
            )  # fmt: skip
        )
        z += length
    return lots

"""Who and what is in the street: the cross-section and a random generator enter, a list of Things leaves."""

import math
from collections.abc import Iterable

import numpy as np

from .light import Colour
from .records import LOOP, Drive, Kind, Lot, LotKind, Street, Thing

PAINTS = (
    (225, 225, 225), (28, 28, 30), (95, 97, 100), (172, 174, 178), (150, 22, 24), (28, 52, 118), (40, 78, 60),
    (190, 160, 90), (205, 92, 30), (70, 120, 165), (105, 60, 45), (222, 190, 40),
)  # fmt: skip
SIZES = {  # (width, length), height, metres
    Kind.CAR: ((1.78, 4.3), 1.48), Kind.VAN: ((1.95, 5.2), 2.25), Kind.TRUCK: ((2.45, 8.5), 3.3),
    Kind.BUS: ((2.55, 11.5), 3.1), Kind.TRAM: ((2.45, 26.0), 3.5), Kind.MOTORCYCLE: ((0.7, 2.1), 1.15),
    Kind.BICYCLE: ((0.5, 1.75), 1.05), Kind.PERSON: ((0.5, 0.5), 1.72), Kind.LAMP: ((0.3, 0.3), 7.0),
    Kind.POST: ((0.2, 0.2), 1.0), Kind.SIGN: ((0.3, 0.3), 2.6), Kind.SIGNAL: ((0.3, 0.3), 3.4),
    Kind.TREE: ((0.5, 0.5), 7.0), Kind.BUSH: ((0.5, 0.5), 1.2), Kind.RAILING: ((0.1, 2.0), 1.0),
}  # fmt: skip


def traits(rng: np.random.Generator, count: int = 12) -> tuple[float, ...]:
    """Uniform random numbers in 0..1."""
    return tuple(float(v) for v in rng.random(count))


class _Maker:
    """Draws the looks of things from one generator."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def vivid(self) -> Colour:
        """Any colour, from muted to loud."""
        red, green, blue = (float(c) for c in self.rng.uniform(12, 225, 3))
        mean = (red + green + blue) / 3
        keep = self.rng.uniform(0.2, 1)
        return mean + (red - mean) * keep, mean + (green - mean) * keep, mean + (blue - mean) * keep

    def paint(self) -> Colour:
        """A car's colour."""
        base = PAINTS[self.rng.integers(0, len(PAINTS))]
        red, green, blue = (float(c) for c in np.clip(np.array(base) + self.rng.normal(0, 12, 3), 8, 245))
        return red, green, blue

    def thing(
        self, kind: Kind, x: float, z: float, *, heading: float = 0.0, speed: tuple[float, float] = (0.0, 0.0),
        reach: float = 0.0, scale: float = 1.0,
    ) -> Thing:  # fmt: skip
        """A thing of a kind with random looks."""
        (width, length), height = SIZES[kind]
        motor = kind in (Kind.CAR, Kind.VAN, Kind.TRUCK, Kind.BUS, Kind.TRAM, Kind.MOTORCYCLE)
        grow = float(self.rng.uniform(0.92, 1.08)) * scale
        return Thing(
            kind=kind, x=float(x), z=float(z) % LOOP, heading=heading, speed=speed, reach=reach,
            extent=(width * grow, length * grow), height=height * grow,
            colour=self.paint() if motor else self.vivid(), second=self.vivid(), traits=traits(self.rng),
        )  # fmt: skip


def furnish(rng: np.random.Generator, street: Street, drive: Drive, lots: Iterable[Lot]) -> list[Thing]:
    """All things of a street."""
    make = _Maker(rng)
    things = [*_parked(make, street, drive), *_moving(make, street, drive), *_junctions(make, street)]
    for side in (-1, 1):
        things += _furniture(make, street, side)
        things += _walkers(make, street, side)
    for lot in lots:
        if lot.kind in (LotKind.PARK, LotKind.FENCE, LotKind.WALL) and lot.traits[0] < 0.5:
            things.append(make.thing(Kind.BUSH, lot.side * (lot.front - 0.4), lot.z + lot.length / 2))
    return things


def _parked(make: _Maker, street: Street, drive: Drive) -> list[Thing]:
    rng, things = make.rng, []
    if not street.left.parking:
        return []
    density = rng.uniform(0.3, 0.95)
    kinds = [Kind.CAR, Kind.VAN, Kind.TRUCK, Kind.MOTORCYCLE, Kind.BICYCLE]
    for side in (-1, 1):
        z = float(rng.uniform(0, 6))
        while z < LOOP - 7:
            kind = kinds[rng.choice(5, p=[0.7, 0.12, 0.04, 0.09, 0.05])]
            length = SIZES[kind][0][1]
            middle = z + length / 2
            if rng.random() < density and all(abs(middle - c) > 9 + length / 2 for c in street.crossings):
                heading = (0.0 if side > 0 else math.pi) + float(rng.normal(0, 0.02))
                if kind in (Kind.MOTORCYCLE, Kind.BICYCLE):
                    heading += float(rng.uniform(0.5, 1.3))
                things.append(make.thing(kind, side * (street.half - 1.1), middle, heading=heading))
            z += length + float(rng.uniform(0.6, 1.6))
    return things


def _moving(make: _Maker, street: Street, drive: Drive) -> list[Thing]:
    rng, things = make.rng, []
    lane = street.lane
    kinds = [Kind.CAR, Kind.VAN, Kind.TRUCK, Kind.BUS, Kind.MOTORCYCLE, Kind.BICYCLE]
    odds = np.array([0.42, 0.08, 0.12, 0.12, 0.14, 0.12])
    for number in range(street.lanes):
        ahead = lane * (number + 0.5)
        own = abs(ahead - drive.x) < 1.5
        z, speed = (
            float(rng.uniform(13 if own else 3, 48)),
            drive.speed * (1.0 if own else float(rng.uniform(0.7, 1.1))),
        )
        while z < LOOP - 30:
            things.append(_vehicle(make, kinds[rng.choice(6, p=odds)], ahead, z, 0.0, speed))
            z += float(rng.uniform(14, 70))
        z, speed = float(rng.uniform(6, 40)), -float(rng.uniform(4, 10))
        while z < LOOP - 30:
            kind = kinds[rng.choice(6, p=odds)]
            if street.tracks is not None and number == 0 and rng.random() < 0.45:
                kind = Kind.TRAM
            length = SIZES[kind][0][1]
            things.append(_vehicle(make, kind, -ahead, z + length / 2, math.pi, speed))
            z += length + float(rng.uniform(10, 60))
    for _ in range(int(rng.integers(0, 3))):  # cyclists at the edge of the road
        side = int(rng.choice([-1, 1]))
        edge = side * (street.half - (2.5 if street.left.parking else 0.6))
        kind = Kind.BICYCLE if rng.random() < 0.75 else Kind.MOTORCYCLE
        heading = 0.0 if side > 0 else math.pi
        things.append(_vehicle(make, kind, edge, float(rng.uniform(6, 60)), heading, side * float(rng.uniform(3, 6))))
    return things


def _vehicle(make: _Maker, kind: Kind, x: float, z: float, heading: float, speed: float) -> Thing:
    scale = 1.0
    shift = float(make.rng.normal(0, 0.2)) if kind is not Kind.TRAM else 0.0
    return make.thing(kind, x + shift, z, heading=heading, speed=(0.0, speed), scale=scale)


def _junctions(make: _Maker, street: Street) -> list[Thing]:
    rng, things = make.rng, []
    lit = rng.random() < 0.8
    for middle in street.crossings:
        for side in (-1, 1):
            if lit:
                for along in (-6.2, 6.2):
                    things.append(make.thing(Kind.SIGNAL, side * (street.half + 0.5), middle + along))
            else:
                things.append(make.thing(Kind.SIGN, side * (street.half + 0.5), middle - 6.2))
            for _ in range(int(rng.integers(0, 4))):
                x = side * (street.half + rng.uniform(0.6, 1.8))
                heading = float(rng.uniform(-math.pi, math.pi))
                things.append(make.thing(Kind.PERSON, x, middle - 5 - rng.uniform(0, 4), heading=heading))
        if rng.random() < 0.7:  # across the road, on the zebra
            kind = Kind.BICYCLE if rng.random() < 0.25 else Kind.PERSON
            way = float(rng.choice([-1, 1]))
            speed = way * (rng.uniform(1.0, 1.6) if kind is Kind.PERSON else 3.2)
            span = street.half + 1.5
            things.append(
                make.thing(
                    kind,
                    rng.uniform(-span, span),
                    middle - 6.5 - rng.uniform(0, 2),
                    heading=way * math.pi / 2,
                    speed=(float(speed), 0.0),
                    reach=span,
                )
            )
        if rng.random() < 0.5:  # traffic on the cross street
            kind = [Kind.CAR, Kind.TRUCK, Kind.BUS, Kind.VAN][rng.choice(4, p=[0.5, 0.17, 0.17, 0.16])]
            hand = float(rng.choice([-1, 1]))
            x = hand * (street.half + 3 + SIZES[kind][0][1] / 2)
            things.append(make.thing(kind, x, middle + hand * 1.8, heading=-hand * math.pi / 2))
    return things


def _furniture(make: _Maker, street: Street, side: int) -> list[Thing]:
    rng, things = make.rng, []
    edge = street.half + 0.45
    rows = [(Kind.LAMP, 1.0, 18, 34), (Kind.TREE, 0.5, 7, 16), (Kind.POST, 0.45, 1.8, 4.5), (Kind.SIGN, 1.0, 9, 32)]
    for kind, odds, low, high in rows:
        if rng.random() > odds:
            continue
        step = float(rng.uniform(low, high))
        z, end = float(rng.uniform(2, 2 + step)), LOOP - 3
        if kind is Kind.POST:
            z = float(rng.uniform(4, 60))
            end = z + float(rng.uniform(10, 50))
        offset = {Kind.POST: 0.1, Kind.LAMP: 0.3, Kind.TREE: 0.6}.get(kind, 0.15)
        while z < end:
            if all(abs(z - c) > 6.5 for c in street.crossings):
                things.append(make.thing(kind, side * (edge + offset), z, scale=float(rng.uniform(0.8, 1.25))))
            z += step if kind is not Kind.SIGN else float(rng.uniform(low, high))
    if rng.random() < 0.35:
        start = float(rng.uniform(5, 40))
        look = make.thing(Kind.RAILING, side * (street.half + 0.25), start)
        for number in range(int(rng.integers(4, 14))):
            z = start + number * 2.0 + 1
            if all(abs(z - c) > 6 for c in street.crossings):
                things.append(Thing(**{**vars(look), "z": z, "extent": (0.1, 2.0)}))
    return things


def _walkers(make: _Maker, street: Street, side: int) -> list[Thing]:
    rng, things = make.rng, []
    strips = street.side(side)
    low = street.half + strips.verge + 0.5
    for _ in range(int(rng.integers(3, 13))):
        x, z = side * float(rng.uniform(low, low + strips.walk - 0.9)), float(rng.uniform(4, 80) ** 1.0)
        way = int(rng.choice([-1, 1]))
        speed = float(rng.uniform(0.8, 1.7)) if rng.random() < 0.75 else 0.0
        heading = (0.0 if way > 0 else math.pi) if speed else float(rng.uniform(-math.pi, math.pi))
        small = float(rng.uniform(0.65, 0.8)) if rng.random() < 0.12 else 1.0
        things.append(make.thing(Kind.PERSON, x, z, heading=heading, speed=(0.0, way * speed), scale=small))
    for _ in range(int(rng.integers(0, 3))):  # bicycles leaning at the front of a house or at the kerb
        x = side * (street.half + 0.7 if rng.random() < 0.5 else street.front(side) - 0.6)
        start = float(rng.uniform(5, 60))
        if any(-9 < start - crossing < 6 for crossing in street.crossings):
            continue  # none stands in the mouth of a side street
        for number in range(int(rng.integers(1, 5))):
            heading = float(rng.normal(0.2, 0.25)) if number == 0 else float(rng.uniform(0.9, 1.5))
            things.append(make.thing(Kind.BICYCLE, x, start + number * 0.7, heading=heading))
    return things

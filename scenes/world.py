"""What stands where: a seed enters, a World leaves."""

import math
from dataclasses import replace

import numpy as np

from .light import Colour, draw_light
from .records import LOOP, Drive, Lot, LotKind, Street, Verges, World
from .traffic import furnish, traits


def build_world(seed: int) -> World:
    """The world of a seed."""
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


def grey(rng: np.random.Generator, low: float, high: float, spread: float) -> Colour:
    """A colour near grey."""
    red, green, blue = (float(c) for c in np.clip(rng.uniform(low, high) + rng.normal(0, spread, 3), 5, 250))
    return red, green, blue


def _street(rng: np.random.Generator) -> Street:
    lane, lanes = float(rng.uniform(2.9, 3.7)), int(rng.choice([1, 2], p=[0.7, 0.3]))
    parking = bool(rng.random() < 0.52)
    sides = [
        Verges(
            verge=float(rng.uniform(0.9, 3.2)) if rng.random() < 0.45 else 0.0,
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
                kind=kind,
                side=side,
                z=z,
                length=length,
                front=front,
                height=height,
                depth=float(rng.uniform(8, 16)),
                seed=int(rng.integers(0, 2**31)),
                flank=True,
                traits=traits(rng, 24),
            )
        )
        z += length
    return [replace(lot, flank=_shows(lot, lots[number - 1])) for number, lot in enumerate(lots)]


def _shows(lot: Lot, nearer: Lot) -> bool:
    """Whether the near flank of a lot can be seen past its neighbour."""
    return nearer.kind is not LotKind.BUILDING or nearer.height < lot.height or nearer.depth < lot.depth - 2

"""The records of a world: the street, its lots, its things and the drive through it.

The street repeats every LOOP metres, so a clip of any length drives through one and the same world. A side of the
street is -1 (left) or 1 (right); from the middle outwards come the lanes, parking, verge, pavement, then the lots.
"""

from dataclasses import dataclass
from enum import StrEnum

from .light import Colour, Light

LOOP = 240.0  # metres after which the street repeats
BEHIND = 40.0  # metres behind the camera that are still looked at


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

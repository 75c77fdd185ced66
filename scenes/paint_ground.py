"""Sky, skyline, road and ground: everything that lies behind all upright things."""

from dataclasses import dataclass

import cv2
import numpy as np

from .canvas import SHIFT, fixed
from .labels import Label
from .light import Colour, Light, scaled
from .pen import Pen
from .records import BEHIND, LOOP, Kind, Street, Thing, World
from .textures import noise

FAR = LOOP - BEHIND - 2  # metres: the end of the drawn street
FINE, COARSE = 6.0, 48.0  # metres that the two ground noises repeat after; LOOP is a multiple of both
NEAREST = 1.0  # metres: ground nearer than this is under the bonnet


def sky_panorama(light: Light, seed: int, size: tuple[int, int]) -> np.ndarray:
    """The sky above the horizon, RGB [h, 2 * W, 3]; its last row is the horizon."""
    height, width = size[0] // 2, size[1]
    up = np.linspace(1, 0, height, dtype=np.float32)[:, None, None] ** 0.8
    sky = np.array(light.zenith, np.float32) * up + np.array(light.horizon, np.float32) * (1 - up)
    cloud = cv2.resize(noise(seed % 5 + 40, 256, 2), (width, height * 2))[:height].astype(np.float32)
    cover = np.clip((cloud - 150 + 80 * light.clouds) / 45, 0, 1)[..., None] * (0.25 + 0.75 * light.clouds)
    white = np.array(light.horizon, np.float32) * 0.3 + np.float32(170 if light.sun > 0.3 else 125)
    body = np.minimum(white * (0.9 + 0.15 * (cloud[..., None] - 128) / 128), 252)
    return np.clip(sky + (body - sky) * cover, 0, 255).astype(np.uint8)


def paint_sky(pen: Pen, panorama: np.ndarray) -> None:
    """The sky down to a little under the horizon."""
    canvas, camera = pen.canvas, pen.camera
    bottom = int(np.clip(camera.horizon() + canvas.height * 0.02 + 2, 1, canvas.height))
    rows, columns = panorama.shape[:2]
    zoom = canvas.height * 0.55 / rows
    start = canvas.width * 0.2 - camera.yaw * camera.focal
    to_frame = np.array([[zoom, 0, start - columns * zoom / 2], [0, zoom, camera.horizon() - rows * zoom]])
    canvas.image[:bottom] = cv2.warpAffine(
        panorama, to_frame, (canvas.width, bottom), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    canvas.labels[:bottom] = Label.SKY


def paint_skyline(pen: Pen, world: World) -> None:
    """What closes the street far away: distant houses and trees."""
    camera, light = pen.camera, pen.light
    for x, width, height, trees in world.skyline:
        x += camera.x
        lit = light.facing(0, -1) * 0.85
        if trees:
            crest = [(x - width, 0.0, FAR + 60)]
            for step in range(9):
                bump = height * (0.45 + 0.16 * ((step * 37 + int(height * 10)) % 5) / 4)
                crest.append((x - width + width * step / 4, bump * (1 - ((step - 4) / 6) ** 2), FAR + 60))
            crest.append((x + width, 0.0, FAR + 60))
            pen.face(crest, (72, 92, 58), Label.VEGETATION, lit=lit, convex=False)
        else:
            box = [(x - width / 2, 0.0), (x + width / 2, 0.0), (x + width / 2, height), (x - width / 2, height)]
            tone = 110 + 8 * (width % 9)
            pen.face([(px, py, FAR + 40) for px, py in box], (tone, tone * 0.95, tone * 0.88), Label.BUILDING, lit=lit)


@dataclass(frozen=True)
class _Floor:
    """Paints rectangles of the ground, metres, in the plain light."""

    pen: Pen
    lit: float

    def strip(self, x: tuple[float, float], z: tuple[float, float], colour: Colour, label: Label | None) -> None:
        """The rectangle from x[0] to x[1] and z[0] to z[1]."""
        near, far = max(z[0], NEAREST), min(z[1], FAR + 60)
        if far > near:
            outline = self.pen.camera.outline(
                [(x[0], 0.0, near), (x[1], 0.0, near), (x[1], 0.0, far), (x[0], 0.0, far)]
            )
            self.pen.canvas.fill(outline, scaled(colour, self.lit), label)


def paint_ground(pen: Pen, world: World, travelled: float) -> None:
    """Road, markings, kerbs, pavements and verges, flat coloured; `travelled`: metres that the camera has come."""
    street, floor = world.street, _Floor(pen, pen.light.exposure * 0.95)
    top = int(np.clip(pen.camera.horizon(), 0, pen.canvas.height - 1))
    pen.canvas.image[top:] = pen.light.shade(street.paving, 20, floor.lit)
    pen.canvas.labels[top:] = Label.SIDEWALK
    whole = (NEAREST, FAR + 60)
    for side in (-1, 1):
        strips = street.side(side)
        edge, front = street.half * side, street.front(side) * side
        floor.strip((front, side * 80), whole, street.paving, Label.SIDEWALK)
        if strips.verge:
            floor.strip((edge, edge + side * strips.verge), whole, street.grass, Label.TERRAIN)
    floor.strip((-street.half, street.half), whole, street.asphalt, Label.ROAD)
    for side in (-1, 1):
        floor.strip((side * (street.half - 0.02), side * (street.half + 0.2)), whole, street.kerb, Label.SIDEWALK)
    for crossing in street.crossings:
        z = _ahead(crossing, travelled)
        floor.strip((-70, 70), (z - 4.2, z + 4.2), street.asphalt, Label.ROAD)
    _patches(floor, world, travelled)
    _markings(floor, street, travelled)


def _ahead(z: float, travelled: float) -> float:
    return (z - travelled + BEHIND) % LOOP - BEHIND


def _patches(floor: _Floor, world: World, travelled: float) -> None:
    rng = np.random.default_rng([world.seed, 3])
    street = world.street
    for _ in range(14):
        x, z = rng.uniform(-street.half, street.half * 0.7), _ahead(rng.uniform(0, LOOP), travelled)
        wide, long = rng.uniform(0.4, 2.2), rng.uniform(0.8, 12)
        shift = rng.uniform(0.78, 1.2)
        floor.strip((x, min(x + wide, street.half)), (z, z + long), scaled(street.asphalt, shift), None)
    for side in (-1, 1):  # joints of the paving
        front, walk = street.front(side), street.side(side).walk
        tone = scaled(street.paving, 0.82)
        step = 1.5 + (world.seed % 3)
        first = -(travelled % step)
        for number in range(int(24 / step)):
            z = first + number * step
            floor.strip((side * (front - walk), side * front), (z, z + 0.05), tone, None)
        floor.strip((side * (front - walk / 2), side * (front - walk / 2 + 0.05)), (NEAREST, 40), tone, None)


def _markings(floor: _Floor, street: Street, travelled: float) -> None:
    paint = street.paint
    lines = [n * street.lane for n in range(-street.lanes + 1, street.lanes)]
    for x in lines:
        if street.dashed or x != 0:
            for number in range(16):
                z = number * 7.0 - travelled % 7.0
                floor.strip((x - 0.07, x + 0.07), (z, z + 3.2), paint, None)
        else:
            floor.strip((x - 0.07, x + 0.07), (NEAREST, FAR), paint, None)
    edge = street.lane * street.lanes
    if street.edged:
        for x in (-edge, edge):
            floor.strip((x - 0.06, x + 0.06), (NEAREST, FAR), paint, None)
    if street.tracks is not None:
        for rail in (-0.72, 0.72):
            x = street.tracks + rail
            floor.strip((x - 0.14, x + 0.14), (NEAREST, FAR), scaled(street.asphalt, 0.78), None)
            floor.strip((x - 0.04, x + 0.04), (NEAREST, FAR), (150, 150, 155), None)
    for crossing in street.crossings:
        z = _ahead(crossing, travelled)
        floor.strip((-edge, edge), (z - 4.4, z + 4.4), street.asphalt, None)
        floor.strip((0.2, edge - 0.2), (z - 10.0, z - 9.6), paint, None)
        x = -street.half + 0.4
        while x < street.half - 0.5:
            floor.strip((x, x + 0.5), (z - 8.6, z - 5.6), paint, None)
            x += 1.0


def texture_ground(pen: Pen, world: World, travelled: float, spots: list[tuple[Thing, float, float]]) -> None:
    """Multiply noise and shadows into the ground and lay the haze over it. `spots`: things with their (x, z)."""
    canvas, camera, light = pen.canvas, pen.camera, pen.light
    top = int(np.clip(camera.horizon() + 1, 0, canvas.height - 1))
    x, z = camera.ground((canvas.height, canvas.width), top)
    along = z + np.float32(travelled % LOOP)
    seed = world.seed % 3
    fine = _sample(noise(10 + seed, 512, 64), x, along, FINE)
    coarse = _sample(noise(14 + seed, 256, 4), x, along, COARSE)
    near = np.clip(1.25 - z / 22, 0.0, 1.0)
    factor = 128 + (fine - 128) * (0.24 * near) + (coarse - 128) * 0.24
    shadow = np.full(factor.shape, 255, np.uint8)
    _shadows(pen, world, spots, shadow, top)
    factor *= shadow * np.float32(1 / 255)
    ground = canvas.image[top:]
    cv2.multiply(ground, cv2.merge([cv2.convertScaleAbs(factor)] * 3), ground, scale=1 / 128)
    rows = int(np.clip(camera.focal * camera.height / 12, 0, ground.shape[0]))
    if rows:
        veil = (1 - np.exp(-light.haze * np.clip(z[:rows], 0, 400)))[..., None]
        band = ground[:rows].astype(np.float32)
        ground[:rows] = band + (np.array(light.horizon, np.float32) - band) * veil


def _sample(texture: np.ndarray, x: np.ndarray, z: np.ndarray, period: float) -> np.ndarray:
    side, turns = np.float32(texture.shape[0]), np.float32(1 / period)
    u, v = x * turns, z * turns
    u -= np.floor(u)
    v -= np.floor(v)
    return cv2.remap(texture, u * side, v * side, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP).astype(np.float32)


def _shadows(pen: Pen, world: World, spots: list[tuple[Thing, float, float]], mask: np.ndarray, top: int) -> None:
    light, street = pen.light, world.street
    depth = 255 * (1 - 0.5 * light.sun)

    def cast(points: list, value: float) -> None:
        outline = [(u, v - top) for u, v in pen.camera.outline(points)]
        if len(outline) > 2:
            cv2.fillConvexPoly(mask, fixed(outline), value, cv2.LINE_AA, SHIFT)

    toward = -np.sin(light.azimuth)  # shadows fall to this side
    side = 1 if toward > 0 else -1
    reach = 8 * abs(toward) / np.tan(light.elevation)
    if light.sun > 0.3 and reach > 2:  # the row of houses on the sunny side
        edge = -side * street.front(-side)
        cast([(edge, 0, 1.0), (edge + side * reach, 0, 1.0), (edge + side * reach, 0, FAR), (edge, 0, FAR)], depth)
    for thing, x, z in spots:
        if z < 1 or z > 60:
            continue
        wide, long = thing.extent
        if abs(np.sin(thing.heading)) > 0.7:
            wide, long = long, wide
        cast_x = toward * min(thing.height, 2.5) * 0.5 * light.sun
        a, b = wide / 2 + 0.08, long / 2 + 0.1
        soft = 255 * 0.45 if wide > 1 else depth * 0.85
        if thing.kind in (Kind.LAMP, Kind.POST, Kind.SIGN, Kind.SIGNAL, Kind.TREE, Kind.PERSON) and light.sun > 0.25:
            tall = min(thing.height * 0.9, 6) / np.tan(light.elevation) * light.sun
            fall = -np.cos(light.azimuth) * tall
            tip_x, tip_z = x + toward * tall, max(z + fall, 1.0)
            w = 0.09 if thing.kind is not Kind.PERSON else 0.2
            cast([(x - w, 0, z), (x + w, 0, z), (tip_x + w, 0, tip_z), (tip_x - w, 0, tip_z)], depth)
            continue
        near = max(z - b, 0.7)
        cast([(x - a, 0, near), (x + a, 0, near), (x + a, 0, z + b), (x - a, 0, z + b)], soft)
        if cast_x and wide > 1:
            c = x + cast_x
            cast([(c - a, 0, near), (c + a, 0, near), (c + a, 0, z + b), (c - a, 0, z + b)], min(depth, soft * 1.3))

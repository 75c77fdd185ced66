"""The scene: a seed, a size and a time enter, a Frame leaves.

world (what stands where) -> camera at time t -> sky, ground -> lots -> things, far to near -> sensor
"""

import math
from dataclasses import dataclass

import numpy as np

from .camera import Camera
from .canvas import Canvas
from .paint_ground import paint_ground, paint_sky, paint_skyline, sky_panorama, texture_ground
from .paint_lots import Stock, paint_lots
from .paint_people import paint_person, paint_two_wheeler
from .paint_street import paint_furniture
from .paint_vehicles import LABELS, paint_vehicle
from .pen import Pen
from .records import BEHIND, LOOP, Kind, Thing
from .sensor import draw_sensor, expose
from .world import build_world

SMALLEST = 64  # pixels a side
VIEW = 150.0  # metres: things farther off are not drawn


@dataclass(frozen=True)
class Frame:
    """image: uint8 [H, W, 3] RGB; labels: uint8 [H, W] Cityscapes train ids, 255 where nothing was drawn."""

    image: np.ndarray
    labels: np.ndarray


class Scene:
    """A street that a camera drives along. The same (seed, size, time) gives the same frame, bit for bit."""

    def __init__(self, seed: int, size: tuple[int, int]) -> None:
        """seed: 0 or more; size: (H, W) in pixels, 64 or more each. Raises ValueError otherwise."""
        if seed < 0:
            raise ValueError(f"seed is {seed}, expected 0 or more")
        if min(size) < SMALLEST:
            raise ValueError(f"size is {size[0]}x{size[1]}, expected at least {SMALLEST}x{SMALLEST}")
        self.seed, self.size = seed, size
        self._world = build_world(seed)
        self._sensor = draw_sensor(seed)
        self._stock = Stock(self._world)
        self._sky: np.ndarray | None = None

    def render(self, time_s: float) -> Frame:
        """The frame at a time in seconds."""
        canvas, world = Canvas(self.size), self._world
        travelled = world.drive.speed * time_s
        pen = Pen(canvas, self._camera(time_s), world.light)
        if self._sky is None:
            self._sky = sky_panorama(world.light, self.seed, self.size)
        spots = _in_order(pen.camera, [_place(thing, time_s, travelled) for thing in world.things])
        paint_sky(pen, self._sky)
        paint_ground(pen, world, travelled)
        texture_ground(pen, world, travelled, spots)
        paint_skyline(pen, world)
        paint_lots(pen, world, self._stock, travelled)
        for thing, x, z in spots:
            if not _in_frame(pen.camera, thing, x, z):
                continue
            if thing.kind in LABELS:
                paint_vehicle(pen, thing, x, z)
            elif thing.kind is Kind.PERSON:
                paint_person(pen, thing, x, z, time_s)
            elif thing.kind in (Kind.BICYCLE, Kind.MOTORCYCLE):
                paint_two_wheeler(pen, thing, x, z, time_s)
            else:
                paint_furniture(pen, self._stock, thing, x, z, time_s)
        image = expose(canvas.image, self._sensor, (self.seed, round(time_s * 1e6) & 0x7FFFFFFF))
        return Frame(image=image, labels=canvas.labels)

    def _camera(self, time_s: float) -> Camera:
        drive, (height, width) = self._world.drive, self.size
        wave = drive.phase + 2 * math.pi * time_s / 7.3
        horizon = drive.horizon * height
        pitch = 0.004 * math.sin(2.7 * wave)
        return Camera(
            focal=drive.focal * height,
            centre=((width - 1) / 2, horizon),
            x=drive.x + 0.18 * math.sin(wave),
            height=drive.height + 0.012 * math.sin(6.1 * wave),
            yaw=drive.yaw + drive.sway * math.cos(wave),
            pitch=pitch,
        )


def _place(thing: Thing, time_s: float, travelled: float) -> tuple[Thing, float, float]:
    """Where a thing is at a time: (x, z) metres, z from the camera."""
    x = thing.x + thing.speed[0] * time_s
    if thing.reach:
        x = (x + thing.reach) % (2 * thing.reach) - thing.reach
    z = (thing.z + thing.speed[1] * time_s - travelled + BEHIND) % LOOP - BEHIND
    return thing, x, z


def _in_frame(camera: Camera, thing: Thing, x: float, z: float) -> bool:
    """Whether a thing may reach into the frame sideways."""
    right, _, depth = camera.see([(x, 0.0, z)])[0]
    reach = max(*thing.extent, thing.height)  # crowns and arms of lamps reach less far than their height
    return depth < reach + 1 or abs(right) - reach < depth * (camera.centre[0] + 1) / camera.focal


def _in_order(camera: Camera, spots: list[tuple[Thing, float, float]]) -> list[tuple[Thing, float, float]]:
    """The things in view, what hides others last.

    Of two things apart in depth the nearer one hides; of two side by side the one nearer to the camera's line.
    Depth alone fails for a tram beside a row of walkers.
    """
    spots = [s for s in spots if s[2] + s[0].extent[1] / 2 > 0.8 and s[2] < VIEW]
    if not spots:
        return []
    along = np.array(
        [abs(math.cos(t.heading)) * t.extent[1] + abs(math.sin(t.heading)) * t.extent[0] for t, _, _ in spots]
    )
    across = np.array(
        [abs(math.cos(t.heading)) * t.extent[0] + abs(math.sin(t.heading)) * t.extent[1] for t, _, _ in spots]
    )
    x, z = np.array([s[1] - camera.x for s in spots]), np.array([s[2] for s in spots])
    near, far, left, right = z - along / 2, z + along / 2, x - across / 2, x + across / 2
    beyond = near[:, None] >= far[None] - 0.05
    apart = (left[:, None] >= right[None]) & (right[None] > 0) | (right[:, None] <= left[None]) & (left[None] < 0)
    level = ~beyond & ~beyond.T
    first = beyond | level & np.where(apart | apart.T, apart & ~apart.T, z[:, None] > z[None])
    first &= ~first.T | (z[:, None] > z[None])
    waiting = first.sum(0).astype(np.float64)
    order: list[int] = []
    for _ in spots:  # Kahn's sort; a ring of three (rare) is cut at the farthest
        index = int(np.lexsort((-z, waiting))[0])
        order.append(index)
        waiting -= first[index]
        waiting[index] = np.inf
    return [spots[k] for k in order]

"""The light over a scene: what a colour looks like at a depth and under the sun."""

import math
from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]

MOODS = (  # zenith, horizon, strength of the sun, share of scenes
    ((88, 140, 205), (190, 212, 232), 1.0, 0.30),  # clear day
    ((150, 175, 205), (212, 219, 226), 0.65, 0.22),  # thin cloud
    ((168, 172, 178), (208, 210, 212), 0.12, 0.25),  # overcast
    ((98, 112, 150), (240, 190, 140), 0.8, 0.13),  # low sun
    ((70, 80, 108), (148, 146, 160), 0.08, 0.10),  # dusk
)


@dataclass(frozen=True)
class Light:
    """Light of one scene.

    zenith, horizon: sky colours (RGB 0..255); sun: strength 0..1; azimuth: radians, 0 ahead, positive to the right;
    elevation: radians; haze: per metre; exposure: factor on every surface; clouds: cover 0..1.
    """

    zenith: Colour
    horizon: Colour
    sun: float
    azimuth: float
    elevation: float
    haze: float
    exposure: float
    clouds: float

    def veil(self, depth: float) -> float:
        """Share of the haze colour, 0..1, in what is seen at a depth in metres."""
        return 1.0 - math.exp(-self.haze * max(depth, 0.0))

    def facing(self, x: float, z: float) -> float:
        """Brightness factor of an upright surface whose normal points to (x, z)."""
        toward = (x * math.sin(self.azimuth) + z * math.cos(self.azimuth)) * math.cos(self.elevation)
        return self.exposure * (0.78 + 0.12 * (1 - self.sun) + 0.38 * self.sun * max(toward, 0.0))

    def shade(self, colour: Colour, depth: float, lit: float) -> Colour:
        """The colour (RGB 0..255) of a surface of brightness factor `lit` at a depth in metres."""
        veil = self.veil(depth)
        gain = (1 - veil) * lit
        sky = self.horizon
        return (
            min(colour[0] * gain + sky[0] * veil, 255.0),
            min(colour[1] * gain + sky[1] * veil, 255.0),
            min(colour[2] * gain + sky[2] * veil, 255.0),
        )


def scaled(colour: Colour, factor: float, most: float = 255.0) -> Colour:
    """A colour made brighter or darker."""
    return min(colour[0] * factor, most), min(colour[1] * factor, most), min(colour[2] * factor, most)


def draw_light(rng: np.random.Generator) -> Light:
    """A random mood of sky and sun."""
    zenith, horizon, sun, _ = MOODS[rng.choice(len(MOODS), p=[mood[3] for mood in MOODS])]
    tint = rng.normal(0, 9, 3)
    return Light(
        zenith=_near(zenith, tint, rng),
        horizon=_near(horizon, tint, rng),
        sun=float(np.clip(sun + rng.normal(0, 0.1), 0, 1)),
        azimuth=float(rng.uniform(-math.pi, math.pi)),
        elevation=float(rng.uniform(0.3, 1.1)),
        haze=float(rng.choice([0.0015, 0.004, 0.009], p=[0.5, 0.35, 0.15]) * rng.uniform(0.6, 1.4)),
        exposure=float(np.clip(0.92 + 0.2 * sun + rng.normal(0, 0.1), 0.6, 1.35)),
        clouds=float(rng.uniform(0, 1)),
    )


def _near(colour: Colour, tint: np.ndarray, rng: np.random.Generator) -> Colour:
    red, green, blue = (float(c) for c in np.clip(np.array(colour) + tint + rng.normal(0, 7, 3), 20, 252))
    return red, green, blue

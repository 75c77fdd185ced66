"""What the camera's sensor does to the picture: tone, blur, vignette, noise, compression."""

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Sensor:
    """gains: one factor a channel (white balance); gamma, contrast: 1 changes nothing; blur: pixels (sigma) at a
    height of 512; vignette: darkening of the corners, 0..1; noise: standard deviation in grey values; quality: JPEG
    quality, or None."""

    gains: tuple[float, float, float]
    gamma: float
    contrast: float
    blur: float
    vignette: float
    noise: float
    quality: int | None


def draw_sensor(seed: int) -> Sensor:
    """The sensor of a scene."""
    rng = np.random.default_rng([seed, 5])
    warm = rng.normal(0, 0.05)
    return Sensor(
        gains=(float(1 + warm), float(1 + rng.normal(0, 0.012)), float(1 - warm)),
        gamma=float(np.exp(rng.normal(-0.13, 0.13))),
        contrast=float(rng.uniform(0.82, 1.18)),
        blur=float(rng.choice([0.45, 0.7, 1.0], p=[0.5, 0.35, 0.15])),
        vignette=float(rng.uniform(0, 0.35)),
        noise=float(rng.uniform(1.0, 6.0)),
        quality=int(rng.integers(55, 92)) if rng.random() < 0.25 else None,
    )


def expose(image: np.ndarray, sensor: Sensor, seed: tuple[int, int]) -> np.ndarray:
    """The picture as the sensor gives it, uint8 [H, W, 3]; `seed` fixes the noise of this frame."""
    ramp = np.arange(256, dtype=np.float64)[:, None] / 255
    tone = np.clip(ramp * np.array(sensor.gains), 0, 1) ** sensor.gamma
    table = np.clip(((tone - 0.45) * sensor.contrast + 0.45) * 255, 0, 255).astype(np.uint8)[None]
    image = cv2.LUT(image, table)
    image = cv2.GaussianBlur(image, (3, 3), max(sensor.blur * min(image.shape[0] / 512, 1.0), 0.38))
    if sensor.vignette > 0.04:
        image = cv2.multiply(image, _vignette(image.shape[:2], sensor.vignette), scale=1 / 255)
    rng = np.random.default_rng(seed)
    grain: np.ndarray = np.empty(image.shape, np.int8)
    cv2.setRNGSeed(int(rng.integers(1, 2**31 - 1)))
    cv2.randn(grain, np.zeros(3), np.full(3, sensor.noise))
    image = cv2.add(image, grain, dtype=cv2.CV_8U)
    if sensor.quality is not None:
        _, packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, sensor.quality])
        return cv2.imdecode(packed, cv2.IMREAD_COLOR)  # type: ignore[return-value]
    return image


def _vignette(size: tuple[int, int], strength: float) -> np.ndarray:
    y = np.linspace(-1, 1, size[0], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, size[1], dtype=np.float32)[None]
    mask = cv2.convertScaleAbs(255 * (1 - strength * 0.5 * (x * x + y * y)))
    return cv2.merge([mask] * 3)

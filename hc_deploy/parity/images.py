"""Images to check parity on: seeded, with the smooth shades, edges and noise of photographs. No file is needed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hc_deploy.normalise import normalise
from hc_deploy.spec import ModelSpec

IMAGES = 3
OFFSET = (33, 61)
"""A dynamic model is checked at its nominal size, and at one that is smaller by this: odd, no multiple of 32."""


def parity_images(
    spec: ModelSpec, *, size: tuple[int, int], seed: int = 0, other: tuple[int, int] | None = None
) -> Iterator[np.ndarray]:
    """Input batches for `spec`: of its fixed size; where dynamic, of `size` (H, W), of another, and of 1 or 2 images.

    Args:
        other: the other size, for a network that does not take any; None: a smaller and odd one.
    """
    rng = np.random.default_rng(seed)
    other = other or (max(1, size[0] - OFFSET[0]), max(1, size[1] - OFFSET[1]))
    for index in range(IMAGES):
        height = spec.height or (other if index == 1 else size)[0]
        width = spec.width or (other if index == 1 else size)[1]
        batch = spec.batch or 1 + index % 2
        pictures = np.stack([picture(rng, height, width) for _ in range(batch)])
        yield pictures if spec.input == "uint8" else normalise(pictures, spec)


def picture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """uint8 RGB [H,W,3]: noise at octaves, and rectangles with hard edges."""
    canvas = np.full((height, width, 3), 127.0)
    for octave in range(1, 8):
        cells = 2**octave
        rows = np.minimum(np.arange(height) * cells // height, cells - 1)
        columns = np.minimum(np.arange(width) * cells // width, cells - 1)
        canvas += rng.normal(0, 90 / octave, (cells, cells, 3))[rows][:, columns]
    for _ in range(12):
        top, left = int(rng.integers(0, height)), int(rng.integers(0, width))
        bottom, right = top + int(rng.integers(1, height // 4 + 2)), left + int(rng.integers(1, width // 8 + 2))
        canvas[top:bottom, left:right] = rng.uniform(0, 255, 3)
    canvas += rng.normal(0, 6, canvas.shape)
    return np.clip(canvas, 0, 255).astype(np.uint8)

"""What the sessions are given: one input size and batch for all, and one seeded frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hc_deploy.errors import UsageError
from hc_deploy.spec import ModelSpec

Size = tuple[int, int]
SHAPES = 40


def with_sizes(
    specs: Mapping[str, ModelSpec], *, size: Size | None, frame: Size | None
) -> tuple[list[ModelSpec], Size]:
    """Specs with the sizes and batches that each model will really run on, and the frame's size.

    A dynamic model takes `size`, else the size of the fixed models beside it, else the frame's.

    Args:
        specs: by model name. size: input (height, width) of dynamic models. frame: of the incoming frame; None: the
            models' own size.

    Raises:
        UsageError: a dynamic model and nothing that says its size; a fixed size that is not `size`; batches that
            differ; sizes that differ where `frame` is not given.
    """
    fixed = {spec.size for spec in specs.values() if spec.size is not None}
    default = size or (next(iter(fixed)) if len(fixed) == 1 else frame)
    batches = {spec.batch for spec in specs.values() if spec.batch is not None} or {1}
    if len(batches) > 1:
        listed = ", ".join(f"{name} {spec.batch or 'any'}" for name, spec in specs.items())
        raise UsageError(f"batches that differ: {listed}", expected="one batch for all", mend="measure them apart")
    batch = next(iter(batches))
    settled = [_settled(name, spec, size, default, batch) for name, spec in specs.items()]
    sizes = {spec.size for spec in settled}
    if frame is None and len(sizes) > 1:
        listed = ", ".join(f"{name} {spec.height}x{spec.width}" for name, spec in zip(specs, settled, strict=True))
        raise UsageError(
            f"input sizes that differ: {listed}",
            expected="one size, or one frame that is fed to all",
            mend=f"--frame {settled[0].height}x{settled[0].width}",
        )
    return settled, frame or next(spec.size for spec in settled if spec.size is not None)


def _settled(name: str, spec: ModelSpec, asked: Size | None, default: Size | None, batch: int) -> ModelSpec:
    if spec.size is None and default is None:
        raise UsageError(f"{name} takes any size", expected="a size to run it at", mend="--size 512x1024")
    height, width = spec.height or default[0], spec.width or default[1]  # type: ignore[index]
    if asked is not None and (height, width) != asked:
        raise UsageError(
            f"--size {asked[0]}x{asked[1]}, but {name} was exported for {spec.height or 'any'}x{spec.width or 'any'}",
            expected="the size it was exported for",
            mend="leave --size away, or export again with that --size or --dynamic",
        )
    return replace(spec, batch=batch, height=height, width=width)


def benchmark_frame(size: Size, *, seed: int = 0) -> NDArray[np.uint8]:
    """A frame of noise over flat rectangles, uint8 BGR [H,W,3].

    What it shows does not matter: these networks take no branch on pixel values, every frame costs the same
    arithmetic. Noise and edges keep it from being a constant that a decoder or cache could favour.
    """
    rng = np.random.default_rng(seed)
    height, width = size
    frame = np.full((height, width, 3), 96, dtype=np.int16)
    for _ in range(SHAPES):
        top, left = rng.integers(height), rng.integers(width)
        bottom, right = top + 1 + rng.integers(height // 2 + 1), left + 1 + rng.integers(width // 2 + 1)
        frame[top:bottom, left:right] = rng.integers(0, 256, 3)
    frame += rng.integers(-16, 17, frame.shape, dtype=np.int16)
    return frame.clip(0, 255).astype(np.uint8)

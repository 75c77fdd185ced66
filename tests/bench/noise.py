"""Runs of one file as machines give them: samples in nanoseconds, with what is known to fool a comparison."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WITHIN, OFFSET, RHO = 0.05, 0.03, 0.9
"""Standard deviation of the samples of a run, of the runs, and correlation of one sample with the next."""
NOISES = ("independent", "offset", "correlated", "offset and correlated", "two speeds a run", "two speeds a sample")


def runs(noise: str, shape: tuple[int, ...], samples: int, rng: np.random.Generator, *, offset: float = OFFSET):
    """Samples [*shape, samples] around 50 ms; the axes before the last are runs."""
    logs = rng.normal(0, WITHIN, (*shape, samples))
    if "correlated" in noise:
        for index in range(1, samples):
            logs[..., index] = RHO * logs[..., index - 1] + np.sqrt(1 - RHO**2) * logs[..., index]
    if "offset" in noise:
        logs += rng.normal(0, offset, shape)[..., None]
    if noise == "two speeds a run":
        logs += 0.1 * (rng.random(shape) < 0.5)[..., None]
    if noise == "two speeds a sample":
        logs += 0.26 * (rng.random(logs.shape) < 0.4)
    times: NDArray[np.float64] = 50e6 * np.exp(logs)
    return times

"""Runs enter, nanoseconds leave: every run once a round, in an order shuffled from round to round, the cache cold."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import torch

Run = Callable[[], object]
FLUSH_SHARE = 8
"""The flushed buffer, in sizes of the L2 cache."""
SMALLEST_FLUSH = 256 << 20


class Clock(Protocol):
    """Times one run: nanoseconds."""

    def sample(self, run: Run) -> int: ...


class EventClock:
    """CUDA events around a run on an empty L2 cache.

    Before it a buffer of several caches is written, which puts out what the cache held, and read, which leaves clean
    lines: dirty ones would be written back in the run's time. That work also keeps the GPU busy while the run is being
    queued, so that the events hold no waiting for the CPU (unless the run's own launches are slower than its kernels).

    Args:
        device: a CUDA device. flush_bytes: size of the buffer.
    """

    def __init__(self, device: torch.device, flush_bytes: int) -> None:
        self._device = device
        self._buffer = torch.zeros(flush_bytes // 4, dtype=torch.float32, device=device)

    def sample(self, run: Run) -> int:
        """Nanoseconds on the GPU, of the current stream."""
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self._buffer.zero_()
        self._buffer.sum()
        start.record()
        run()
        end.record()
        end.synchronize()
        return round(start.elapsed_time(end) * 1e6)


class WallClock:
    """The process's own clock: for the dry run, whose times mean nothing."""

    def sample(self, run: Run) -> int:
        """Nanoseconds."""
        start = time.perf_counter_ns()
        run()
        return time.perf_counter_ns() - start


def flush_bytes(device: torch.device) -> int:
    """A buffer large enough to fill the device's L2 cache several times."""
    return max(FLUSH_SHARE * torch.cuda.get_device_properties(device).L2_cache_size, SMALLEST_FLUSH)


def interleaved(
    runs: Mapping[str, Run], clock: Clock, *, rounds: int, warmup: int, seed: int = 0
) -> dict[str, list[int]]:
    """Nanoseconds of each run in each round, after `warmup` rounds that are not kept."""
    order, rng = list(runs), np.random.default_rng(seed)
    samples: dict[str, list[int]] = {name: [] for name in runs}
    for number in range(warmup + rounds):
        rng.shuffle(order)
        for name in order:
            nanoseconds = clock.sample(runs[name])
            if number >= warmup:
                samples[name].append(nanoseconds)
    return samples

"""How long each stage took, frame by frame. Standard library only."""

from __future__ import annotations

import statistics
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

Stage = Literal["read", "prepare", "load", "engine", "fetch", "draw", "write"]
STAGES: tuple[Stage, ...] = get_args(Stage)


class StageTimes:
    """Raw samples in seconds, one a frame and stage (8 bytes each: an hour at 30 frames per second is 6 MB)."""

    def __init__(self) -> None:
        self._samples: dict[Stage, array[float]] = {stage: array("d") for stage in STAGES}

    def add(self, stage: Stage, seconds: float) -> None:
        self._samples[stage].append(seconds)

    @contextmanager
    def measure(self, stage: Stage) -> Iterator[None]:
        """Add the time of the block to `stage`; a block that raises is not counted."""
        start = time.perf_counter()
        yield
        self.add(stage, time.perf_counter() - start)

    def count(self, stage: Stage) -> int:
        return len(self._samples[stage])

    def total(self, stage: Stage) -> float:
        """Seconds in all."""
        return sum(self._samples[stage])

    def median(self, stage: Stage) -> float:
        """Seconds of the median frame; 0 before the first."""
        samples = self._samples[stage]
        return statistics.median(samples) if samples else 0.0

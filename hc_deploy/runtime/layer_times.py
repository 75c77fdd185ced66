"""TensorRT's own clock of the layers of an engine: a profiler for a context enters, mean times leave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LayerTime:
    """Mean time of one layer of the engine, in milliseconds."""

    name: str
    milliseconds: float


def layer_clock(trt: Any) -> Any:
    """An IProfiler of the runtime `trt`; `means(runs)` of it gives a LayerTime a layer, slowest first."""

    class Profiler(trt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.totals: dict[str, float] = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.totals[layer_name] = self.totals.get(layer_name, 0.0) + ms

        def means(self, runs: int) -> list[LayerTime]:
            times = [LayerTime(name, total / runs) for name, total in self.totals.items()]
            return sorted(times, key=lambda entry: -entry.milliseconds)

    return Profiler()

"""Synthetic reports, and a session that records what happens to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from hc_deploy.bench.environment import Environment
from hc_deploy.bench.report import REPORT_SCHEMA, ModelFile, ModelReport, Report, Samples, Stop, Workload
from hc_deploy.classes import CITYSCAPES
from hc_deploy.runtime.session import Array, Outputs, SessionBase
from hc_deploy.spec import ModelSpec

SIZE = (64, 96)


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


def spec_of(arch: str, **fields: object) -> ModelSpec:
    return ModelSpec(arch, CITYSCAPES.names, CITYSCAPES.palette, **{"batch": 1, "height": 64, "width": 96, **fields})


class FakeSession(SessionBase):
    """Gives labels of zeros; `log` collects (name, call); `on` holds what to do in a call."""

    def __init__(self, name: str, log: list[tuple[str, str]] | None = None, **on: Callable[[], None]) -> None:
        self.name, self.provider, self.spec = name, "cpu", spec_of(name)
        self.log, self.on = [] if log is None else log, on

    def _note(self, call: str) -> None:
        self.log.append((self.name, call))
        self.on.get(call, lambda: None)()

    def _load(self, images: Array) -> None:
        self._note("load")
        self._shape = images.shape[:3]

    def _execute(self) -> None:
        self._note("execute")

    def _fetch(self) -> Outputs:
        self._note("fetch")
        return {"labels": np.zeros(self._shape, np.uint8)}


def make_report(medians: dict[str, float], *, rounds: int = 60, noise: float = 0.02, seed: int = 0) -> Report:
    """Engine times around `medians` (ms), half a ms of copies, a ms of processing."""
    rng = np.random.default_rng(seed)
    models = []
    for name, median in medians.items():
        scatter = rng.lognormal(0, noise, rounds)
        engine, transfer, end_to_end = (
            tuple(int(t) for t in (median + extra) * 1e6 * scatter) for extra in (0.0, 0.5, 1.5)
        )
        models.append(
            ModelReport(
                name,
                ModelFile(f"{name}/model.onnx", "0" * 64, 10),
                "fcn32_resnet18",
                0,
                {"width": 4},
                "uint8",
                ("labels",),
                1,
                SIZE,
                "cpu",
                None,
                Samples(engine, transfer, end_to_end),
            )
        )
    machine = Environment("Test CPU", 2, 2, None, None, 0.1, None, "Linux", "3.11", {"onnxruntime": "1.20.0"})
    workload = Workload(SIZE, rounds, 5, 1, 0, Stop.ROUNDS)
    return Report(REPORT_SCHEMA, "2025-01-01T00:00:00Z", next(iter(medians)), machine, workload, tuple(models))


def with_model(report: Report, name: str, **fields: object) -> Report:
    """`report` with fields of one model replaced."""
    models = tuple(replace(model, **fields) if model.name == name else model for model in report.models)
    return replace(report, models=models)

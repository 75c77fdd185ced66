"""A group and the files of its cases in; parity, three clocks, layers and memory out. Runs in the worker's process.

A case that fails is left out with its reason; the others of its group are measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from benchmarks.gpu.backends import bounds_of, loaded_versions, open_case
from benchmarks.gpu.cases import Case, Group
from benchmarks.gpu.store import Files, Recorded
from hc_deploy.bench.clocks import Plan
from hc_deploy.bench.report import Report
from hc_deploy.bench.results import ModelResult, results
from hc_deploy.bench.run import Entry, run_benchmark
from hc_deploy.engine.plugin_library import OPS
from hc_deploy.errors import DeployError
from hc_deploy.parity.fidelity import BOUNDS, measure_fidelity
from hc_deploy.runtime.session import Session

Status = Literal["measured", "built", "not run"]
PROFILES, PROFILED_RUNS = 8, 5
"""Samples of the layers' times, and the runs that each is a mean of."""
REASON = 600


@dataclass(frozen=True)
class Parity:
    """Against torch in float32 on the CPU. `bounds`: the precision whose bounds were asked; `failures`: what broke."""

    images: int
    pixels: float
    mean_iou: float
    bounds: str
    failures: tuple[str, ...]


@dataclass(frozen=True)
class Layers:
    """TensorRT's own times of an engine's layers, in milliseconds.

    Attributes:
        custom: names of the layers of our plugin and their median. samples: their sum, one a profile.
        total: median sum of all layers.
    """

    custom: dict[str, float]
    samples: tuple[float, ...]
    total: float


@dataclass(frozen=True)
class CaseResult:
    """What came of a case. `engine`: bytes, seconds, layers as built, of a backend that has engines."""

    case: Case
    status: Status
    reason: str = ""
    parity: Parity | None = None
    memory: dict[str, int] | None = None
    layers: Layers | None = None
    engine: dict[str, Any] | None = None


@dataclass(frozen=True)
class GroupResult:
    """What came of a group. `report`: the samples of the cases that were measured, by the cases' names."""

    group: Group
    cases: tuple[CaseResult, ...]
    report: Report | None = None
    reason: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    @cached_property
    def rows(self) -> tuple[ModelResult, ...]:
        """The report's statistics: bootstraps, of a tenth of a second and more."""
        return results(self.report) if self.report is not None else ()

    def case(self, name: str) -> CaseResult | None:
        """The case, where it was measured."""
        return next((one for one in self.cases if one.case.name == name and one.status == "measured"), None)


@dataclass(frozen=True)
class Job:
    """What a worker is told. `files`: of the cases that could be prepared; `refused`: why the others could not."""

    group: Group
    files: Mapping[str, Files]
    refused: Mapping[str, str]
    plan: Plan
    dry_run: bool


def reason_of(error: BaseException) -> str:
    """One paragraph: what a DeployError received, or the kind and the first line of another."""
    if isinstance(error, DeployError):
        return " ".join(error.received.split())[:REASON]
    first = (str(error).strip() or "no message").splitlines()[0]
    return f"{type(error).__name__}: {first}"[:REASON]


def not_run(group: Group, reason: str) -> GroupResult:
    """A group of which nothing ran."""
    return GroupResult(group, tuple(CaseResult(case, "not run", reason) for case in group.cases), reason=reason)


def engine_facts(files: Files) -> dict[str, Any] | None:
    """Of the sidecar."""
    if files.engine is None:
        return None
    engine = files.engine
    return {"bytes": engine.engine.bytes, "seconds": engine.seconds, "version": engine.version,
            "sha256": engine.engine.sha256, "layers": asdict(engine.layers)}  # fmt: skip


def run_group(job: Job) -> GroupResult:
    """Open, compare, sample, profile."""
    results: dict[str, CaseResult] = {}
    sessions: dict[str, Session] = {}
    report, reason = None, ""
    with ExitStack() as stack:
        for case in job.group.cases:
            results[case.name] = _opened(case, job, stack, sessions)
        if sessions:
            try:
                report = _sampled(job, sessions)
            except Exception as error:  # a runtime may raise anything
                reason = reason_of(error)
        for name, session in sessions.items():
            results[name] = _finished(results[name], session, reason)
    return GroupResult(job.group, tuple(results.values()), report, reason, loaded_versions())


def _opened(case: Case, job: Job, stack: ExitStack, sessions: dict[str, Session]) -> CaseResult:
    """The case with its parity; its session joins `sessions` when it answered."""
    if case.name in job.refused:
        return CaseResult(case, "not run", job.refused[case.name])
    files = job.files[case.name]
    facts = engine_facts(files)
    if facts is not None and job.dry_run:
        return CaseResult(case, "built", "engines are not run in a dry run", engine=facts)
    try:
        session = stack.enter_context(open_case(case, files, dry_run=job.dry_run))
        parity = _parity(case, files, session, dry_run=job.dry_run)
    except Exception as error:  # a runtime may raise anything
        return CaseResult(case, "not run", reason_of(error), engine=facts)
    sessions[case.name] = session
    return CaseResult(case, "measured", parity=parity, engine=facts)


def _parity(case: Case, files: Files, session: Session, *, dry_run: bool) -> Parity:
    reference = Recorded(files.folder)
    found = measure_fidelity(reference, session, reference.images())
    assert found.pixel_agreement is not None and found.mean_iou is not None
    bounds = bounds_of(case, dry_run=dry_run)
    return Parity(
        found.images, found.pixel_agreement, found.mean_iou, bounds, tuple(found.failures(BOUNDS[bounds]))
    )  # fmt: skip


def _sampled(job: Job, sessions: Mapping[str, Session]) -> Report:
    entries = [Entry(name, job.files[name].model, session) for name, session in sessions.items()]
    baseline = job.group.baseline if job.group.baseline in sessions else entries[0].name
    return run_benchmark(entries, job.plan, baseline=baseline)


def _finished(result: CaseResult, session: Session, reason: str) -> CaseResult:
    """With layers and memory, where the session tells them; `not run` where sampling the group failed."""
    if reason:
        result = replace(result, status="not run", reason=reason)
    try:
        if hasattr(session, "memory"):
            result = replace(result, memory=asdict(session.memory()))
        if not reason and hasattr(session, "profile_layers"):
            result = replace(result, layers=_layers(result, session))
    except Exception as error:
        return replace(result, reason=f"{reason} layers: {reason_of(error)}")
    return result


def _layers(result: CaseResult, session: Any) -> Layers:
    """Plugin layers keep the op's name in theirs; names of the same kind in an engine without the plugin are others."""
    import statistics

    import numpy as np

    image = np.zeros((1, *result.case.network.size, 3), np.uint8)
    profiles = [session.profile_layers(image, runs=PROFILED_RUNS) for _ in range(PROFILES)]
    times = [{layer.name: layer.milliseconds for layer in profile} for profile in profiles]
    names = [name for name in times[0] if any(op in name for op in OPS)] if result.case.plugin else []
    if result.case.plugin and not names:
        raise DeployError(f"no layer has the name of an op of the plugin, of {len(times[0])}: {', '.join(times[0])}")
    return Layers(
        custom={name: statistics.median(one.get(name, 0.0) for one in times) for name in names},
        samples=tuple(sum(one.get(name, 0.0) for name in names) for one in times) if names else (),
        total=statistics.median(sum(one.values()) for one in times),
    )

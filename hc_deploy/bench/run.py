"""Opened sessions -> a report: sizes settled, frame drawn, samples taken, files and machine described."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hc_deploy.bench.clocks import PRIMING, Plan, Subject, measure
from hc_deploy.bench.environment import read_environment
from hc_deploy.bench.report import (
    REPORT_SCHEMA,
    ModelFile,
    ModelReport,
    Report,
    Samples,
    Workload,
    describe_file,
    utc_now,
)
from hc_deploy.bench.workload import Size, benchmark_frame, settle
from hc_deploy.runtime.session import Session


@dataclass(frozen=True)
class Entry:
    """A model to measure: its unique name, its file, the session opened on it and the threads that was opened with."""

    name: str
    path: Path
    session: Session
    threads: int | None = None


def run_benchmark(
    entries: Sequence[Entry],
    plan: Plan,
    *,
    baseline: str,
    size: Size | None = None,
    frame: Size | None = None,
    on_round: Callable[[int], None] | None = None,
) -> Report:
    """Measure `entries` side by side.

    Args:
        baseline: name of the entry that ratios are taken against.
        size, frame: see `workload.settle`. on_round: see `clocks.measure`.

    Raises:
        UsageError: sizes or batches that do not go together.
    """
    specs, frame = settle({entry.name: entry.session.spec for entry in entries}, size=size, frame=frame)
    subjects = [Subject(entry.name, entry.session, spec) for entry, spec in zip(entries, specs, strict=True)]
    files = [describe_file(entry.path) for entry in entries]
    environment, created = read_environment(), utc_now()
    measured = measure(
        subjects,
        benchmark_frame(frame, seed=plan.seed),
        plan,
        baseline=[entry.name for entry in entries].index(baseline),
        on_round=on_round,
    )
    models = tuple(
        _model_report(entry, subject, file, samples)
        for entry, subject, file, samples in zip(entries, subjects, files, measured.samples, strict=True)
    )
    rounds = len(measured.samples[0].engine)
    workload = Workload(frame, rounds, plan.warmup, PRIMING, plan.seed, measured.stop)
    return Report(REPORT_SCHEMA, created, baseline, environment, workload, models)


def _model_report(entry: Entry, subject: Subject, file: ModelFile, samples: Samples) -> ModelReport:
    spec = subject.spec
    assert spec.batch is not None and spec.size is not None  # settled
    return ModelReport(
        name=entry.name,
        file=file,
        arch=spec.arch,
        level=spec.level,
        options=spec.options,
        input=spec.input,
        outputs=tuple(spec.outputs),
        batch=spec.batch,
        size=spec.size,
        provider=entry.session.provider,
        threads=entry.threads,
        samples=samples,
        runtime=entry.session.runtime,
    )

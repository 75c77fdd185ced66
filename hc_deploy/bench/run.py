"""Opened sessions -> a report: sizes settled, frame drawn, samples taken, files and machine described."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hc_deploy.bench.clocks import PRIMING, Plan, Sample, Subject, gathered, measure
from hc_deploy.bench.environment import read_environment
from hc_deploy.bench.report import (
    REPORT_SCHEMA,
    ModelFile,
    ModelReport,
    Report,
    Samples,
    Stop,
    Workload,
    describe_file,
    utc_now,
)
from hc_deploy.bench.workload import Size, benchmark_frame, with_sizes
from hc_deploy.runtime.session import Session
from hc_deploy.system.interrupts import salvaging
from hc_deploy.system.limits import image_bytes, require_memory

SMALLER = "a smaller --size or --frame"


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
    on_end: Callable[[Report], None] = lambda report: None,
) -> Report:
    """Measure `entries` side by side.

    Args:
        baseline: name of the entry that ratios are taken against.
        size, frame: see `workload.with_sizes`. on_round: see `clocks.measure`.
        on_end: called with what was measured, a round or more, when a signal ends the process in the middle of it.

    Raises:
        UsageError: sizes or batches that do not go together.
    """
    specs, frame = with_sizes({entry.name: entry.session.spec for entry in entries}, size=size, frame=frame)
    largest = max((spec.batch or 1) * (spec.height or 1) * (spec.width or 1) for spec in specs)
    require_memory(
        image_bytes(1, *frame) + image_bytes(largest, 1, 1), what="a frame and a batch of this size", mend=SMALLER
    )
    subjects = [Subject(entry.name, entry.session, spec) for entry, spec in zip(entries, specs, strict=True)]
    files = [describe_file(entry.path) for entry in entries]
    environment, created = read_environment(), utc_now()

    def report(samples: tuple[Samples, ...], stop: Stop) -> Report:
        workload = Workload(frame, len(samples[0].engine), plan.warmup, PRIMING, plan.seed, stop)
        models = map(_model_report, entries, subjects, files, samples)
        return Report(REPORT_SCHEMA, created, baseline, environment, workload, tuple(models))

    taken: list[list[Sample]] = []

    def salvage() -> None:
        if taken and all(taken):
            on_end(report(gathered(taken), Stop.INTERRUPTED))

    with salvaging(salvage):
        measured = measure(
            subjects,
            benchmark_frame(frame, seed=plan.seed),
            plan,
            baseline=[entry.name for entry in entries].index(baseline),
            on_round=on_round,
            taken=taken,
        )
    return report(measured.samples, measured.stop)


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

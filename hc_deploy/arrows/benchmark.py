"""models -> report, and reports of two sides -> what changed: `benchmark`, `compare`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from hc_deploy.errors import UsageError

if TYPE_CHECKING:
    from hc_deploy.bench.clocks import Plan
    from hc_deploy.bench.compare import Comparison
    from hc_deploy.bench.report import Report
    from hc_deploy.bench.workload import Size
    from hc_deploy.runtime import Session

    OneOrMore: TypeAlias = Report | Path | str | Sequence[Report | Path | str]


def benchmark(
    models: Mapping[str, Path | str],
    *,
    baseline: str | None = None,
    plan: Plan | None = None,
    size: Size | None = None,
    frame: Size | None = None,
    threads: int | None = None,
    open_model: Callable[[str, Path], Session] | None = None,
    on_round: Callable[[int], None] | None = None,
    on_end: Callable[[Report], None] = lambda report: None,
) -> Report:
    """Measure models side by side in this process, interleaved; every sample is in the report.

    Args:
        models: name -> model.onnx or model.engine.
        baseline: the name that ratios are taken against (default: the first).
        plan: how long to sample (default: until each ratio is known to 2%, 60 s at most).
        size: (height, width) that models of any size run at.
        frame: (height, width) of the incoming frame (default: the models').
        threads: of one run of a model.onnx (default: the runtime's choice).
        open_model: opens a model, given its name and file (default: `open_session`).
        on_round: called with the number of rounds done.
        on_end: called with what was measured, when a signal ends the process.

    Raises:
        DeployError: a model cannot be opened or run. UsageError: sizes or batches that do not go together.
    """
    from hc_deploy.bench.clocks import Plan
    from hc_deploy.bench.run import Entry, run_benchmark
    from hc_deploy.runtime import open_session

    if not models:
        raise UsageError("no model to measure", expected="one or more")
    with ExitStack() as stack:
        entries = []
        for name, given in models.items():
            path = Path(given)
            session = open_model(name, path) if open_model else open_session(path, threads=threads)
            entries.append(Entry(name, path, stack.enter_context(session), threads))
        return run_benchmark(
            entries, plan or Plan(), baseline=baseline or entries[0].name, size=size, frame=frame,
            on_round=on_round, on_end=on_end,
        )  # fmt: skip


def compare(old: OneOrMore, new: OneOrMore) -> Comparison:
    """What changed between two sides, model by model, with verdicts.

    Of several runs a side their medians are compared (Welch's t), so how runs differ is in the interval. One report a
    side is compared with an interval as wide as single runs are known to differ.

    Args:
        old: a report or the file that `hc-deploy bench run` wrote, or a list of them: runs of the same thing.
        new: likewise.

    Raises:
        DeployError: no report, or no model in all of them. UsageError: neither one a side nor three or more a side.
    """
    from hc_deploy.bench.compare import compare as compared

    return compared(_reports(old), _reports(new))


def _reports(given: OneOrMore) -> list[Report]:
    from hc_deploy.bench.report import Report, read_report

    several = [given] if isinstance(given, Report | Path | str) else given
    return [one if isinstance(one, Report) else read_report(Path(one)) for one in several]

"""Reports of two sides -> what changed, with verdicts, and the regression gate. Pure: nothing is printed.

The unit is the run: of each report only the medians count (between_runs.py says why). One report a side is compared
too, with an interval that is as wide as runs are known to differ.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from hc_deploy.bench.between_runs import (
    FEWEST_RUNS,
    ONE_RUN_PERCENT,
    geometric_mean,
    ratio_of_runs,
    ratio_of_single_runs,
)
from hc_deploy.bench.conditions import Difference, differences_within, find_differences
from hc_deploy.bench.report import Clock, Report
from hc_deploy.bench.results import NS_PER_MS, require_stable
from hc_deploy.bench.statistics import MIN_SAMPLES, Ratio, Verdict, unpaired_ratio
from hc_deploy.errors import DeployError, GateError, UnstableMeasurementError, UsageError

MORE_RUNS = "hc-deploy bench run MODEL... --repeat 5 -o report.json, for both sides, and compare all of them"


@dataclass(frozen=True)
class Change:
    """One clock of one model: the median of each run in ms, and the ratio new / old."""

    name: str
    clock: Clock
    old_runs_ms: tuple[float, ...]
    new_runs_ms: tuple[float, ...]
    ratio: Ratio

    @property
    def old_ms(self) -> float:
        """Geometric mean of the old runs' medians."""
        return geometric_mean(self.old_runs_ms)

    @property
    def new_ms(self) -> float:
        """Geometric mean of the new runs' medians."""
        return geometric_mean(self.new_runs_ms)


@dataclass(frozen=True)
class Comparison:
    """All of it: `changes` by model in the old report's order, three clocks each; `runs`: reports of old and of new."""

    runs: tuple[int, int]
    differences: tuple[Difference, ...]
    changes: tuple[Change, ...]
    only_old: tuple[str, ...]
    only_new: tuple[str, ...]

    def regressions(self, clocks: Collection[Clock], max_percent: float) -> tuple[Change, ...]:
        """Significant slowdowns of more than `max_percent` on the chosen clocks."""
        return tuple(change for change in self.changes if change.clock in clocks and is_regression(change, max_percent))


def is_regression(change: Change, max_percent: float) -> bool:
    """Whether `change` is a significant slowdown of more than `max_percent`."""
    return change.ratio.verdict is Verdict.SLOWER and change.ratio.value > 1 + max_percent / 100


def is_undecided(change: Change, max_percent: float) -> bool:
    """Whether `change` is no regression and may be one all the same: its interval reaches beyond `max_percent`."""
    return change.ratio.interval.high > 1 + max_percent / 100 and not is_regression(change, max_percent)


def compare(old: Sequence[Report], new: Sequence[Report]) -> Comparison:
    """Compare the models that all reports name.

    Args:
        old, new: reports of runs of the same thing each: one a side, or `FEWEST_RUNS` or more.

    Raises:
        UsageError: too few reports for a verdict, or one of them twice. DeployError: no model is in all of them.
    """
    _require_runs(old, new)
    names = {which: _names(reports) for which, reports in (("old", old), ("new", new))}
    common = [name for name in names["old"] if all(name in _names([report]) for report in (*old, *new))]
    if not common:
        raise DeployError(
            f"no model is in both reports: {', '.join(names['old'])} against {', '.join(names['new'])}",
            expected="the same names in both",
            mend="name the models when measuring: python bench.py run NAME=MODEL -o report.json",
        )
    within = [*differences_within("old", old, common), *differences_within("new", new, common)]
    return Comparison(
        runs=(len(old), len(new)),
        differences=(*within, *find_differences(old[0], new[0], common)),
        changes=tuple(_change(old, new, name, clock) for name in common for clock in Clock),
        only_old=tuple(name for name in names["old"] if name not in common),
        only_new=tuple(name for name in names["new"] if name not in common and name not in names["old"]),
    )


def _require_runs(old: Sequence[Report], new: Sequence[Report]) -> None:
    fewest = min(len(old), len(new))
    if fewest < FEWEST_RUNS and (len(old), len(new)) != (1, 1):
        raise UsageError(
            f"{len(old)} old and {len(new)} new: too few reports to see how much runs differ",
            expected=f"one a side, or {FEWEST_RUNS} or more a side",
            mend=MORE_RUNS,
        )
    for which, reports in (("old", old), ("new", new)):
        if any(one == other for one, other in combinations(reports, 2)):
            raise UsageError(
                f"the same run twice among the {which} reports", expected="a report of another run in each"
            )  # fmt: skip


def _names(reports: Sequence[Report]) -> list[str]:
    return list(dict.fromkeys(model.name for report in reports for model in report.models))


def require_judgeable(old: Sequence[Report], new: Sequence[Report], clocks: Collection[Clock]) -> None:
    """UnstableMeasurementError when samples are too few or scatter too far to tell a regression from noise."""
    names = {name for name in _names(old) if all(name in _names([report]) for report in (*old, *new))}
    for which, reports in (("old", old), ("new", new)):
        for report in reports:
            if report.workload.rounds < MIN_SAMPLES:
                raise UnstableMeasurementError(
                    f"{'the' if len(reports) == 1 else 'one'} {which} report holds {report.workload.rounds} rounds: "
                    "too few for a verdict",
                    expected=f"{MIN_SAMPLES} or more",
                    mend="measure again with more --rounds",
                )
            require_stable(report, clocks=clocks, names=names)


def require_no_regression(comparison: Comparison, clocks: Collection[Clock], max_percent: float) -> None:
    """GateError that lists the regressions, where there are any."""
    found = comparison.regressions(clocks, max_percent)
    if found:
        raise GateError(
            "slower than before:\n" + "\n".join(_regression_line(change) for change in found),
            expected=f"no significant slowdown beyond {max_percent:g}% on {', '.join(clocks)}",
            mend="find what changed, or allow it with --max-regression PERCENT",
        )


def require_decided(comparison: Comparison, clocks: Collection[Clock], max_percent: float) -> None:
    """UnstableMeasurementError that lists the changes of which nobody can say whether they are regressions."""
    open_ones = [one for one in comparison.changes if one.clock in clocks and is_undecided(one, max_percent)]
    if not open_ones:
        return
    lines = "\n".join(_regression_line(change) for change in open_ones)
    if comparison.runs == (1, 1):
        raise UnstableMeasurementError(
            f"{one_run_each()}:\n{lines}",
            expected=f"a difference that single runs can show, or {FEWEST_RUNS} runs or more a side",
            mend=MORE_RUNS,
        )
    raise UnstableMeasurementError(
        f"the runs differ too much to tell whether this is within {max_percent:g}%:\n{lines}",
        expected=f"intervals that end below +{max_percent:g}%",
        mend="more runs a side (--repeat), or a machine with less beside",
    )


def one_run_each() -> str:
    """What a comparison of single reports cannot know."""
    return f"one run each: differences under {ONE_RUN_PERCENT}% cannot be told"


def _regression_line(change: Change) -> str:
    percent = 100 * (change.ratio.value - 1)
    interval = change.ratio.interval
    return (
        f"  {change.name}, {change.clock}: {change.old_ms:.4g} -> {change.new_ms:.4g} ms, "
        f"{percent:+.1f}% [{100 * (interval.low - 1):+.1f}%, {100 * (interval.high - 1):+.1f}%]"
    )


def _change(old: Sequence[Report], new: Sequence[Report], name: str, clock: Clock) -> Change:
    before, after = ([report.model(name).samples.of(clock) for report in reports] for reports in (old, new))
    medians = [tuple(float(np.median(run)) / NS_PER_MS for run in runs) for runs in (before, after)]
    if len(old) == len(new) == 1:
        ratio = ratio_of_single_runs(unpaired_ratio(after[0], before[0]))
    else:
        ratio = ratio_of_runs(medians[1], medians[0], samples=min(map(len, (*before, *after))))
    return Change(name, clock, medians[0], medians[1], ratio)

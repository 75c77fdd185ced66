"""Two reports -> what changed, with verdicts, and the regression gate. Pure: nothing is printed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from hc_deploy.bench.report import Clock, ModelReport, Report
from hc_deploy.bench.results import NS_PER_MS, require_stable
from hc_deploy.bench.statistics import MIN_SAMPLES, Ratio, Verdict, summarise, unpaired_ratio
from hc_deploy.errors import DeployError, GateError, UnstableMeasurementError

ABSENT = "(none)"


@dataclass(frozen=True)
class Difference:
    """A condition that was not the same; `fatal` where a comparison across it says nothing."""

    what: str
    old: str
    new: str
    fatal: bool


@dataclass(frozen=True)
class Change:
    """One clock of one model: medians in ms and the ratio new / old."""

    name: str
    clock: Clock
    old_ms: float
    new_ms: float
    ratio: Ratio


@dataclass(frozen=True)
class Comparison:
    """All of it: `changes` by model in the old report's order, three clocks each."""

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


def compare(old: Report, new: Report) -> Comparison:
    """Compare the models that both reports name.

    Raises:
        DeployError: they have no model in common.
    """
    old_names, new_names = ([model.name for model in report.models] for report in (old, new))
    common = [name for name in old_names if name in new_names]
    if not common:
        raise DeployError(
            f"no model is in both reports: {', '.join(old_names)} against {', '.join(new_names)}",
            expected="the same names in both",
            mend="name the models when measuring: python bench.py run NAME=MODEL -o report.json",
        )
    return Comparison(
        differences=tuple(find_differences(old, new, common)),
        changes=tuple(_change(old.model(name), new.model(name), clock) for name in common for clock in Clock),
        only_old=tuple(name for name in old_names if name not in new_names),
        only_new=tuple(name for name in new_names if name not in old_names),
    )


def find_differences(old: Report, new: Report, common: Sequence[str]) -> Iterator[Difference]:
    """Conditions that were not the same in both runs. The model files themselves may differ: that is the point."""
    yield from _differing("frame", _size(old.workload.frame), _size(new.workload.frame), fatal=True)
    for name in common:
        before, after = old.model(name), new.model(name)
        yield from _differing(f"{name}: input size", _size(before.size), _size(after.size), fatal=True)
        yield from _differing(f"{name}: batch", before.batch, after.batch, fatal=True)
        for what in ("arch", "level", "options", "input", "provider", "threads"):
            yield from _differing(f"{name}: {what}", getattr(before, what), getattr(after, what))
        if before.runtime is not None and after.runtime is not None:  # older reports do not say
            for what in ("name", "version", "precision", "kernels"):
                pair = [getattr(runtime, what) for runtime in (before.runtime, after.runtime)]
                yield from _differing(f"{name}: runtime {what}" if what != "name" else f"{name}: runtime", *pair)
        yield from _differing(f"{name}: outputs", ", ".join(before.outputs), ", ".join(after.outputs))
    here, there = old.environment, new.environment
    yield from _differing("CPU", here.cpu, there.cpu, fatal=True)
    on_cpu = all(report.model(name).provider.endswith("cpu") for report in (old, new) for name in common)
    for what in ("name", "driver"):
        gpus = [getattr(gpu, what) if gpu else None for gpu in (here.gpu, there.gpu)]
        yield from _differing(f"GPU {what}", *gpus, fatal=what == "name" and not on_cpu)
    for what, title in (("usable_cores", "cores"), ("governor", "CPU governor"), ("os", "OS"), ("python", "Python")):
        yield from _differing(title, getattr(here, what), getattr(there, what))
    for package in sorted({*here.packages, *there.packages}):
        yield from _differing(package, here.packages.get(package), there.packages.get(package))


def require_comparable(comparison: Comparison) -> None:
    """DeployError when a difference is one that no comparison survives."""
    fatal = [difference for difference in comparison.differences if difference.fatal]
    if fatal:
        listed = "\n".join(f"  {one.what}: {one.old} in the old report, {one.new} in the new" for one in fatal)
        raise DeployError(
            f"these reports cannot be compared:\n{listed}",
            expected="the same machine and workload in both",
            mend="measure both on one machine, or add --allow-different to see the numbers all the same",
        )


def require_judgeable(old: Report, new: Report, clocks: Collection[Clock]) -> None:
    """UnstableMeasurementError when samples are too few or scatter too far to tell a regression from noise."""
    names = {model.name for model in old.models} & {model.name for model in new.models}
    for which, report in (("old", old), ("new", new)):
        if report.workload.rounds < MIN_SAMPLES:
            raise UnstableMeasurementError(
                f"the {which} report holds {report.workload.rounds} rounds: too few for a verdict",
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


def _regression_line(change: Change) -> str:
    percent = 100 * (change.ratio.value - 1)
    interval = change.ratio.interval
    return (
        f"  {change.name}, {change.clock}: {change.old_ms:.4g} -> {change.new_ms:.4g} ms, "
        f"{percent:+.1f}% [{100 * (interval.low - 1):+.1f}%, {100 * (interval.high - 1):+.1f}%]"
    )


def _change(old: ModelReport, new: ModelReport, clock: Clock) -> Change:
    before, after = old.samples.of(clock), new.samples.of(clock)
    old_ms, new_ms = summarise(before).median / NS_PER_MS, summarise(after).median / NS_PER_MS
    return Change(old.name, clock, old_ms, new_ms, unpaired_ratio(after, before))


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _differing(what: str, old: object, new: object, *, fatal: bool = False) -> Iterator[Difference]:
    if old != new:
        before, after = (ABSENT if value is None else str(value) for value in (old, new))
        yield Difference(what, before, after, fatal)

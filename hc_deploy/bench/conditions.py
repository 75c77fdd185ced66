"""Reports -> the conditions that were not the same in them, and whether a comparison survives that. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from hc_deploy.bench.report import Report
from hc_deploy.errors import DeployError

ABSENT = "(none)"


@dataclass(frozen=True)
class Difference:
    """A condition that was not the same; `fatal` where a comparison across it says nothing."""

    what: str
    old: str
    new: str
    fatal: bool


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


def differences_within(which: str, reports: Sequence[Report], common: Sequence[str]) -> Iterator[Difference]:
    """Conditions that changed among the runs of one side; there the model files may not differ either."""
    found: dict[str, Difference] = {}
    first = reports[0]
    for number, report in enumerate(reports[1:], 2):
        apart = list(find_differences(first, report, common))
        for name in common:
            hashes = [one.model(name).file.sha256[:12] for one in (first, report)]
            apart += _differing(f"{name}: file", *hashes, fatal=True)
        for one in apart:
            what = f"{one.what}, {which} reports 1 and {number}"
            found.setdefault(one.what, replace(one, what=what))
    yield from found.values()


def require_comparable(differences: Iterable[Difference]) -> None:
    """DeployError when a difference is one that no comparison survives."""
    fatal = [one for one in differences if one.fatal]
    if fatal:
        listed = "\n".join(f"  {one.what}: {one.old} against {one.new}" for one in fatal)
        raise DeployError(
            f"these reports cannot be compared:\n{listed}",
            expected="the same machine and workload in all of them",
            mend="measure all on one machine, or add --allow-different to see the numbers all the same",
        )


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _differing(what: str, old: object, new: object, *, fatal: bool = False) -> Iterator[Difference]:
    if old != new:
        before, after = (ABSENT if value is None else str(value) for value in (old, new))
        yield Difference(what, before, after, fatal)

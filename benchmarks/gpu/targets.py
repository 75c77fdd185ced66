"""Results in; each target of the project met, missed, undecided or not measured, with ratio and interval, out. Pure.

A ratio comes from cases of one group, sampled in turn. It is met or missed when its whole 95% interval lies on one side
of the bound, undecided when the interval holds the bound.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from benchmarks.gpu.cases import WITH_PLUGIN
from benchmarks.gpu.measure import GroupResult
from hc_deploy.bench.report import Clock, Report
from hc_deploy.bench.statistics import CONFIDENCE, MIN_SAMPLES, RESAMPLES, Interval, Ratio, paired_ratio

KERNELS = "measured by `python -m benchmarks.kernels -o DIR`"
VIDEO = "not by this script: `hc-deploy video MODEL VIDEO` reports it"


class Status(StrEnum):
    """What became of a target."""

    MET = "met"
    MISSED = "missed"
    UNDECIDED = "undecided"
    NOT_MEASURED = "not measured"


class Target(StrEnum):
    """The targets, in the words of the table."""

    SPEEDUP = "HCPSPNet and HCDeepLabv3 over their twins, ResNet-101: at least 5.0x faster"
    FCN = "HCFCN-32 over FCN-32, level 2: at most 2% more time"
    LEVEL = "level 4 over level 0, ResNet-18: at most 10% more time"
    OPERATORS = "plugin against standard operators: at least 5x on the ops"
    KERNEL = "each kernel: at least 70% of the copy bandwidth"
    FIDELITY = "fidelity: fp32 99.99% of pixels as torch, fp16 99.5%"
    VIDEO = "video: at least 95% of the engine's throughput"


BOUND = {Target.SPEEDUP: 5.0, Target.FCN: 1.02, Target.LEVEL: 1.10, Target.OPERATORS: 5.0}
AT_LEAST = (Target.SPEEDUP, Target.OPERATORS)


@dataclass(frozen=True)
class Verdict:
    """One line. `subject`: the group or kind of case it is about. `detail`: the reason, or what it was taken from."""

    target: Target
    subject: str
    status: Status
    ratio: Ratio | None = None
    detail: str = ""


def judge(results: Sequence[GroupResult], *, dry_run: bool) -> list[Verdict]:
    """Every target: one verdict for each group that shows it, else one that says why there is none."""
    found = [verdict for result in results for verdict in _of_group(result)] + list(_fidelity(results))
    if dry_run:
        found = [Verdict(v.target, v.subject, Status.NOT_MEASURED, v.ratio, "dry run: times mean nothing")
                 if v.target is not Target.FIDELITY else v for v in found]  # fmt: skip
    elsewhere = {Target.KERNEL: KERNELS, Target.VIDEO: VIDEO}
    verdicts = []
    for target in Target:
        mine = [verdict for verdict in found if verdict.target is target]
        missing = elsewhere.get(target, "no case that shows it was measured")
        verdicts += mine or [Verdict(target, "", Status.NOT_MEASURED, detail=missing)]
    return verdicts


def decide(target: Target, ratio: Ratio) -> Status:
    """Where the interval lies."""
    bound, low, high = BOUND[target], ratio.interval.low, ratio.interval.high
    if ratio.count < MIN_SAMPLES:
        return Status.UNDECIDED
    if low >= bound or high <= bound:
        return Status.MET if (low >= bound) == (target in AT_LEAST) else Status.MISSED
    return Status.UNDECIDED


def engine_ratio(report: Report, above: str, below: str) -> Ratio | None:
    """Of the engine clocks of two cases; None where one was not measured."""
    names = {model.name for model in report.models}
    if not {above, below} <= names:
        return None
    return paired_ratio(*(report.model(name).samples.of(Clock.ENGINE) for name in (above, below)))


def operators_ratio(result: GroupResult, system: str) -> Ratio | None:
    """Time of the custom ops as standard operators over their time as plugin layers.

    The former is the plugin layers' time and what the whole network takes longer without the plugin; so the rest of the
    network is taken to cost the same in both. The interval is over rounds and profiles.
    """
    plugin = result.case(system)
    if plugin is None or plugin.layers is None or result.report is None or not plugin.layers.samples:
        return None
    names = {model.name for model in result.report.models}
    if not {system, f"{system} standard"} <= names:
        return None
    ours, standard = (
        np.asarray(result.report.model(name).samples.engine) / 1e6 for name in (system, f"{system} standard")
    )
    own = np.asarray(plugin.layers.samples)
    if own.min() <= 0:
        return None
    rng = np.random.default_rng(0)
    rounds = rng.integers(len(ours), size=(RESAMPLES, len(ours)))
    profiles = np.median(own[rng.integers(len(own), size=(RESAMPLES, len(own)))], axis=1)
    longer = np.median(standard[rounds], axis=1) - np.median(ours[rounds], axis=1)
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile((longer + profiles) / profiles, (tail, 100 - tail))
    value = 1 + (np.median(standard) - np.median(ours)) / np.median(own)
    return Ratio(float(value), Interval(float(low), float(high)), min(len(ours), len(own)))


def _of_group(result: GroupResult) -> Iterator[Verdict]:
    """Targets of speed: they are about deployed networks, on backends that have the plugin."""
    group, report = result.group, result.report
    first = group.cases[0]
    if report is None or first.backend not in WITH_PLUGIN:
        return
    if group.kind == "levels":
        yield from _verdict(Target.LEVEL, group.name, engine_ratio(report, "level 4", "level 0"))
    if group.kind == "pair":
        system = first.network.system
        if system == "hcfcn32":
            yield from _verdict(Target.FCN, group.name, engine_ratio(report, system, group.baseline))
        elif system in ("hcpspnet", "hcdeeplabv3") and first.network.backbone == "resnet101":
            yield from _verdict(Target.SPEEDUP, group.name, engine_ratio(report, group.baseline, system))
        yield from _verdict(Target.OPERATORS, group.name, operators_ratio(result, system))


def _verdict(target: Target, subject: str, ratio: Ratio | None) -> Iterator[Verdict]:
    if ratio is not None:
        few = "" if ratio.count >= MIN_SAMPLES else f"{ratio.count} samples: too few"
        yield Verdict(target, subject, decide(target, ratio), ratio, few)


def _fidelity(results: Sequence[GroupResult]) -> Iterator[Verdict]:
    """One a backend and precision: its worst case."""
    worst: dict[str, tuple[float, int, list[str]]] = {}
    for result in results:
        for one in result.cases:
            if one.parity is None or one.case.backend.startswith("torch"):
                continue  # torch in another precision stands beside the deployed ones, it is none of them
            key = f"{one.case.backend}, {one.case.precision}"
            key += "" if one.parity.bounds == one.case.precision else f" (bounds of {one.parity.bounds})"
            least, count, failed = worst.get(key, (1.0, 0, []))
            names = [f"{result.group.name}: {one.case.name}"] * bool(one.parity.failures)
            worst[key] = (min(least, one.parity.pixels), count + 1, failed + names)
    for key, (least, count, failed) in worst.items():
        detail = f"{count - len(failed)} of {count} cases; least {least:.4%}"
        yield Verdict(Target.FIDELITY, key, Status.MISSED if failed else Status.MET, detail=detail)

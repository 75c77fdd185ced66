"""What the benchmark found: dataclasses, report.json with every raw sample, and the tables of kernels.md."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.kernels.check import Outcome
from benchmarks.kernels.sanitizer import Sanitized
from hc_deploy.bench.environment import Environment
from hc_deploy.bench.report import ModelFile
from hc_deploy.bench.statistics import Ratio, paired_ratio
from hc_deploy.system.strict_json import render

if TYPE_CHECKING:
    import torch

SCHEMA = 1
TARGET = 0.7
"""Share of the copy bandwidth that each kernel shall hold at `TARGET_LEVEL`."""
TARGET_LEVEL = 4


@dataclass(frozen=True)
class Device:
    """What torch tells of the device; sizes in bytes. `cuda`: the version torch was built for."""

    name: str
    capability: str
    memory: int
    l2_cache: int
    multiprocessors: int
    cuda: str | None


def describe_device(device: torch.device) -> Device:
    """What torch tells of a CUDA device."""
    import torch

    found = torch.cuda.get_device_properties(device)
    return Device(
        name=found.name,
        capability=f"{found.major}.{found.minor}",
        memory=found.total_memory,
        l2_cache=found.L2_cache_size,
        multiprocessors=found.multi_processor_count,
        cuda=torch.version.cuda,
    )


@dataclass(frozen=True)
class Settings:
    """How it was measured. `flush`: bytes written and read before each sample."""

    quick: bool
    rounds: int
    warmup: int
    flush: int
    image: tuple[int, int]
    embedding: int
    classes: int


@dataclass(frozen=True)
class Timing:
    """Raw samples of one contender; entry i of both lists is of round i.

    Attributes:
        op, variant: what, by what. level, fine, dtype: at which size, (H, W) of the fine map, of which type.
        bytes: that it must move. nanoseconds: of the contender. copy_nanoseconds: of a copy that moves as many bytes.
    """

    op: str
    variant: str
    dtype: str
    level: int
    fine: tuple[int, int]
    bytes: int
    nanoseconds: tuple[int, ...]
    copy_nanoseconds: tuple[int, ...] | None

    @property
    def microseconds(self) -> float:
        """Median."""
        return float(np.median(self.nanoseconds)) / 1e3

    @property
    def share(self) -> Ratio | None:
        """Of the copy bandwidth; None where no copy stands beside it."""
        return None if self.copy_nanoseconds is None else paired_ratio(self.copy_nanoseconds, self.nanoseconds)


@dataclass(frozen=True)
class Report:
    """The whole file. With `dry_run` the kernels ran on a CPU: times mean nothing then.

    Attributes:
        checks: each kernel against float64. left_out: what was not run, and why.
    """

    schema: int
    created: str
    dry_run: bool
    environment: Environment
    device: Device | None
    library: ModelFile
    settings: Settings
    checks: tuple[Outcome, ...]
    sanitizer: tuple[Sanitized, ...]
    timings: tuple[Timing, ...]
    left_out: tuple[str, ...]

    @property
    def failures(self) -> list[str]:
        """What makes the run fail: wrong results, and errors the sanitizer found."""
        wrong = [f"{one.name} ({one.road}): error {one.error:.3g}, share {one.share:.3g}" for one in self.checks
                 if not one.passed]  # fmt: skip
        return wrong + [f"{one.tool}: {one.detail}" for one in self.sanitizer if one.status == "errors"]

    def to_json(self) -> str:
        """Indented JSON, with each list of numbers on a line of its own; an infinite error is written as 1e308."""
        fields = dataclasses.asdict(self)
        for one in fields["checks"]:
            one |= {name: min(one[name], 1e308) for name in ("error", "share")}
        return render(fields, indent=1)


def markdown(report: Report) -> str:
    """kernels.md: speed, fused against the others, checks."""
    gpu = report.device.name if report.device else report.environment.cpu
    settings = report.settings
    parts = [
        "# Kernels",
        "",
        f"{gpu}, {report.created}, {settings.rounds} interleaved rounds, image "
        f"{settings.image[0]}x{settings.image[1]}, K={settings.embedding}, C={settings.classes}; made by "
        "`python -m benchmarks.kernels`, raw samples in report.json.",
        "",
        *(["**Dry run on a CPU: the times mean nothing.**", ""] if report.dry_run else []),
        *_section("Speed", speed_rows(report.timings, judged=not report.dry_run)),
        f"Share: of the bandwidth of a device-to-device copy of as many bytes in the same rounds, read and written "
        f"counted, with its 95% interval; the L2 cache was emptied before each sample. Target: {TARGET:.0%} at level "
        f"{TARGET_LEVEL}.",
        "",
        *_section("HCUpsample, fused and otherwise", fused_rows(report.timings)),
        *_section("Checks against float64", check_rows(report.checks)),
        *_section("compute-sanitizer", ["| tool | | |", "|---|---|---|", *(
            f"| {one.tool} | {one.status} | {one.detail} |" for one in report.sanitizer)]),
        *(["## Left out", "", *(f"- {line}" for line in report.left_out), ""] if report.left_out else []),
    ]  # fmt: skip
    return "\n".join(parts)


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    yield from (f"## {title}", "", *lines, "")


def speed_rows(timings: Iterable[Timing], *, judged: bool = True) -> Iterator[str]:
    """One row a kernel, level and type; `judged`: with the target, reached or missed, at its level."""
    yield "| op | level | fine map | type | MB | us | copy, us | share of copy | GB/s | target |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for one in timings:
        share = one.share
        if share is None or one.copy_nanoseconds is None:
            continue
        copy = float(np.median(one.copy_nanoseconds)) / 1e3
        verdict = "reached" if share.value >= TARGET else "missed"
        reached = verdict if judged and one.level == TARGET_LEVEL else ""
        name = one.op + one.variant.removeprefix("kernel")
        yield (
            f"| {name} | {one.level} | {one.fine[0]}x{one.fine[1]} | {one.dtype} | {one.bytes / 1e6:.2f} "
            f"| {one.microseconds:.1f} | {copy:.1f} | {share.value:.0%} [{share.interval.low:.0%}, "
            f"{share.interval.high:.0%}] | {one.bytes / one.microseconds / 1e3:.0f} | {reached} |"
        )


def fused_rows(timings: Iterable[Timing]) -> Iterator[str]:
    """One row a level and type: the fused kernel, and how many times longer the others take."""
    yield "| level | type | fused, us | two kernels | torch eager | torch.compile |"
    yield "|---|---|---|---|---|---|"
    groups: dict[tuple[int, str], dict[str, Timing]] = {}
    for one in timings:
        if one.op == "HCUpsample":
            groups.setdefault((one.level, one.dtype), {})[one.variant] = one
    for (level, dtype), variants in groups.items():
        fused = variants["kernel"]
        cells = [_factor(variants.get(name), fused) for name in ("two kernels", "torch eager", "torch.compile")]
        yield f"| {level} | {dtype} | {fused.microseconds:.1f} | {' | '.join(cells)} |"


def _factor(one: Timing | None, fused: Timing) -> str:
    if one is None:
        return "not run"
    ratio = paired_ratio(one.nanoseconds, fused.nanoseconds)
    return f"{ratio.value:.2f}x [{ratio.interval.low:.2f}, {ratio.interval.high:.2f}]"


def check_rows(checks: Iterable[Outcome]) -> Iterator[str]:
    """One row a kernel, type and road."""
    yield "| op | type | road | cases | failed | largest error | of the allowed error |"
    yield "|---|---|---|---|---|---|---|"
    groups: dict[tuple[str, str, str], list[Outcome]] = {}
    for one in checks:
        groups.setdefault((one.op, one.dtype, one.road), []).append(one)
    for (op, dtype, road), members in groups.items():
        failed = sum(not one.passed for one in members)
        worst = max(one.share for one in members)
        yield (
            f"| {op} | {dtype} | {road} | {len(members)} | {failed} | {max(one.error for one in members):.2g} "
            f"| {worst:.0%} |"
        )

"""What a run found: dataclasses, report.json with every raw sample, and the tables of networks.md."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.kernels.report import Device
from benchmarks.networks.cases import Comparison, Group
from benchmarks.networks.measure import Sampled
from hc_deploy.bench.environment import Environment
from hc_deploy.bench.report import ModelFile
from hc_deploy.bench.statistics import Ratio, paired_ratio, summarise
from hc_deploy.system.strict_json import render

SCHEMA = 1


@dataclass(frozen=True)
class GroupResult:
    """A group's samples."""

    group: Group
    samples: tuple[Sampled, ...]

    def ratio(self, comparison: Comparison) -> Ratio:
        """Time of the one above over that of the one below."""
        found = {one.name: one.nanoseconds for one in self.samples}
        return paired_ratio(found[comparison.above], found[comparison.below])


@dataclass(frozen=True)
class Report:
    """The whole file. With `dry_run` everything ran on a CPU: times mean nothing then.

    Attributes:
        library: the kernels; None: the torch references ran in their place. left_out: what was not run, and why.
    """

    schema: int
    created: str
    dry_run: bool
    command: tuple[str, ...]
    environment: Environment
    device: Device | None
    library: ModelFile | None
    image: tuple[int, int]
    rounds: int
    results: tuple[GroupResult, ...]
    left_out: tuple[str, ...]

    def to_json(self) -> str:
        """Indented JSON, with each list of numbers on a line of its own."""
        return render(dataclasses.asdict(self), indent=1)


def markdown(report: Report) -> str:
    """networks.md: ratios first, then every contender."""
    gpu = report.device.name if report.device else report.environment.cpu
    kernels = "our kernels" if report.library else "the torch references of the ops (no kernels were built)"
    parts = [
        "# Networks in torch", "",
        f"{gpu}, torch {report.environment.packages.get('torch')}, {report.created}; image "
        f"{report.image[0]}x{report.image[1]}, batch 1, uint8 image to uint8 labels on the device, batch norms folded, "
        f"{kernels}; at most {report.rounds} interleaved rounds a group, the L2 cache emptied before each sample. "
        f"Made by `{' '.join(report.command)}`.", "",
        *(["**Dry run on a CPU: the times mean nothing.**", ""] if report.dry_run else []),
        "## Ratios", "", *_ratios(report), "", "## Times", "", *_times(report), "",
        *(["## Left out", "", *(f"- {line}" for line in report.left_out), ""] if report.left_out else []),
    ]  # fmt: skip
    return "\n".join(parts)


def _ratios(report: Report) -> Iterator[str]:
    yield "| time of | over that of | numbers | ratio (95% interval) | target |"
    yield "|---|---|---|---|---|"
    for result in report.results:
        for comparison in result.group.comparisons:
            ratio = result.ratio(comparison)
            yield (
                f"| {comparison.above} | {comparison.below} | {result.group.numbers} | {ratio.value:.3f} "
                f"[{ratio.interval.low:.3f}, {ratio.interval.high:.3f}] | {_target(report, comparison, ratio)} |"
            )


def _target(report: Report, comparison: Comparison, ratio: Ratio) -> str:
    """The target and what became of it: met or missed when the whole interval lies on one side."""
    if not comparison.target or report.dry_run:
        return comparison.target
    bound = float(comparison.target.split()[-1])
    if ratio.interval.low < bound < ratio.interval.high:
        return f"{comparison.target}: undecided"
    met = (ratio.value >= bound) == comparison.target.startswith("at least")
    return f"{comparison.target}: {'met' if met else 'missed'}"


def _times(report: Report) -> Iterator[str]:
    yield "| network | numbers | median, ms | 95% interval | labels as in float32 on the CPU | memory, MB |"
    yield "|---|---|---|---|---|---|"
    for result in report.results:
        for one in result.samples:
            found = summarise([value / 1e6 for value in one.nanoseconds])
            yield (
                f"| {one.name} | {result.group.numbers} | {found.median:.3f} | {found.interval.low:.3f} to "
                f"{found.interval.high:.3f} | {one.agreement:.4%} | {one.memory / 1e6:.0f} |"
            )

"""A report in, gpu.md out: the targets first, then what they were taken from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from benchmarks.gpu.measure import GroupResult
from benchmarks.gpu.report import RunReport
from benchmarks.gpu.targets import AT_LEAST, Target, Verdict
from hc_deploy.bench.report import Clock
from hc_deploy.bench.statistics import Ratio

UNITS = 1e6


def markdown(report: RunReport) -> str:
    """The whole of gpu.md."""
    machine, settings = report.environment, report.settings
    gpu = f"{machine.gpu.name}, driver {machine.gpu.driver}" if machine.gpu else machine.cpu
    parts = [
        "# On a GPU",
        "",
        f"{gpu}, {report.created}; {', '.join(f'{name} {version}' for name, version in report.versions.items())}. "
        f"Made by `python -m benchmarks.gpu`, image {settings['size'][0]}x{settings['size'][1]}, batch 1, random "
        "weights; raw samples in report.json. Ratios: medians of the engine clock, sampled in turn in one process, "
        "with their 95% interval.",
        "",
        *(["**Dry run on a CPU, tiny networks: the times mean nothing.**", ""] if report.dry_run else []),
        *([f"**Interrupted: {len(report.groups)} of {len(report.plan)} groups.**", ""] if report.interrupted else []),
        *_section("Targets", _targets(report.verdicts)),
        *_section("Flavours", _backends(report)),
        *_section("HC networks and their twins", _group_rows(report.groups, "pair")),
        *_section("Hierarchical levels", _group_rows(report.groups, "levels")),
        *_section("Beside eager torch", _group_rows(report.groups, "torch")),
        *_section("Layers of the plugin", _layers(report.groups)),
        *_section("Not run", _not_run(report)),
    ]
    return "\n".join(parts)


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    yield from (f"## {title}", "", *lines, "")


def _targets(verdicts: Iterable[Verdict]) -> Iterator[str]:
    yield "| target | where | | ratio | |"
    yield "|---|---|---|---|---|"
    for one in verdicts:
        ratio = "" if one.ratio is None else _shown(one.ratio, factor=one.target in AT_LEAST)
        yield f"| {one.target} | {one.subject} | {one.status} | {ratio} | {_cell(one.detail)} |"
    yield ""
    yield (
        f"{Target.OPERATORS.split(':')[0].capitalize()}: all custom layers of a network together. Plugin: TensorRT's "
        "own layer times. Standard operators: those, and what the whole network takes longer."
    )


def _shown(ratio: Ratio, *, factor: bool) -> str:
    low, high = ratio.interval.low, ratio.interval.high
    if factor:
        return f"{ratio.value:.2f}x [{low:.2f}, {high:.2f}]"
    return f"{100 * (ratio.value - 1):+.1f}% [{100 * (low - 1):+.1f}%, {100 * (high - 1):+.1f}%]"


def _backends(report: RunReport) -> Iterator[str]:
    yield "| flavour | |"
    yield "|---|---|"
    for one in report.backends:
        state = "runs" if one.runs else "built, not run: " if one.built else "not run: "
        yield f"| {one.name} | {state}{_cell(one.reason)} |"


def _group_rows(groups: Iterable[GroupResult], kind: str) -> Iterator[str]:
    """One row a case: medians of the three clocks, ratio to the group's baseline, parity, scratch and buffers."""
    yield "| group | case | engine, ms | transfer, ms | end to end, ms | of the baseline's | as torch | buffers, MB |"
    yield "|---|---|---|---|---|---|---|---|"
    for result in groups:
        if result.group.kind != kind:
            continue
        name = result.group.name.rsplit("/", 1)[0]
        for row in result.rows:
            found = result.case(row.name)
            if found is None or found.parity is None:
                continue
            times = " | ".join(f"{row.summaries[clock].median:.3f}" for clock in Clock)
            ratio = "baseline" if row.ratios is None else _times(row.ratios[Clock.ENGINE])
            memory = f"{(found.memory['engine'] + found.memory['buffers']) / UNITS:.0f}" if found.memory else ""
            broken = " **(out of bounds)**" if found.parity.failures else ""
            yield f"| {name} | {row.name} | {times} | {ratio} | {found.parity.pixels:.4%}{broken} | {memory} |"


def _times(ratio: Ratio) -> str:
    return f"{ratio.value:.3f} [{ratio.interval.low:.3f}, {ratio.interval.high:.3f}]"


def _layers(groups: Iterable[GroupResult]) -> Iterator[str]:
    yield "| group | case | layer | ms | share of all layers |"
    yield "|---|---|---|---|---|"
    for result in groups:
        for one in result.cases:
            for name, milliseconds in one.layers.custom.items() if one.layers else ():
                share = milliseconds / one.layers.total if one.layers and one.layers.total else 0.0
                yield f"| {result.group.name} | {one.case.name} | {_cell(name)} | {milliseconds:.4f} | {share:.1%} |"


def _not_run(report: RunReport) -> Iterator[str]:
    """Cases by reason; whole flavours stand in their own table."""
    reasons: dict[str, list[str]] = {}
    for result in report.groups:
        for one in result.cases:
            if one.reason:
                name = f"{result.group.name}: {one.case.name}"
                reasons.setdefault(f"{one.status}: {one.reason}", []).append(name)
    for reason, names in reasons.items():
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        yield f"- {_cell(reason)} ({', '.join(names[:3])}{more})"
    if not reasons:
        yield "Nothing was left out."


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())

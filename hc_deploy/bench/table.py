"""A report -> rich tables for a terminal of 80 columns or more. Nothing is printed here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from math import floor, log10

import numpy as np
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hc_deploy.bench.between_runs import run_spread
from hc_deploy.bench.report import Clock, Report, Stop
from hc_deploy.bench.results import NS_PER_MS, ModelResult, results, what_ran
from hc_deploy.bench.statistics import CONFIDENCE, MIN_SAMPLES, Ratio, Summary, Verdict

NAME_WIDTH = 13
SHOWN_PACKAGES = ("hc-deploy", "numpy", "opencv-python", "opencv-python-headless")
"""Those that the runtimes' own versions do not tell."""
TITLES = {Clock.ENGINE: "engine", Clock.TRANSFER: "transfer", Clock.END_TO_END: "end to end"}
STYLES = {Verdict.FASTER: "green", Verdict.SLOWER: "red", Verdict.NOT_SIGNIFICANT: "dim"}
STOPS = {
    Stop.ROUNDS: "as asked",
    Stop.INTERVAL: "until the intervals were narrow",
    Stop.TIME: "until the time limit",
    Stop.LIMIT: "the most that a run takes",
    Stop.INTERRUPTED: "until a signal ended it",
}
CLOCKS_EXPLAINED = (
    "engine: the network alone, its input already on the device.\n"
    "transfer: engine, and copying the input in and the outputs out.\n"
    "end to end: transfer, and the way from a BGR frame to the input and from the labels to the frame's size. "
    "fps: one frame after another, end to end."
)


def run_table(report: Report) -> RenderableType:
    """What `bench.py run` prints: conditions, latencies with ratios, and where the time goes."""
    rows = results(report)
    parts: list[RenderableType] = [_conditions(report), _what_ran(report), Text(), _latencies(report, rows)]
    parts.append(Text(CLOCKS_EXPLAINED, style="dim"))
    if len(rows) > 1:
        parts.append(_ratios_explained(report))
    return Group(*parts, Text(), _gaps(rows))


def spread_line(reports: Sequence[Report]) -> str:
    """How far the medians of each model lie apart over runs, end to end: what `bench run --repeat` ends with."""
    parts = []
    for name in (model.name for model in reports[0].models):
        samples = [report.model(name).samples.of(Clock.END_TO_END) for report in reports]
        medians = [float(np.median(run)) / NS_PER_MS for run in samples]
        parts.append(f"{name} {range_of(medians)}")
    return f"medians of {len(reports)} runs, {TITLES[Clock.END_TO_END]}, ms: {'; '.join(parts)}"


def range_of(medians: Sequence[float]) -> str:
    """Of medians in ms: '25.3 to 28.4 (12.3%)'."""
    percent = 100 * run_spread(medians)
    return f"{three_digits(min(medians))} to {three_digits(max(medians))} ({percent:.{1 if percent < 99.5 else 0}f}%)"


def three_digits(value: float) -> str:
    """Three significant digits in at most five characters: 0.123, 12.3, 1234, 123k."""
    if value >= 99_999.5:
        return f"{value / 1000:.0f}k"
    digits = 2 - floor(log10(value)) if value > 0 else 3
    return f"{value:.{min(max(digits, 0), 3)}f}"


def factor_lines(ratio: Ratio) -> tuple[str, str]:
    """('2.07x faster', '[2.01, 2.12]'): a factor of at least 1 in the direction the word says, and its interval."""
    low, high = ratio.interval.low, ratio.interval.high
    value = ratio.value
    if ratio.verdict is not Verdict.SLOWER:
        value, low, high = 1 / value, 1 / high, 1 / low
    digits = 3 if 0.9 < value < 1.1 else 2 if value < 10 else 1 if value < 100 else 0
    first = str(ratio.verdict)
    if ratio.verdict is not Verdict.NOT_SIGNIFICANT:
        first = f"{value:.{digits}f}x {ratio.verdict}"
    return first, f"[{low:.{digits}f}, {high:.{digits}f}]"


def _conditions(report: Report) -> Text:
    work, machine, models = report.workload, report.environment, report.models
    packages = (f"{name} {machine.packages[name]}" for name in SHOWN_PACKAGES if name in machine.packages)
    threads = _distinct("runtime's choice" if model.threads is None else str(model.threads) for model in models)
    lines = [
        (f"{len(models)} models, interleaved" if len(models) > 1 else models[0].name)
        + f", on {machine.cpu}, {machine.usable_cores} cores"
        + (f", {machine.gpu.name}" if machine.gpu else ""),
        f"frame {work.frame[0]}x{work.frame[1]}; threads: {threads}; {', '.join(packages)}",
        f"{work.rounds} rounds after {work.warmup} of warm-up, {STOPS[work.stop]}",
        "",
    ]
    return Text("\n".join(lines))


def _distinct(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(texts))


def _what_ran(report: Report) -> Table:
    """A row a model: what ran it, in which precision, on what input."""
    table = new_table()
    table.add_column("model", min_width=NAME_WIDTH)
    for title in ("runtime", "precision", "input"):
        table.add_column(title, overflow="fold")
    for model in report.models:
        table.add_row(Text(wrapped(model.name)), *(Text(text) for text in what_ran(model)))
    return table


def _latencies(report: Report, rows: tuple[ModelResult, ...]) -> Table:
    table = new_table()
    table.add_column("ms", min_width=NAME_WIDTH)
    for clock in Clock:
        table.add_column(f"{TITLES[clock]}\nmedian   p90   p99", justify="right", no_wrap=True)
    table.add_column("fps", justify="right", no_wrap=True)
    for row in rows:
        cells = [_latency_cell(row, clock) for clock in Clock]
        name = wrapped(row.name) + ("\n(baseline)" if row.ratios is None and len(rows) > 1 else "")
        table.add_row(Text(name), *cells, three_digits(row.fps))
    return table


def _latency_cell(row: ModelResult, clock: Clock) -> Text:
    text = Text(_percentiles(row.summaries[clock]))
    if row.ratios is not None:
        ratio = row.ratios[clock]
        text.append("\n" + "\n".join(factor_lines(ratio)), style=STYLES[ratio.verdict])
    return text


def _percentiles(summary: Summary) -> str:
    return f"{three_digits(summary.median):>6} {three_digits(summary.p90):>5} {three_digits(summary.p99):>5}"


def _ratios_explained(report: Report) -> Text:
    text = (
        f"Faster and slower: than {report.baseline}, by medians; in brackets the {CONFIDENCE:.0%} interval of the "
        "factor (bootstrap over rounds). not significant: the interval holds 1; it is then of the speed over the "
        "baseline's speed."
    )
    if report.workload.rounds < MIN_SAMPLES:
        text += f"\n{report.workload.rounds} rounds are too few for a verdict; it takes {MIN_SAMPLES}."
    return Text(text, style="dim")


def _gaps(rows: tuple[ModelResult, ...]) -> Table:
    table = new_table()
    table.add_column("where the time goes, ms", min_width=NAME_WIDTH)
    for title in ("network", "copies", "pre- and post-processing"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        parts = (row.gap.network, row.gap.copies, row.gap.processing)
        shares = [f"{three_digits(part)} {part / sum(parts):>4.0%}" for part in parts]
        table.add_row(Text(row.name, overflow="fold"), *shares)
    return table


def wrapped(name: str, width: int = NAME_WIDTH) -> str:
    """`name` in lines of at most `width` characters, broken after _ - . / where that is possible."""
    return "\n".join(_lines(name, width))


def _lines(name: str, width: int) -> Iterator[str]:
    line = ""
    for piece in re.findall(r"[^_\-./]*[_\-./]|[^_\-./]+", name):
        if line and len(line) + len(piece) > width:
            yield line
            line = ""
        line += piece
        while len(line) > width:
            yield line[:width]
            line = line[width:]
    if line:
        yield line


def new_table() -> Table:
    """An empty one, as all of ours look."""
    return Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)

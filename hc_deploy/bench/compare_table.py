"""A comparison -> rich tables for a terminal of 80 columns or more. Nothing is printed here."""

from __future__ import annotations

from collections.abc import Collection

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hc_deploy.bench.compare import Change, Comparison, is_regression, is_undecided, one_run_each
from hc_deploy.bench.report import Clock
from hc_deploy.bench.statistics import CONFIDENCE
from hc_deploy.bench.table import NAME_WIDTH, STYLES, TITLES, factor_lines, new_table, range_of, three_digits, wrapped


def compare_table(comparison: Comparison, *, clocks: Collection[Clock], max_percent: float) -> RenderableType:
    """What `bench.py compare` prints: differing conditions first, then every model and clock."""
    parts: list[RenderableType] = []
    if comparison.differences:
        title = Text("NOT THE SAME IN BOTH REPORTS", style="bold yellow")
        parts += [title, _differences(comparison), Text()]
    parts.append(_changes(comparison, clocks, max_percent))
    if comparison.runs != (1, 1):
        parts += [Text(), _runs_of_sides(comparison), Text()]
    parts.append(_comparison_explained(comparison, clocks, max_percent))
    for which, names in (("old", comparison.only_old), ("new", comparison.only_new)):
        if names:
            where = f"Only in the {which} report" if comparison.runs == (1, 1) else "Not in every report"
            parts.append(Text(f"{where}, not compared: {', '.join(names)}", style="yellow"))
    return Group(*parts)


def _differences(comparison: Comparison) -> Table:
    table = new_table()
    for title in ("what", "old", "new"):
        table.add_column(title, overflow="fold")
    for one in comparison.differences:
        note = " (decisive)" if one.fatal else ""
        table.add_row(Text(one.what + note, style="bold red" if one.fatal else ""), Text(one.old), Text(one.new))
    return table


def _changes(comparison: Comparison, clocks: Collection[Clock], max_percent: float) -> Table:
    table = new_table()
    table.add_column("median ms\nold -> new", min_width=NAME_WIDTH)
    for clock in Clock:
        table.add_column(TITLES[clock] + ("\n(judged)" if clock in clocks else "\n"), justify="right", no_wrap=True)
    for name in dict.fromkeys(change.name for change in comparison.changes):
        changes = [change for change in comparison.changes if change.name == name]
        table.add_row(Text(wrapped(name)), *(_change_cell(change, clocks, max_percent) for change in changes))
    return table


def _change_cell(change: Change, clocks: Collection[Clock], max_percent: float) -> Text:
    text = Text(f"{three_digits(change.old_ms)} -> {three_digits(change.new_ms)}")
    text.append("\n" + "\n".join(factor_lines(change.ratio)), style=STYLES[change.ratio.verdict])
    if change.clock in clocks and is_regression(change, max_percent):
        text.append("\nREGRESSION", style="bold red")
    elif change.clock in clocks and is_undecided(change, max_percent):
        text.append("\ncannot tell", style="yellow")
    return text


def _runs_of_sides(comparison: Comparison) -> Table:
    """A row a model and side: from the fastest run's median to the slowest's."""
    table = new_table()
    table.add_column("medians of the\nruns, ms", min_width=NAME_WIDTH)
    for clock in Clock:
        table.add_column(TITLES[clock], justify="right", overflow="fold")
    for name in dict.fromkeys(change.name for change in comparison.changes):
        changes = [change for change in comparison.changes if change.name == name]
        table.add_row(Text(wrapped(name)))
        table.add_row("  old", *(Text(range_of(change.old_runs_ms)) for change in changes))
        table.add_row("  new", *(Text(range_of(change.new_runs_ms)) for change in changes))
    return table


def _comparison_explained(comparison: Comparison, clocks: Collection[Clock], max_percent: float) -> Text:
    judged = ", ".join(TITLES[clock] for clock in Clock if clock in clocks)
    old, new = comparison.runs
    runs = (
        f"{one_run_each()}; so the interval is at least that wide"
        if (old, new) == (1, 1)
        else f"{old} old and {new} new runs: geometric means of their medians (Welch's t of the logarithms)"
    )
    return Text(
        f"{runs}.\n"
        f"Faster and slower: the new than the old; in brackets the {CONFIDENCE:.0%} interval of the factor. "
        "not significant: the interval holds 1; it is then of the new speed over the old.\n"
        f"A regression is a significant slowdown of more than {max_percent:g}% ({judged}). "
        "cannot tell: the interval reaches beyond that.",
        style="dim",
    )

"""`hc-deploy doctor`: what is installed, what really works, how to get what is missing."""

from __future__ import annotations

import typer

from hc_deploy.console import print_line, show
from hc_deploy.shown import visible


def doctor() -> None:
    """Show what is installed, which providers really load, and how to get what is missing.

    Exit code 4 when something that every command needs is missing.
    """
    from rich.table import Table
    from rich.text import Text

    from hc_deploy.doctor import Status, examine

    findings = examine()
    table = Table(box=None, pad_edge=False)
    for title in ("", "status", "detail", "needed for"):
        table.add_column(title, overflow="fold")
    colours = {Status.WORKS: "green", Status.MISSING: "yellow", Status.BROKEN: "red"}
    for finding in findings:
        status = Text(finding.status, style=colours[finding.status])
        table.add_row(Text(finding.name), status, Text(visible(finding.detail)), Text(finding.needed_for))
    show(table)
    lacking = [finding for finding in findings if finding.status is not Status.WORKS]
    mends: dict[str, list[str]] = {}
    for finding in lacking:
        if finding.mend is not None:
            mends.setdefault(finding.mend, []).append(finding.name.strip())
    if mends:
        print_line()
    for mend, names in mends.items():
        print_line(f"for {', '.join(names)}:  {mend}")
    if any(finding.required for finding in lacking):
        print_line()
        print_line("hc-deploy cannot run a model here until the required parts above are in place")
        raise typer.Exit(4)
    print_line()
    print_line("hc-deploy can run models on this machine")

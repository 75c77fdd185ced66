"""`hc-deploy inspect FILE`: what a model, engine, checkpoint or report is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hc_deploy.console import show
from hc_deploy.shown import visible


def inspect(
    file: Annotated[
        Path, typer.Argument(help="model.onnx (or its folder), model.engine, a checkpoint, or a report.json.")
    ],
) -> None:
    """Show what a file is: network, classes, sizes, operators, precision, training or measurement."""
    from rich.table import Table
    from rich.text import Text

    from hc_deploy.describe import describe

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for title, text in describe(file):
        table.add_row(Text(visible(title)), Text(visible(text)))
    show(table)

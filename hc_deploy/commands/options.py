"""Options that several commands share, as annotations for Typer."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer


def number(value: float | None) -> float | None:
    """An option's value, which `nan` is not: it passes every limit."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no number")
    return value


Model = Annotated[
    Path, typer.Argument(help="model.onnx or model.engine made by export.py, or the folder that holds a model.onnx.")
]
Provider = Annotated[
    str | None, typer.Option(help="What runs a model.onnx: cpu (the default), cuda or tensorrt; an engine runs itself.")
]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads of the model; all cores unless told.")]
ExpectSha256 = Annotated[
    str | None,
    typer.Option(metavar="HEX", help="Open the model only if its file has this hash (hc-deploy inspect shows it)."),
]
Alpha = Annotated[
    float,
    typer.Option(min=0.0, max=1.0, callback=number, help="Strength of the class colours: 0 the frame, 1 colours."),
]
Superpixels = Annotated[bool, typer.Option("--superpixels", help="Draw superpixel boundaries in yellow.")]
LegendOption = Annotated[bool, typer.Option("--legend/--no-legend", help="List the classes in sight.")]
Connected = Annotated[bool, typer.Option("--connected", help="Superpixel models: make each id one region.")]

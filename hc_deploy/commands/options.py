"""Options that several commands share, as annotations for Typer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    Path, typer.Argument(help="model.onnx or model.engine made by export.py, or the folder that holds a model.onnx.")
]
Provider = Annotated[
    str | None, typer.Option(help="What runs a model.onnx: cpu (the default), cuda or tensorrt; an engine runs itself.")
]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads of the model; all cores unless told.")]
Alpha = Annotated[float, typer.Option(min=0.0, max=1.0, help="Strength of the class colours: 0 the frame, 1 colours.")]
Superpixels = Annotated[bool, typer.Option("--superpixels", help="Draw superpixel boundaries in yellow.")]
LegendOption = Annotated[bool, typer.Option("--legend/--no-legend", help="List the classes in sight.")]
Connected = Annotated[bool, typer.Option("--connected", help="Superpixel models: make each id one region.")]

"""`hc-deploy build model.onnx`: an engine for this machine's GPU, or for RTX cards, from the model alone. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hc_deploy.commands.engine import (
    ENGINE_FILES,
    EngineArguments,
    build_options,
    claim_files,
    print_engine,
    require_ready,
    shown,
)
from hc_deploy.commands.options import spread
from hc_deploy.commands.summary import next_line
from hc_deploy.console import print_line
from hc_deploy.engine.options import Shape


@spread(engine_options=EngineArguments)
def build(
    model: Annotated[Path, typer.Argument(help="model.onnx made by export.py, or the folder that holds it.")],
    engine: Annotated[
        str, typer.Option(help="tensorrt (built on the GPU that will run it), or tensorrt-rtx (needs no GPU to build).")
    ] = "tensorrt",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder that model.engine is written to (default: the model's)."),
    ] = None,
    *,
    engine_options: EngineArguments,
) -> None:
    """Build model.engine from a model.onnx, verified against it; no torch needed.

    The precision is gated in ONNX Runtime before there is an engine (exit code 3), the engine itself where a GPU can
    run it. --opt-shape of a dynamic model is 1x512x1024 unless told.
    """
    from hc_deploy.arrows.build import build_engine, read_spec

    model = model / "model.onnx" if model.is_dir() else model
    folder = model.parent if output is None else output
    claim_files(model, folder, engine_options, ENGINE_FILES)
    spec = read_spec(model)
    options = build_options(engine, engine_options, spec, Shape.usual(spec))
    require_ready(options, folder)
    path = folder / "model.engine"
    with shown(engine) as show:
        built = build_engine(model, path, options, typed_model=engine_options.typed_model, on_progress=show)
    print_engine(built)
    print_line(next_line(path))

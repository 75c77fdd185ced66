"""`python -m models.train NAME -o CHECKPOINT`: train a network on rendered street scenes.

The recipe is the paper's ablation protocol (section 4.1: cross-entropy, "poly" decay, random resize, crop and flip)
at the size of a laptop; AdamW replaces SGD because these networks start from random weights, not from ImageNet's.
"""

from __future__ import annotations

from hc_deploy.system import interrupts

if __name__ == "__main__":
    interrupts.install()  # before the first slow import

from pathlib import Path
from typing import Annotated

import typer

from hc_deploy.commands.options import number
from hc_deploy.console import claim_outputs, option_pairs, print_line, run_app
from hc_deploy.errors import UsageError
from hc_deploy.spec import parse_size
from hc_deploy.system.limits import MOST_BATCH, require_image_memory
from hc_deploy.system.outputs import Output, files_of

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def main(
    name: Annotated[str, typer.Argument(help="Architecture, e.g. hcpspnet_resnet18.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Checkpoint to write (.safetensors).")],
    option: Annotated[list[str] | None, typer.Option("--option", help="Build option NAME=VALUE, repeatable.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = 4000,
    batch: Annotated[int, typer.Option(min=1, max=MOST_BATCH, help="Images a step.")] = 8,
    crop: Annotated[str, typer.Option(help="HEIGHTxWIDTH of a training crop.")] = "256x512",
    learning_rate: Annotated[float, typer.Option(min=0.0, callback=number)] = 2e-3,
    weight_decay: Annotated[float, typer.Option(min=0.0, callback=number)] = 1e-4,
    scenes: Annotated[int, typer.Option(min=1, help="Rendered training scenes.")] = 1000,
    validation_scenes: Annotated[int, typer.Option(min=1)] = 60,
    size: Annotated[str, typer.Option(help="HEIGHTxWIDTH the scenes are rendered at.")] = "512x1024",
    init: Annotated[Path | None, typer.Option(help="Checkpoint whose backbone to start from; all of it.")] = None,
    init_partial: Annotated[
        bool, typer.Option("--init-partial", help="Of --init take what fits by name and shape, and say what does not.")
    ] = False,
    cache: Annotated[Path, typer.Option(help="Folder of rendered scenes.")] = Path(".data"),
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Train NAME on rendered street scenes and write a checkpoint."""
    claim_outputs(files_of(init) if init else [], [Output(output)])
    if init_partial and init is None:
        raise UsageError("--init-partial without --init", expected="--init CHECKPOINT with it")
    cropped, rendered = parse_size(crop), parse_size(size)
    require_image_memory(batch, *cropped, mend="a smaller --crop or --batch")
    require_image_memory(1, *rendered, mend="a smaller --size")
    from models.train.loop import Recipe, train_network

    recipe = Recipe(
        steps, batch, cropped, learning_rate, weight_decay, scenes, rendered, seed,
        init.name if init else None, init_partial,
    )  # fmt: skip
    scores = train_network(
        name, option_pairs(option or []), recipe,
        output=output, init=init, cache=cache, validation_scenes=validation_scenes,
    )  # fmt: skip
    print_line(
        f"{output}: mIoU {scores['miou']:.3f}, pixel accuracy {scores['pixel_accuracy']:.3f}, "
        f"{scores['minutes']} minutes"
    )


if __name__ == "__main__":
    run_app(app)

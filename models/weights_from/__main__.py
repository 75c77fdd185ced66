"""`python -m models.weights_from FILE -o CHECKPOINT`: somebody else's weights as a checkpoint of this project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hc_deploy.console import claim_outputs, option_pairs, print_line, run_app
from hc_deploy.errors import UsageError
from hc_deploy.export.checkpoint import CheckpointInfo, read_checkpoint, save_checkpoint
from hc_deploy.export.families import BACKBONE
from hc_deploy.shown import quoted
from hc_deploy.system.outputs import Output, files_of
from models.load import load_network
from models.weights_from.translate import AUTO, LEGAL, load_backbone, recognised

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def main(
    file: Annotated[Path, typer.Argument(help="Somebody else's checkpoint: .pth, .pt or .safetensors.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Checkpoint to write (.safetensors).")],
    arch: Annotated[str | None, typer.Option(help="Architecture, e.g. pspnet_resnet101 [what the names say].")] = None,
    weights_from: Annotated[str, typer.Option(help=f"Whose file it is: {LEGAL}.")] = AUTO,
    option: Annotated[list[str] | None, typer.Option("--option", help="Build option NAME=VALUE, repeatable.")] = None,
) -> None:
    """Write somebody else's weights as a checkpoint of this project."""
    if output.suffix != ".safetensors":
        raise UsageError(f"-o {output}", expected="a name that ends in .safetensors")
    claim_outputs(files_of(file), [Output(output)])
    checkpoint = read_checkpoint(file)
    found = recognised(checkpoint, weights_from)
    if found and found.architecture == BACKBONE and found.backbone and arch is None:
        net = load_backbone(checkpoint, found)
        training = {"weights_from": found.family, "file": file.name}
        save_checkpoint(output, net, CheckpointInfo(classes=(), palette=(), training=training))
        print_line(f"{output}: backbone {found.backbone}, no head")
        print_line(f"next: python -m models.train hcfcn32_{found.backbone} --init {quoted(output)} -o OUT.safetensors")
        return
    net, spec = load_network(checkpoint, arch=arch, options=option_pairs(option or []), weights_from=weights_from)
    training = {"weights_from": found.family if found else weights_from, "file": file.name}
    info = CheckpointInfo(
        arch=spec.arch, options=spec.options, classes=spec.classes, palette=spec.palette, mean=spec.mean, std=spec.std,
        channels=spec.channels, scale=spec.scale, stated=spec.normalisation == "stated", training=training,
    )  # fmt: skip
    save_checkpoint(output, net, info)
    print_line(f"{output}: {spec.arch}, {len(spec.classes)} classes, {spec.options}")
    print_line(f"next: python export.py {quoted(output)} -o DIR")


if __name__ == "__main__":
    run_app(app)

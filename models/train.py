"""`python -m models.train NAME -o CHECKPOINT`: train a network on rendered street scenes.

The recipe is the paper's ablation protocol (section 4.1: cross-entropy, "poly" decay, random resize, crop and flip)
at the size of a laptop; AdamW replaces SGD because these networks start from random weights, not from ImageNet's.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
import typer
from torch import nn

import models
from hc_deploy.classes import CITYSCAPES
from hc_deploy.console import interruptible, option_pairs, print_line, run_app
from hc_deploy.errors import UsageError
from hc_deploy.evaluate.metrics import IGNORE, ConfusionMatrix
from hc_deploy.export.checkpoint import CheckpointInfo, load_state, read_checkpoint, save_checkpoint
from hc_deploy.ops import hc_argmax
from hc_deploy.spec import parse_size
from models.dataset import Frames, batches, normalised, rendered_streets

VALIDATION_SEED = 1_000_000
AUXILIARY_WEIGHT = 0.4
app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Recipe:
    """Settings of one training run; recorded in the checkpoint."""

    steps: int
    batch: int
    crop: tuple[int, int]
    learning_rate: float
    weight_decay: float
    scenes: int
    size: tuple[int, int]
    seed: int
    init: str | None = None


def objective(net: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the bilinearly enlarged logits, plus 0.4 times that of the auxiliary head where there is one.

    The weight is PSPNet's (Zhao et al., CVPR 2017, section 5.1).
    """

    def cross_entropy(logits: torch.Tensor) -> torch.Tensor:
        enlarged = F.interpolate(logits, size=labels.shape[1:], mode="bilinear", align_corners=False)
        return F.cross_entropy(enlarged, labels, ignore_index=IGNORE)

    if getattr(net, "aux", None) is None:
        return cross_entropy(net(images))
    logits, auxiliary = net.forward_with_aux(images)  # type: ignore[operator]
    return cross_entropy(logits) + AUXILIARY_WEIGHT * cross_entropy(auxiliary)


def train(net: nn.Module, frames: Frames, recipe: Recipe) -> None:
    """Minimise `objective` over `recipe.steps` batches."""
    optimiser = torch.optim.AdamW(net.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: (1 - step / recipe.steps) ** 0.9)
    net.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # halves the time of a step on a CPU
    start, running = time.monotonic(), 0.0
    stream = batches(frames, crop=recipe.crop, batch=recipe.batch, steps=recipe.steps, seed=recipe.seed)
    for step, (images, labels) in enumerate(stream, start=1):
        loss = objective(net, images.contiguous(memory_format=torch.channels_last), labels)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        running = loss.item() if step == 1 else 0.98 * running + 0.02 * loss.item()
        if step % 50 == 0 or step == recipe.steps:
            print_line(f"step {step}/{recipe.steps}  loss {running:.3f}  {time.monotonic() - start:.0f} s")


@torch.no_grad()
def validate(net: nn.Module, frames: Frames, classes: int) -> dict[str, Any]:
    """mIoU, pixel accuracy and IoU of each class on whole frames."""
    net.eval()
    matrix = ConfusionMatrix(classes)
    for image, labels in zip(frames.images, frames.labels, strict=True):
        matrix.update(hc_argmax(net(normalised(np.array(image[None]))), labels.shape)[0].numpy(), labels)
    iou = {name: round(float(value), 4) for name, value in zip(CITYSCAPES.names, matrix.iou(), strict=True)}
    return {"miou": round(matrix.mean_iou(), 4), "pixel_accuracy": round(matrix.pixel_accuracy(), 4), "iou": iou}


def _initialise(net: nn.Module, path: Path) -> None:
    """Copy the backbone of another checkpoint, as the paper starts from ImageNet's."""
    source = read_checkpoint(path)
    backbone = {name: tensor for name, tensor in source.state.items() if name.startswith("backbone.")}
    merged = {**net.state_dict(), **backbone}
    load_state(net, type(source)(path, source.info, merged), arch="the network that is trained")


@app.command()
def main(
    name: Annotated[str, typer.Argument(help="Architecture, e.g. hcpspnet_resnet18.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Checkpoint to write (.safetensors).")],
    option: Annotated[list[str] | None, typer.Option("--option", help="Build option NAME=VALUE, repeatable.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = 4000,
    batch: Annotated[int, typer.Option(min=1, help="Images a step.")] = 8,
    crop: Annotated[str, typer.Option(help="HEIGHTxWIDTH of a training crop.")] = "256x512",
    learning_rate: Annotated[float, typer.Option(min=0.0)] = 2e-3,
    weight_decay: Annotated[float, typer.Option(min=0.0)] = 1e-4,
    scenes: Annotated[int, typer.Option(min=1, help="Rendered training scenes.")] = 1000,
    validation_scenes: Annotated[int, typer.Option(min=1)] = 60,
    size: Annotated[str, typer.Option(help="HEIGHTxWIDTH the scenes are rendered at.")] = "512x1024",
    init: Annotated[Path | None, typer.Option(help="Checkpoint whose backbone to start from.")] = None,
    cache: Annotated[Path, typer.Option(help="Folder of rendered scenes.")] = Path(".data"),
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Train NAME on rendered street scenes and write a checkpoint."""
    with interruptible():
        _run(
            name,
            output,
            option or [],
            init,
            cache,
            validation_scenes,
            Recipe(
                steps,
                batch,
                parse_size(crop),
                learning_rate,
                weight_decay,
                scenes,
                parse_size(size),
                seed,
                init.name if init else None,
            ),
        )


def _run(
    name: str, output: Path, pairs: list[str], init: Path | None, cache: Path, validation_scenes: int, recipe: Recipe
) -> None:
    torch.manual_seed(recipe.seed)
    options = option_pairs(pairs)
    net = models.build(name, **options)
    if getattr(net, "task", "segmentation") != "segmentation":
        raise UsageError(f"{name} is for {net.task}", expected="a segmentation network: the scenes have class labels")
    if init is not None:
        _initialise(net, init)
    frames = rendered_streets(cache, first_seed=0, count=recipe.scenes, size=recipe.size)
    held_out = rendered_streets(cache, first_seed=VALIDATION_SEED, count=validation_scenes, size=recipe.size)
    start = time.monotonic()
    train(net, frames, recipe)
    scores = validate(net, held_out, len(CITYSCAPES.names))
    minutes = round((time.monotonic() - start) / 60, 1)
    training = {**asdict(recipe), **scores, "minutes": minutes, "torch": torch.__version__, "numpy": np.__version__}
    save_checkpoint(output, net, CheckpointInfo(arch=name, options=options, training=training))
    print_line(f"{output}: mIoU {scores['miou']:.3f}, pixel accuracy {scores['pixel_accuracy']:.3f}, {minutes} minutes")


if __name__ == "__main__":
    run_app(app)

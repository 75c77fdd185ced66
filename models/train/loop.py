"""Training: a network, rendered street scenes and a recipe enter; a checkpoint with its scores leaves."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import models
from hc_deploy.classes import CITYSCAPES
from hc_deploy.console import print_line
from hc_deploy.errors import DeployError, UsageError
from hc_deploy.evaluate.metrics import IGNORE, ConfusionMatrix
from hc_deploy.export.checkpoint import (
    CheckpointInfo,
    check_checkpoint_name,
    save_checkpoint,
)
from hc_deploy.export.networks import deployment_of
from hc_deploy.ops import hc_argmax
from hc_deploy.system.files import make_folder
from models.train.dataset import Frames, batches, normalised, rendered_streets
from models.train.initialise import initialise_backbone

CLASSES = len(CITYSCAPES.names)
VALIDATION_SEED = 1_000_000
AUXILIARY_WEIGHT = 0.4
SMALLEST = 64


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
    init_partial: bool = False


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
        if not torch.isfinite(loss):  # every weight would be NaN, and the checkpoint a whole one
            raise DeployError(
                f"the loss of step {step} is {loss.item()}",
                expected="a finite number",
                mend=f"--learning-rate {recipe.learning_rate / 10:g}",
            )
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
    """mIoU, pixel accuracy and IoU of each class on whole frames; None for a class that is in no frame."""
    net.eval()
    matrix = ConfusionMatrix(classes)
    for image, labels in zip(frames.images, frames.labels, strict=True):
        matrix.update(hc_argmax(net(normalised(np.array(image[None]))), labels.shape)[0].numpy(), labels)
    named = zip(CITYSCAPES.names, matrix.iou().tolist(), strict=True)
    iou = {name: None if math.isnan(value) else round(value, 4) for name, value in named}  # JSON has no NaN
    return {"miou": round(matrix.mean_iou(), 4), "pixel_accuracy": round(matrix.pixel_accuracy(), 4), "iou": iou}


def train_network(
    name: str,
    options: dict[str, Any],
    recipe: Recipe,
    *,
    output: Path,
    init: Path | None,
    cache: Path,
    validation_scenes: int,
) -> dict[str, Any]:
    """Build, train, validate and save; the scores that the checkpoint records.

    Raises:
        UsageError: a network that cannot be trained here, or an output that is no checkpoint: before any work is done.
        DeployError: `init` does not fit the backbone, also before; a loss that is no number.
    """
    check_checkpoint_name(output)
    make_folder(output.parent)
    torch.manual_seed(recipe.seed)
    net = models.build(name, **options)
    _check_trainable(name, net, options, recipe)
    taken = None
    if init is not None:
        taken = initialise_backbone(net, init, partial=recipe.init_partial)
        print_line(f"{init}: {taken.tensors} of {taken.of} tensors of the backbone taken; the rest starts at random")
        for line in taken.left:
            print_line(f"  {line}")
    frames = rendered_streets(cache, first_seed=0, count=recipe.scenes, size=recipe.size)
    held_out = rendered_streets(cache, first_seed=VALIDATION_SEED, count=validation_scenes, size=recipe.size)
    start = time.monotonic()
    train(net, frames, recipe)
    scores = validate(net, held_out, CLASSES)
    minutes = round((time.monotonic() - start) / 60, 1)
    training = {**asdict(recipe), **scores, "minutes": minutes, "torch": torch.__version__, "numpy": np.__version__}
    if taken is not None:
        training["init_tensors"] = taken.tensors
    info = CheckpointInfo(
        arch=name, options=options, classes=CITYSCAPES.names, palette=CITYSCAPES.palette, stated=True, training=training
    )
    save_checkpoint(output, net, info)
    return training


def _check_trainable(name: str, net: nn.Module, options: dict[str, Any], recipe: Recipe) -> None:
    task = deployment_of(net, name).task
    if task != "segmentation":
        raise UsageError(f"{name} is for {task}", expected="a segmentation network: the scenes have class labels")
    if options.get("classes", CLASSES) != CLASSES:
        raise UsageError(f"classes={options['classes']}", expected=f"{CLASSES}, those of the rendered scenes")
    if options.get("assignment", "soft") != "soft":
        raise UsageError("assignment='hard' has no gradient", expected="soft; choose hard when you export")
    if recipe.scenes > VALIDATION_SEED:
        raise UsageError(
            f"{recipe.scenes} scenes", expected=f"{VALIDATION_SEED} at most: the next are those it is validated on"
        )
    if min(recipe.size) < SMALLEST or min(recipe.crop) < SMALLEST:
        raise UsageError(f"size {recipe.size}, crop {recipe.crop}", expected=f"{SMALLEST} pixels and more each way")

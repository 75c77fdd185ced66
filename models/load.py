"""Names, factories and checkpoints -> a network in eval mode, ready to be exported or run."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hc_deploy.classes import ClassSet, numbered_classes
from hc_deploy.errors import DeployError, UsageError
from hc_deploy.export.checkpoint import CheckpointInfo, load_state, read_checkpoint
from hc_deploy.export.families import recognise
from hc_deploy.shown import quoted
from hc_deploy.spec import OUTPUTS, ModelSpec, Task
from models.registry import build, names
from models.weights_from import translate

PROBE_SIZE = 64
NO_CLASSES = ClassSet((), ())
METHODS: dict[Task, str] = {"segmentation": "forward", "superpixels": "superpixels", "depth": "depth"}
CLUSTERS = "forward_with_clusters"


def load_network(
    path: Path, *, arch: str | None = None, options: dict[str, Any] | None = None, weights_from: str | None = None
) -> tuple[nn.Module, ModelSpec]:
    """The network that `path` holds, and its spec (sizes and outputs still at their defaults).

    Args:
        path: a checkpoint. arch, options: what to build where the file does not say, or in place of what it says.
        weights_from: whose names the file has (`hc_deploy.export.families.FAMILIES`, or `auto`); None: ours.

    Raises:
        DeployError: the checkpoint is unusable or does not fit. UsageError: no architecture is known.
    """
    checkpoint = read_checkpoint(path)
    if weights_from is not None:
        checkpoint = translate(checkpoint, weights_from, arch=arch, options=options or {})
    arch = arch or checkpoint.info.arch
    if arch is None:
        found = recognise(checkpoint.state)
        chosen = f"{found.arch} --weights-from {found.family}" if found and found.arch else "NAME"
        raise UsageError(
            f"{path} does not say which architecture it is of",
            expected="--arch NAME, one of " + ", ".join(names()),
            mend=f"python export.py {quoted(path)} --arch {chosen} -o DIR",
        )
    kept = checkpoint.info.options if arch == checkpoint.info.arch else {}
    net, spec = new_network(arch, {**kept, **(options or {})}, checkpoint.info)
    load_state(net, checkpoint, arch=arch)
    return net, spec


def new_network(
    arch: str, options: dict[str, Any], info: CheckpointInfo | None = None, *, seed: int = 0
) -> tuple[nn.Module, ModelSpec]:
    """A network with seeded random weights, and its spec.

    Args:
        arch: a name of `models.names()`, or `package.module:factory`, a callable that takes `options` as keywords and
            gives a module [B,3,H,W] -> [B,C,h,w].
        info: class names, palette and normalisation to use where they fit the network.
    """
    torch.manual_seed(seed)
    net = (_from_factory(arch, options) if ":" in arch else build(arch, **options)).eval()
    task = _checked_task(net, arch)
    info = info or CheckpointInfo()
    classes = _fitting_classes(info, _count_classes(net, arch)) if task == "segmentation" else NO_CLASSES
    spec = ModelSpec(
        arch=arch,
        classes=classes.names,
        palette=classes.palette,
        task=task,
        outputs=OUTPUTS[task][:1],
        mean=info.mean,
        std=info.std,
        level=getattr(net, "level", 0),
        options=options,
    )
    return net, spec


def _checked_task(net: nn.Module, arch: str) -> Task:
    """The network's task, where it has what that task needs."""
    task, level = getattr(net, "task", "segmentation"), getattr(net, "level", 0)
    if task not in METHODS or not callable(getattr(net, METHODS[task], None)):
        raise UsageError(
            f"{arch} has the task {task!r}", expected=", ".join(f"{t} (method {m})" for t, m in METHODS.items())
        )
    if not isinstance(level, int) or (level > 0 and task == "segmentation" and not hasattr(net, CLUSTERS)):
        raise UsageError(f"{arch} has the level {level!r}", expected=f"a whole number, with the method {CLUSTERS}")
    return task


def _from_factory(arch: str, options: dict[str, Any]) -> nn.Module:
    module_name, _, factory_name = arch.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        factory = getattr(importlib.import_module(module_name), factory_name)
        net = factory(**options)
    except (Exception, SystemExit) as error:  # a user's module may do anything
        raise UsageError(
            f"--arch {arch}: {type(error).__name__}: {error}",
            expected="package.module:factory, importable from this folder, which takes the given options",
        ) from error
    finally:
        sys.path.pop(0)
    if not isinstance(net, nn.Module):
        raise UsageError(f"--arch {arch} gave a {type(net).__name__}", expected="a torch.nn.Module")
    return net


def _count_classes(net: nn.Module, arch: str) -> int:
    try:
        with torch.no_grad():
            logits = net(torch.zeros(1, 3, PROBE_SIZE, PROBE_SIZE))
    except Exception as error:  # a user's network may raise anything
        raise DeployError(
            f"{arch} fails on a float image [1,3,{PROBE_SIZE},{PROBE_SIZE}]: {error}", expected="logits [1,C,h,w]"
        ) from error
    if not isinstance(logits, torch.Tensor) or logits.ndim != 4 or not 1 <= logits.shape[1] <= 255:
        shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise DeployError(f"{arch} gives {shape}", expected="logits [B,C,h,w] with 1 to 255 classes")
    return int(logits.shape[1])


def _fitting_classes(info: CheckpointInfo, count: int) -> ClassSet:
    return ClassSet(info.classes, info.palette) if len(info.classes) == count else numbered_classes(count)

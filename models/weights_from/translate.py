"""Other people's checkpoints -> ours. A file with the names of a public code base enters; the state dict of
our network that computes the same leaves, with the build options that make it the same.

`python -m models.weights_from FILE -o OUT.safetensors` writes it as a checkpoint that every other command takes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hc_deploy.errors import DeployError, UsageError
from hc_deploy.export.checkpoint import Checkpoint, CheckpointInfo, load_state
from hc_deploy.export.families import BACKBONE, FAMILIES, Recognised, recognise, unwrapped
from hc_deploy.shown import quoted
from models.resnet import ResNet
from models.weights_from.foreign_keys import KEYS, OPTIONS, renamed
from models.weights_from.mmseg_meta import class_set, normalisation_of, options_of

AUTO = "auto"
LEGAL = ", ".join([*FAMILIES, AUTO])


def translate(checkpoint: Checkpoint, family: str, *, arch: str | None, options: dict[str, Any]) -> Checkpoint:
    """The checkpoint under our names, its `info` saying our architecture, options and classes.

    A key that no rule has stays as `KEY (no rule)`, so that `load_state` lists it. Auxiliary heads are dropped unless
    the option `aux` asks for them.

    Args:
        family: a name of `FAMILIES`, or `auto`. arch: ours, or None for what the names say.
        options: what the user asks for; only `aux` matters here.

    Raises:
        UsageError: an unknown family, or an architecture whose weights the family does not have.
        DeployError: the file is of no known family, or of a network that is not built here.
    """
    path = checkpoint.path
    found = recognised(checkpoint, family)
    family = found.family if family == AUTO and found else family
    if found and found.architecture == BACKBONE:
        _refuse_backbone(path, arch)
    arch = arch or (found.arch if found and found.family == family else None)
    if arch is None:
        raise DeployError(f"{path}: {found.describe() if found else 'unknown names'}", expected=_loadable(family))
    architecture = arch.rpartition("_")[0]
    if (family, architecture) not in KEYS:
        _refuse_architecture(path, family, arch)
    state = _renamed_state(checkpoint, family, architecture)
    if not options.get("aux"):
        state = {name: tensor for name, tensor in state.items() if not name.startswith("aux.")}
    meta = checkpoint.meta if family == "mmseg" else {}
    classes = class_set(meta)
    info = CheckpointInfo(
        arch=arch,
        options={
            **_options_from_shapes(family, state),
            **OPTIONS[family],
            **options_of(meta, architecture=architecture, path=path),
        },
        classes=classes.names,
        palette=classes.palette,
        # Releases of torchvision and semseg take RGB by ImageNet's statistics, and their files do not say otherwise.
        **normalisation_of(meta, path=path),
        training={"weights_from": family, "file": path.name},
    )
    return replace(checkpoint, info=info, state=state)


def recognised(checkpoint: Checkpoint, family: str) -> Recognised | None:
    path = checkpoint.path
    if family not in (*FAMILIES, AUTO):
        raise UsageError(f"--weights-from {family}", expected=f"one of {LEGAL}")
    if checkpoint.info.arch is not None:
        raise UsageError(
            f"{path} is a checkpoint of this project ({checkpoint.info.arch})", expected="no --weights-from for it"
        )
    found = recognise(checkpoint.state)
    if found is None and family == AUTO:
        raise DeployError(
            f"{path}: its parameter names are of no family that is known",
            expected="; ".join(f"{name}: {title}" for name, title in FAMILIES.items()),
            mend=f"hc-deploy inspect {quoted(path)}",
        )
    if found is not None and family not in (AUTO, found.family):
        raise UsageError(
            f"--weights-from {family}, but the parameter names of {path} are {FAMILIES[found.family]}'s",
            expected=f"--weights-from {found.family}",
        )
    return found


def _loadable(family: str) -> str:
    return f"of {family}: " + ", ".join(name for source, name in KEYS if source == family and name != BACKBONE)


def _refuse_backbone(path: Path, arch: str | None) -> None:
    raise DeployError(
        f"{path} holds a classifier: a backbone without a segmentation head",
        expected="a segmentation network's weights; a backbone only starts a training",
        mend=f"python -m models.weights_from {quoted(path)} -o backbone.safetensors, then "
        f"python -m models.train {quoted(arch or 'NAME')} --init backbone.safetensors -o OUT.safetensors",
    )


def _refuse_architecture(path: Path, family: str, arch: str) -> None:
    twin = arch.startswith("hc")
    raise UsageError(
        f"--arch {arch} --weights-from {family}" + (": public files have no clustering to load" if twin else ""),
        expected=_loadable(family),
        mend=f"python -m models.weights_from {quoted(path)} -o OUT.safetensors, then "
        f"python -m models.train {quoted(arch)} --init OUT.safetensors (starts from its backbone)"
        if twin
        else f"hc-deploy inspect {quoted(path)}",
    )


def _renamed_state(checkpoint: Checkpoint, family: str, architecture: str) -> dict[str, torch.Tensor]:
    rules = KEYS[family, architecture]
    state: dict[str, torch.Tensor] = {}
    plain = unwrapped(checkpoint.state)
    for name, tensor in checkpoint.state.items():
        ours = renamed(plain[name], rules)
        if ours is not None:
            state[ours] = tensor
    return state


def _options_from_shapes(family: str, state: dict[str, torch.Tensor]) -> dict[str, Any]:
    """`classes`, `width` and mmsegmentation's stem (ResNetV1c or the single convolution), where the shapes say."""
    options: dict[str, Any] = {}
    classifier, first = state.get("head.classify.weight"), state.get("backbone.layer1.0.conv1.weight")
    if classifier is not None and classifier.ndim:
        options["classes"] = classifier.shape[0]
    if first is not None and first.ndim and first.shape[0] != 64:
        options["width"] = first.shape[0]
    if family == "mmseg" and "backbone.deep_stem.0.weight" in state:
        options["stem"] = "deep"
    return options


def load_backbone(checkpoint: Checkpoint, found: Recognised) -> nn.Module:
    """A classifier's backbone as a module whose parameters are `backbone.*`; its classifier is dropped.

    Raises:
        DeployError: it does not fit.
    """
    assert found.backbone is not None
    state = _renamed_state(checkpoint, found.family, BACKBONE)
    holder = nn.Module()
    holder.backbone = ResNet(found.backbone, width=_options_from_shapes(found.family, state).get("width", 64))
    load_state(holder, Checkpoint(checkpoint.path, CheckpointInfo(), state), arch=f"a {found.backbone} backbone")
    return holder

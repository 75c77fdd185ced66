"""Names, factories and checkpoints -> a network in eval mode, ready to be exported or run.

A factory, `package.module:factory`, is code that is run: it only ever comes from the user. What a file says of its
architecture is a name of the registry or nothing.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hc_deploy.classes import BINARY, ClassSet, numbered_classes
from hc_deploy.errors import DeployError, UsageError
from hc_deploy.export.checkpoint import Checkpoint, CheckpointInfo, load_state, read_checkpoint
from hc_deploy.export.families import recognise
from hc_deploy.export.networks import deployment_of
from hc_deploy.export.states import require_finite
from hc_deploy.shown import quoted
from hc_deploy.spec import OUTPUTS, ModelSpec
from models.asked import PROBE_SIZE, Asked, class_set, normalisation, probe
from models.registry import build, names
from models.weights_from.translate import translate

MOST_TIMES, FREE_VALUES = 4, 2**24
"""So many times a checkpoint's values, and 64 MB, a network may be before it is refused unbuilt."""
THRESHOLD = 0.5
NO_CLASSES = ClassSet((), ())


@dataclass(frozen=True)
class Loaded:
    """A network in eval mode and its spec (sizes and outputs still at their defaults). `notes`: what was chosen on the
    way, for people."""

    net: nn.Module
    spec: ModelSpec
    notes: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Any]:
        """`net, spec = load_network(...)`."""
        return iter((self.net, self.spec))


def load_network(
    source: Path | Checkpoint,
    *,
    arch: str | None = None,
    options: dict[str, Any] | None = None,
    weights_from: str | None = None,
    state_key: str | None = None,
    ignore_keys: Sequence[str] = (),
    asked: Asked | None = None,
) -> Loaded:
    """The network that a checkpoint holds.

    Args:
        source: the file, or what was read of it. arch, options: what to build where the file does not say, or in
            place of what it says; a factory too, which must not come out of a file.
        weights_from: whose names the file has (`hc_deploy.export.families.FAMILIES`, or `auto`); None: ours.
        state_key, ignore_keys: see `find_state` and `load_state`.

    Raises:
        DeployError: the checkpoint is unusable or does not fit. UsageError: no architecture is known.
    """
    checkpoint = source if isinstance(source, Checkpoint) else read_checkpoint(source, state_key=state_key)
    if weights_from is not None:
        checkpoint = translate(checkpoint, weights_from, arch=arch, options=options or {})
    said = checkpoint.info.arch
    if arch is None:
        _require_known(checkpoint)
        arch = said
    assert arch is not None
    kept = checkpoint.info.options if arch == said else {}
    held: tuple[str, ...] = ()
    if ":" in arch and kept:  # text out of a file is not to decide what a factory does
        kept, held = {}, ("the options that the file holds are not given to your factory: --option NAME=VALUE",)
    given = {**kept, **(options or {})}
    if arch in names():
        _require_fit(arch, given, checkpoint)
    loaded = new_network(arch, given, checkpoint.info, asked=asked, finite=False)
    notes = load_state(loaded.net, checkpoint, arch=arch, ignore_keys=ignore_keys)
    return replace(loaded, notes=(*checkpoint.notes, *held, *notes, *loaded.notes))


def _require_known(checkpoint: Checkpoint) -> None:
    """The file's own word must be a name of the registry: text out of a file never decides what is imported."""
    legal = "one of " + ", ".join(names())
    if checkpoint.info.arch is None:
        found = recognise(checkpoint.state)
        chosen = f"{found.arch} --weights-from {found.family}" if found and found.arch else "NAME"
        raise UsageError(
            f"{checkpoint.path} does not say which architecture it is of", expected=f"--arch NAME, {legal}",
            mend=f"python export.py {quoted(checkpoint.path)} --arch {chosen} -o DIR",
        )  # fmt: skip
    if checkpoint.info.arch not in names():
        raise DeployError(
            f"{checkpoint.path} says to be of an architecture that is not one of this project's",
            expected=f"{legal}; your own network is named on the command line alone",
            mend=f"python export.py {quoted(checkpoint.path)} --arch package.module:factory -o DIR",
        )


def _require_fit(arch: str, options: dict[str, Any], checkpoint: Checkpoint) -> None:
    """Compare sizes before anything of the size that the options ask for is allocated."""
    with torch.device("meta"):
        wanted = sum(tensor.numel() for tensor in build(arch, **options).state_dict().values())
    held = sum(tensor.numel() for tensor in checkpoint.state.values())
    if wanted > MOST_TIMES * held + FREE_VALUES:
        raise DeployError(
            f"{checkpoint.path} holds {held} values, {arch} with these options {wanted}",
            expected="options that fit the checkpoint",
        )


def new_network(
    arch: str,
    options: dict[str, Any],
    info: CheckpointInfo | None = None,
    *,
    asked: Asked | None = None,
    seed: int = 0,
    finite: bool = True,
) -> Loaded:
    """A network with its own first weights: seeded random ones of the registry, whatever a factory gives.

    Args:
        arch: a name of `models.names()`, or `package.module:factory`, a callable that takes `options` as keywords and
            gives a module [B,3,H,W] -> logits. What it gives is put in eval mode, nothing else of it is changed.
        info: what a checkpoint says of classes and normalisation. asked: what the user says, which counts more.
        finite: refuse weights that are no numbers (loading a checkpoint checks its own).
    """
    asked, info = asked or Asked(), info or CheckpointInfo()
    torch.manual_seed(seed)
    own = ":" not in arch
    net = build(arch, **options) if own else _from_factory(arch, options)
    net.eval()  # a network's own train() may return nothing
    if finite:
        require_finite(net.state_dict(), source=arch)
    deployment = deployment_of(net, arch)
    size = PROBE_SIZE if own else asked.size
    channels, count = asked.channels or info.channels, 0
    if deployment.task == "segmentation":
        channels, count = probe(net, arch, size, asked, info)
    spec = ModelSpec(
        arch=arch,
        classes=NO_CLASSES.names,
        palette=NO_CLASSES.palette,
        task=deployment.task,
        outputs=OUTPUTS[deployment.task][:1],
        level=deployment.level,
        options=options,
        **normalisation(asked, info, channels),
    )
    if deployment.task != "segmentation":
        return Loaded(net, spec)
    binary = count == 1
    if asked.threshold is not None and not binary:
        raise UsageError(f"--threshold, but {arch} gives {count} channels", expected="a network that gives one")
    classes = class_set(asked, info, 2 if binary else count, BINARY if binary else numbered_classes(count))
    threshold = (asked.threshold or THRESHOLD) if binary else None
    notes = (f"one output channel: two classes, the second above probability {threshold:g}",) if binary else ()
    return Loaded(net, replace(spec, classes=classes.names, palette=classes.palette, threshold=threshold), notes)


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
    mend = f"let {factory_name} return the network itself"
    if not isinstance(net, nn.Module):
        raise UsageError(f"--arch {arch} gave a {type(net).__name__}", expected="a torch.nn.Module", mend=mend)
    scripted = [name or "the network" for name, part in net.named_modules() if isinstance(part, torch.jit.ScriptModule)]
    if scripted:
        raise UsageError(
            f"--arch {arch} gave TorchScript ({scripted[0]}), a program that torch.export cannot trace",
            expected="a torch.nn.Module of Python", mend="leave torch.jit.script and torch.jit.trace away",
        )  # fmt: skip
    return net

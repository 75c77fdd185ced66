"""`--init`: another checkpoint's backbone into a network that is to be trained, all of it or what fits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from hc_deploy.errors import DeployError
from hc_deploy.export.checkpoint import read_checkpoint
from hc_deploy.shown import listed, quoted

PREFIX = "backbone."
COUNTER = "num_batches_tracked"
"""Of a batch norm: says nothing, and older checkpoints lack it."""
SHOWN = 8


@dataclass(frozen=True)
class Taken:
    """What came of a checkpoint: tensors of the network's backbone that were taken, and how many it has.

    left: one line for each kind of tensor that does not match, with names.
    """

    tensors: int
    of: int
    left: tuple[str, ...]


def initialise_backbone(net: nn.Module, path: Path, *, partial: bool = False) -> Taken:
    """Copy the backbone of the checkpoint at `path` into `net`, as the paper starts from ImageNet's.

    Args:
        partial: take the tensors that match by name and shape, and leave the others as they are.

    Raises:
        DeployError: no tensor matches; without `partial`, not every tensor does. `net` is as it was then.
    """
    source = {name: tensor for name, tensor in read_checkpoint(path).state.items() if name.startswith(PREFIX)}
    own = {name: tensor for name, tensor in net.state_dict().items() if name.startswith(PREFIX)}
    wanted = {name for name in own if not name.endswith(COUNTER)}
    fits = {name for name in own if name in source and source[name].shape == own[name].shape}
    shapes = [
        f"{name} {tuple(source[name].shape)}, expected {tuple(own[name].shape)}"
        for name in sorted(set(own) & set(source) - fits)
    ]
    left = {
        "not in the checkpoint": sorted(wanted - set(source)),
        "of another shape": shapes,
        "not in the network": sorted(set(source) - set(own)),
    }
    taken = Taken(len(fits & wanted), len(wanted), tuple(_line(title, names) for title, names in left.items() if names))
    if taken.tensors == 0 or (taken.left and not partial):
        raise _refusal(path, taken)
    with torch.no_grad():
        net.load_state_dict({name: source[name] for name in fits}, strict=False)
    return taken


def _refusal(path: Path, taken: Taken) -> DeployError:
    listed = "\n".join(f"  {line}" for line in taken.left)
    return DeployError(
        f"--init {path}: {taken.tensors} of the {taken.of} tensors of the backbone match; nothing was taken\n{listed}",
        expected=f"a checkpoint of a network with the same backbone, its tensors called {PREFIX}...",
        mend="--init-partial takes those that match" if taken.tensors else f"hc-deploy inspect {quoted(path)}",
    )


def _line(title: str, names: list[str]) -> str:
    return f"{title} ({len(names)}): {listed(names, SHOWN)}"

"""What the user says of a network, what its file says, and what it answers when asked once -> fields of its spec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from hc_deploy.classes import ClassSet
from hc_deploy.errors import DeployError, UsageError, first_line
from hc_deploy.export.checkpoint import CheckpointInfo
from hc_deploy.export.networks import logits_of
from hc_deploy.spec import CHANNELS, Channels
from hc_deploy.system.limits import MOST_CLASSES

WRAP = "a factory that wraps the network into one that takes 3 channels or 1"
PROBE_SIZE = (64, 64)
"""Of networks of the registry, which take any size."""


@dataclass(frozen=True)
class Asked:
    """What the user says of a network that its file may not say; None: not said.

    Attributes:
        mean, std, channels, scale: the normalisation. classes: names and colours. threshold: of a binary network.
        size: (height, width) that a user's own network is asked its logits at.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channels: Channels | None = None
    scale: float | None = None
    classes: ClassSet | None = None
    threshold: float | None = None
    size: tuple[int, int] = PROBE_SIZE

    @property
    def normalisation(self) -> bool:
        """Whether anything of it was said."""
        return any(value is not None for value in (self.mean, self.std, self.channels, self.scale))


def normalisation(asked: Asked, info: CheckpointInfo, channels: Channels) -> dict[str, Any]:
    """Fields of the spec: what the user says, else the file, else ImageNet's."""
    count = CHANNELS[channels]
    usual: dict[str, Any] = {"mean": info.mean, "std": info.std, "scale": info.scale}
    if len(info.mean) != count:
        usual |= {"mean": None, "std": None}
    elif channels != info.channels and asked.mean is None and asked.std is None:
        # The statistics are those of the channels by name; the network is fed them in its own order.
        usual |= {"mean": tuple(reversed(info.mean)), "std": tuple(reversed(info.std))}
    fields = {name: getattr(asked, name) if getattr(asked, name) is not None else usual[name] for name in usual}
    if fields["mean"] is None or fields["std"] is None:
        raise UsageError(
            f"a network of {count} channel, and no --mean and --std for it",
            expected=f"--mean and --std of {count} number, as it was trained (gray images have no usual ones)",
            mend="--channels gray --mean M --std S",
        )
    if asked.scale == 1 and (asked.mean is None or asked.std is None):
        raise UsageError("--scale 1 without --mean and --std", expected="both, in units of 0 to 255")
    stated = asked.normalisation or info.stated
    return {**fields, "channels": channels, "normalisation": "stated" if stated else "assumed"}


def probe(net: nn.Module, arch: str, size: tuple[int, int], asked: Asked, info: CheckpointInfo) -> tuple[Channels, int]:
    """The channels that the network is fed and that it gives, by asking it once at `size`."""
    wanted: Channels = asked.channels or info.channels
    given = _logit_channels(net, CHANNELS[wanted], size)
    if isinstance(given, int):
        return wanted, given
    others = {count: _logit_channels(net, count, size) for count in (1, 2, 3, 4) if count != CHANNELS[wanted]}
    taken = [count for count, answer in others.items() if isinstance(answer, int)]
    if taken == [1] and asked.channels is None:
        gray = others[1]
        assert isinstance(gray, int)
        return "gray", gray
    takes = f"; it takes {' or '.join(map(str, taken))} channels" if taken else ""
    raise DeployError(
        f"{arch} fails on a float image [1,{CHANNELS[wanted]},{size[0]},{size[1]}]: {given}{takes}",
        expected="logits [1,C,h,w] of an image of 3 channels (RGB, BGR) or 1 (gray), at this --size",
        mend="--channels gray, or another --size" if 1 in taken or not taken else WRAP,
    )


def _logit_channels(net: nn.Module, channels: int, size: tuple[int, int]) -> int | str:
    """How many channels the logits have; in words where there are none."""
    try:
        with torch.no_grad():
            logits = logits_of(net(torch.zeros(1, channels, *size)))
    except Exception as error:  # a user's network may raise anything
        return first_line(error)
    if not 1 <= logits.shape[1] <= MOST_CLASSES or not logits.is_floating_point():
        return f"it gives {list(logits.shape)} of {str(logits.dtype).removeprefix('torch.')}"
    return int(logits.shape[1])


def class_set(asked: Asked, info: CheckpointInfo, count: int, unnamed: ClassSet) -> ClassSet:
    """What the user says, else the file, where they fit, else `unnamed`: a number of classes names none."""
    if asked.classes is not None:
        if len(asked.classes.names) != count:
            raise UsageError(
                f"--classes-from names {len(asked.classes.names)} classes", expected=f"{count}, as the network gives"
            )
        return asked.classes
    if len(info.classes) == count:
        return ClassSet(info.classes, info.palette)
    return unnamed

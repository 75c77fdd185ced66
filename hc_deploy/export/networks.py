"""What is asked of a network that is exported: the protocol of ours, and what may be had of anybody's.

Anybody's network is a segmentation: it takes a normalised float image and gives logits. One that is more says so by the
attribute `__hc_deploy__`, a `Deployment`; attributes of other names (`task`, `level`, ...) are its own business.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from hc_deploy.errors import UsageError
from hc_deploy.spec import Task

METHODS: dict[Task, str] = {"segmentation": "forward", "superpixels": "superpixels", "depth": "depth"}
CLUSTERS = "forward_with_clusters"
OUTPUT_NAMES = ("out", "logits", "sem_seg", "seg", "pred", "preds", "masks", "output")
"""Of a dict or record: which entry holds the logits, the first that is there; else its only map."""


@dataclass(frozen=True)
class Deployment:
    """What a network is for.

    Attributes:
        task: `segmentation` gives logits [B,C,h,w]; `superpixels` has a method `superpixels(image)`: ids int32 [B,H,W];
            `depth` a method `depth(image)`: metres float32 [B,H,W].
        level: hierarchical level of a clustered segmentation, which has a method `forward_with_clusters(image)`:
            (logits, clusters); clusters are (features, seeds) pairs from coarse to fine, the first at output stride 32.
    """

    task: Task = "segmentation"
    level: int = 0


def deployment_of(net: nn.Module, arch: str) -> Deployment:
    """The network's own word, or a plain segmentation.

    Raises:
        UsageError: it says something that it does not have.
    """
    said = getattr(net, "__hc_deploy__", Deployment())
    legal = ", ".join(f"{task} (method {method})" for task, method in METHODS.items())
    if not isinstance(said, Deployment) or said.task not in METHODS:
        raise UsageError(f"{arch} says by __hc_deploy__: {said!r}"[:200], expected=f"a Deployment; tasks: {legal}")
    if not callable(getattr(net, METHODS[said.task], None)):
        raise UsageError(f"{arch} says to be for {said.task}", expected=f"the method {METHODS[said.task]}")
    clustered = said.task == "segmentation" and said.level > 0
    if not 0 <= said.level <= 4 or (clustered and not hasattr(net, CLUSTERS)):
        raise UsageError(f"{arch} says to be of level {said.level}", expected=f"0 to 4, with the method {CLUSTERS}")
    return said


def logits_of(output: Any) -> torch.Tensor:
    """The logits [B,C,h,w] in what a network gives: itself, the entry `out` (...), or the first of a tuple.

    Raises:
        ValueError: there are none, in words for people.
    """
    if isinstance(output, torch.Tensor):
        if output.ndim != 4:
            raise ValueError(f"a tensor {list(output.shape)}")
        return output
    if dataclasses.is_dataclass(output) and not isinstance(output, Mapping | type):
        output = {field.name: getattr(output, field.name) for field in dataclasses.fields(output)}
    elif hasattr(output, "_asdict"):
        output = output._asdict()
    if isinstance(output, Mapping):
        maps = {name: value for name, value in output.items() if _is_map(value)}
        named = [name for name in OUTPUT_NAMES if name in maps]
        if named:
            return maps[named[0]]
        if len(maps) == 1:
            return next(iter(maps.values()))
        raise ValueError(f"a dict of {', '.join(map(str, output)) or 'nothing'}")
    if isinstance(output, list | tuple):
        first = next((value for value in output if _is_map(value)), None)
        if first is not None:
            return first
        raise ValueError(f"a {type(output).__name__} without a map")
    raise ValueError(f"a {type(output).__name__}")


def _is_map(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.ndim == 4

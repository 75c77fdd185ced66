"""The module that is exported: a user's network with normalisation before it and the requested outputs after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from hc_deploy.errors import UsageError
from hc_deploy.ops import hc_argmax_like, hc_assign, hc_decode
from hc_deploy.spec import ModelSpec

Clusters = list[tuple[torch.Tensor, torch.Tensor]]


class DeployedNet(nn.Module):
    """`image` as the spec says -> the spec's outputs, in order.

    Args:
        net: any module that maps a normalised float image [B,3,H,W] to logits [B,C,h,w] of any resolution. For the
            output `superpixels` it must also have `level` (int > 0) and `forward_with_clusters(image) -> (logits,
            clusters)`, clusters being (features, seeds) pairs from coarse to fine.
        spec: input kind, normalisation and outputs.

    Raises:
        UsageError: an output that the network cannot give.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, net: nn.Module, spec: ModelSpec) -> None:
        super().__init__()
        self.net = net.eval()
        self.spec = spec
        self.with_clusters: Callable[[torch.Tensor], tuple[torch.Tensor, Any]] | None = None
        if "superpixels" in spec.outputs:
            self.with_clusters = getattr(net, "forward_with_clusters", None)
            if self.with_clusters is None or spec.level == 0:
                raise UsageError(
                    f"output 'superpixels' of {spec.arch} at level {spec.level}",
                    expected="a network with clustering, level 1 to 4",
                    mend="--outputs labels",
                )
        mean, std = torch.tensor(spec.mean), torch.tensor(spec.std)
        self.register_buffer("scale", (1 / (255 * std)).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", (-mean / std).reshape(1, 3, 1, 1), persistent=False)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = image
        if self.spec.input == "uint8":
            x = image.permute(0, 3, 1, 2).to(self.scale.dtype) * self.scale + self.shift
        clusters: Clusters = []
        if self.with_clusters is not None:
            logits, clusters = self.with_clusters(x)
        else:
            logits = self.net(x)
        made: dict[str, torch.Tensor] = {"logits": logits}
        if "labels" in self.spec.outputs:
            made["labels"] = hc_argmax_like(logits, x).to(torch.uint8)
        if "superpixels" in self.spec.outputs:
            made["superpixels"] = superpixel_ids(clusters, x)
        return tuple(made[name] for name in self.spec.outputs)


def superpixel_ids(clusters: Clusters, image: torch.Tensor) -> torch.Tensor:
    """Id of the coarsest cluster that each pixel belongs to (Eq. 1 and 3), int32 [B,H,W].

    Ids number the cells of the coarsest seed map row by row. They are decoded through hard assignments that exclude
    candidates outside the map, so every pixel has a cluster; below the finest clustered level the nearest pixel
    counts. Float32 carries ids exactly up to 2^24.
    """
    _, seeds = clusters[0]
    height, width = seeds.shape[2], seeds.shape[3]
    ids = torch.arange(height * width, device=image.device, dtype=torch.float32).reshape(1, 1, height, width)
    ids = ids.expand(image.shape[0], 1, height, width)
    for features, seeds in clusters:
        ids = hc_decode(ids, hc_assign(features, seeds, border="exclude", assignment="hard"))
    return F.interpolate(ids, size=image.shape[2:], mode="nearest")[:, 0].to(torch.int32)

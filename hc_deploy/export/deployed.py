"""The module that is exported: a user's network with normalisation before it and the requested outputs after it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from hc_deploy.errors import UsageError
from hc_deploy.ops import hc_argmax_like, hc_assign, hc_decode
from hc_deploy.spec import ModelSpec

OUTPUT_STRIDE = 32
"""Of the coarsest map; each hierarchical level halves the stride of the finest one."""
Clusters = list[tuple[torch.Tensor, torch.Tensor]]


class DeployedNet(nn.Module):
    """`image` as the spec says -> the spec's outputs, in order.

    Args:
        net: takes a normalised float image [B,3,H,W]. By its attribute `task`:
            `segmentation` (also where it has none): `net(image)` gives logits [B,C,h,w] of any resolution. For the
            output `superpixels` it must also have `level` (int > 0) and `forward_with_clusters(image) -> (logits,
            clusters)`, clusters being (features, seeds) pairs from coarse to fine, the seeds of the first at output
            stride 32.
            `superpixels`: `net.superpixels(image)` gives ids, int32 [B,H,W].
            `depth`: `net.depth(image)` gives metres, float32 [B,H,W].
        spec: input kind, normalisation and outputs.

    Raises:
        UsageError: an output that the network cannot give.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, net: nn.Module, spec: ModelSpec) -> None:
        super().__init__()
        self.net: Any = net.eval()
        self.spec = spec
        clustered = hasattr(net, "forward_with_clusters") and spec.level > 0
        if spec.task == "segmentation" and "superpixels" in spec.outputs and not clustered:
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
            x = image.to(self.scale.dtype).permute(0, 3, 1, 2)  # in this order: uint8 may meet only a Cast in TensorRT
            x = x * self.scale + self.shift
        if self.spec.task == "superpixels":
            return (self.net.superpixels(x),)
        if self.spec.task == "depth":
            return (self.net.depth(x),)
        return self._segmentation(x)

    def _segmentation(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        clusters: Clusters = []
        if "superpixels" in self.spec.outputs:
            logits, clusters = self.net.forward_with_clusters(x)
        else:
            logits = self.net(x)
        made: dict[str, torch.Tensor] = {"logits": logits}
        if "labels" in self.spec.outputs:
            made["labels"] = hc_argmax_like(logits, x).to(torch.uint8)
        if "superpixels" in self.spec.outputs:
            made["superpixels"] = superpixel_ids(clusters, x, stride=OUTPUT_STRIDE >> self.spec.level)
        return tuple(made[name] for name in self.spec.outputs)


def superpixel_ids(clusters: Clusters, image: torch.Tensor, *, stride: int) -> torch.Tensor:
    """Id of the coarsest cluster that each pixel belongs to (Eq. 1 and 3), int32 [B,H,W].

    Ids number the cells of the coarsest seed map row by row. They are decoded through hard assignments that exclude
    candidates outside the map, so every pixel has a cluster; pixel (i, j) of the image then takes the id of pixel
    (i // stride, j // stride) of the finest clustered map. Float32 carries ids exactly up to 2^24.

    Args:
        clusters: from coarse to fine. image: [B,*,H,W], its size counts. stride: output stride of the finest map.
    """
    _, seeds = clusters[0]
    height, width = seeds.shape[2], seeds.shape[3]
    ids = torch.arange(height * width, device=image.device, dtype=torch.float32).reshape(1, 1, height, width)
    ids = ids.expand(image.shape[0], 1, height, width)
    for features, seeds in clusters:
        ids = hc_decode(ids, hc_assign(features, seeds, border="exclude", assignment="hard"))
    enlarged = F.interpolate(ids, scale_factor=float(stride), mode="nearest")
    return enlarged[:, 0, : image.shape[2], : image.shape[3]].to(torch.int32)

"""The module that is exported: a user's network with normalisation before it and the requested outputs after it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from hc_deploy.errors import UsageError
from hc_deploy.export.networks import CLUSTERS, logits_of
from hc_deploy.normalise import GRAY_WEIGHTS
from hc_deploy.ops import hc_argmax, hc_argmax_like, hc_assign, hc_decode
from hc_deploy.spec import OUTPUT_STRIDE, ModelSpec

Clusters = list[tuple[torch.Tensor, torch.Tensor]]


class DeployedNet(nn.Module):
    """`image` as the spec says -> the spec's outputs, in order.

    Args:
        net: takes a normalised float image [B,C,H,W]; what else it has, `networks.Deployment` says.
        spec: input kind, normalisation and outputs.

    Raises:
        UsageError: an output that the network cannot give.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, net: nn.Module, spec: ModelSpec) -> None:
        super().__init__()
        net.eval()  # a network's own train() may return nothing
        self.net: Any = net
        self.spec = spec
        clustered = hasattr(net, CLUSTERS) and spec.level > 0
        if spec.task == "segmentation" and "superpixels" in spec.outputs and not clustered:
            raise UsageError(
                f"output 'superpixels' of {spec.arch} at level {spec.level}",
                expected="a network with clustering, level 1 to 4",
                mend="--outputs labels",
            )
        mean, std = torch.tensor(spec.mean, dtype=torch.float64), torch.tensor(spec.std, dtype=torch.float64)
        per_channel = (1, len(spec.mean), 1, 1)
        self.register_buffer("scale", (1 / (spec.scale * std)).float().reshape(per_channel), persistent=False)
        self.register_buffer("shift", (-mean / std).float().reshape(per_channel), persistent=False)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = image
        if self.spec.input == "uint8":
            x = image.to(self.scale.dtype).permute(0, 3, 1, 2)  # in this order: uint8 may meet only a Cast in TensorRT
            x = self._ordered(x) * self.scale + self.shift
        if self.spec.task == "superpixels":
            return (self.net.superpixels(x),)
        if self.spec.task == "depth":
            return (self.net.depth(x),)
        return self._segmentation(x)

    def _ordered(self, x: torch.Tensor) -> torch.Tensor:
        """RGB [B,3,H,W] in the channels that the network is fed."""
        if self.spec.channels == "bgr":
            return x.flip(1)
        if self.spec.channels == "gray":
            red, green, blue = GRAY_WEIGHTS
            return torch.round(x[:, :1] * red + x[:, 1:2] * green + x[:, 2:] * blue)
        return x

    def _segmentation(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        clusters: Clusters = []
        if "superpixels" in self.spec.outputs:
            logits, clusters = self.net.forward_with_clusters(x)
        else:
            logits = logits_of(self.net(x))
        made: dict[str, torch.Tensor] = {"logits": logits}
        if "labels" in self.spec.outputs:
            made["labels"] = deployed_labels(logits, self.spec, x)
        if "superpixels" in self.spec.outputs:
            made["superpixels"] = superpixel_ids(clusters, x, stride=OUTPUT_STRIDE >> self.spec.level)
        return tuple(made[name] for name in self.spec.outputs)


def deployed_labels(logits: torch.Tensor, spec: ModelSpec, size: torch.Tensor | tuple[int, int]) -> torch.Tensor:
    """Classes [B,H,W] at `size`, or at the size of a map, from logits [B,C,h,w] of any resolution.

    Where the network gives one channel, the second class is where its logit is above the threshold's.
    """
    if spec.threshold is not None:
        logits = torch.cat([torch.full_like(logits, spec.threshold_logit), logits], dim=1)
    labels = hc_argmax_like(logits, size) if isinstance(size, torch.Tensor) else hc_argmax(logits, size)
    return labels.to(getattr(torch, spec.label_type))


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

"""The segmentation networks: image [B,3,H,W] -> logits [B,classes,h,w] at the decoder's own resolution.

Enlargement to the image is not the network's part: training does it with `F.interpolate`, a deployed model with
`HCArgmax`, both with half-pixel centres; a network made for the other convention (`AlignedNet`) enlarges by itself.
An HC twin is the same network on an output-stride-32 backbone plus a `HierarchicalClustering`; its
state dict is the plain one's plus the embeddings.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from hc_deploy.export.networks import Deployment
from models.clustering import Cluster, HierarchicalClustering
from models.fpn import PYRAMID_STAGES, bilinear
from models.resnet import ResNet


class SegmentationNet(nn.Module):
    """backbone -> head (Fig. 2 without the decode).

    Args:
        backbone: gives the stage outputs. head: logits from the last of them.
        aux: auxiliary head on conv4_x for training (PSPNet's auxiliary loss, section 4.1), or None.
    """

    __hc_deploy__ = Deployment()

    def __init__(self, backbone: ResNet, head: nn.Module, *, aux: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.aux = aux

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Normalised float image [B,3,H,W] -> logits [B,classes,h,w]; the auxiliary head is not run."""
        return self.predict(self.backbone(image))

    def predict(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """Logits from the stage outputs."""
        return self.head(maps[-1])

    def forward_with_aux(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The logits, and the auxiliary head's logits at conv4_x."""
        maps = self.backbone(image)
        return self.predict(maps), self.auxiliary(maps)

    def auxiliary(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """Logits of the auxiliary head."""
        if self.aux is None:
            raise ValueError("the network was built without an auxiliary head, expected the option aux=True")
        return self.aux(maps[-2])


class HCSegmentationNet(SegmentationNet):
    """backbone -> head -> decode of the prediction through the assignments (Fig. 2, Eq. 3)."""

    def __init__(
        self, backbone: ResNet, head: nn.Module, clustering: HierarchicalClustering, *, aux: nn.Module | None = None
    ) -> None:
        super().__init__(backbone, head, aux=aux)
        self.clustering = clustering

    @property
    def __hc_deploy__(self) -> Deployment:  # type: ignore[override]
        return Deployment(level=self.level)

    @property
    def level(self) -> int:
        """Hierarchical level: how many downsampling layers are clustered."""
        return self.clustering.level

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Normalised float image [B,3,H,W] -> logits [B,classes,H/s,W/s] with s = 32 / 2^level."""
        return self.forward_with_clusters(image)[0]

    def forward_with_clusters(self, image: torch.Tensor) -> tuple[torch.Tensor, list[Cluster]]:
        """The logits, and the clusters from coarse to fine (what superpixels are made from)."""
        maps, clusters = self.clustering(self.backbone, image)
        return self.decode(maps, clusters), clusters

    def forward_with_aux(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps, clusters = self.clustering(self.backbone, image)
        return self.decode(maps, clusters), self.auxiliary(maps)

    def decode(self, maps: list[torch.Tensor], clusters: list[Cluster]) -> torch.Tensor:
        """Eq. 3: the prediction, decoded through all clusters."""
        return self.clustering.decode(self.predict(maps), clusters)


class AlignedNet(SegmentationNet):
    """A network whose prediction is enlarged with aligned corners (the original PSPNet release): logits at the image's
    size. The original takes heights and widths of 8k + 1 alone; at others the corners are aligned all the same.
    """

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Normalised float image [B,3,H,W] -> logits [B,classes,H,W]."""
        return _align(super().forward(image), image)

    def forward_with_aux(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits, auxiliary = super().forward_with_aux(image)
        return _align(logits, image), _align(auxiliary, image)


def _align(logits: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    return F.interpolate(logits, size=image.shape[2:], mode="bilinear", align_corners=True)


class FPN(SegmentationNet):
    """Feature pyramid network: the head reads conv3_x to conv5_x."""

    def predict(self, maps: list[torch.Tensor]) -> torch.Tensor:
        return self.head(maps[-PYRAMID_STAGES:])


class HCFPN(HCSegmentationNet):
    """FPN whose top-down path enlarges through the superpixels (section 4.2).

    The clusters of conv5_x and conv4_x serve the two steps of the path; below level 2 the rest stays bilinear, above
    it the prediction is decoded further.
    """

    def decode(self, maps: list[torch.Tensor], clusters: list[Cluster]) -> torch.Tensor:
        def enlarge(step: int, coarse: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
            if step < len(clusters):
                return self.clustering.decode(coarse, clusters[step : step + 1])
            return bilinear(step, coarse, like)

        logits = self.head(maps[-PYRAMID_STAGES:], enlarge)
        return self.clustering.decode(logits, clusters[PYRAMID_STAGES - 1 :])

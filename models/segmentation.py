"""The segmentation networks: image [B,3,H,W] -> logits [B,classes,h,w] at the decoder's own resolution.

Enlargement to the image is not the network's part: training does it with `F.interpolate`, a deployed model with
`HCArgmax`. An HC twin is the same network on an output-stride-32 backbone plus a `HierarchicalClustering`; its
state dict is the plain one's plus the embeddings.
"""

from __future__ import annotations

import torch
from torch import nn

from models.clustering import Cluster, HierarchicalClustering
from models.resnet import ResNet


class SegmentationNet(nn.Module):
    """backbone -> head (Fig. 2 without the decode)."""

    def __init__(self, backbone: ResNet, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Normalised float image [B,3,H,W] -> logits [B,classes,h,w]."""
        return self.head(self.backbone(image)[-1])


class HCSegmentationNet(nn.Module):
    """backbone -> head -> decode of the prediction through the assignments (Fig. 2, Eq. 3)."""

    def __init__(self, backbone: ResNet, head: nn.Module, clustering: HierarchicalClustering) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.clustering = clustering

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
        return self.clustering.decode(self.head(maps[-1]), clusters), clusters

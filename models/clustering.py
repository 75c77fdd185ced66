"""Hierarchical clustering around a plain backbone (section 3, Fig. 2): plugged in, not forked.

The wrapper calls the backbone's own modules in their own order, so the feed-forward path stays bit-identical; beside
it, it keeps for each clustered downsampling layer the fine map before and the sampled map after it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from hc_deploy.ops import ClusterOptions, hc_upsample
from models.resnet import Branch, ResNet

STAGES = ("conv5_x", "conv4_x", "conv3_x", "conv2_x")
"""Clustered downsampling layers in the order in which the hierarchical level adds them (section 4.1)."""


class Cluster(NamedTuple):
    """One clustered downsampling layer: W x [B,K,H,W] and W~ s [B,K,h,w] of Eq. 4."""

    features: torch.Tensor
    seeds: torch.Tensor


class Embedding(nn.Module):
    """W and W~ of section 3.2: linear maps of a pixel and of a seed into the K-dimensional space (Appendix B)."""

    def __init__(self, feature_channels: int, seed_channels: int, dim: int) -> None:
        super().__init__()
        self.feature = nn.Conv2d(feature_channels, dim, 1, bias=False)
        self.seed = nn.Conv2d(seed_channels, dim, 1, bias=False)

    def forward(self, features: torch.Tensor, seeds: torch.Tensor) -> Cluster:
        return Cluster(_channels_first(self.feature, features), _channels_first(self.seed, seeds))


def _channels_first(conv: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """The 1x1 convolution, [B,K,H,W] contiguous as the kernels read it.

    Of a map that lies channels last on a GPU it is one matrix product that writes what is wanted; the convolution would
    write channels last, to be copied (at level 4 and 1024x2048 that copy took a third of HCFCN-32/ResNet-18's time).
    """
    if not (x.is_cuda and x.is_contiguous(memory_format=torch.channels_last)):
        return conv(x)
    pixels = x.permute(0, 2, 3, 1).flatten(1, 2)
    return (conv.weight.flatten(1) @ pixels.transpose(1, 2)).unflatten(2, x.shape[2:])


class HierarchicalClustering(nn.Module):
    """The clustering modules of one backbone, and the decode of a coarse map through them (Eq. 3).

    Args:
        channels: `ResNet.channels` of the backbone (output stride 32).
        level: number of clustered downsampling layers, 0 to 4, counted from conv5_x up to conv2_x.
        branch: which part of the downsampling block the seeds are (Table 1). The downsampling of conv2_x is the
            max-pooling, which has no branches: its seeds are the pooled map.
        dim: K, dimension of the embedding space.
        options: attributes of the clustering ops.
    """

    def __init__(
        self, channels: tuple[int, ...], *, level: int, branch: Branch, dim: int, options: ClusterOptions
    ) -> None:
        super().__init__()
        self.level, self.branch, self.options = level, branch, options
        for stage in range(4 - level, 4):
            seed_channels = channels[0] if stage == 0 else channels[stage + 1]
            self.add_module(STAGES[3 - stage], Embedding(channels[stage], seed_channels, dim))

    def forward(self, backbone: ResNet, image: torch.Tensor) -> tuple[list[torch.Tensor], list[Cluster]]:
        """[B,3,H,W] -> the backbone's own stage outputs, and the clusters from coarse to fine."""
        x = backbone.stem(image)
        maps, clusters = [x], list[Cluster]()
        for stage, blocks in enumerate(backbone.stages()):
            if stage == 0:
                y = seeds = backbone.maxpool(x)
                rest = list(blocks)
            else:
                y, seeds = blocks[0].sample(x, self.branch)  # type: ignore[operator]
                rest = list(blocks)[1:]
            if stage >= 4 - self.level:
                clusters.insert(0, self.get_submodule(STAGES[3 - stage])(x, seeds))
            x = y
            for block in rest:
                x = block(x)
            maps.append(x)
        return maps, clusters

    def decode(self, coarse: torch.Tensor, clusters: list[Cluster]) -> torch.Tensor:
        """Eq. 3: [B,C,H/32,W/32] -> [B,C,H/s,W/s] with s = 32 / 2^level."""
        for cluster in clusters:
            coarse = hc_upsample(
                coarse,
                cluster.features,
                cluster.seeds,
                tau=self.options.tau,
                similarity=self.options.similarity,
                border=self.options.border,
                assignment=self.options.assignment,
            )
        return coarse

"""DORN (Fu et al., CVPR 2018) and HCDORN (section 4.4): image [B,3,H,W] -> depth in metres, float32 [B,H,W].

A dense feature extractor (ResNet), the scene understanding module, and ordinal regression over intervals of increasing
width (`models.ordinal`).
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import nn

from hc_deploy.cluster_options import Assignment, Border, Similarity
from hc_deploy.errors import UsageError
from hc_deploy.export.networks import Deployment
from hc_deploy.ops import ClusterOptions
from models.checks import whole_number
from models.clustering import HierarchicalClustering
from models.heads import bin_weights
from models.ordinal import DEPTH_MAX, DEPTH_MIN, INTERVALS, OrdinalRegression, SpacingIncreasing
from models.resnet import DEPTHS, Branch, ResNet

DILATIONS = (6, 12, 18)
"""Of the ASPP branches (Fig. 3 of DORN); the authors' NYU release has 4, 8, 12."""
POOLED = (5, 6)
"""Rows and columns that the full-image encoder pools to: the release's 8x8 pooling of the 33x45 map of 257x353."""
DROPOUT = 0.5


class FullImageEncoder(nn.Module):
    """Full-image encoder of DORN (its Fig. 4): what the whole image is of, copied to every position.

    Pooling, dropout, a fully connected layer, a 1x1 convolution: [B,N,h,w] -> [B,M,h,w]. The pooling is adaptive, so
    that the fully connected layer fits any image size.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(DROPOUT)
        self.connect = nn.Linear(in_channels * POOLED[0] * POOLED[1], channels)
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, columns = (bin_weights(x.shape[2 + axis], bins, x) for axis, bins in enumerate(POOLED))
        pooled = self.dropout((rows @ x @ columns.transpose(0, 1)).flatten(1))
        code = torch.relu(self.connect(pooled)).unsqueeze(2).unsqueeze(3)
        return torch.relu(self.conv(code)).expand(-1, -1, x.shape[2], x.shape[3])


class SceneUnderstanding(nn.Module):
    """Scene understanding module of DORN (its Fig. 3): [B,N,h,w] -> feature map [B,N,h,w].

    Full-image encoder, cross-channel learner (1x1) and three atrous branches (3x3), each of N/4 channels and followed
    by a 1x1 convolution; their concatenation goes through a 1x1 convolution to N channels. Convolutions have biases
    and no normalisation, as in the authors' release.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = max(1, channels // 4)
        self.full_image = FullImageEncoder(channels, narrow)
        self.cross_channel = _branch(channels, narrow, 1)
        self.aspp = nn.ModuleList(_branch(channels, narrow, dilation, kernel=3) for dilation in DILATIONS)
        self.dropout = nn.Dropout(DROPOUT)
        self.fuse = nn.Conv2d((2 + len(DILATIONS)) * narrow, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branches = [self.full_image(x), self.cross_channel(x), *(branch(x) for branch in self.aspp)]
        return torch.relu(self.fuse(self.dropout(torch.cat(branches, 1))))


def _branch(in_channels: int, channels: int, dilation: int, kernel: int = 1) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, kernel, padding=padding, dilation=dilation),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 1),
        nn.ReLU(),
    )


class DORN(nn.Module):
    """Backbone of output stride 8 -> scene understanding -> ordinal regression (Fig. 2 of DORN)."""

    __hc_deploy__ = Deployment("depth")

    def __init__(self, backbone: ResNet, sid: SpacingIncreasing) -> None:
        super().__init__()
        channels = backbone.channels[-1]
        self.backbone = backbone
        self.scene = SceneUnderstanding(channels)
        self.dropout = nn.Dropout(DROPOUT)
        self.ordinal = OrdinalRegression(channels, sid.intervals)
        self.sid = sid
        for module in (*self.scene.modules(), *self.ordinal.modules()):
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.constant_(module.bias, 0.0)  # type: ignore[arg-type]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Normalised float image [B,3,H,W] -> ordinal logits [B,2K,h,w] of output stride 8, pairs as in Eq. 3 of DORN.

        `models.ordinal.ordinal_loss` takes these.
        """
        return self.ordinal(self.dropout(self.scene(self.backbone(image)[-1])))

    def margins(self, image: torch.Tensor) -> torch.Tensor:
        """y_(2k+1) - y_(2k) at the resolution of `forward`, [B,K,h,w]."""
        return self.ordinal.margins(self.scene(self.backbone(image)[-1]))

    def depth(self, image: torch.Tensor) -> torch.Tensor:
        """Normalised float image [B,3,H,W] -> metres, float32 [B,H,W] (Eq. 5 of DORN).

        As the authors' release does, the scores are enlarged and then decided upon: deciding first would leave steps
        of 8 pixels. Enlargement is linear and P(l > k) >= 0.5 means y_(2k+1) >= y_(2k), so that the K differences are
        enough: no softmax and half of the 2K channels at full resolution (64 against 149 ms at 257x353 on 2 cores).
        """
        margins = F.interpolate(self.margins(image), size=image.shape[2:], mode="bilinear", align_corners=False)
        return self.sid.depth((margins >= 0).sum(1))


class HCDORN(DORN):
    """DORN on a backbone of output stride 32; Eq. 3 decodes the scene understanding module's feature map (section 4.4).

    The segmentation networks decode their prediction instead.
    """

    def __init__(self, backbone: ResNet, sid: SpacingIncreasing, clustering: HierarchicalClustering) -> None:
        super().__init__(backbone, sid)
        self.clustering = clustering

    @property
    def __hc_deploy__(self) -> Deployment:  # type: ignore[override]
        return Deployment("depth", self.level)

    @property
    def level(self) -> int:
        """Hierarchical level: how many downsampling layers are clustered."""
        return self.clustering.level

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Normalised float image [B,3,H,W] -> ordinal logits [B,2K,H/s,W/s] with s = 32 / 2^level."""
        maps, clusters = self.clustering(self.backbone, image)
        return self.ordinal(self.dropout(self.clustering.decode(self.scene(maps[-1]), clusters)))

    def margins(self, image: torch.Tensor) -> torch.Tensor:
        """y_(2k+1) - y_(2k) at the resolution of `forward`, [B,K,H/s,W/s].

        Eq. 3 is linear and the same for all channels, so that decoding K channels of w*x and adding the bias
        afterwards equals the classification of the N decoded channels of x, which `forward` does: 14 against 314 ms
        for N = 2048 and K = 68 at 257x353 on 2 cores.
        """
        maps, clusters = self.clustering(self.backbone, image)
        coarse = self.ordinal.margins(self.scene(maps[-1]), bias=False)
        return self.clustering.decode(coarse, clusters) + self.ordinal.margin_bias()


def dorn(
    *,
    backbone: str = "resnet101",
    width: int = 64,
    intervals: int = INTERVALS,
    depth_min: float = DEPTH_MIN,
    depth_max: float = DEPTH_MAX,
) -> DORN:
    """DORN (Fu et al., CVPR 2018).

    Args:
        backbone: one of `models.resnet.DEPTHS`. width: channels of its conv1.
        intervals: K of the spacing-increasing discretisation. depth_min, depth_max: its range in metres.

    Raises:
        UsageError: a value that is not legal; the message names the legal ones.
    """
    sid = SpacingIncreasing(intervals, depth_min, depth_max)
    return DORN(_backbone(backbone, width, 8), sid)


def hcdorn(
    *,
    backbone: str = "resnet101",
    width: int = 64,
    level: int = 2,
    branch: Branch = "block",
    dim: int = 64,
    tau: float = 0.07,
    similarity: Similarity = "cosine",
    border: Border = "zero",
    assignment: Assignment = "soft",
    intervals: int = INTERVALS,
    depth_min: float = DEPTH_MIN,
    depth_max: float = DEPTH_MAX,
) -> HCDORN:
    """HCDORN (section 4.4): options as of `dorn` and of the other networks with hierarchical clustering."""
    sid = SpacingIncreasing(intervals, depth_min, depth_max)
    net = _backbone(backbone, width, 32)
    if level not in range(5):
        raise UsageError(f"level={level!r}", expected="one of 0, 1, 2, 3, 4")
    if branch not in get_args(Branch):
        raise UsageError(f"branch={branch!r}", expected=f"one of {', '.join(get_args(Branch))}")
    whole_number("dim", dim, 1, 4096)
    try:
        options = ClusterOptions(tau, similarity, border, assignment)
    except ValueError as error:
        raise UsageError(f"hcdorn: {error}") from None
    clustering = HierarchicalClustering(net.channels, level=level, branch=branch, dim=dim, options=options)
    return HCDORN(net, sid, clustering)


def _backbone(name: str, width: int, output_stride: Literal[8, 32]) -> ResNet:
    if name not in DEPTHS:
        raise UsageError(f"backbone '{name}'", expected=f"one of {', '.join(DEPTHS)}")
    whole_number("width", width, 1, 4096)
    return ResNet(name, width=width, output_stride=output_stride)

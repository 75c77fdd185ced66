"""Prediction heads: the backbone's last map [B,N,h,w] -> logits [B,classes,h,w]."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

PYRAMID_BINS = (1, 2, 3, 6)
ATROUS_RATES = (12, 24, 36)
"""Of DeepLabv3 at output stride 8 (Chen et al. 2017, section 4.1); the HC twins keep them (section 4.2)."""


def conv_bn_relu(in_channels: int, out_channels: int, kernel: int, *, dilation: int = 1) -> nn.Sequential:
    """Convolution that keeps the size, batch normalisation, ReLU."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


class FCNHead(nn.Module):
    """3x3 convolution to a quarter of the channels, then the 1x1 classifier: phi of section 3.1."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.project = conv_bn_relu(channels, channels // 4, 3)
        self.dropout = nn.Dropout2d(0.1)
        self.classify = nn.Conv2d(channels // 4, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classify(self.dropout(self.project(x)))


class PyramidPooling(nn.Module):
    """Pyramid pooling module of PSPNet (Zhao et al., CVPR 2017, Fig. 3): bins 1, 2, 3, 6, bilinear enlargement
    with half-pixel centres, or with `align_corners` as in the original release."""

    def __init__(self, channels: int, bins: tuple[int, ...] = PYRAMID_BINS, *, align_corners: bool = False) -> None:
        super().__init__()
        self.bins = bins
        self.align_corners = align_corners
        self.reduce = nn.ModuleList(conv_bn_relu(channels, channels // len(bins), 1) for _ in bins)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B,N,h,w] -> [B,2N,h,w]."""
        size = x.shape[2:]
        pooled = [
            F.interpolate(reduce(adaptive_average(x, n)), size=size, mode="bilinear", align_corners=self.align_corners)
            for n, reduce in zip(self.bins, self.reduce, strict=True)
        ]
        return torch.cat([x, *pooled], dim=1)


class PSPHead(nn.Module):
    """Pyramid pooling, 3x3 convolution, classifier."""

    def __init__(self, channels: int, classes: int, *, align_corners: bool = False) -> None:
        super().__init__()
        self.pyramid = PyramidPooling(channels, align_corners=align_corners)
        self.project = conv_bn_relu(2 * channels, channels // 4, 3)
        self.dropout = nn.Dropout2d(0.1)
        self.classify = nn.Conv2d(channels // 4, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classify(self.dropout(self.project(self.pyramid(x))))


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling of DeepLabv3 (Chen et al. 2017, Fig. 5): 1x1, three dilated 3x3, image pooling."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.point = conv_bn_relu(channels, dim, 1)
        self.atrous = nn.ModuleList(conv_bn_relu(channels, dim, 3, dilation=rate) for rate in ATROUS_RATES)
        self.image = conv_bn_relu(channels, dim, 1)
        self.project = conv_bn_relu((2 + len(ATROUS_RATES)) * dim, dim, 1)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B,N,h,w] -> [B,dim,h,w]."""
        # Enlarging a 1x1 map is a copy, whatever the interpolation.
        image = self.image(x.mean((2, 3), keepdim=True)).expand(-1, -1, x.shape[2], x.shape[3])
        branches = [self.point(x), *(branch(x) for branch in self.atrous), image]
        return self.dropout(self.project(torch.cat(branches, dim=1)))


class DeepLabHead(nn.Module):
    """ASPP, 3x3 convolution, classifier: an eighth of the backbone's channels, 256 on ResNet-50 and -101."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.aspp = ASPP(channels, channels // 8)
        self.project = conv_bn_relu(channels // 8, channels // 8, 3)
        self.classify = nn.Conv2d(channels // 8, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classify(self.project(self.aspp(x)))


def adaptive_average(x: torch.Tensor, bins: int) -> torch.Tensor:
    """Adaptive average pooling [B,N,h,w] -> [B,N,bins,bins], exact at any (also dynamic) map size.

    Equal to `F.adaptive_avg_pool2d`, written as two small matrix products, because neither the exporter nor TensorRT
    has the operator for sizes that the bins do not divide.
    """
    rows = bin_weights(x.shape[2], bins, x)
    columns = bin_weights(x.shape[3], bins, x)
    return rows @ x @ columns.transpose(0, 1)


def bin_weights(size: int, bins: int, like: torch.Tensor) -> torch.Tensor:
    """[bins,size]: row i averages positions floor(i*size/bins) to ceil((i+1)*size/bins) - 1."""
    index = torch.arange(bins, device=like.device).unsqueeze(1)
    position = torch.arange(size, device=like.device).unsqueeze(0)
    inside = (position * bins + bins > index * size) & (position * bins < (index + 1) * size)
    weights = inside.to(like.dtype)
    return weights / weights.sum(1, keepdim=True)

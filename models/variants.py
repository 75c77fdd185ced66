"""Where public code builds a network otherwise than `models` does: stems, dilation and heads, so that its weights give
here what they give there. Options of the registry enter, modules leave.

Sources: He et al., "Bag of Tricks", CVPR 2019 (ResNetV1c); Kirillov et al., "Panoptic Feature Pyramid Networks",
CVPR 2019 (Semantic FPN); the layer lists of mmsegmentation 0.x and 1.x and of the PyTorch PSPNet release.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from models.heads import ATROUS_RATES, DeepLabHead, FCNHead, PSPHead, conv_bn_relu
from models.resnet import BasicBlock, ResNet
from models.segmentation import AlignedNet, SegmentationNet

Stem = Literal["single", "deep", "wide"]
"""One 7x7 convolution; three 3x3 ones of w/2, w/2, w channels (ResNetV1c); of w, w, 2w (the PSPNet release)."""
Variant = Literal["paper", "mmseg", "semseg"]
"""Whose layers the network has, with the same name and task: the paper's (and torchvision's), mmsegmentation's, or the
PyTorch PSPNet release's (hszhao/semseg), which dilates the first block of a dilated stage too."""
Head = type[FCNHead] | type[PSPHead] | type[DeepLabHead]


def stem_channels(stem: Stem, width: int) -> tuple[int, int, int] | None:
    """Channels of the deep stem, or None for the single convolution."""
    if stem == "single":
        return None
    return (max(width // 2, 1), max(width // 2, 1), width) if stem == "deep" else (width, width, 2 * width)


def undilate_second(backbone: ResNet) -> ResNet:
    """mmsegmentation's BasicBlock (ResNet-18) never dilates its second convolution; changed in place."""
    for block in backbone.modules():
        if isinstance(block, BasicBlock):
            assert isinstance(block.conv2, nn.Conv2d)
            block.conv2.dilation = block.conv2.padding = (1, 1)
    return backbone


def assemble(
    backbone: ResNet, head: Head | None, aux: nn.Module | None, *, classes: int, variant: Variant, align_corners: bool
) -> SegmentationNet:
    """The network around `backbone` whose head is `head`, or a feature pyramid for None, as `variant` builds it.

    Raises:
        ValueError: a combination that no public code has.
    """
    channels = backbone.channels[-1]
    if head is None:
        if align_corners or variant != "mmseg":
            raise ValueError(f"align_corners={align_corners} with variant={variant} for a feature pyramid")
        return SemanticFPN(backbone, SemanticFPNHead(backbone.channels[1:], classes), aux=aux)
    if head is PSPHead:
        made: nn.Module = PSPHead(channels, classes, align_corners=align_corners)
    else:
        made = (MMSEG_HEADS[head] if variant == "mmseg" else head)(channels, classes)
    return (AlignedNet if align_corners else SegmentationNet)(backbone, made, aux=aux)


class ConcatFCNHead(nn.Module):
    """mmsegmentation's FCN head: two 3x3 convolutions, a third over their output beside the input, classifier."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        dim = channels // 4
        self.convs = nn.Sequential(conv_bn_relu(channels, dim, 3), conv_bn_relu(dim, dim, 3))
        self.merge = conv_bn_relu(channels + dim, dim, 3)
        self.dropout = nn.Dropout2d(0.1)
        self.classify = nn.Conv2d(dim, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B,N,h,w] -> [B,classes,h,w]."""
        return self.classify(self.dropout(self.merge(torch.cat([x, self.convs(x)], dim=1))))


class WideDeepLabHead(nn.Module):
    """mmsegmentation's DeepLabv3 head: ASPP of a quarter of the channels (512), its image pooling first, joined by one
    3x3 convolution instead of a 1x1 and a 3x3 one."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        dim = channels // 4
        self.image = conv_bn_relu(channels, dim, 1)
        self.point = conv_bn_relu(channels, dim, 1)
        self.atrous = nn.ModuleList(conv_bn_relu(channels, dim, 3, dilation=rate) for rate in ATROUS_RATES)
        self.project = conv_bn_relu((2 + len(ATROUS_RATES)) * dim, dim, 3)
        self.dropout = nn.Dropout2d(0.1)
        self.classify = nn.Conv2d(dim, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B,N,h,w] -> [B,classes,h,w]."""
        # Enlarging a 1x1 map is a copy, whatever the interpolation.
        image = self.image(x.mean((2, 3), keepdim=True)).expand(-1, -1, x.shape[2], x.shape[3])
        branches = [image, self.point(x), *(branch(x) for branch in self.atrous)]
        return self.classify(self.dropout(self.project(torch.cat(branches, dim=1))))


MMSEG_HEADS: dict[Head, type[ConcatFCNHead] | type[WideDeepLabHead]] = {
    FCNHead: ConcatFCNHead,
    DeepLabHead: WideDeepLabHead,
}
"""Our head -> mmsegmentation's where its layers differ; PSPNet's are the same."""


class SemanticFPNHead(nn.Module):
    """Semantic FPN (Panoptic FPN, Fig. 3): a pyramid over conv2_x to conv5_x with nearest enlargement, each level
    brought to output stride 4 by 3x3 convolutions and bilinear doublings, the sum classified.

    Args:
        channels: channels of conv2_x to conv5_x; the pyramid has as many as conv2_x of a bottleneck (256), the levels'
            convolutions half of them.
        classes: number of classes.
    """

    def __init__(self, channels: tuple[int, ...], classes: int) -> None:
        super().__init__()
        dim = channels[-1] // 8
        self.lateral = nn.ModuleList(nn.Conv2d(n, dim, 1) for n in channels)
        self.smooth = nn.ModuleList(nn.Conv2d(dim, dim, 3, padding=1) for _ in channels)
        self.scale = nn.ModuleList(
            nn.ModuleList(conv_bn_relu(dim if step == 0 else dim // 2, dim // 2, 3) for step in range(max(level, 1)))
            for level in range(len(channels))
        )
        self.dropout = nn.Dropout2d(0.1)
        self.classify = nn.Conv2d(dim // 2, classes, 1)

    def forward(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """[conv2_x, ... conv5_x] -> logits at the resolution of conv2_x."""
        x = self.lateral[-1](maps[-1])
        pyramid = [x]
        for lateral, side in zip(list(self.lateral)[-2::-1], maps[-2::-1], strict=True):
            x = lateral(side) + F.interpolate(x, size=side.shape[2:], mode="nearest")
            pyramid.insert(0, x)
        total = self._level(0, pyramid[0])
        for level in range(1, len(pyramid)):
            total = total + _bilinear(self._level(level, pyramid[level]), total.shape[2], total.shape[3])
        return self.classify(self.dropout(total))

    def _level(self, level: int, x: torch.Tensor) -> torch.Tensor:
        x = self.smooth[level](x)
        convolutions: nn.ModuleList = self.scale[level]  # type: ignore[assignment]
        for convolution in convolutions:
            x = convolution(x)
            if level > 0:
                x = _bilinear(x, 2 * x.shape[2], 2 * x.shape[3])
        return x


def _bilinear(x: torch.Tensor, height: int, width: int) -> torch.Tensor:
    return F.interpolate(x, size=(height, width), mode="bilinear", align_corners=False)


class SemanticFPN(SegmentationNet):
    """Semantic FPN: the head reads conv2_x to conv5_x."""

    def predict(self, maps: list[torch.Tensor]) -> torch.Tensor:
        return self.head(maps[1:])

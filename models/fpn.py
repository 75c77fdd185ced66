"""Feature pyramid for segmentation (Lin et al., CVPR 2017, Fig. 3): conv3_x to conv5_x -> logits at output stride 8.

In the paper's tables FPN predicts at output stride 8 (Table 2), so the top-down path ends at conv3_x; HCFPN replaces
its two bilinear enlargements by the superpixel decode.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from models.heads import conv_bn_relu

PYRAMID_STAGES = 3
Enlarge = Callable[[int, torch.Tensor, torch.Tensor], torch.Tensor]
"""(step from the top, coarse map, map of the size that is wanted) -> the coarse map at that size."""


def bilinear(_: int, coarse: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Bilinear enlargement to the size of `like`, half-pixel centres (align_corners false)."""
    return F.interpolate(coarse, size=like.shape[2:], mode="bilinear", align_corners=False)


class FPNHead(nn.Module):
    """Lateral 1x1 convolutions, top-down additions, 3x3 convolution and classifier.

    Args:
        channels: channels of conv3_x, conv4_x and conv5_x.
        classes: number of classes.
        dim: channels of the pyramid; 256 in the original.
    """

    def __init__(self, channels: tuple[int, ...], classes: int, *, dim: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(n, dim, 1) for n in channels)
        self.smooth = conv_bn_relu(dim, dim, 3)
        self.dropout = nn.Dropout2d(0.1)
        self.classify = nn.Conv2d(dim, classes, 1)

    def forward(self, maps: list[torch.Tensor], enlarge: Enlarge = bilinear) -> torch.Tensor:
        """[conv3_x, conv4_x, conv5_x] -> logits at the resolution of conv3_x."""
        x = self.lateral[-1](maps[-1])
        for step in range(1, len(maps)):
            side = self.lateral[-1 - step](maps[-1 - step])
            x = side + enlarge(step - 1, x, side)
        return self.classify(self.dropout(self.smooth(x)))

"""ResNet-18/50/101 (He et al., CVPR 2016) as a backbone: image [B,3,H,W] -> the five stage outputs.

Parameter names are torchvision's, so that its weights load; the stride of a bottleneck sits in its 3x3 convolution,
as there. `output_stride` 16 or 8 replaces the stride of conv5_x (and conv4_x) by dilation, which is the atrous backbone
of AtrousFCN, PSPNet and DeepLabv3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import nn

from models.deform import DeformableConv2d, DeformForm

Branch = Literal["identity", "residual", "block"]


class Sampled(NamedTuple):
    """What a downsampling block gives: its output, and the map its seeds are taken from."""

    output: torch.Tensor
    seeds: torch.Tensor


class _Block(nn.Module):
    """B(x) = relu(I(x) + R(x)): identity mapping plus residual mapping (section 4.1, Table 1)."""

    downsample: nn.Module | None

    def identity(self, x: torch.Tensor) -> torch.Tensor:
        """I(x): x itself or its linear projection."""
        return x if self.downsample is None else self.downsample(x)

    def residual(self, x: torch.Tensor) -> torch.Tensor:
        """R(x)."""
        raise NotImplementedError

    def sample(self, x: torch.Tensor, branch: Branch) -> Sampled:
        """B(x) and the chosen sampling branch of it: I(x), R(x) or B(x)."""
        identity, residual = self.identity(x), self.residual(x)
        block = torch.relu(identity + residual)
        return Sampled(block, {"identity": identity, "residual": residual, "block": block}[branch])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.sample(x, "block").output


Conv3x3 = Callable[..., nn.Module]
"""(in_channels, out_channels, stride=, dilation=) -> a 3x3 convolution without bias."""


def conv3x3(in_channels: int, out_channels: int, *, stride: int = 1, dilation: int = 1) -> nn.Module:
    """The regular 3x3 convolution."""
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=dilation, dilation=dilation, bias=False)


def dcnv2(form: DeformForm) -> Conv3x3:
    """Strided 3x3 convolutions as DCNv2, the others regular (Appendix A)."""

    def convolution(in_channels: int, out_channels: int, *, stride: int = 1, dilation: int = 1) -> nn.Module:
        if stride == 1:
            return conv3x3(in_channels, out_channels, dilation=dilation)
        return DeformableConv2d(in_channels, out_channels, stride=stride, form=form)

    return convolution


class BasicBlock(_Block):
    """Two 3x3 convolutions (ResNet-18)."""

    expansion = 1

    def __init__(self, in_channels: int, planes: int, *, stride: int, dilation: int, conv: Conv3x3 = conv3x3) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, planes, stride=stride, dilation=dilation)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = conv(planes, planes, dilation=dilation)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = _projection(in_channels, planes * self.expansion, stride)

    def residual(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))


class Bottleneck(_Block):
    """1x1, 3x3, 1x1 convolutions (ResNet-50 and -101)."""

    expansion = 4

    def __init__(self, in_channels: int, planes: int, *, stride: int, dilation: int, conv: Conv3x3 = conv3x3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = conv(planes, planes, stride=stride, dilation=dilation)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, planes * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * self.expansion)
        self.downsample = _projection(in_channels, planes * self.expansion, stride)

    def residual(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return self.bn3(self.conv3(x))


def _projection(in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))


DEPTHS: dict[str, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
}


class ResNet(nn.Module):
    """Stages conv1 and conv2_x to conv5_x (`layer1` to `layer4`).

    Args:
        name: one of `DEPTHS`.
        width: channels of conv1 and conv2_x; 64 in the paper, less for small demonstration networks.
        output_stride: 32, or 16 / 8 with dilated convolutions in conv5_x / conv4_x and conv5_x.
        stem: channels of a deep stem of three 3x3 convolutions (ResNetV1c), or None for the single 7x7 one.
        conv: makes the 3x3 convolutions of the blocks (`conv3x3` or `dcnv2(...)`).
        dilate_first: dilate the first block of a dilated stage like the rest of it (the original PSPNet release);
            otherwise it keeps the previous stage's dilation (torchvision, mmsegmentation).

    Attributes:
        channels: channels of the outputs of conv1 and conv2_x to conv5_x.
    """

    def __init__(
        self,
        name: str,
        *,
        width: int = 64,
        output_stride: Literal[8, 16, 32] = 32,
        stem: tuple[int, int, int] | None = None,
        conv: Conv3x3 = conv3x3,
        dilate_first: bool = False,
    ) -> None:
        super().__init__()
        block, depths = DEPTHS[name]
        first = stem[-1] if stem else width
        if stem:
            self.deep_stem = _deep_stem(stem)
        else:
            self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.channels = (first, *(width * 2**stage * block.expansion for stage in range(4)))
        in_channels, stride, dilation = first, 4, 1
        for stage, depth in enumerate(depths):
            wanted, first_dilation = (1 if stage == 0 else 2), dilation
            if stride * wanted > output_stride:
                dilation, wanted = dilation * wanted, 1
                first_dilation = dilation if dilate_first else first_dilation
            stride *= wanted
            planes = width * 2**stage
            blocks: list[nn.Module] = [block(in_channels, planes, stride=wanted, dilation=first_dilation, conv=conv)]
            in_channels = planes * block.expansion
            blocks += [block(in_channels, planes, stride=1, dilation=dilation, conv=conv) for _ in range(depth - 1)]
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for module in self.modules():
            if isinstance(module, DeformableConv2d):
                module.reset_offsets()

    def stem(self, image: torch.Tensor) -> torch.Tensor:
        """conv1: [B,3,H,W] -> [B,width,H/2,W/2]."""
        if hasattr(self, "deep_stem"):
            return self.deep_stem(image)
        return torch.relu(self.bn1(self.conv1(image)))

    def stages(self) -> tuple[nn.Sequential, ...]:
        """conv2_x to conv5_x (conv2_x without its max-pooling)."""
        return (self.layer1, self.layer2, self.layer3, self.layer4)  # type: ignore[return-value]

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """[B,3,H,W] -> outputs of conv1 (output stride 2), conv2_x (4), ... conv5_x."""
        maps = [self.stem(image)]
        x = self.maxpool(maps[0])
        for stage in self.stages():
            x = stage(x)
            maps.append(x)
        return maps


def _deep_stem(channels: tuple[int, int, int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index, (before, after) in enumerate(zip((3, *channels), channels, strict=False)):
        layers += [
            nn.Conv2d(before, after, 3, stride=2 if index == 0 else 1, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)

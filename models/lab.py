"""Normalised RGB image -> CIE Lab under D65, the colours that SLIC and SSN compare."""

from __future__ import annotations

import torch

from hc_deploy.spec import IMAGENET_MEAN, IMAGENET_STD

XYZ_FROM_RGB = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
"""Linear sRGB to XYZ (ITU-R BT.709 primaries, D65)."""
WHITE = (0.95047, 1.0, 1.08883)


def denormalised(image: torch.Tensor) -> torch.Tensor:
    """ImageNet-normalised [B,3,H,W] -> sRGB in 0..1 (what lies outside is clipped)."""
    mean = image.new_tensor(IMAGENET_MEAN).reshape(1, 3, 1, 1)
    std = image.new_tensor(IMAGENET_STD).reshape(1, 3, 1, 1)
    return (image * std + mean).clamp(0.0, 1.0)


def lab_from_srgb(srgb: torch.Tensor) -> torch.Tensor:
    """sRGB [B,3,H,W] in 0..1 -> L in 0..100, a and b in about -110..110."""
    linear = torch.where(srgb > 0.04045, ((srgb + 0.055) / 1.055).pow(2.4), srgb / 12.92)
    matrix = srgb.new_tensor(XYZ_FROM_RGB) / srgb.new_tensor(WHITE).unsqueeze(1)
    xyz = torch.nn.functional.conv2d(linear, matrix.reshape(3, 3, 1, 1))
    f = torch.where(xyz > 0.008856, xyz.clamp(min=0.008856).pow(1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = f[:, 0:1], f[:, 1:2], f[:, 2:3]
    return torch.cat([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)

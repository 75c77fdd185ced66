"""Ordinal regression of depth (Fu et al., CVPR 2018, sections 3.2 and 3.3): thresholds, scores, loss, decision."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from hc_deploy.errors import UsageError
from models.checks import whole_number

INTERVALS, DEPTH_MIN, DEPTH_MAX = 68, 0.7, 10.0
"""K of the authors' NYU Depth v2 release (its last layer has 136 = 2K channels), and the range of that data set's
depths: the labelled images hold 0.71 to 10.0 m."""
START = 1.0


class SpacingIncreasing(nn.Module):
    """SID (Eq. 1 of DORN): K intervals of [depth_min, depth_max] whose widths grow with depth.

    t_i = exp(log a* + i/K * log(b* / a*)), i = 0..K, with a* = depth_min + xi = 1.0 and b* = depth_max + xi.

    Raises:
        UsageError: a value that is not legal; the message names the legal ones.
    """

    thresholds: torch.Tensor
    centres: torch.Tensor

    def __init__(self, intervals: int, depth_min: float, depth_max: float) -> None:
        super().__init__()
        whole_number("intervals", intervals, 2, 4096)
        if not (math.isfinite(depth_min) and math.isfinite(depth_max) and 0 <= depth_min < depth_max):
            raise UsageError(
                f"depth_min={depth_min!r}, depth_max={depth_max!r}", expected="metres with 0 <= depth_min < depth_max"
            )
        self.intervals = intervals
        self.shift = START - depth_min
        steps = torch.arange(intervals + 1, dtype=torch.float64) / intervals
        thresholds = torch.exp(steps * math.log(depth_max + self.shift)) * START
        centres = (thresholds[:-1] + thresholds[1:]) / 2 - self.shift
        self.register_buffer("thresholds", thresholds.float(), persistent=False)
        self.register_buffer("centres", torch.cat([centres, centres[-1:]]).float(), persistent=False)

    def label(self, depth: torch.Tensor) -> torch.Tensor:
        """Metres of any shape -> the interval they lie in, int64 0..K-1; what is outside gets the nearest."""
        return torch.bucketize((depth + self.shift).contiguous(), self.thresholds[1:-1], right=True)

    def depth(self, label: torch.Tensor) -> torch.Tensor:
        """Labels 0..K -> metres (t_l + t_(l+1)) / 2 - xi (Eq. 5 of DORN).

        K intervals have K labels, but K decisions that all say "beyond" count to K: that is the last interval too.
        """
        return self.centres[label]


class OrdinalRegression(nn.Module):
    """The 1x1 convolution to 2K ordinal logits; P(l > k) = e^y_(2k+1) / (e^y_(2k) + e^y_(2k+1)) (Eq. 3 of DORN)."""

    def __init__(self, channels: int, intervals: int) -> None:
        super().__init__()
        self.classify = nn.Conv2d(channels, 2 * intervals, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B,N,h,w] -> [B,2K,h,w]."""
        return self.classify(x)

    def margins(self, x: torch.Tensor, *, bias: bool = True) -> torch.Tensor:
        """[B,N,h,w] -> y_(2k+1) - y_(2k), [B,K,h,w], by a convolution with the difference of the weights."""
        margins = F.conv2d(x, pair_differences(self.classify.weight, 0))
        return margins + self.margin_bias() if bias else margins

    def margin_bias(self) -> torch.Tensor:
        """The biases' part of `margins`, [1,K,1,1]."""
        assert self.classify.bias is not None
        return pair_differences(self.classify.bias, 0).reshape(1, -1, 1, 1)


def pair_differences(values: torch.Tensor, axis: int) -> torch.Tensor:
    """values[2k+1] - values[2k] along `axis`: 2K -> K. The logit of P(l > k) where the values are ordinal logits."""
    pairs = values.unflatten(axis, (-1, 2))
    return pairs.select(axis + 1, 1) - pairs.select(axis + 1, 0)


def ordinal_loss(logits: torch.Tensor, depth: torch.Tensor, sid: SpacingIncreasing) -> torch.Tensor:
    """Ordinal loss (Eq. 2 of DORN): -mean over pixels of sum_(k<l) log P(l > k) + sum_(k>=l) log(1 - P(l > k)).

    Args:
        logits: [B,2K,h,w], enlarged to the depth's size bilinearly (by their differences: the loss needs no others).
        depth: metres [B,H,W]; pixels without a measurement are 0 and count for nothing.
        sid: gives the labels l.

    Returns:
        A scalar; 0 when no pixel is measured.
    """
    margins = pair_differences(logits, 1)
    margins = F.interpolate(margins, size=depth.shape[1:], mode="bilinear", align_corners=False)
    beyond = torch.arange(sid.intervals, device=depth.device).reshape(1, -1, 1, 1) < sid.label(depth).unsqueeze(1)
    log_likelihood = F.logsigmoid(torch.where(beyond, margins, -margins)).sum(1)
    measured = depth > 0
    return -(log_likelihood * measured).sum() / measured.sum().clamp(min=1)

"""SSN (Jampani et al., ECCV 2018) and HCSSN (section 4.3): image [B,3,H,W] -> a superpixel id a pixel.

Both are a shallow encoder-decoder that makes 20 features a pixel, and differentiable SLIC on these (`models.slic`).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from hc_deploy.cluster_options import Assignment, Border, Similarity
from hc_deploy.errors import UsageError
from hc_deploy.export.networks import Deployment
from hc_deploy.ops import ClusterOptions, hc_upsample
from models.checks import whole_number
from models.clustering import Cluster, Embedding
from models.heads import conv_bn_relu
from models.lab import denormalised, lab_from_srgb
from models.slic import Grid, grid_shape, slic_scores

COLOUR_SCALE, POSITION_SCALE = 0.26, 2.5
"""Weights of Lab and of the position in the authors' release (compute_ssn_spixels.py; 2.5 = 1 / 0.40)."""
XYLAB = 5
SUPERPIXELS, ITERATIONS, FEATURES, CHANNELS = 169, 10, 20, 64
"""Section 4.3: trained with 169 superpixels on 208x208 crops (13x13 cells), tested with 10 iterations, 20 features."""


class Scales(NamedTuple):
    """Maps of the encoder: x1 [B,N,H,W], what its pooling gives, x2 [B,N,H/2,W/2], the same, x3 [B,N,H/4,W/4]."""

    x1: torch.Tensor
    pooled1: torch.Tensor
    x2: torch.Tensor
    pooled2: torch.Tensor
    x3: torch.Tensor


class SSNFeatures(nn.Module):
    """The deep network of SSN (its Fig. 3): XYLab [B,5,H,W] -> pixel features [B,features,H,W], XYLab among them.

    Two convolutions, pooling, two, pooling, two; the maps of the three scales are brought to the image's size,
    concatenated with the input, and turned by one convolution into `features` - 5 channels.
    """

    def __init__(self, *, features: int, channels: int) -> None:
        super().__init__()
        self.scale1 = nn.Sequential(conv_bn_relu(XYLAB, channels, 3), conv_bn_relu(channels, channels, 3))
        self.scale2 = nn.Sequential(conv_bn_relu(channels, channels, 3), conv_bn_relu(channels, channels, 3))
        self.scale3 = nn.Sequential(conv_bn_relu(channels, channels, 3), conv_bn_relu(channels, channels, 3))
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.output = nn.Conv2d(3 * channels + XYLAB, features - XYLAB, 3, padding=1)
        self._initialise()

    def _initialise(self) -> None:
        """The release's Gaussian of deviation 0.001 for the output, so that training starts from SLIC on XYLab.

        Before a batch normalisation the deviation means nothing to training; He's keeps an untrained network's
        features from vanishing.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.output.weight, std=0.001)
        assert self.output.bias is not None
        nn.init.zeros_(self.output.bias)

    def upsample(self, scales: Scales) -> torch.Tensor:
        """`scales` -> x2 and x3 at the size of x1, [B,2N,H,W]."""
        size = scales.x1.shape[2:]
        maps = [F.interpolate(x, size=size, mode="bilinear", align_corners=False) for x in (scales.x2, scales.x3)]
        return torch.cat(maps, 1)

    def forward(self, xylab: torch.Tensor) -> torch.Tensor:
        x1 = self.scale1(xylab)
        pooled1 = self.pool(x1)
        x2 = self.scale2(pooled1)
        pooled2 = self.pool(x2)
        scales = Scales(x1, pooled1, x2, pooled2, self.scale3(pooled2))
        learned = self.output(torch.cat([xylab, x1, self.upsample(scales)], 1))
        return torch.cat([xylab, torch.relu(learned)], 1)


class HCSSNFeatures(SSNFeatures):
    """SSN's network with its bilinear upsampling replaced by Eq. 3 (section 4.3).

    The two poolings are the downsampling layers: the map before each is assigned to its pooled map, the seeds.
    """

    def __init__(self, *, features: int, channels: int, dim: int, options: ClusterOptions) -> None:
        super().__init__(features=features, channels=channels)
        self.options = options
        self.cluster1 = Embedding(channels, channels, dim)
        self.cluster2 = Embedding(channels, channels, dim)

    def _decode(self, coarse: torch.Tensor, cluster: Cluster) -> torch.Tensor:
        options = self.options
        return hc_upsample(
            coarse,
            cluster.features,
            cluster.seeds,
            tau=options.tau,
            similarity=options.similarity,
            border=options.border,
            assignment=options.assignment,
        )

    def upsample(self, scales: Scales) -> torch.Tensor:
        """Eq. 3: x3 through two levels, x2 through one; the last decodes both at once, their assignment is the same."""
        x3 = self._decode(scales.x3, self.cluster2(scales.x2, scales.pooled2))
        return self._decode(torch.cat([scales.x2, x3], 1), self.cluster1(scales.x1, scales.pooled1))


class SSN(nn.Module):
    """Superpixel sampling network: features (`SSNFeatures` or `HCSSNFeatures`), then differentiable SLIC.

    Args:
        features: XYLab [B,5,H,W] -> pixel features.
        grid: (nh, nw) cells, see `models.slic.grid_shape`. iterations: v of Algorithm 1; free to change after training.
    """

    __hc_deploy__ = Deployment("superpixels")

    def __init__(self, features: SSNFeatures, *, grid: tuple[int, int], iterations: int) -> None:
        super().__init__()
        self.features = features
        self.grid = Grid(*grid)
        self.iterations = iterations

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Normalised float image [B,3,H,W] -> Q [B,9,H,W], soft assignment of each pixel to its nine candidates.

        With `self.grid`, which knows the candidates, it is all that `models.ssn_loss` needs.
        """
        weights = slic_scores(self.features(self.xylab(image)), self.grid, self.iterations).softmax(3)
        return self.grid.from_cells(weights, image)

    def superpixels(self, image: torch.Tensor) -> torch.Tensor:
        """Normalised float image [B,3,H,W] -> ids int32 [B,H,W] (Algorithm 1, line 7).

        Ids are 0 to nh*nw - 1, numbered as the cells, row by row. A superpixel may be in several parts:
        `hc_deploy.evaluate.superpixels.enforce_connectivity` splits and merges (line 8).
        """
        return self.grid.ids(slic_scores(self.features(self.xylab(image)), self.grid, self.iterations), image)

    def xylab(self, image: torch.Tensor) -> torch.Tensor:
        """Normalised RGB [B,3,H,W] -> scaled position and Lab [B,5,H,W], so that a cell is about 2.5 wide."""
        height, width = image.shape[2:]
        one = image.new_ones(1)
        scale = POSITION_SCALE * torch.maximum(self.grid.rows / (one * height), self.grid.columns / (one * width))
        y = (torch.arange(height, device=image.device).to(image.dtype) * scale).reshape(1, 1, -1, 1)
        x = (torch.arange(width, device=image.device).to(image.dtype) * scale).reshape(1, 1, 1, -1)
        plane = torch.zeros_like(image[:, :1])
        return torch.cat([plane + x, plane + y, COLOUR_SCALE * lab_from_srgb(denormalised(image))], 1)


class HCSSN(SSN):
    """SSN with the features of `HCSSNFeatures`."""

    level = 2
    """Hierarchical level: both poolings are clustered."""
    __hc_deploy__ = Deployment("superpixels", level)


def ssn(
    *,
    superpixels: int = SUPERPIXELS,
    aspect: float = 1.0,
    iterations: int = ITERATIONS,
    features: int = FEATURES,
    channels: int = CHANNELS,
) -> SSN:
    """SSN (Jampani et al., ECCV 2018).

    Args:
        superpixels: how many; the nearest grid of nh x nw cells is taken.
        aspect: width / height of the images, for which the cells are square. iterations: v of differentiable SLIC.
        features: pixel feature dimension, XYLab among it. channels: of the hidden convolutions.

    Raises:
        UsageError: a value that is not legal; the message names the legal ones.
    """
    grid = _checked_grid(superpixels, aspect, iterations, features, channels)
    return SSN(SSNFeatures(features=features, channels=channels), grid=grid, iterations=iterations)


def hcssn(
    *,
    superpixels: int = SUPERPIXELS,
    aspect: float = 1.0,
    iterations: int = ITERATIONS,
    features: int = FEATURES,
    channels: int = CHANNELS,
    dim: int = 64,
    tau: float = 0.07,
    similarity: Similarity = "cosine",
    border: Border = "zero",
    assignment: Assignment = "soft",
) -> HCSSN:
    """HCSSN (section 4.3): `ssn` with Eq. 3 in place of bilinear upsampling.

    Args:
        dim: K, dimension of the embedding space. tau, similarity, border, assignment: see `ClusterOptions`.
    """
    grid = _checked_grid(superpixels, aspect, iterations, features, channels)
    whole_number("dim", dim, 1, 4096)
    try:
        options = ClusterOptions(tau, similarity, border, assignment)
    except ValueError as error:
        raise UsageError(f"hcssn: {error}") from None
    net = HCSSNFeatures(features=features, channels=channels, dim=dim, options=options)
    return HCSSN(net, grid=grid, iterations=iterations)


def _checked_grid(superpixels: int, aspect: float, iterations: int, features: int, channels: int) -> tuple[int, int]:
    whole_number("superpixels", superpixels, 1, 1_000_000)
    whole_number("iterations", iterations, 1, 1000)
    whole_number("features", features, XYLAB + 1, 4096)
    whole_number("channels", channels, 1, 4096)
    if isinstance(aspect, bool) or not isinstance(aspect, int | float) or not 0.01 <= aspect <= 100:
        raise UsageError(f"aspect={aspect!r}", expected="width / height of the images, a number from 0.01 to 100")
    return grid_shape(superpixels, aspect)

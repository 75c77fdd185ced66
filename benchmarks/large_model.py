"""A network of 2.25 GiB, to try what no test has the time and memory for: weights in a file of their own (about 15 GB).

python export.py --random-init --arch benchmarks.large_model:build --size 64x64 -o /tmp/large
    python export.py --random-init --arch benchmarks.large_model:one_weight --size 32x32 -o /tmp/large    # a single one
hc-deploy infer /tmp/large IMAGES -o /tmp/large/out
"""

from __future__ import annotations

from torch import nn

CHANNELS, LAYERS = 8192, 9


def build() -> nn.Sequential:
    """Nine 1x1 convolutions of 8192 channels, 256 MiB each, on 1/32 of the image."""
    layers: list[nn.Module] = [nn.Conv2d(3, CHANNELS, 32, stride=32, bias=False)]
    for _ in range(LAYERS):
        layers += [nn.Conv2d(CHANNELS, CHANNELS, 1, bias=False), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(CHANNELS, 3, 1))


def one_weight() -> nn.Sequential:
    """One 1x1 convolution of 24,000 channels, 2.15 GiB: more than a runtime keeps in a graph."""
    wide = nn.Conv2d(24_000, 24_000, 1, bias=False)
    return nn.Sequential(nn.Conv2d(3, 24_000, 32, stride=32, bias=False), wide, nn.Conv2d(24_000, 3, 1))

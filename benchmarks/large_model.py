"""A network of 2.25 GiB, to try what no test has the time and memory for: weights in a file of their own (about 15 GB).

python export.py --random-init --arch benchmarks.large_model:build --size 64x64 -o /tmp/large
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

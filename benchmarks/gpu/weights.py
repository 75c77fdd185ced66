"""Random weights whose answers can be compared between precisions.

Two things spoil the comparison of a network as it is initialised. Its labels are one or two classes for a whole image,
which agree whatever happens. And it amplifies rounding from block to block: of a ResNet-101 in float16, ONNX Runtime
gave 64% to 71% of float32's labels (12 to 19 classes, 256x512). With residual branches weighed by 0.1, as training
leaves them small, it gives 99.6% and more. The arithmetic, and so the time, is that of any weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.gpu.cases import Network
from hc_deploy.evaluate.parity_images import picture
from hc_deploy.spec import ModelSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

RESIDUAL = 0.1
"""Weight of each block's last normalisation. 0.2: 99.1% of labels, the bound is 99.5%; 0.03: no better."""
PICTURES, SIZE = 8, (128, 256)
"""What statistics are taken of. Several: pooled features of few images hardly vary."""


def random_network(network: Network) -> tuple[nn.Module, ModelSpec]:
    """A seeded network with statistics of pictures, and logits of mean 0 and deviation 1 a class."""
    import torch
    from torch import nn

    from models.load import new_network
    from models.resnet import BasicBlock, Bottleneck

    net, spec = new_network(network.arch, network.options)
    for block in net.modules():
        if isinstance(block, BasicBlock | Bottleneck):
            nn.init.constant_(block.bn3.weight if isinstance(block, Bottleneck) else block.bn2.weight, RESIDUAL)
    images = _pictures(spec)
    with torch.no_grad():
        _take_statistics(net, images)
        _standardise(net, images, len(spec.classes))
    return net, spec


def _pictures(spec: ModelSpec) -> torch.Tensor:
    import torch

    rng = np.random.default_rng(1)
    pictures = np.stack([picture(rng, *SIZE) for _ in range(PICTURES)])
    scaled = (pictures / 255 - np.asarray(spec.mean)) / np.asarray(spec.std)
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(0, 3, 1, 2), dtype=np.float32))


def _take_statistics(net: nn.Module, images: torch.Tensor) -> None:
    from torch import nn

    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    net(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.eval()
        norm.momentum = momentum


def _standardise(net: nn.Module, images: torch.Tensor, classes: int) -> None:
    """Of the one convolution that gives the classes; what follows it mixes its pixels, not its classes."""
    from torch import nn

    (classifier,) = (one for one in net.modules() if isinstance(one, nn.Conv2d) and one.out_channels == classes)
    given: list[torch.Tensor] = []
    hook = classifier.register_forward_hook(lambda _module, _inputs, output: given.append(output))
    net(images)
    hook.remove()
    logits = given[0].transpose(0, 1).flatten(1)
    mean, deviation = logits.mean(1), logits.std(1)
    assert classifier.bias is not None
    classifier.weight /= deviation[:, None, None, None]
    classifier.bias.copy_((classifier.bias - mean) / deviation)

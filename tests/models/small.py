"""What tests of small networks share."""

import torch
from torch import nn


def image(height=65, width=97, batch=1, seed=0):
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


def unsettle(net: nn.Module) -> None:
    """Statistics and scales as after training: a batch norm that is left out is noticed."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 2.0)

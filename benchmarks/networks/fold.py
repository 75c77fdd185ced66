"""Batch norms into the convolutions before them, as every engine does it."""

from __future__ import annotations

from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norms(net: nn.Module) -> nn.Module:
    """`net` itself, in eval mode: each batch norm that follows a convolution in the same module becomes part of it."""
    for module in net.modules():
        for (name, conv), (follower, norm) in pairwise(list(module.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(conv, norm))
                setattr(module, follower, nn.Identity())
    return net

"""How much memory a network needs on images of a size, asked before anything of that size is allocated."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from hc_deploy.system.limits import image_bytes, require_memory


def require_network_memory(net: nn.Module, *, batch: int, height: int, width: int) -> None:
    """UsageError where one layer's input and output alone are more than this machine's memory."""
    needed = max(largest_layer_bytes(net, batch=batch, height=height, width=width), image_bytes(batch, height, width))
    require_memory(
        needed, what=f"the network on {batch}x{height}x{width}, to be verified,", mend="a smaller --size or --batch"
    )


def largest_layer_bytes(net: nn.Module, *, batch: int, height: int, width: int) -> int:
    """The most that one layer reads and writes, float32 images [B,3,H,W] in; 0 where the network cannot be traced.

    It runs on tensors without content (torch's fake tensors): nothing of the size is allocated.
    """
    largest = 0

    def note(_module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal largest
        tensors = (*inputs, *(output if isinstance(output, tuple | list) else (output,)))
        largest = max(largest, sum(t.nelement() * t.element_size() for t in tensors if isinstance(t, torch.Tensor)))

    leaves = [module for module in net.modules() if not any(module.children())]
    hooks = []
    try:
        hooks = [module.register_forward_hook(note) for module in leaves]
        with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True):
            net(torch.empty(batch, 3, height, width))
    except Exception:  # a user's network may look at values, which fake tensors lack: the layers before it are counted
        return largest
    finally:
        for hook in hooks:
            hook.remove()
    return largest

"""The paper's networks, by name: `build("hcpspnet_resnet101", classes=19, level=2)`.

A name is the paper's in lower case without hyphens, plus the backbone. torch is imported when a network is built, not
before, so that `python -m scenes` starts at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def build(name: str, **options: Any) -> nn.Module:
    """Build a network with random weights; see `models.registry.build` for options and errors."""
    from models.registry import build

    return build(name, **options)


def names() -> list[str]:
    """Every buildable name."""
    from models.registry import names

    return names()

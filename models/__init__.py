"""The paper's networks, by name: `build("hcpspnet_resnet101", classes=19, level=2)`.

A name is the paper's in lower case without hyphens, plus the backbone.
"""

from models.registry import ARCHITECTURES, build, names

__all__ = ["ARCHITECTURES", "build", "names"]

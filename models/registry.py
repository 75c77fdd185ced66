"""The literal list of architectures, and `build`, which makes one from its name and options."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal, get_args

from torch import nn

from hc_deploy.errors import UsageError
from hc_deploy.ops import ClusterOptions
from hc_deploy.ops.options import Assignment, Border, Similarity
from models.clustering import HierarchicalClustering
from models.heads import FCNHead, PSPHead
from models.resnet import DEPTHS, Branch, ResNet
from models.segmentation import HCSegmentationNet, SegmentationNet

LEVELS = range(5)
Head = type[FCNHead] | type[PSPHead]


def _plain(
    backbone: str, head: Head, output_stride: Literal[8, 32], *, classes: int = 19, width: int = 64
) -> SegmentationNet:
    net = ResNet(backbone, width=width, output_stride=output_stride)
    return SegmentationNet(net, head(net.channels[-1], classes))


def _hierarchical(
    backbone: str,
    head: Head,
    *,
    classes: int = 19,
    width: int = 64,
    level: int = 2,
    branch: Branch = "block",
    dim: int = 64,
    tau: float = 0.07,
    similarity: Similarity = "cosine",
    border: Border = "zero",
    assignment: Assignment = "soft",
) -> HCSegmentationNet:
    net = ResNet(backbone, width=width)
    options = ClusterOptions(tau, similarity, border, assignment)
    clustering = HierarchicalClustering(net.channels, level=level, branch=branch, dim=dim, options=options)
    return HCSegmentationNet(net, head(net.channels[-1], classes), clustering)


def fcn32(backbone: str, **options: Any) -> nn.Module:
    """FCN-32 (Long et al., CVPR 2015): prediction at output stride 32."""
    return _plain(backbone, FCNHead, 32, **options)


def pspnet(backbone: str, **options: Any) -> nn.Module:
    """PSPNet (Zhao et al., CVPR 2017): atrous backbone of output stride 8, pyramid pooling."""
    return _plain(backbone, PSPHead, 8, **options)


def hcfcn32(backbone: str, **options: Any) -> nn.Module:
    """HCFCN-32: FCN-32 decoded by Eq. 3."""
    return _hierarchical(backbone, FCNHead, **options)


def hcpspnet(backbone: str, **options: Any) -> nn.Module:
    """HCPSPNet: PSPNet's head on the output-stride-32 backbone, decoded by Eq. 3."""
    return _hierarchical(backbone, PSPHead, **options)


ARCHITECTURES: dict[str, tuple[Callable[..., nn.Module], Callable[..., nn.Module]]] = {
    "fcn32": (fcn32, _plain),
    "pspnet": (pspnet, _plain),
    "hcfcn32": (hcfcn32, _hierarchical),
    "hcpspnet": (hcpspnet, _hierarchical),
}
"""Name -> (builder, the function whose keyword arguments are its options)."""


def names() -> list[str]:
    """Every buildable name."""
    return [f"{architecture}_{backbone}" for architecture in ARCHITECTURES for backbone in DEPTHS]


def build(name: str, **options: Any) -> nn.Module:
    """Build a network with random weights.

    Args:
        name: `<architecture>_<backbone>`, e.g. `hcfcn32_resnet18`.
        options: keyword options of the architecture: `classes`, `width`; for the HC twins also `level` (0-4),
            `branch`, `dim` (K), `tau`, `similarity`, `border`, `assignment`.

    Raises:
        UsageError: an unknown name, an option the architecture does not have, or a value that is not legal; the
            message names the legal ones.
    """
    architecture, _, backbone = name.rpartition("_")
    if architecture not in ARCHITECTURES or backbone not in DEPTHS:
        raise UsageError(f"architecture '{name}'", expected=f"one of {', '.join(names())}")
    builder, signature = ARCHITECTURES[architecture]
    legal = [p.name for p in inspect.signature(signature).parameters.values() if p.kind is p.KEYWORD_ONLY]
    unknown = sorted(set(options) - set(legal))
    if unknown:
        raise UsageError(f"{name} has no option {', '.join(unknown)}", expected=f"among {', '.join(legal)}")
    _check_values(options)
    try:
        return builder(backbone, **options)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None


def _check_values(options: dict[str, Any]) -> None:
    for option in ("classes", "width", "dim"):
        value = options.get(option, 8)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 4096:
            raise UsageError(f"{option}={value!r}", expected="a whole number from 1 to 4096")
    if options.get("classes", 19) > 255:
        raise UsageError(f"classes={options['classes']}", expected="at most 255: labels are uint8")
    if options.get("level", 0) not in LEVELS:
        raise UsageError(f"level={options['level']!r}", expected=f"one of {', '.join(map(str, LEVELS))}")
    if options.get("branch", "block") not in get_args(Branch):
        raise UsageError(f"branch={options['branch']!r}", expected=f"one of {', '.join(get_args(Branch))}")

"""The literal list of architectures, and `build`, which makes one from its name and options."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, get_args

from torch import nn

from hc_deploy.cluster_options import Assignment, Border, Similarity
from hc_deploy.errors import UsageError
from hc_deploy.ops import ClusterOptions
from models.clustering import HierarchicalClustering
from models.deform import DeformForm
from models.dorn import dorn, hcdorn
from models.fpn import PYRAMID_STAGES, FPNHead
from models.heads import DeepLabHead, FCNHead, PSPHead
from models.resnet import DEPTHS, Branch, ResNet, conv3x3, dcnv2
from models.segmentation import FPN, HCFPN, HCSegmentationNet, SegmentationNet
from models.ssn import hcssn, ssn
from models.variants import Head, Stem, Variant, assemble, stem_channels, undilate_second

Downsample = Literal["conv", "dcnv2"]
LEVELS = range(5)
CHOICES: dict[str, tuple[Any, ...]] = {
    "level": tuple(LEVELS),
    "branch": get_args(Branch),
    "downsample": get_args(Downsample),
    "deform": get_args(DeformForm),
    "stem": get_args(Stem),
    "variant": get_args(Variant),
    "align_corners": (False, True),
}
"""Options with few legal values; those of the clustering ops are checked by `ClusterOptions`."""


def _backbone(
    name: str,
    width: int,
    output_stride: Literal[8, 32],
    downsample: Downsample = "conv",
    deform: DeformForm = "sampled",
    *,
    stem: Stem = "single",
    variant: Variant = "paper",
) -> ResNet:
    conv = dcnv2(deform) if downsample == "dcnv2" else conv3x3
    channels, first = stem_channels(stem, width), variant == "semseg"
    net = ResNet(name, width=width, output_stride=output_stride, conv=conv, stem=channels, dilate_first=first)
    return undilate_second(net) if variant == "mmseg" else net


def _aux(backbone: ResNet, classes: int, wanted: bool) -> FCNHead | None:
    return FCNHead(backbone.channels[-2], classes) if wanted else None


def _fpn_head(backbone: ResNet, classes: int, width: int) -> FPNHead:
    return FPNHead(backbone.channels[-PYRAMID_STAGES:], classes, dim=4 * width)


def _plain(
    backbone: str,
    head: Head | None,
    output_stride: Literal[8, 32],
    *,
    classes: int = 19,
    width: int = 64,
    aux: bool = False,
    downsample: Downsample = "conv",
    deform: DeformForm = "sampled",
    stem: Stem = "single",
    variant: Variant = "paper",
    align_corners: bool = False,
) -> SegmentationNet:
    net = _backbone(backbone, width, output_stride, downsample, deform, stem=stem, variant=variant)
    extra = _aux(net, classes, aux)
    if head is None and variant == "paper" and not align_corners:
        return FPN(net, _fpn_head(net, classes, width), aux=extra)
    return assemble(net, head, extra, classes=classes, variant=variant, align_corners=align_corners)


def _hierarchical(
    backbone: str,
    head: Head | None,
    *,
    classes: int = 19,
    width: int = 64,
    aux: bool = False,
    level: int = 2,
    branch: Branch = "block",
    downsample: Downsample = "conv",
    deform: DeformForm = "sampled",
    stem: Stem = "single",
    dim: int = 64,
    tau: float = 0.07,
    similarity: Similarity = "cosine",
    border: Border = "zero",
    assignment: Assignment = "soft",
) -> HCSegmentationNet:
    net = _backbone(backbone, width, 32, downsample, deform, stem=stem)
    options = ClusterOptions(tau, similarity, border, assignment)
    clustering = HierarchicalClustering(net.channels, level=level, branch=branch, dim=dim, options=options)
    extra = _aux(net, classes, aux)
    if head is None:
        return HCFPN(net, _fpn_head(net, classes, width), clustering, aux=extra)
    return HCSegmentationNet(net, head(net.channels[-1], classes), clustering, aux=extra)


def fcn32(backbone: str, **options: Any) -> nn.Module:
    """FCN-32 (Long et al., CVPR 2015): prediction at output stride 32."""
    return _plain(backbone, FCNHead, 32, **options)


def atrousfcn(backbone: str, **options: Any) -> nn.Module:
    """AtrousFCN: the strides of conv4_x and conv5_x replaced by dilation, output stride 8 (section 4.1)."""
    return _plain(backbone, FCNHead, 8, **options)


def fpn(backbone: str, **options: Any) -> nn.Module:
    """FPN (Lin et al., CVPR 2017) for segmentation, output stride 8."""
    return _plain(backbone, None, 32, **options)


def pspnet(backbone: str, **options: Any) -> nn.Module:
    """PSPNet (Zhao et al., CVPR 2017): atrous backbone of output stride 8, pyramid pooling."""
    return _plain(backbone, PSPHead, 8, **options)


def deeplabv3(backbone: str, **options: Any) -> nn.Module:
    """DeepLabv3 (Chen et al., 2017): atrous backbone of output stride 8, atrous spatial pyramid pooling."""
    return _plain(backbone, DeepLabHead, 8, **options)


def hcfcn32(backbone: str, **options: Any) -> nn.Module:
    """HCFCN-32: FCN-32 decoded by Eq. 3."""
    return _hierarchical(backbone, FCNHead, **options)


def hcfpn(backbone: str, **options: Any) -> nn.Module:
    """HCFPN: FPN whose top-down path enlarges through the superpixels."""
    return _hierarchical(backbone, None, **options)


def hcpspnet(backbone: str, **options: Any) -> nn.Module:
    """HCPSPNet: PSPNet's head on the output-stride-32 backbone, decoded by Eq. 3."""
    return _hierarchical(backbone, PSPHead, **options)


def hcdeeplabv3(backbone: str, **options: Any) -> nn.Module:
    """HCDeepLabv3: DeepLabv3's head on the output-stride-32 backbone, decoded by Eq. 3."""
    return _hierarchical(backbone, DeepLabHead, **options)


ARCHITECTURES: dict[str, tuple[Callable[..., nn.Module], Callable[..., nn.Module]]] = {
    "fcn32": (fcn32, _plain),
    "atrousfcn": (atrousfcn, _plain),
    "fpn": (fpn, _plain),
    "pspnet": (pspnet, _plain),
    "deeplabv3": (deeplabv3, _plain),
    "hcfcn32": (hcfcn32, _hierarchical),
    "hcfpn": (hcfpn, _hierarchical),
    "hcpspnet": (hcpspnet, _hierarchical),
    "hcdeeplabv3": (hcdeeplabv3, _hierarchical),
}
"""Name before `_<backbone>` -> (builder, the function whose keyword arguments are its options)."""

WHOLE: dict[str, Callable[..., nn.Module]] = {"ssn": ssn, "hcssn": hcssn, "dorn": dorn, "hcdorn": hcdorn}
"""Name without a backbone -> builder. DORN's backbone, ResNet-101 in the paper, is an option."""


def names() -> list[str]:
    """Every buildable name."""
    return [*(f"{architecture}_{backbone}" for architecture in ARCHITECTURES for backbone in DEPTHS), *WHOLE]


def build(name: str, **options: Any) -> nn.Module:
    """Build a network with random weights.

    Args:
        name: `<architecture>_<backbone>`, e.g. `hcfcn32_resnet18`; or `ssn`, `hcssn`, `dorn`, `hcdorn`.
        options: keyword options of the architecture. Segmentation: `classes`, `width`, `aux` (auxiliary head for
            training), `downsample` (`conv` or `dcnv2`), `deform` (how DCNv2 exports: `sampled` or `operator`), `stem`
            (`single`, `deep` or `wide`); for the plain networks `variant` (`paper`, `mmseg` or `semseg`) and
            `align_corners` (see `models.variants`); for the HC twins `level` (0-4), `branch`, `dim` (K), `tau`,
            `similarity`, `border`, `assignment`. The others: see `models.ssn` and `models.dorn`.

    Raises:
        UsageError: an unknown name, an option the architecture does not have, or a value that is not legal; the
            message names the legal ones.
    """
    builder, legal = _find(name)
    unknown = sorted(set(options) - set(legal))
    if unknown:
        raise UsageError(f"{name} has no option {', '.join(unknown)}", expected=f"among {', '.join(legal)}")
    _check_values(options)
    try:
        return builder(**options)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{name}: {error}") from None


def _find(name: str) -> tuple[Callable[..., nn.Module], list[str]]:
    """What builds `name`, and the names of its options."""
    architecture, _, backbone = name.rpartition("_")
    if name in WHOLE:
        builder = signature = WHOLE[name]
    elif architecture in ARCHITECTURES and backbone in DEPTHS:
        builder, signature = ARCHITECTURES[architecture]
        builder = partial(builder, backbone)
    else:
        raise UsageError(f"architecture '{name}'", expected=f"one of {', '.join(names())}")
    parameters = inspect.signature(signature).parameters.values()
    return builder, [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]


def _check_values(options: dict[str, Any]) -> None:
    for option in ("classes", "width", "dim"):
        value = options.get(option, 8)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 4096:
            raise UsageError(f"{option}={value!r}", expected="a whole number from 1 to 4096")
    if options.get("classes", 19) > 255:
        raise UsageError(f"classes={options['classes']}", expected="at most 255: labels are uint8")
    for option, legal in CHOICES.items():
        if option in options and options[option] not in legal:
            raise UsageError(f"{option}={options[option]!r}", expected=f"one of {', '.join(map(str, legal))}")

"""Parameter names of a checkpoint -> the public code base they come from, and the network. Standard library only."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

Family = Literal["torchvision", "mmseg", "semseg"]
FAMILIES: dict[Family, str] = {
    "torchvision": "torchvision",
    "mmseg": "mmsegmentation",
    "semseg": "the PyTorch PSPNet release (hszhao/semseg)",
}
"""Name for `--weights-from` -> what it stands for."""

WRAPPERS = ("module", "_orig_mod", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Path parts that DistributedDataParallel, torch.compile, Fabric and FSDP put into names, wherever the module stood."""
DEEPEST_PREFIX = 4
BACKBONE = "backbone"
"""Stands in place of an architecture for a classifier's file, whose backbone alone is of use."""
DEPTHS = {(2, False): "resnet18", (6, True): "resnet50", (23, True): "resnet101"}
"""(blocks of conv4_x, bottlenecks) -> backbone; the depths that `models` builds."""

# Prefixes that all must occur, and one that must not -> family, our architecture (None: one that is not built here).
MARKS: tuple[tuple[tuple[str, ...], str | None, Family, str | None], ...] = (
    (("backbone.", "classifier.0.convs.", "classifier.4."), None, "torchvision", "deeplabv3"),
    (("backbone.", "classifier.0.weight", "classifier.4."), None, "torchvision", "atrousfcn"),
    (("conv1.weight", "bn1.weight", "layer1.0.", "fc."), "conv2.weight", "torchvision", BACKBONE),
    (("decode_head.conv_seg.", "decode_head.psp_modules."), "decode_head.fpn_bottleneck.", "mmseg", "pspnet"),
    (("decode_head.conv_seg.", "decode_head.aspp_modules."), "decode_head.sep_bottleneck.", "mmseg", "deeplabv3"),
    (("decode_head.conv_seg.", "decode_head.scale_heads.", "neck.lateral_convs."), None, "mmseg", "fpn"),
    (("decode_head.conv_seg.", "decode_head.convs.", "decode_head.conv_cat."), "neck.", "mmseg", "atrousfcn"),
    (("decode_head.conv_seg.",), None, "mmseg", None),
    (("layer0.0.", "ppm.features.", "cls.4."), None, "semseg", "pspnet"),
)


@dataclass(frozen=True)
class Recognised:
    """What the names say.

    Attributes:
        family: the code base. architecture: ours, `backbone` for a classifier's file, or None where it is not built
            here. backbone: ours, or None likewise.
    """

    family: Family
    architecture: str | None
    backbone: str | None

    @property
    def arch(self) -> str | None:
        """Name for `models.build`, or None where the file holds no network that is built here."""
        if self.architecture in (None, BACKBONE) or self.backbone is None:
            return None
        return f"{self.architecture}_{self.backbone}"

    def describe(self) -> str:
        """One line for people, with the command that uses the file."""
        title = FAMILIES[self.family]
        if self.arch is not None:
            return f"{title}: export with --arch {self.arch} --weights-from {self.family}"
        if self.architecture == BACKBONE and self.backbone is not None:
            return f"{title}: a classifier on {self.backbone}, whose backbone starts a training (models.weights_from)"
        return f"{title}: a network that is not built here"


def recognise(names: Collection[str]) -> Recognised | None:
    """The family and network that the parameter `names` are of, or None where they are of none (or of ours)."""
    return _recognise(unwrapped(names).values())


def without_wrappers(name: str) -> str:
    """A parameter's name without the parts of `WRAPPERS`."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def unwrapped(names: Collection[str]) -> dict[str, str]:
    """Each name without what wrappers put around the network's: `module.`, `_orig_mod.`, `model.`, any prefix.

    The prefix is the shortest under which a family is recognised; names outside it stay as they are.
    """
    plain = {name: without_wrappers(name) for name in names}
    prefix = ""
    for _ in range(DEEPEST_PREFIX):
        inside = {name: part.removeprefix(prefix) for name, part in plain.items() if part.startswith(prefix)}
        if _recognise(inside.values()):
            return {name: inside.get(name, name) for name in names}
        heads = Counter(part.partition(".")[0] for part in inside.values() if "." in part)
        if not heads:
            break
        prefix += heads.most_common(1)[0][0] + "."
    return {name: name for name in names}


def _recognise(given: Collection[str]) -> Recognised | None:
    names = list(given)
    for wanted, unwanted, family, architecture in MARKS:
        if all(any(name.startswith(prefix) for name in names) for prefix in wanted) and not (
            unwanted is not None and any(name.startswith(unwanted) for name in names)
        ):
            return Recognised(family, architecture, _depth(names))
    return None


def _depth(names: Collection[str]) -> str | None:
    blocks = {match[1] for name in names if (match := re.match(r"(?:backbone\.)?layer3\.(\d+)\.conv1\.", name))}
    bottleneck = any(re.match(r"(?:backbone\.)?layer3\.0\.conv3\.", name) for name in names)
    return DEPTHS.get((len(blocks), bottleneck))

"""How public code names the parameters: family and architecture -> {their prefix: ours}. Literal tables, no code runs.

The longest prefix that ends at a dot counts; a prefix mapped to None is dropped on purpose. Names are those of
torchvision 0.x, mmsegmentation 0.x and 1.x, and the PyTorch PSPNet release (hszhao/semseg).
"""

from __future__ import annotations

from collections.abc import Iterable

from models.heads import ATROUS_RATES, PYRAMID_BINS

Rules = dict[str, str | None]
_BINS, _RATES = range(len(PYRAMID_BINS)), range(len(ATROUS_RATES))


def _module(theirs: str, ours: str) -> Rules:
    """mmcv's ConvModule (conv, bn) -> our sequence of convolution and batch normalisation."""
    return _modules([(theirs, ours)])


def _modules(pairs: Iterable[tuple[str, str]]) -> Rules:
    rules: Rules = {}
    for theirs, ours in pairs:
        rules |= {f"{theirs}.conv": f"{ours}.0", f"{theirs}.bn": f"{ours}.1"}
    return rules


TORCHVISION: Rules = {
    "backbone": "backbone",
    "aux_classifier.0": "aux.project.0",
    "aux_classifier.1": "aux.project.1",
    "aux_classifier.4": "aux.classify",
    "classifier.4": "head.classify",
}
MMSEG: Rules = {
    "backbone": "backbone",
    "backbone.stem": "backbone.deep_stem",
    **_module("auxiliary_head.convs.0", "aux.project"),
    "auxiliary_head.conv_seg": "aux.classify",
    "decode_head.conv_seg": "head.classify",
}
SEMSEG: Rules = {
    "layer0": "backbone.deep_stem",
    **{f"layer{stage}": f"backbone.layer{stage}" for stage in (1, 2, 3, 4)},
    "aux.0": "aux.project.0",
    "aux.1": "aux.project.1",
    "aux.4": "aux.classify",
    "cls.0": "head.project.0",
    "cls.1": "head.project.1",
    "cls.4": "head.classify",
    **{f"ppm.features.{i}.1": f"head.pyramid.reduce.{i}.0" for i in _BINS},
    **{f"ppm.features.{i}.2": f"head.pyramid.reduce.{i}.1" for i in _BINS},
}

KEYS: dict[tuple[str, str], Rules] = {
    ("torchvision", "backbone"): {
        **{name: f"backbone.{name}" for name in ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")},
        "fc": None,
    },
    ("torchvision", "atrousfcn"): {
        **TORCHVISION,
        "classifier.0": "head.project.0",
        "classifier.1": "head.project.1",
    },
    ("torchvision", "deeplabv3"): {
        **TORCHVISION,
        "classifier.0.convs.0": "head.aspp.point",
        **{f"classifier.0.convs.{1 + i}": f"head.aspp.atrous.{i}" for i in _RATES},
        "classifier.0.convs.4.1": "head.aspp.image.0",
        "classifier.0.convs.4.2": "head.aspp.image.1",
        "classifier.0.project": "head.aspp.project",
        "classifier.1": "head.project.0",
        "classifier.2": "head.project.1",
    },
    ("mmseg", "atrousfcn"): {
        **MMSEG,
        **_module("decode_head.convs.0", "head.convs.0"),
        **_module("decode_head.convs.1", "head.convs.1"),
        **_module("decode_head.conv_cat", "head.merge"),
    },
    ("mmseg", "pspnet"): {
        **MMSEG,
        **_modules((f"decode_head.psp_modules.{i}.1", f"head.pyramid.reduce.{i}") for i in _BINS),
        **_module("decode_head.bottleneck", "head.project"),
    },
    ("mmseg", "deeplabv3"): {
        **MMSEG,
        **_module("decode_head.image_pool.1", "head.image"),
        **_module("decode_head.aspp_modules.0", "head.point"),
        **_modules((f"decode_head.aspp_modules.{1 + i}", f"head.atrous.{i}") for i in _RATES),
        **_module("decode_head.bottleneck", "head.project"),
    },
    ("mmseg", "fpn"): {
        **MMSEG,
        **{f"neck.lateral_convs.{level}.conv": f"head.lateral.{level}" for level in range(4)},
        **{f"neck.fpn_convs.{level}.conv": f"head.smooth.{level}" for level in range(4)},
        # Between the convolutions of a level stand its enlargements, which have no parameters.
        **_modules(
            (f"decode_head.scale_heads.{level}.{2 * step}", f"head.scale.{level}.{step}")
            for level in range(4)
            for step in range(max(level, 1))
        ),
    },
    ("semseg", "pspnet"): SEMSEG,
}
"""(family, architecture) -> rules. A pair that is not here is not loaded."""

OPTIONS: dict[str, dict[str, object]] = {
    "torchvision": {},
    "mmseg": {"variant": "mmseg"},
    "semseg": {"variant": "semseg", "stem": "wide", "align_corners": True},
}
"""Family -> the build options that make our architecture theirs; size, classes and mmsegmentation's stem are read from
the shapes."""


def renamed(name: str, rules: Rules) -> str | None:
    """Our name for `name`: None when it is dropped on purpose, `name (no rule)` when no rule has it."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        prefix = ".".join(parts[:end])
        if prefix in rules:
            ours = rules[prefix]
            return None if ours is None else ".".join([ours, *parts[end:]])
    return f"{name} (no rule)"

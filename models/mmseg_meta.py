"""What an mmsegmentation checkpoint says beside its weights: `meta` -> class names, palette, build options.

Files whose networks differ in strides, dilation or interpolation have the same parameters; the configuration that most
of them carry as text tells them apart.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import torch

from hc_deploy.classes import ClassSet, numbered_classes
from hc_deploy.errors import DeployError

Settings = dict[str, frozenset[str]]


def _settings(*, strides: str, dilations: tuple[str, ...]) -> Settings:
    return {
        "strides": frozenset({strides}),
        "dilations": frozenset(dilations),
        "dilation": frozenset({"1"}),
        "contract_dilation": frozenset({"True"}),
        "avg_down": frozenset({"False"}),
        "multi_grid": frozenset({"None"}),
        "style": frozenset({"pytorch"}),
        "pool_scales": frozenset({"1 2 3 6"}),
        "feature_strides": frozenset({"4 8 16 32"}),
    }


ATROUS = _settings(strides="1 2 1 1", dilations=("1 1 2 4",))
SETTINGS: dict[str, Settings] = {
    "atrousfcn": ATROUS,
    "pspnet": ATROUS,
    "deeplabv3": _settings(strides="1 2 1 1", dilations=("1 1 2 4", "1 12 24 36")),
    "fpn": _settings(strides="1 2 2 2", dilations=("1 1 1 1",)),
}
"""Architecture -> the values its settings may have for our network to be the same."""
NORMALISATION = {"mean": "123.675 116.28 103.53", "std": "58.395 57.12 57.375"}


def read_meta(path: Path) -> dict[str, Any]:
    """The `meta` of a `.pth` whose tensors have been read before; empty where it has none. No tensor is read again."""
    if path.suffix not in (".pth", ".pt"):
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = torch.load(path, map_location="meta", weights_only=True)
    meta = content.get("meta") if isinstance(content, dict) else None
    return meta if isinstance(meta, dict) else {}


def class_set(meta: dict[str, Any]) -> ClassSet:
    """Class names and colours (`CLASSES`, `PALETTE` in 0.x, `dataset_meta` in 1.x); empty where it has none."""
    dataset = meta.get("dataset_meta")
    dataset = dataset if isinstance(dataset, dict) else {}
    names = meta.get("CLASSES") or dataset.get("classes")
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
        return ClassSet((), ())
    palette = meta.get("PALETTE") or dataset.get("palette")
    try:
        colours = tuple((int(red), int(green), int(blue)) for red, green, blue in palette or ())
    except (TypeError, ValueError):
        colours = ()
    if len(colours) != len(names) or not all(0 <= value <= 255 for colour in colours for value in colour):
        colours = numbered_classes(len(names)).palette
    return ClassSet(tuple(names), colours)


def options_of(meta: dict[str, Any], *, architecture: str, path: Path) -> dict[str, Any]:
    """Build options that the configuration text asks for (`align_corners`).

    Raises:
        DeployError: the configuration is of a network that differs from ours in what the weights do not show.
    """
    text = meta.get("config") or meta.get("cfg")
    if not isinstance(text, str):
        return {}
    for setting, allowed in SETTINGS[architecture].items():
        for value in sorted(_values(text, setting) - allowed):
            _refuse(path, f"{setting}={value}", architecture, " or ".join(sorted(allowed)))
    for setting, wanted in NORMALISATION.items():
        for value in sorted(value for value in _values(text, setting) if value.count(" ") == 2 and value != wanted):
            _refuse(path, f"{setting}={value}", architecture, wanted)
    aligned = _values(text, "align_corners")
    if aligned == {"True", "False"}:
        _refuse(path, "align_corners both True and False", architecture, "one of the two")
    return {"align_corners": True} if aligned == {"True"} else {}


def _values(text: str, setting: str) -> set[str]:
    """Values of `setting` in a configuration: a word, or the numbers of a list joined by spaces."""
    pattern = rf"""\b{setting}["']?\s*[=:]\s*(?:[\(\[]([^\)\]]*)[\)\]]|["']?([\w.]+))"""
    found = re.findall(pattern, text)
    return {" ".join(re.findall(r"[\d.]+", numbers)) if numbers else word for numbers, word in found}


def _refuse(path: Path, received: str, architecture: str, expected: str) -> None:
    raise DeployError(
        f"{path} was trained with {received}, which {architecture} here does not have",
        expected=f"mmsegmentation's settings for {architecture} at its usual output stride: {expected}",
    )

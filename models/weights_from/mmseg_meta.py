"""What an mmsegmentation checkpoint says beside its weights: `meta` -> class names, palette, build options.

Files whose networks differ in strides, dilation or interpolation have the same parameters; the configuration that most
of them carry as text tells them apart.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

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
    aligned = _values(text, "align_corners")
    if aligned == {"True", "False"}:
        _refuse(path, "align_corners both True and False", architecture, "one of the two")
    return {"align_corners": True} if aligned == {"True"} else {}


def normalisation_of(meta: dict[str, Any], *, path: Path) -> dict[str, Any]:
    """`mean`, `std` and `channels` of the preprocessing that the configuration states; empty where it has none.

    1.x has them in the data preprocessor (`bgr_to_rgb`), 0.x in `img_norm_cfg` (`to_rgb`); in units of 0 to 255, in the
    order that the network is fed.

    Raises:
        DeployError: it states several that differ.
    """
    text = meta.get("config") or meta.get("cfg")
    if not isinstance(text, str):
        return {}
    means, stds = (sorted(value for value in _values(text, name) if value.count(" ") == 2) for name in ("mean", "std"))
    if not means and not stds:
        return {}
    flipped = _values(text, "bgr_to_rgb") | _values(text, "to_rgb")
    if len(means) != 1 or len(stds) != 1 or len(flipped) > 1:
        _refuse(path, f"several normalisations: {', '.join(means + stds)}", "one network", "one mean, std and order")
    mean, std = (tuple(float(number) / 255 for number in value.split()) for value in (means[0], stds[0]))
    # Where it says nothing of the order: 1.x keeps BGR as it was read, 0.x turns to RGB.
    bgr = flipped == {"False"} or (not flipped and "data_preprocessor" in text)
    return {"mean": mean, "std": std, "channels": "bgr" if bgr else "rgb", "stated": True}


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

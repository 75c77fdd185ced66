"""The label sets that the networks speak: class names and the colours they are shown in. Standard library only."""

import colorsys
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hc_deploy.errors import UsageError
from hc_deploy.system.strict_json import parse


@dataclass(frozen=True)
class ClassSet:
    """Names and display colours of the classes of a task; a class id is an index into both.

    palette: one (red, green, blue) a class, 0..255.
    """

    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]


# The 19 train classes of Cityscapes, in train-id order, in the colours of the cityscapesscripts label table.
CITYSCAPES = ClassSet(
    names=(
        "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation",
        "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
    ),
    palette=(
        (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153),
        (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60),
        (255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
    ),
)  # fmt: skip


BINARY = ClassSet(names=("background", "foreground"), palette=((0, 0, 0), (220, 20, 60)))
"""Of a network with one output channel: below and above its threshold."""
VOC = ClassSet(
    names=(
        "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
        "dining table", "dog", "horse", "motorbike", "person", "potted plant", "sheep", "sofa", "train", "tv monitor",
    ),
    # Bit 3k + c of the class is bit 7 - k of channel c.
    palette=tuple(
        tuple(sum((index >> (3 * k + c) & 1) << (7 - k) for k in range(3)) for c in range(3))  # type: ignore[misc]
        for index in range(21)
    ),
)  # fmt: skip
"""PASCAL VOC, which torchvision's networks were trained on."""
NAMED = {"cityscapes": CITYSCAPES, "voc": VOC}
"""Sets that can be asked for by name. A number of classes never chooses one."""


def read_classes(text: str) -> ClassSet:
    """A name of `NAMED`, or a file: a class a line, its colour behind it if it has one ("road 128 64 128" or
    "road #804080"); or JSON, a list of such lines, or {"classes": [...], "palette": [[r, g, b], ...]}.

    Raises:
        UsageError: neither; a colour that is none.
    """
    if text in NAMED:
        return NAMED[text]
    path = Path(text)
    expected = f"{', '.join(NAMED)}, or a text or JSON file of class names"
    try:
        content = path.read_text(encoding="utf-8-sig")
        lines = parse(content) if content.lstrip()[:1] in ("[", "{") else content.splitlines()
        colours: Any = None
        if isinstance(lines, dict):
            lines, colours = lines["classes"], lines.get("palette")
        entries = [_entry(line) for line in lines if str(line).strip()]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"classes from {text}: {error}", expected=expected) from None
    names = tuple(name for name, _ in entries)
    usual = numbered_classes(len(names)).palette
    given = [tuple(colour) for colour in colours] if colours else [colour for _, colour in entries]
    if not names or len(given) != len(names) or not all(_is_colour(one) for one in given if one is not None):
        raise UsageError(f"classes from {text}: {len(names)} names, {len(given)} colours", expected=expected)
    palette = tuple(one if one is not None else usual[index] for index, one in enumerate(given))
    return ClassSet(names, palette)  # type: ignore[arg-type]


def _entry(line: str) -> tuple[str, tuple[int, ...] | None]:
    words = line.strip().split()
    if re.fullmatch(r"#[0-9a-fA-F]{6}", words[-1]) and len(words) > 1:
        return " ".join(words[:-1]), tuple(bytes.fromhex(words[-1][1:]))
    numbers = [word.strip(",") for word in words[-3:]]
    if len(words) > 3 and all(number.isdecimal() for number in numbers):
        return " ".join(words[:-3]).rstrip(","), tuple(map(int, numbers))
    return " ".join(words), None


def _is_colour(value: tuple[Any, ...]) -> bool:
    return len(value) == 3 and all(isinstance(part, int) and 0 <= part < 256 for part in value)


def numbered_classes(count: int) -> ClassSet:
    """`count` classes without names of their own, in well-separated colours (hues by the golden ratio)."""
    colours = []
    for index in range(count):
        hue, value = (index * 0.618034) % 1.0, 0.95 - 0.3 * (index % 3) / 2
        red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, value)
        colours.append((round(255 * red), round(255 * green), round(255 * blue)))
    return ClassSet(tuple(f"class {index}" for index in range(count)), tuple(colours))

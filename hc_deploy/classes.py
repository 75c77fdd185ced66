"""The label sets that the networks speak: class names and the colours they are shown in. Standard library only."""

import colorsys
from dataclasses import dataclass


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


def numbered_classes(count: int) -> ClassSet:
    """`count` classes without names of their own, in well-separated colours (hues by the golden ratio)."""
    colours = []
    for index in range(count):
        hue, value = (index * 0.618034) % 1.0, 0.95 - 0.3 * (index % 3) / 2
        red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, value)
        colours.append((round(255 * red), round(255 * green), round(255 * blue)))
    return ClassSet(tuple(f"class {index}" for index in range(count)), tuple(colours))

"""A street that draws itself: driver's-eye frames with exact labels in the 19 Cityscapes classes.

A seed, a size and a time enter; an RGB picture and its label map leave. numpy and OpenCV only.
"""

from .clip import iterate_clip, write_clip
from .scene import Frame, Scene

__all__ = ["Frame", "Scene", "iterate_clip", "write_clip"]

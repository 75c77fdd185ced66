"""Frames as OpenCV reads them (uint8 BGR [H,W,3]) -> the model's input; label maps -> the frame's size."""

from __future__ import annotations

import cv2
import numpy as np

from hc_deploy.errors import DeployError
from hc_deploy.normalise import normalise
from hc_deploy.runtime.session import Array
from hc_deploy.spec import ModelSpec
from hc_deploy.system.limits import require_image_memory

LARGE = 1 << 24
"""Pixels; frames of more are compared with the memory there is."""


def prepare(frames: list[Array], spec: ModelSpec) -> Array:
    """The input for `frames`: resized where the model's size is fixed, RGB, and normalised where it takes floats.

    Args:
        frames: uint8 BGR [H,W,3], all of one size.

    Returns:
        uint8 [B,h,w,3] or float32 [B,C,h,w]; h and w are the model's where fixed, else the frames' own.

    Raises:
        DeployError: no frame, or one that is not uint8 with three channels.
    """
    if not frames:
        raise DeployError("a batch of 0 frames", expected="1 or more")
    for frame in frames:
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise DeployError(f"a frame of shape {frame.shape} and type {frame.dtype}", expected="uint8 [H,W,3]")
    size = (spec.height or frames[0].shape[0], spec.width or frames[0].shape[1])
    if size[0] * size[1] > LARGE:  # asking takes 0.1 ms, which small frames should not pay
        require_image_memory(len(frames), *size, mend="smaller frames, or a model of a fixed --size")
    images = np.stack([cv2.cvtColor(resized(frame, size), cv2.COLOR_BGR2RGB) for frame in frames])
    if spec.input == "uint8":
        return images
    return normalise(images, spec)


def restore(labels: Array, size: tuple[int, int]) -> Array:
    """A map [h,w] of labels, ids or metres at the frame's `size` (H, W): the value of the nearest pixel, by centres.

    OpenCV's INTER_NEAREST compares corners instead: its maps lie up to half a coarse pixel off.
    """
    if labels.shape == size:
        return labels
    return cv2.resize(labels, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT)


def resized(image: Array, size: tuple[int, int]) -> Array:
    """A picture [h,w,3] at `size` (H, W): by areas along a side that shrinks, bilinear along one that grows.

    One after the other where one shrinks and one grows: OpenCV's INTER_AREA then moves the picture by half a pixel.
    """
    height, width = min(size[0], image.shape[0]), min(size[1], image.shape[1])
    if image.shape[:2] != (height, width):
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    if image.shape[:2] != size:
        image = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return image

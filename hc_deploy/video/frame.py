"""What travels between the stages: a frame and the facts about the video it comes from. Standard library + numpy."""

from __future__ import annotations

from dataclasses import dataclass

from hc_deploy.runtime.session import Array


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video before its frames are read.

    Attributes:
        width, height: pixels, after the rotation that the file asks for.
        fps: frames per second; 30 where the source does not say anything plausible.
        frames: how many frames the file promises (often an estimate), or None (cameras, streams).
        name: short name, fit for a file name.
    """

    width: int
    height: int
    fps: float
    frames: int | None
    name: str


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        index: 0 for the first frame read.
        time_s: seconds since the first frame (wall clock for cameras, index / fps otherwise).
        image: uint8 BGR [H,W,3].
    """

    index: int
    time_s: float
    image: Array

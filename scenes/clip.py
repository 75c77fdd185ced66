"""Clips: a seed enters; frames, or an MP4 with its labels beside it, leave."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2

from hc_deploy.system.names import openable
from hc_deploy.system.temporary import temporary_folder

from .scene import Frame, Scene

FASTEST = 240


def iterate_clip(seed: int, size: tuple[int, int], frames: int, fps: float) -> Iterator[Frame]:
    """The frames of a drive, `fps` to the second, from time 0."""
    _check_times(frames, fps)
    scene = Scene(seed, size)
    for number in range(frames):
        yield scene.render(number / fps)


def write_clip(
    path_mp4: str | os.PathLike[str],
    labels_dir: str | os.PathLike[str],
    *,
    seed: int,
    size: tuple[int, int],
    frames: int,
    fps: float,
) -> None:
    """Write a drive as an MP4 and its labels as PNGs (train ids, one a frame: 00000.png, 00001.png, ...).

    Both are made under a temporary name beside their place and moved there at the end, so neither is ever seen half
    written; an older clip or label folder of that name is replaced. Sizes must be even (the MP4's chroma is
    subsampled). Raises ValueError for a size or count that cannot be, OSError where the place cannot be written.
    """
    movie, folder = Path(path_mp4), Path(labels_dir)
    if size[0] % 2 or size[1] % 2:
        raise ValueError(f"size is {size[0]}x{size[1]}, expected even numbers for an MP4")
    if folder.exists() and not all(re.fullmatch(r"\d{5}\.png", entry.name) for entry in folder.iterdir()):
        raise ValueError(f"{folder} holds other files than labels of a clip; name a folder of its own")
    _check_times(frames, fps)
    drive = iterate_clip(seed, size, frames, fps)
    with (
        temporary_folder(movie.parent) as beside_movie,
        temporary_folder(folder.parent) as beside_labels,
    ):
        part, pictures = beside_movie / "clip.mp4", beside_labels / "labels"
        pictures.mkdir()
        _write(part, pictures, drive, size, fps)
        if folder.exists():
            shutil.rmtree(folder)
        pictures.replace(folder)
        part.replace(movie)


def _check_times(frames: int, fps: float) -> None:
    if frames < 1 or not 0 < fps <= FASTEST:
        raise ValueError(f"frames is {frames} and fps is {fps}, expected 1 or more, and up to {FASTEST} a second")


def _write(movie: Path, folder: Path, drive: Iterator[Frame], size: tuple[int, int], fps: float) -> None:
    movie.touch()
    with openable(movie) as name:
        writer = cv2.VideoWriter(name, cv2.VideoWriter.fourcc(*"mp4v"), fps, (size[1], size[0]))
    if not writer.isOpened():
        raise OSError(f"OpenCV cannot write an MP4 at {movie}: its build lacks FFmpeg")
    try:
        for number, frame in enumerate(drive):
            writer.write(cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
            _, data = cv2.imencode(".png", frame.labels, [cv2.IMWRITE_PNG_COMPRESSION, 9])
            (folder / f"{number:05d}.png").write_bytes(data.tobytes())
    finally:
        writer.release()

"""Where frames come from: a video file, a folder of images, one image, a webcam or a stream -> `Source`.

A source that breaks off half-way (a file cut short, an image that cannot be read) gives the frames it has, ends, and
says why in `Source.problem`: hours of work are not thrown away for the last frame.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import cv2

from hc_deploy.errors import DeployError
from hc_deploy.runtime.image import resized
from hc_deploy.runtime.session import Array
from hc_deploy.shown import quoted
from hc_deploy.system.files import require_file
from hc_deploy.system.names import openable
from hc_deploy.video.frame import Frame, VideoInfo
from hc_deploy.video.images import IMAGE_SUFFIXES, images_in, read_image, require_frame
from hc_deploy.video.silence import quiet_opencv, quiet_stderr

SOURCES = "a video file, a folder of images, an image, a webcam index (0) or a stream URL (rtsp://...)"
DEFAULT_FPS = 30.0
MAX_FPS = 240.0
"""Above this a reported rate is the container's clock, not a frame rate (a short .ts file claims 2997)."""
STREAM_TIMEOUT_MS = 10_000
TEXT_ART = int.from_bytes(b"ansi", "little")
"""The codec as which FFmpeg 'plays' any .txt file: letters on a black screen."""


class Source:
    """Frames in order, as an iterator; a context manager that frees what it holds.

    Attributes:
        info: size, rate and, where known, number of frames.
        problem: after the last frame: why there are fewer of them than promised, or None.
        reads: what it reads from the disk: files, and the folder that they are taken from.
    """

    info: VideoInfo
    problem: DeployError | None = None
    reads: tuple[Path, ...] = ()

    def __iter__(self) -> Iterator[Frame]:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing to free unless a source says otherwise."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ImageSource(Source):
    """Image files as a video of 30 frames per second, all of the first one's size."""

    def __init__(self, path: Path, files: list[Path]) -> None:
        self.path, self._files, self.reads = path, files, (path, *files)
        self._first = read_image(files[0])
        height, width = self._first.shape[:2]
        self.info = VideoInfo(
            width, height, DEFAULT_FPS, len(files), path.stem if path in files else path.resolve().name
        )

    def __iter__(self) -> Iterator[Frame]:
        for index, path in enumerate(self._files):
            try:
                image = self._first if index == 0 else self._read(path)
            except DeployError as error:
                done = f"{index} of {len(self._files)} images were used"
                self.problem = DeployError(f"{error.received}; {done}", expected=error.expected, mend=error.mend)
                return
            yield Frame(index, index / self.info.fps, image)

    def _read(self, path: Path) -> Array:
        image = read_image(path)
        if image.shape != self._first.shape:
            raise DeployError(
                f"{path.name} is {image.shape[1]}x{image.shape[0]}, but {self._files[0].name} is "
                f"{self.info.width}x{self.info.height}",
                expected="images of one size (width x height) for a video",
                mend=f"hc-deploy infer MODEL {quoted(self.path)} -o DIR",
            )
        return image


class CaptureSource(Source):
    """What `cv2.VideoCapture` opened: a file, a stream or a camera. The first frame is read at once.

    Args:
        capture: opened.
        name: short name.
        received: how errors call the source.
        live: a camera: frames carry the wall clock, none are promised, and ending is a problem.
        path: the file on disk.

    Raises:
        DeployError: there is no frame in it.
    """

    def __init__(self, capture: Any, *, name: str, received: str, live: bool = False, path: Path | None = None) -> None:
        self._capture, self._received, self._live = capture, received, live
        self.reads = () if path is None else (path,)
        claimed = [int(_positive(capture.get(side))) for side in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH)]
        try:
            require_frame(*claimed, source=received)  # before the first frame of that size is decoded
        except DeployError:
            capture.release()
            raise
        done, first = capture.read()
        if not done:
            capture.release()
            raise DeployError(f"{received}: no frame can be read", expected="a video with at least one whole frame")
        self._first: Array = first
        self._reported_fps = _positive(capture.get(cv2.CAP_PROP_FPS))
        count = _positive(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        fps = self._reported_fps if 0 < self._reported_fps <= MAX_FPS else DEFAULT_FPS
        frames = int(count) if count and not live else None
        self.info = VideoInfo(first.shape[1], first.shape[0], fps, frames, name)

    def __iter__(self) -> Iterator[Frame]:
        start, index, end_s = time.monotonic(), 0, 0.0
        image: Array | None = self._first
        while image is not None:
            end_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            time_s = time.monotonic() - start if self._live else index / self.info.fps
            yield Frame(index, time_s, self._sized(image))
            index += 1
            done, image = self._capture.read()
            image = image if done else None
        self.problem = self._why_ended(index, end_s)

    def close(self) -> None:
        self._capture.release()

    def _sized(self, image: Array) -> Array:
        """A stream may change its size on the way; what is written cannot."""
        if image.shape == self._first.shape:
            return image
        return resized(image, (self.info.height, self.info.width))

    def _why_ended(self, read: int, last_s: float) -> DeployError | None:
        if self._live:
            return DeployError(
                f"{self._received} stopped after {read} frames", expected="a camera that stays connected"
            )
        if self.info.frames is None or not ended_early(read, last_s, self.info.frames, self._reported_fps):
            return None
        return DeployError(
            f"{self._received} ended early: {read} of {self.info.frames} frames could be read",
            expected="a whole video",
            mend="copy or download it again; the output holds what could be read",
        )


def ended_early(read: int, last_s: float, promised: int, fps: float) -> bool:
    """Whether `read` frames, the last shown at `last_s` seconds, are fewer than the header's promise.

    Many containers store a duration only, so `promised` is duration x rate: off where the rate varies, and too high
    where the sound outlasts the picture. Hence both the frames and the seconds must be missing, and by more than one
    second or a tenth of the video, whichever is less (2 frames at least).
    """
    if fps <= 0:
        return False
    tolerance = max(2.0, min(0.1 * promised, fps))
    missing_s = promised / fps - (last_s + 1 / fps)
    return promised - read > tolerance and missing_s > tolerance / fps


def open_source(text: str) -> Source:
    """Open what the user named: digits are a webcam (`./0` is a file), `scheme://` a stream, the rest is on disk.

    Raises:
        DeployError: it does not exist, is empty, or is not what OpenCV can read.
    """
    quiet_opencv()
    if text.isdecimal():
        return _camera(int(text))
    path = _on_disk(text)
    if path is None:
        return _stream(text)
    if path.is_dir():
        return ImageSource(path, images_in(path))
    if path.suffix.lower() in IMAGE_SUFFIXES and "%" not in path.name:
        return ImageSource(path, [path])
    return _video_file(path)


def _on_disk(text: str) -> Path | None:
    """The file or folder that is named, None for a stream. `file://` is on disk too: an output could be that file."""
    if re.match(r"[a-z][a-z0-9+.-]*://", text, re.IGNORECASE) is None:
        return Path(text)
    scheme, _, rest = text.partition("://")
    if scheme.lower() != "file":
        return None
    plain = Path(rest)  # as FFmpeg reads it; %20 is a space to everybody else
    return plain if plain.exists() else Path(unquote(rest))


def _video_file(path: Path) -> Source:
    require_file(path, what=SOURCES)
    with openable(path) as name:  # absolute: 'a:b.mp4' is no protocol
        capture = _capture(name, cv2.CAP_FFMPEG, [])
    if capture is None or int(capture.get(cv2.CAP_PROP_FOURCC)) == TEXT_ART:
        raise DeployError(
            f"{path} is not a video that can be read",
            expected=SOURCES,
            mend="play it in a video player; a download that was cut short must be repeated",
        )
    return CaptureSource(capture, name=path.stem, received=str(path), path=path)


def _camera(index: int) -> Source:
    capture = _capture(index, cv2.CAP_ANY, [])
    if capture is None:
        raise DeployError(
            f"there is no camera {index}, or another program uses it", expected=SOURCES, mend="ls /dev/video*"
        )
    return CaptureSource(capture, name=f"camera{index}", received=f"camera {index}", live=True)


def _stream(url: str) -> Source:
    parts = urlsplit(url)
    shown = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()  # no password in a message
    timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, STREAM_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, STREAM_TIMEOUT_MS]
    capture = _capture(url, cv2.CAP_FFMPEG, timeouts)
    if capture is None:
        raise DeployError(f"{shown} cannot be opened as a video stream", expected=SOURCES, mend="open it in VLC")
    name = re.sub(r"[^\w-]+", "_", Path(parts.path).stem or parts.hostname or "stream")
    return CaptureSource(capture, name=name, received=shown)


def _capture(what: str | int, backend: int, parameters: list[int]) -> Any:
    """An opened `cv2.VideoCapture`, or None."""
    with quiet_stderr():
        try:
            capture = cv2.VideoCapture(what, backend, parameters)
        except cv2.error:
            return None
        if capture.isOpened():
            return capture
        capture.release()
        return None


def _positive(value: float) -> float:
    return value if math.isfinite(value) and value > 0 else 0.0

"""Where pictures go: a video file, or a folder of numbered PNGs -> `Sink`.

A video is written under a temporary name and renamed when it is whole. A signal ends it early: what was written becomes
the output, also where the frame never comes that was next. Any other failure leaves nothing.

What the opencv-python wheel encodes, in ms a frame at 512x1024 on 2 cores: MPEG-4 2, Motion JPEG 3, VP8 17, VP9 100
(hence no VP9). H.264 works only where OpenCV was built with an encoder for it, which the wheel lacks: it is tried
first, MPEG-4 is taken else, and the command says which it was.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2

from hc_deploy.errors import DeployError, UsageError
from hc_deploy.runtime.session import Array
from hc_deploy.shown import quoted
from hc_deploy.system.files import atomic_path, make_folder
from hc_deploy.system.interrupts import postponed, salvaging
from hc_deploy.system.names import openable
from hc_deploy.video.frame import VideoInfo
from hc_deploy.video.images import write_png
from hc_deploy.video.silence import quiet_opencv, quiet_stderr

SECONDS_FOR_THE_ENCODER = 2.0
ROOM_FRAMES, ROOM_BYTES = 100, 2**20
"""Every so many frames the disk is asked for so much room: OpenCV goes on in silence when it is full."""


@dataclass(frozen=True)
class Codec:
    """What OpenCV calls a codec (fourcc), and what people do."""

    fourcc: str
    name: str


H264, MPEG4 = Codec("avc1", "H.264"), Codec("mp4v", "MPEG-4")
CODECS: dict[str, tuple[Codec, ...]] = {
    ".mp4": (H264, MPEG4),
    ".mov": (H264, MPEG4),
    ".mkv": (H264, MPEG4),
    ".avi": (Codec("MJPG", "Motion JPEG"),),
    ".webm": (Codec("VP80", "VP8"),),
}
"""Suffix -> codecs in the order they are tried. Desktop players play all of them, browsers H.264 and .webm."""


class Sink(Protocol):
    """Takes pictures in order.

    Attributes:
        path: the output. format: its codec, in words. written: pictures so far.
        kept: whether they are there though the process ends before the sink is closed.
    """

    path: Path
    format: str
    written: int

    @property
    def kept(self) -> bool: ...

    def write(self, image: Array) -> None:
        """Append a picture; DeployError where that fails."""


@dataclass(frozen=True)
class Target:
    """An output that has been named: a video file, or a folder for numbered PNGs."""

    path: Path
    folder: bool


def parse_target(text: str) -> Target:
    """'out.mp4' is a video; 'out/' and any existing folder are folders.

    Raises:
        UsageError: neither; the message names the legal suffixes.
    """
    path = Path(text)
    try:
        folder = text.endswith(("/", "\\")) or path.is_dir()
    except (OSError, ValueError) as error:  # longer than a name can be, or with a NUL
        raise UsageError(
            f"output {text[:80]}: {error}"[:300],
            expected="a file or folder that can be written",
            mend="another output with -o",
        ) from None
    if folder:
        return Target(path, folder=True)
    if path.suffix.lower() in CODECS:
        return Target(path, folder=False)
    raise UsageError(
        f"output {text}: no video format '{path.suffix}'" if path.suffix else f"output {text} has no suffix",
        expected=f"a name ending in {', '.join(CODECS)}, or a folder for numbered PNGs",
        mend=f"-o {quoted(path.with_suffix('.mp4'))}, or -o {quoted(path.with_suffix(''))}/",
    )


@contextmanager
def open_sink(target: Target, info: VideoInfo) -> Iterator[Sink]:
    """A sink for pictures of the video's size.

    Raises:
        DeployError: the output cannot be written; raised before the first frame where it can be known by then.
    """
    if target.folder:
        yield FolderSink(target.path)
        return
    interruption: KeyboardInterrupt | None = None
    with ExitStack() as impatience, atomic_path(target.path) as temporary:
        sink = VideoSink(target.path, temporary, info)
        impatience.enter_context(salvaging(sink.salvage))
        try:
            yield sink
        except KeyboardInterrupt as error:
            if sink.written == 0:
                raise
            interruption = error
        finally:
            impatience.enter_context(postponed())
            sink.close()
        sink.verify()
    if interruption is not None:
        raise interruption


class FolderSink:
    """Pictures as DIR/000000.png, 000001.png, ...; each file is whole. uint8 [H,W] or BGR [H,W,3]."""

    format = "PNG"

    def __init__(self, path: Path) -> None:
        self.path, self.written = make_folder(path), 0

    @property
    def kept(self) -> bool:
        return self.written > 0

    def write(self, image: Array) -> None:
        write_png(self.path / f"{self.written:06d}.png", image)
        self.written += 1


class VideoSink:
    """An encoder on `temporary`, to become `path`. Use `open_sink`.

    Codecs take even sizes only (OpenCV cuts the odd row or column off): an odd frame gets its last row or column twice.
    """

    def __init__(self, path: Path, temporary: Path, info: VideoInfo) -> None:
        self.path, self._temporary, self.written = path, temporary, 0
        self._size = (info.height, info.width)
        self._padding = (info.height % 2, info.width % 2)
        quiet_opencv()
        _touch(temporary)
        self._writer, codec = self._open(info.fps)
        self.format = codec.name
        self.kept, self._closed, self._busy = False, False, threading.RLock()

    def _open(self, fps: float) -> tuple[Any, Codec]:
        height, width = self._size[0] + self._padding[0], self._size[1] + self._padding[1]
        for codec in CODECS[self.path.suffix.lower()]:
            fourcc = cv2.VideoWriter.fourcc(*codec.fourcc)
            with openable(self._temporary) as name, quiet_stderr():
                try:
                    writer = cv2.VideoWriter(name, cv2.CAP_FFMPEG, fourcc, fps, (width, height))
                except cv2.error:
                    continue
            if writer.isOpened():
                return writer, codec
        raise DeployError(
            f"cannot write {self.path}: no encoder takes {width}x{height} at {fps:g} frames per second",
            expected=f"a format that does: {', '.join(CODECS)}, or a folder",
            mend=f"-o {quoted(self.path.with_suffix('.avi'))}",
        )

    def write(self, image: Array) -> None:
        """Append uint8 BGR [H,W,3] of the video's size.

        Raises:
            DeployError: another size, or a full disk.
        """
        if image.shape[:2] != self._size:
            raise DeployError(
                f"a frame of {image.shape[1]}x{image.shape[0]}",
                expected=f"{self._size[1]}x{self._size[0]} (width x height)",
            )
        bottom, right = self._padding
        if bottom or right:
            image = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        with self._busy:
            self._writer.write(image)
            self.written += 1
        if self.written % ROOM_FRAMES == 0 and shutil.disk_usage(self.path.parent).free < ROOM_BYTES:
            raise self._broken("the disk is full")

    def close(self) -> None:
        """End the file."""
        with self._busy:
            if not self._closed:
                self._writer.release()
            self._closed = True

    def salvage(self) -> None:
        """Make the output of what was written so far, from any thread; nothing where the encoder itself hangs."""
        if self.written == 0 or not self._temporary.exists() or not self._busy.acquire(timeout=SECONDS_FOR_THE_ENCODER):
            return
        with self._busy:
            self.close()
            self._temporary.replace(self.path)
            self.kept = True

    def verify(self) -> None:
        """Read the closed file back: as many frames as were written, the last one whole; DeployError otherwise."""
        if self.written == 0:
            raise DeployError(f"{self.path} is not written: there is no frame", expected="1 frame or more")
        held = frames_held(self._temporary, self.written)
        if held < self.written:
            raise self._broken(f"{self.written} frames were written but the file holds {held}")
        self.written = held  # one more where Ctrl-C came between the encoder and the count

    def _broken(self, reason: str) -> DeployError:
        return DeployError(
            f"cannot write {self.path}: {reason}",
            expected="room on the disk for the whole video",
            mend=f"df -h {quoted(self.path.parent)}, then free space or choose another output with -o",
        )


def frames_held(path: Path, expected: int) -> int:
    """How many frames a video file really holds.

    `expected` itself when the header says so and the last frame can be decoded; otherwise all frames are counted.
    """
    with openable(path) as name, quiet_stderr():
        capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG)
        try:
            if round(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == expected:
                capture.set(cv2.CAP_PROP_POS_FRAMES, expected - 1)
                if capture.read()[0]:
                    return expected
            capture.release()
            capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG)
            count = 0
            while capture.grab():
                count += 1
            return count
        finally:
            capture.release()


def _touch(path: Path) -> None:
    """Have the system refuse here, with a reason, what OpenCV would refuse without one (atomic_path words it)."""
    with path.open("wb"):
        pass

"""Image files in and out: any picture OpenCV decodes -> uint8 BGR [H,W,3]; PNG files written whole or not at all."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np

from hc_deploy.errors import DeployError, UsageError
from hc_deploy.runtime.session import Array
from hc_deploy.shown import quoted
from hc_deploy.system.files import require_file, write_bytes
from hc_deploy.system.limits import require_memory, why_too_large
from hc_deploy.video.header import JPEG_START, PNG_START, chunks_too_long, claimed_size
from hc_deploy.video.silence import quiet_stderr

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
WHAT = f"an image ({', '.join(IMAGE_SUFFIXES)})"
MOST_FILE_BYTES = 2_000_000_000

PNG_END = b"IEND\xaeB`\x82"
JPEG_END = 0xD9
JPEG_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")  # neither a stuffed 0xff, nor fill, nor a restart


def read_image(path: Path) -> Array:
    """The picture in `path` as uint8 BGR [H,W,3].

    Grayscale and palettes become colours, alpha is dropped, 16 bits become 8, an EXIF orientation is applied.

    Raises:
        DeployError: no such file, empty, not an image, one that is cut short (decoders fill the rest with gray), or
            one of more pixels than the limit or than fit into memory.
    """
    require_file(path, what=WHAT)
    if (size := path.stat().st_size) > MOST_FILE_BYTES:
        raise DeployError(
            f"{path} has {size / 1e9:.1f} GB", expected=f"an image of at most {MOST_FILE_BYTES / 1e9:g} GB"
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DeployError(f"{path} cannot be read: {error.strerror}", expected=WHAT) from None
    if _cut_short(data) or chunks_too_long(data):
        raise DeployError(
            f"{path} is cut short: the end of the image is missing", expected="a whole image", mend="copy it again"
        )
    _require_decodable(path, data)
    image: Array | None = None
    with quiet_stderr():
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        except cv2.error:  # a header that lies
            image = None
    if image is None or image.ndim != 3 or image.dtype != np.uint8 or image.size == 0:
        raise DeployError(f"{path} is not an image that OpenCV can read", expected=WHAT, mend="convert it to PNG")
    return image


def image_of(pixels: Array) -> Array:
    """`pixels` where they are an image as OpenCV has it; DeployError where they are anything else."""
    fine = isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
    if not fine or pixels.size == 0:
        given = f"{pixels.dtype} {list(pixels.shape)}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise DeployError(f"an image of {given}", expected="uint8 [height, width, 3] in the order B, G, R")
    return np.ascontiguousarray(pixels)


def _require_decodable(path: Path, data: bytes) -> None:
    """DeployError unless the file's header is that of an image within the limits."""
    claimed = claimed_size(data)
    if claimed is None:
        raise DeployError(f"{path} is not an image that OpenCV can read", expected=WHAT, mend="convert it to PNG")
    require_frame(*claimed, source=str(path))


def require_frame(height: int, width: int, *, source: str) -> None:
    """DeployError unless a frame of this size may be decoded: within the limits, and there is memory for it."""
    if reason := why_too_large(height, width):
        raise DeployError(f"{source} is {width}x{height}: {reason}", expected="a smaller image", mend="scale it down")
    try:
        require_memory(2 * 3 * height * width, what=f"{source}, {width}x{height},", mend="scale it down")
    except UsageError as error:  # no option was typed: the file says it
        raise DeployError(error.received, expected=error.expected, mend=error.mend) from None


def png_bytes(image: Array) -> bytes:
    """uint8 [H,W] or BGR [H,W,3] as a PNG file."""
    done, data = cv2.imencode(".png", image)
    if not done:
        raise DeployError(f"an image of shape {image.shape} cannot be encoded", expected="uint8 [H,W] or [H,W,3]")
    return data.tobytes()


def write_png(path: Path, image: Array) -> None:
    """Write uint8 [H,W] or BGR [H,W,3] to `path` atomically; DeployError where that fails."""
    write_bytes(path, png_bytes(image))


def images_in(folder: Path) -> list[Path]:
    """The image files in `folder` (not below it), in natural order: frame2 before frame10. Hidden files are left out.

    Raises:
        DeployError: the folder cannot be listed, or holds no image.
    """
    try:
        files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    except OSError as error:
        raise DeployError(f"{folder} cannot be listed: {error.strerror}", expected="a folder of images") from None
    images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        raise DeployError(
            f"there is no image in {folder}",
            expected=f"files ending in {', '.join(IMAGE_SUFFIXES)}",
            mend=f"ls {quoted(folder)}",
        )
    return sorted(images, key=natural_key)


def natural_key(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Sort key of a file name in which runs of digits count as numbers."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], path.name


def _cut_short(data: bytes) -> bool:
    """Whether a PNG lacks its end chunk, or a JPEG the end marker that follows its first scan."""
    if data.startswith(PNG_START):
        return PNG_END not in data
    if not data.startswith(JPEG_START):
        return False
    at = 2
    while (marker := JPEG_MARKER.search(data, at)) is not None:
        kind = marker.group(1)[0]
        if kind == JPEG_END:
            return False
        length = int.from_bytes(data[marker.end() : marker.end() + 2], "big")
        at = marker.end() + (2 if length < 2 else length)  # skips a thumbnail inside the EXIF segment
    return True

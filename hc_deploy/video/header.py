"""The size that an image's header claims, read from its first bytes before a decoder reserves memory for it.

The kinds that OpenCV decodes most: PNG, JPEG, TIFF, WebP, BMP, PNM, GIF and JPEG 2000, told by their content.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator

Size = tuple[int, int]
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of segments that say the size (SOF0 to SOF15)."""
JPEG_SCAN = 0xDA
PNM = re.compile(rb"P[1-6](?:\s|#[^\n\r]*[\n\r])+([0-9]+)(?:\s|#[^\n\r]*[\n\r])+([0-9]+)\s")
LONGEST_NUMBER = 10
MOST_SEGMENTS = 100_000
PNG_START, JPEG_START = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
TIFF_WIDTHS, TIFF_HEIGHTS = (256, 322), (257, 323)
"""Tags of the image's and of its tiles' width and length: a decoder reserves memory for either."""
TIFF_TYPES = {3: "H", 4: "I", 16: "Q"}
"""SHORT, LONG and LONG8, as struct calls them."""
MOST_TAGS = 4096


def claimed_size(data: bytes) -> Size | None:
    """(height, width) that the header of the image file `data` claims; None where it is of no kind that is known."""
    for start, read in READERS.items():
        if data.startswith(start):
            try:
                return read(data)
            except (struct.error, IndexError, ValueError, KeyError):  # cut short
                return None
    return None


def chunks_too_long(data: bytes) -> bool:
    """Whether a chunk of the PNG file `data` says to be longer than what is left: a decoder reserves memory for it."""
    if not data.startswith(PNG_START):
        return False
    at = len(PNG_START)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if length > len(data) - at - 8:
            return True
        if kind == b"IEND":
            return False
        at += 12 + length
    return False


def _png(data: bytes) -> Size:
    width, height = struct.unpack_from(">II", data, 16)
    return height, width


def _jpeg(data: bytes) -> Size:
    """The largest that any of its frames before the first scan claims."""
    sizes, at = [], 2
    for _ in range(MOST_SEGMENTS):
        kind = data[at + 1]
        if data[at] != 0xFF or kind == JPEG_SCAN:
            break
        if kind == 0xFF or 0xD0 <= kind <= 0xD7 or kind == 0x01:  # fill, or a marker without a segment
            at += 1 if kind == 0xFF else 2
            continue
        if kind in JPEG_FRAMES:
            sizes.append(struct.unpack_from(">HH", data, at + 5))
        at += 2 + max(2, struct.unpack_from(">H", data, at + 2)[0])
    height, width = max(sizes, key=lambda size: size[0] * size[1])
    return height, width


def _webp(data: bytes) -> Size | None:
    kind = data[12:16]
    if data[8:12] != b"WEBP":
        return None
    if kind == b"VP8X":
        return int.from_bytes(data[27:30], "little") + 1, int.from_bytes(data[24:27], "little") + 1
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return height & 0x3FFF, width & 0x3FFF
    return None


def _bmp(data: bytes) -> Size:
    old = struct.unpack_from("<I", data, 14)[0] == 12
    width, height = struct.unpack_from("<HH" if old else "<ii", data, 18)
    return abs(height), abs(width)


def _pnm(data: bytes) -> Size | None:
    found = PNM.match(data)
    if found is None:
        return None
    width, height = (int(digits[:LONGEST_NUMBER]) for digits in found.groups())
    return height, width


def _gif(data: bytes) -> Size:
    width, height = struct.unpack_from("<HH", data, 6)
    return height, width


def _jpeg2000(data: bytes) -> Size:
    """The largest of all image headers (of the JP2 file) and codestreams in it."""
    sizes = [struct.unpack_from(">II", data, found.end()) for found in re.finditer(b"ihdr", data)]
    for found in re.finditer(b"\xff\x4f\xff\x51", data):
        right, bottom, left, top = struct.unpack_from(">IIII", data, found.start() + 8)
        sizes.append((bottom - top, right - left))
    height, width = max(sizes, key=lambda size: size[0] * size[1])
    return height, width


def _tiff(data: bytes) -> Size:
    """Of the first image, or of its tiles where they are larger."""
    tags = dict(_tiff_tags(data))
    height = max(tags.get(tag, 0) for tag in TIFF_HEIGHTS)
    return height, max(tags[TIFF_WIDTHS[0]], tags.get(TIFF_WIDTHS[1], 0))


def _tiff_tags(data: bytes) -> Iterator[tuple[int, int]]:
    """(tag, first value) of the first directory, of those that are whole numbers."""
    order = "<" if data.startswith(b"II") else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    count_kind, entry_bytes, start_kind = ("Q", 20, "Q") if big else ("H", 12, "I")
    at = struct.unpack_from(order + start_kind, data, 8 if big else 4)[0]
    count = struct.unpack_from(order + count_kind, data, at)[0]
    at += struct.calcsize(count_kind)
    for entry in range(at, at + min(count, MOST_TAGS) * entry_bytes, entry_bytes):
        tag, kind = struct.unpack_from(order + "HH", data, entry)
        if kind in TIFF_TYPES:
            value = entry + (12 if big else 8)
            yield tag, struct.unpack_from(order + TIFF_TYPES[kind], data, value)[0]


READERS: dict[bytes, Callable[[bytes], Size | None]] = {
    PNG_START: _png,
    JPEG_START: _jpeg,
    b"RIFF": _webp,
    b"BM": _bmp,
    b"P": _pnm,
    b"GIF8": _gif,
    b"\0\0\0\x0cjP  ": _jpeg2000,
    b"\xff\x4f\xff\x51": _jpeg2000,
    b"II*\0": _tiff,
    b"MM\0*": _tiff,
    b"II+\0": _tiff,
    b"MM\0+": _tiff,
}
"""How the kinds begin, and what reads their size."""

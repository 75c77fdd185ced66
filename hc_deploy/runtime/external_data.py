"""Which other files a model.onnx has its weights in, read from its bytes before a runtime sees them.

ONNX Runtime checks such names only in newer versions, and waits for ever on a pipe. The file is a protobuf message; the
few fields on the way to a tensor's `external_data` are followed, and all others are jumped over. That takes half a
second for 3,000 nodes, so a file without the word that comes with every such name is not looked through. Standard
library only.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from hc_deploy.errors import DeployError

Bytes = bytes | mmap.mmap
EXTERNAL_DATA = 13
LOCATION = b"location"
CHILDREN: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {EXTERNAL_DATA: "entry"},
}
"""Message -> number of a field -> message that it holds (onnx.proto, whose numbers never change)."""
DEEPEST = 100
"""Messages in each other: protobuf's own limit."""
MOST_FIELDS = 4_000_000
VARINT, FIXED64, MESSAGE, FIXED32 = 0, 1, 2, 5


def require_safe_external_data(path: Path) -> None:
    """Nothing where every file that `path` has weights in is an ordinary file in its folder or below.

    Raises:
        DeployError: one is missing, outside (also by a symbolic link) or no file; or `path` is no whole ONNX file.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        locations = external_files(data, source=path)
    folder = path.resolve().parent
    for location in locations:
        try:
            target = (folder / location).resolve()
            inside, is_file = target.is_relative_to(folder), target.is_file()
        except (OSError, ValueError, RuntimeError):  # a name that no file can have, links in a circle
            inside = is_file = False
        if not location or Path(location).is_absolute() or not inside or not is_file:
            why = "is no file there" if inside else "lies outside the model's folder"
            raise DeployError(
                f"{path} has weights in {location[:200]!r}, which {why}",
                expected="an ordinary file beside the model",
                mend="copy all files of the model together, or export it again: python export.py CHECKPOINT -o DIR",
            )


def external_files(data: Bytes, *, source: Path) -> list[str]:
    """The names in `data`, the bytes of a model.onnx, each once, sorted; DeployError where they are no ONNX model.

    Bytes that are no model and hold no name are left to the runtime to refuse.
    """
    if data.find(LOCATION) < 0:
        return []
    try:
        found = {_location(data, start, end) for start, end in _entries(data)}
    except (ValueError, IndexError):
        raise DeployError(
            f"{source} is not a whole ONNX file",
            expected="the file as export.py wrote it",
            mend="copy it again, or export it again: python export.py CHECKPOINT -o DIR",
        ) from None
    return sorted(location for location in found if location is not None)


def _entries(data: Bytes) -> Iterator[tuple[int, int]]:
    """Where the key-value pairs of the tensors' `external_data` stand."""
    left = MOST_FIELDS
    waiting = [("model", 0, len(data), 0)]
    while waiting:
        kind, start, end, depth = waiting.pop()
        if depth > DEEPEST:
            raise ValueError("nested too deeply")
        for number, at, stop in _fields(data, start, end):
            left -= 1
            if left < 0:
                raise ValueError("too many fields")
            child = CHILDREN[kind].get(number)
            if child == "entry":
                yield at, stop
            elif child is not None and stop > at:
                waiting.append((child, at, stop, depth + 1))


def _fields(data: Bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(number, start, end) of each field of the message at start..end; of a number the two are the same."""
    at = start
    while at < end:
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == MESSAGE:
            length, at = _varint(data, at)
            if length > end - at:
                raise ValueError("a field beyond its message")
            yield tag >> 3, at, at + length
            at += length
            continue
        if kind == VARINT:
            at = _varint(data, at)[1]
        elif kind in (FIXED64, FIXED32):
            at += 8 if kind == FIXED64 else 4
        else:
            raise ValueError("a kind of field that ONNX does not have")
        yield tag >> 3, at, at
    if at != end:
        raise ValueError("a field beyond its message")


def _varint(data: Bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _location(data: Bytes, start: int, end: int) -> str | None:
    """The file's name, where the pair is that of `location`."""
    texts = {number: data[at:stop] for number, at, stop in _fields(data, start, end)}
    return texts.get(2, b"").decode("utf-8") if texts.get(1) == LOCATION else None

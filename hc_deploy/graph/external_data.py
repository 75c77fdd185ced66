"""Which other files a model.onnx has its weights in, read from its bytes before a runtime sees them.

ONNX Runtime checks such names only in newer versions, waits for ever on a pipe, and compares no checksum. The file is
a protobuf message; the few fields on the way to a tensor's `external_data` are followed, and all others are jumped
over. That takes half a second for 3,000 nodes, so a file without the word that comes with every such name is not
looked through. Standard library only.
"""

from __future__ import annotations

import hashlib
import mmap
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from hc_deploy.errors import DeployError

Bytes = bytes | mmap.mmap
EXTERNAL_DATA = 13
LOCATION, CHECKSUM, LENGTH = b"location", b"checksum", b"length"
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
AGAIN = "copy all files of the model together, or export it again: python export.py CHECKPOINT -o DIR"
DEEPEST = 100
"""Messages in each other: protobuf's own limit."""
MOST_FIELDS = 4_000_000
VARINT, FIXED64, MESSAGE, FIXED32 = 0, 1, 2, 5


def require_external_data(path: Path) -> list[Path]:
    """The files that `path` has weights in, each an ordinary file in its folder or below and as it was.

    Raises:
        DeployError: one is missing, outside (also by a symbolic link), no file, or not what its checksum says (SHA-1,
            where the model holds one: `export.py` writes it); or `path` is no whole ONNX file.
    """
    checksums = _files_of(path)
    folder = path.resolve().parent
    for location, checksum in checksums.items():
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
                mend=AGAIN,
            )
        if checksum is not None and checksum != (found := _sha1(target)):
            raise DeployError(
                f"{path} has weights in {location[:200]!r}, which has SHA-1 {found[:12]}…",
                expected=f"{checksum[:12]}…, as the model says: the file was cut short, changed or replaced",
                mend=AGAIN,
            )
    return [path.parent / location for location in checksums]


def files_beside(path: Path) -> list[Path]:
    """The other files that the model in `path` has weights in, as it names them; DeployError where it is no model."""
    return [path.parent / location for location in _files_of(path)]


def largest_beside(path: Path) -> int:
    """Bytes of the largest tensor that the model in `path` has in another file, as it says; 0 without one."""
    with _mapped(path) as data:
        if data.find(LOCATION) < 0:
            return 0
        lengths = [
            dict(_pair(data, start, end) for start, end in entries).get(LENGTH, b"") for entries in _tensors(data)
        ]
    return max((int(length) for length in lengths if length.isdigit()), default=0)


def _files_of(path: Path) -> dict[str, str | None]:
    with _mapped(path) as data:
        return external_files(data, source=path)


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


def _sha1(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, partial(hashlib.sha1, usedforsecurity=False)).hexdigest()


def external_files(data: Bytes, *, source: Path) -> dict[str, str | None]:
    """The names in `data`, the bytes of a model.onnx, sorted, and the SHA-1 that it holds of each.

    Bytes that are no model and hold no name are left to the runtime to refuse.

    Raises:
        DeployError: no ONNX model, or one file with two checksums.
    """
    if data.find(LOCATION) < 0:
        return {}
    found: dict[str, set[str]] = defaultdict(set)
    try:
        for entries in _tensors(data):
            texts = dict(_pair(data, start, end) for start, end in entries)
            if LOCATION in texts:
                checksums = found[texts[LOCATION].decode("utf-8")]
                checksums |= {texts[CHECKSUM].decode("ascii").lower()} if CHECKSUM in texts else set()
    except (ValueError, IndexError):
        raise DeployError(
            f"{source} is not a whole ONNX file",
            expected="the file as export.py wrote it",
            mend="copy it again, or export it again: python export.py CHECKPOINT -o DIR",
        ) from None
    for location, checksums in found.items():
        if len(checksums) > 1:
            raise DeployError(
                f"{source} holds several checksums of {location[:200]!r}", expected="one a file", mend=AGAIN
            )
    return {location: next(iter(found[location]), None) for location in sorted(found)}


def _tensors(data: Bytes) -> Iterator[list[tuple[int, int]]]:
    """Where the key-value pairs of each tensor's `external_data` stand."""
    left = MOST_FIELDS
    waiting = [("model", 0, len(data), 0)]
    while waiting:
        kind, start, end, depth = waiting.pop()
        if depth > DEEPEST:
            raise ValueError("nested too deeply")
        entries = []
        for number, at, stop in _fields(data, start, end):
            left -= 1
            if left < 0:
                raise ValueError("too many fields")
            child = CHILDREN[kind].get(number)
            if child == "entry":
                entries.append((at, stop))
            elif child is not None and stop > at:
                waiting.append((child, at, stop, depth + 1))
        if entries:
            yield entries


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


def _pair(data: Bytes, start: int, end: int) -> tuple[bytes, bytes]:
    """Key and value."""
    texts = {number: data[at:stop] for number, at, stop in _fields(data, start, end)}
    return texts.get(1, b""), texts.get(2, b"")
